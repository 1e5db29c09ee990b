"""What JAX programs use, each result checked against JAX's own CPU code or numpy.

Prints `PASS jax/NAME` or `FAIL jax/NAME: reason`, one line each.
"""

import ctypes
import os
import sys

import numpy as np

import checks

# JAX looks for the files of NVIDIA's kernel driver before it asks CUDA, and this machine may have none.
exists = os.path.exists
os.path.exists = lambda path: path == "/dev/nvidiactl" or exists(path)

import jax
import jax.numpy as jnp
import nvidia.cu13
from jax import lax

test, rng = checks.register, np.random.default_rng(1)
gpu, cpu = jax.devices("cuda")[0], jax.devices("cpu")[0]
matrix = rng.standard_normal((64, 64), dtype=np.float32)
vector = rng.standard_normal(10_001, dtype=np.float32)


def on(device, function, arguments):
    with jax.default_device(device):
        results = jax.jit(function)(*(jax.device_put(a, device) for a in arguments))
        leaves = jax.tree.leaves(results)
        assert all(leaf.devices() == {device} for leaf in leaves), "computed on another device"
        return [np.asarray(leaf) for leaf in leaves]


def agree(function, *arguments, tolerance=1e-5):
    """The function gives the same on the GPU as on the CPU."""
    for actual, wanted in zip(on(gpu, function, arguments), on(cpu, function, arguments), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


@test
def elementwise_functions():
    agree(lambda x: jnp.sin(x) * jnp.exp(-x * x) + jnp.log1p(jnp.abs(x)), vector)
    agree(lambda x: jax.scipy.special.erf(x) + jax.scipy.special.gammaln(jnp.abs(x) + 0.5), vector)
    agree(lambda x: (x.astype(jnp.float16) * 2).astype(jnp.float32), vector)
    numbers = rng.integers(-1000, 1000, 5000).astype(np.int32)
    agree(lambda x: (x * 3) // 7 + x % 5 - (x << 2) ^ lax.population_count(x), numbers)


@test
def reductions():
    agree(lambda a: (a.sum(), a.sum(0), a.mean(1), a.var(1), a.max(), jnp.argmin(a, 1)), matrix, tolerance=1e-4)
    agree(lambda x: (jnp.cumsum(x[:1000]), jnp.any(x > 3)), vector, tolerance=1e-4)


@test
def sorting_and_indexing():
    agree(lambda x: (jnp.sort(x), jnp.argsort(x), lax.top_k(x, 5)), vector)
    places = rng.integers(0, 64, 500)
    agree(lambda a, i: (a[i], jnp.zeros(64).at[i].add(1), a.T[::3], jnp.pad(a, 2)), matrix, places)


@test
def matrix_products():
    with jax.default_matmul_precision("highest"):
        agree(lambda a: (a @ a.T, jnp.einsum("ij,kj->ik", a, a)), matrix, tolerance=1e-4)
        agree(lambda a: jax.vmap(jnp.matmul)(a.reshape(4, 16, 64), a.reshape(4, 64, 16)), matrix, tolerance=1e-4)


@test
def convolutions():
    images, kernels = rng.standard_normal((2, 3, 16, 16), np.float32), rng.standard_normal((4, 3, 3, 3), np.float32)
    with jax.default_matmul_precision("highest"):
        agree(lambda x, k: lax.conv(x, k, (1, 1), "SAME"), images, kernels, tolerance=1e-4)


@test
def control_flow():
    agree(lambda x: lax.scan(lambda c, v: (c * 0.9 + v, c), 0.0, x[:100]), vector, tolerance=1e-4)
    agree(lambda x: lax.fori_loop(0, 10, lambda i, c: jnp.sin(c) + i, x), vector)
    agree(lambda x: lax.while_loop(lambda s: s[0] < 50, lambda s: (s[0] + 1, s[1] * 1.1), (0, x[0])), vector)
    agree(lambda x: lax.cond(x[0] > 0, lambda x: x * 2, lambda x: x - 1, x), vector)


@test
def random_numbers():
    agree(lambda: (jax.random.uniform(jax.random.key(1), (1000,)), jax.random.normal(jax.random.key(2), (50, 50))))


@test
def training():
    def loss(weights, x, y):
        hidden = jax.nn.relu(x @ weights[0])
        return jnp.mean((hidden @ weights[1] - y) ** 2)

    def train(first, second, x):
        def step(weights, _):
            value, slopes = jax.value_and_grad(loss)(weights, x, jnp.sin(x.sum(1, keepdims=True)))
            return [w - 0.05 * s for w, s in zip(weights, slopes)], value

        return lax.scan(step, [first, second], None, length=20)[1]

    weights = [rng.standard_normal(shape, np.float32) * 0.3 for shape in ((8, 32), (32, 1), (64, 8))]
    with jax.default_matmul_precision("highest"):
        agree(train, weights[0], weights[1], weights[2] / 0.3, tolerance=1e-4)


@test
def memory_is_accounted_for():
    before = gpu.memory_stats()["bytes_in_use"]
    held = jax.device_put(np.zeros(1 << 20, np.uint8), gpu).block_until_ready()
    assert gpu.memory_stats()["bytes_in_use"] - before >= held.nbytes
    del held
    assert gpu.memory_stats()["bytes_in_use"] == before


@test
def profiler_tells_its_version():
    # Without which JAX does not start, unless it is told not to ask.
    version = ctypes.c_uint32()
    cupti = ctypes.CDLL(os.path.join(next(iter(nvidia.cu13.__path__)), "lib", "libcupti.so.13"))
    assert cupti.cuptiGetVersion(ctypes.byref(version)) == 0 and version.value == 130500


sys.exit(checks.main("jax"))
