"""tinygrad on the virtual GPU, unmodified, against NumPy.

Prints `PASS tinygrad/NAME` or `FAIL tinygrad/NAME: reason`, one line each; the name says which of its two code
generators runs: `DEV=CUDA` compiles with NVRTC, `DEV=CUDA:PTX` writes PTX itself.
"""

import os
import sys

import numpy as np
from tinygrad import Tensor, TinyJit, dtypes
from tinygrad.helpers import Context
from tinygrad.nn.optim import Adam

import checks

rng = np.random.default_rng(1)


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def close(got, expected, tolerance=1e-5):
    np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance, atol=tolerance)


def same(got, expected):
    np.testing.assert_array_equal(got.numpy(), expected)


@checks.register
def elementwise():
    x = floats(1000)
    close(Tensor(x).exp() + Tensor(x).sin() * Tensor(x).sigmoid(), np.exp(x) + np.sin(x) / (1 + np.exp(-x)))
    close(Tensor(x).abs().sqrt() + Tensor(x).tanh() - Tensor(x).relu(), np.sqrt(abs(x)) + np.tanh(x) - x.clip(0))


@checks.register
def products():
    a, b = floats(70, 90), floats(90, 33)
    close(Tensor(a) @ Tensor(b), a @ b, 1e-4)


@checks.register
def tensor_cores_of_halves():
    a, b = floats(64, 64).astype(np.float16), floats(64, 64).astype(np.float16)
    got = Tensor(a).matmul(Tensor(b), dtype=dtypes.float32)
    close(got, a.astype(np.float32) @ b.astype(np.float32), 1e-3)


@checks.register
def integers():
    a, b = rng.integers(-(10**9), 10**9, 500), rng.integers(1, 50, 500)
    for kind in (np.int64, np.int32, np.int16, np.uint8):
        x, y = a.astype(kind), b.astype(kind)
        same(Tensor(x) * Tensor(y) - Tensor(x), x * y - x)
        same(Tensor(x) // Tensor(y), x // y)
        same((Tensor(x) ^ Tensor(y)) >> 2, (x ^ y) >> 2)
        same(Tensor(x) < Tensor(y), x < y)


@checks.register
def reductions_scans_and_sorting():
    x = floats(40, 25)
    close(Tensor(x).sum(0), x.sum(0), 1e-4)
    close(Tensor(x).max(1), x.max(1))
    close(Tensor(x).cumsum(1), x.cumsum(1), 1e-4)
    same(Tensor(x).argmax(1), x.argmax(1))
    same(Tensor(x[0]).sort()[0], np.sort(x[0]))


@checks.register
def gather_and_views():
    x, index = floats(20, 30), rng.integers(0, 20, 50)
    same(Tensor(x)[Tensor(index)], x[index])
    same(Tensor(x)[3:10, ::2].flip(0).permute(1, 0).contiguous(), x[3:10, ::2][::-1].T)


@checks.register
def convolution():
    x, w = floats(1, 2, 8, 8), floats(3, 2, 3, 3)
    expected = np.zeros((1, 3, 6, 6), np.float32)
    for i, j in np.ndindex(3, 3):
        expected += np.einsum("nchw,oc->nohw", x[:, :, i : i + 6, j : j + 6], w[:, :, i, j])
    close(Tensor(x).conv2d(Tensor(w)), expected, 1e-4)


@checks.register
def training_in_a_graph():
    """The third step is captured, those after it are launches of a graph."""
    x, y = floats(64, 16), rng.integers(0, 4, 64).astype(np.int32)
    weights = [Tensor(0.3 * floats(16, 32)), Tensor(0.3 * floats(32, 4))]
    for weight in weights:
        weight.requires_grad = True
    inputs, labels, optimizer = Tensor(x), Tensor(y), Adam(weights, lr=0.01)

    @TinyJit
    def step():
        optimizer.zero_grad()
        loss = ((inputs @ weights[0]).relu() @ weights[1]).sparse_categorical_crossentropy(labels).backward()
        return loss.realize(*optimizer.schedule_step())

    def loss_of(w0, w1):
        logits = (x @ w0).clip(0) @ w1
        logits -= logits.max(1, keepdims=True)
        return (np.log(np.exp(logits).sum(1)) - logits[np.arange(64), y]).mean()

    with Context(TRAINING=1):
        first = loss_of(*(weight.numpy() for weight in weights))
        losses = []
        for _ in range(10):
            expected = loss_of(*(weight.numpy() for weight in weights))
            losses.append(step().item())
            assert abs(losses[-1] - expected) < 1e-3, f"{losses[-1]}, not {expected}"
    assert losses[-1] < 0.9 * first, f"{first} became {losses[-1]}"


sys.exit(checks.main("tinygrad-ptx" if os.environ["DEV"] == "CUDA:PTX" else "tinygrad-nvrtc"))
