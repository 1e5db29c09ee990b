"""gpt4all on the virtual GPU: its llama.cpp as its authors compiled it (2024, CUDA 11), with small models of random
weights, against its own CPU code.

Prints `PASS gpt4all/NAME` or `FAIL gpt4all/NAME: reason`, one line each. A folder for the models is the argument.
"""

import ctypes
import sys

import gguf
import numpy as np
from gpt4all import GPT4All
from gpt4all._pyllmodel import MODEL_LIB_PATH

import checks
import small_llama
from small_llama import CONTEXT, LAYERS

FOLDER = sys.argv.pop(1)
VOCABULARY = 384


def describe_tokens(writer):
    """Bytes, digits and words of them."""
    special = ["<unk>", "<s>", "</s>"]
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["\u2581", "w", "\u2581w", *map(str, range(10))]
    words += [f"\u2581w{number}" for number in range(VOCABULARY - len(special + letters + words))]
    kinds = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_token_list(special + letters + words)
    writer.add_token_scores([0.0] * (len(special + letters)) + [-float(place) for place in range(len(words))])
    writer.add_token_types(
        [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256 + [kinds.NORMAL] * len(words)
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


class Parameters(ctypes.Structure):
    """Any of llama.cpp's structures that are passed by value, which all are smaller."""

    _fields_ = [("bytes", ctypes.c_uint8 * 512)]


def library(name):
    """The C interface of llama.cpp in one of gpt4all's libraries."""
    lib = ctypes.CDLL(str(MODEL_LIB_PATH / f"libllamamodel-mainline-{name}.so"))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("llama_backend_init", None, []),
        ("llama_model_default_params", Parameters, []),
        ("llama_context_default_params", Parameters, []),
        ("llama_load_model_from_file", pointer, [ctypes.c_char_p, Parameters]),
        ("llama_new_context_with_model", pointer, [pointer, Parameters]),
        ("llama_batch_get_one", Parameters, [pointer, number, number, number]),
        ("llama_decode", number, [pointer, Parameters]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, number]),
        ("llama_kv_cache_clear", None, [pointer]),
        ("llama_set_n_threads", None, [pointer, ctypes.c_uint32, ctypes.c_uint32]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.llama_backend_init()
    return lib


def logits(lib, model, layers):
    """After prompts of several lengths, which take different kernels, and after two more tokens each."""
    params = lib.llama_model_default_params()
    params.bytes[:4] = list(layers.to_bytes(4, "little"))  # n_gpu_layers
    loaded = lib.llama_load_model_from_file(model.encode(), params)
    context = lib.llama_new_context_with_model(loaded, lib.llama_context_default_params())
    lib.llama_set_n_threads(context, 2, 2)
    rng, found = np.random.default_rng(3), []
    for length in (1, 4, 9, 40, 100):
        lib.llama_kv_cache_clear(context)
        tokens, place = rng.integers(3, VOCABULARY, length).astype(np.int32), 0
        for step in range(3):
            batch = lib.llama_batch_get_one(tokens.ctypes.data, len(tokens), place, 0)
            assert lib.llama_decode(context, batch) == 0
            found.append(np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (VOCABULARY,)).copy())
            place += len(tokens)
            tokens = np.array([300 + step], np.int32)
    return np.array(found)


def compare(kind, tolerance):
    """Root of the mean square of the differences, of logits whose own is about 1."""
    model = f"{FOLDER}/{kind.name}.gguf"
    small_llama.write(model, kind, VOCABULARY, describe_tokens)
    expected, got = logits(library("kompute"), model, 0), logits(library("cuda"), model, LAYERS + 1)
    assert np.isfinite(got).all()
    difference = np.sqrt(((got - expected) ** 2).mean(1)).max()
    assert difference <= tolerance, f"{difference:.4f} > {tolerance}"


# Both sides round what they multiply to the weights' precision, each in its own way.
for name, most in {"F32": 0.01, "F16": 0.02, "Q8_0": 0.05, "Q4_0": 0.1}.items():

    def test(kind=gguf.GGMLQuantizationType[name], most=most):
        compare(kind, most)

    test.__name__ = f"weights_{name}"
    checks.register(test)


@checks.register
def generates_by_its_own_interface():
    small_llama.write(f"{FOLDER}/small.gguf", gguf.GGMLQuantizationType.F16, VOCABULARY, describe_tokens)
    model = GPT4All("small.gguf", model_path=FOLDER, allow_download=False, device="cuda", n_ctx=CONTEXT)
    assert model.backend == "cuda" and "vgpu" in model.device, f"{model.backend} on {model.device}"
    tokens = []
    model.generate("w3 w1 w4", max_tokens=8, temp=0, callback=lambda token, text: tokens.append(token) or True)
    # Bytes that are no whole character are not told.
    assert len(tokens) >= 3, f"only {len(tokens)} tokens"


sys.exit(checks.main("gpt4all"))
