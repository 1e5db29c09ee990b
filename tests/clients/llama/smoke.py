"""llama.cpp on the virtual GPU: logits of small models with random weights, against those of its own CPU code.

Prints `PASS llama/NAME` or `FAIL llama/NAME: reason`, one line each. The program and a folder for the models are
the arguments.
"""

import subprocess
import sys

import gguf
import numpy as np

import checks
import small_llama
from small_llama import LAYERS

PROGRAM, FOLDER = sys.argv[1:3]
del sys.argv[1:]
VOCABULARY = 512
STEPS = 8


def logits(model, layers, prompt):
    ran = subprocess.run([PROGRAM, model, str(layers), str(prompt), str(STEPS)], capture_output=True)
    assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr.decode()[-200:]}"
    assert layers == 0 or f"offloaded {LAYERS + 1}/{LAYERS + 1} layers to GPU".encode() in ran.stderr
    return np.frombuffer(ran.stdout, np.float32).reshape(STEPS, VOCABULARY)


def compare(kind, tolerance):
    """Root of the mean square of the differences, of logits whose own is about 1, of prompts of several lengths:
    they take different kernels."""
    model = f"{FOLDER}/{kind.name}.gguf"
    small_llama.write(model, kind, VOCABULARY, lambda writer: writer.add_tokenizer_model("no_vocab"))
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
