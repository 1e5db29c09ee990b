"""llama.cpp on the virtual GPU: logits of small models with random weights, against those of its own CPU code.

Prints `PASS llama/NAME` or `FAIL llama/NAME: reason`, one line each. The program and a folder for the models are
the arguments.
"""

import subprocess
import sys

import gguf
import numpy as np

import checks

PROGRAM, FOLDER = sys.argv[1:3]
del sys.argv[1:]
VOCABULARY, WIDTH, LAYERS, HEADS, KEY_HEADS, INNER = 512, 256, 2, 4, 2, 512
STEPS = 8


def write_model(path, kind):
    """A Llama whose weights are of this kind."""
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name, rows, columns):
        data = (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)

    def norm(name):
        writer.add_tensor(name, (1 + 0.1 * rng.standard_normal(WIDTH)).astype(np.float32))

    matrix("token_embd.weight", VOCABULARY, WIDTH)
    for layer in (f"blk.{i}" for i in range(LAYERS)):
        norm(f"{layer}.attn_norm.weight")
        norm(f"{layer}.ffn_norm.weight")
        matrix(f"{layer}.attn_q.weight", WIDTH, WIDTH)
        matrix(f"{layer}.attn_k.weight", WIDTH * KEY_HEADS // HEADS, WIDTH)
        matrix(f"{layer}.attn_v.weight", WIDTH * KEY_HEADS // HEADS, WIDTH)
        matrix(f"{layer}.attn_output.weight", WIDTH, WIDTH)
        matrix(f"{layer}.ffn_gate.weight", INNER, WIDTH)
        matrix(f"{layer}.ffn_up.weight", INNER, WIDTH)
        matrix(f"{layer}.ffn_down.weight", WIDTH, INNER)
    norm("output_norm.weight")
    matrix("output.weight", VOCABULARY, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model, layers, prompt):
    ran = subprocess.run([PROGRAM, model, str(layers), str(prompt), str(STEPS)], capture_output=True)
    assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr.decode()[-200:]}"
    assert layers == 0 or f"offloaded {LAYERS + 1}/{LAYERS + 1} layers to GPU".encode() in ran.stderr
    return np.frombuffer(ran.stdout, np.float32).reshape(STEPS, VOCABULARY)


def compare(kind, tolerance):
    """Root of the mean square of the differences, of logits whose own is about 1, of prompts of several lengths:
    they take different kernels."""
    model = f"{FOLDER}/{kind.name}.gguf"
    write_model(model, kind)
    for prompt in (5, 40, 100):
        expected, got = logits(model, 0, prompt), logits(model, LAYERS + 1, prompt)
        assert np.isfinite(got).all()
        difference = np.sqrt(((got - expected) ** 2).mean(1)).max()
        assert difference <= tolerance, f"prompt of {prompt}: {difference:.4f} > {tolerance}"


# Both sides round what they multiply to the weights' precision, each in its own way.
for name, most in {"F32": 0.005, "F16": 0.02, "Q8_0": 0.05, "Q4_0": 0.1}.items():

    def test(kind=gguf.GGMLQuantizationType[name], most=most):
        compare(kind, most)

    test.__name__ = f"weights_{name}"
    checks.register(test)

sys.exit(checks.main("llama"))
