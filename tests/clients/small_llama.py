"""Llama models of random weights, small enough to be made in a moment, in llama.cpp's format."""

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, KEY_HEADS, INNER = 256, 2, 4, 2, 512
CONTEXT = 512


def write(path, kind, vocabulary, describe_tokens):
    """A model whose weights are of this kind, and whose tokens are those that `describe_tokens` tells the writer."""
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(vocabulary)
    describe_tokens(writer)

    def matrix(name, rows, columns):
        data = (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)

    def norm(name):
        writer.add_tensor(name, (1 + 0.1 * rng.standard_normal(WIDTH)).astype(np.float32))

    matrix("token_embd.weight", vocabulary, WIDTH)
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
    matrix("output.weight", vocabulary, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
