"""NVIDIA Warp on the virtual GPU, unmodified: its NVRTC makes PTX. Against NumPy.

Prints `PASS warp/NAME` or `FAIL warp/NAME: reason`, one line each.
"""

import sys

import numpy as np
import warp as wp

import checks

wp.config.quiet = True
# Most of the time goes into compiling, and the derivatives are most of that.
wp.config.enable_backward = False
wp.config.enable_mathdx_gemm = False
wp.set_device("cuda:0")
rng = np.random.default_rng(1)
N = 2000
TILE = 8


@wp.kernel
def waves(x: wp.array(dtype=float), y: wp.array(dtype=float)):
    i = wp.tid()
    y[i] = wp.sin(x[i]) * wp.exp(-x[i] * x[i]) + wp.sqrt(wp.abs(x[i]))


@wp.kernel
def count(x: wp.array(dtype=float), bins: wp.array(dtype=int), total: wp.array(dtype=wp.float64)):
    i = wp.tid()
    wp.atomic_add(bins, int(wp.abs(x[i]) * 4.0) % 16, 1)
    wp.atomic_add(total, 0, wp.float64(x[i]))


@wp.kernel
def turn(points: wp.array(dtype=wp.vec3), turned: wp.array(dtype=wp.vec3)):
    i = wp.tid()
    turned[i] = wp.quat_rotate(wp.quat_from_axis_angle(wp.vec3(0.0, 0.0, 1.0), float(i)), points[i])


@wp.kernel(enable_backward=True, module="unique")
def square_sum(x: wp.array(dtype=float), loss: wp.array(dtype=float)):
    i = wp.tid()
    wp.atomic_add(loss, 0, wp.sin(x[i]) * x[i])


@wp.kernel(module="unique")
def multiply(a: wp.array2d(dtype=float), b: wp.array2d(dtype=float), c: wp.array2d(dtype=float)):
    i, j = wp.tid()
    total = wp.tile_zeros(shape=(TILE, TILE), dtype=float)
    for k in range(4):
        left = wp.tile_load(a, shape=(TILE, TILE), offset=(i * TILE, k * TILE))
        right = wp.tile_load(b, shape=(TILE, TILE), offset=(k * TILE, j * TILE))
        wp.tile_matmul(left, right, total)
    wp.tile_store(c, total, offset=(i * TILE, j * TILE))


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def wave(x):
    return np.sin(x) * np.exp(-x * x) + np.sqrt(abs(x))


@checks.register
def kernels():
    x = floats(N)
    y = wp.zeros(N, dtype=float)
    wp.launch(waves, dim=N, inputs=[wp.array(x), y])
    np.testing.assert_allclose(y.numpy(), wave(x), rtol=1e-4, atol=1e-6)


@checks.register
def atomic_operations():
    x = floats(N)
    bins, total = wp.zeros(16, dtype=int), wp.zeros(1, dtype=wp.float64)
    wp.launch(count, dim=N, inputs=[wp.array(x), bins, total])
    np.testing.assert_array_equal(bins.numpy(), np.bincount((abs(x) * 4).astype(int) % 16, minlength=16))
    np.testing.assert_allclose(total.numpy()[0], x.astype(float).sum(), rtol=1e-9)


@checks.register
def vectors():
    points = floats(N, 3)
    turned = wp.zeros(N, dtype=wp.vec3)
    wp.launch(turn, dim=N, inputs=[wp.array(points, dtype=wp.vec3), turned])
    cos, sin = np.cos(np.arange(N)), np.sin(np.arange(N))
    x, y, z = points.T
    np.testing.assert_allclose(turned.numpy(), np.stack([x * cos - y * sin, x * sin + y * cos, z], 1), atol=1e-3)


@checks.register
def graphs():
    x = np.linspace(-2, 2, N, dtype=np.float32)
    a, b = wp.array(x), wp.zeros(N, dtype=float)
    wp.load_module(device="cuda:0")
    with wp.ScopedCapture() as capture:
        wp.launch(waves, dim=N, inputs=[a, b])
        wp.copy(a, b)
    for _ in range(3):
        wp.capture_launch(capture.graph)
    np.testing.assert_allclose(a.numpy(), wave(wave(wave(x))), rtol=1e-3, atol=1e-4)


@checks.register
def scans_and_sorting():
    x = rng.integers(0, 1000, N).astype(np.int32)
    values, sums = wp.array(x), wp.zeros(N, dtype=int)
    wp.utils.array_scan(values, sums, inclusive=True)
    np.testing.assert_array_equal(sums.numpy(), np.cumsum(x))
    keys = wp.array(np.concatenate([x, np.zeros_like(x)]))
    places = wp.array(np.arange(2 * N, dtype=np.int32))
    wp.utils.radix_sort_pairs(keys, places, N)
    np.testing.assert_array_equal(keys.numpy()[:N], np.sort(x))
    np.testing.assert_array_equal(places.numpy()[:N], np.argsort(x, kind="stable"))


@checks.register
def gradients():
    x = floats(N)
    a, loss = wp.array(x, requires_grad=True), wp.zeros(1, dtype=float, requires_grad=True)
    with wp.Tape() as tape:
        wp.launch(square_sum, dim=N, inputs=[a, loss])
    tape.backward(loss)
    np.testing.assert_allclose(a.grad.numpy(), np.cos(x) * x + np.sin(x), rtol=1e-4, atol=1e-5)


@checks.register
def tiles():
    a, b = floats(32, 32), floats(32, 32)
    c = wp.zeros((32, 32), dtype=float)
    wp.launch_tiled(multiply, dim=(4, 4), inputs=[wp.array(a), wp.array(b), c], block_dim=64)
    np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-3, atol=1e-4)


sys.exit(checks.main("warp"))
