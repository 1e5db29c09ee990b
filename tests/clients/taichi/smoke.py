"""Taichi on the virtual GPU, unmodified: its LLVM makes PTX. Against NumPy.

Prints `PASS taichi/NAME` or `FAIL taichi/NAME: reason`, one line each.
"""

import sys

import numpy as np
import taichi as ti

import checks

ti.init(arch=ti.cuda, offline_cache=False, log_level=ti.ERROR, random_seed=1, device_memory_GB=0.5)
assert ti.lang.impl.current_cfg().arch == ti.cuda, "Taichi fell back to another device"
N = 512


@checks.register
def fields_and_mathematics():
    single, double = ti.field(ti.f32, N), ti.field(ti.f64, N)

    @ti.kernel
    def fill():
        for i in single:
            x = ti.cast(i, ti.f32) * 0.01
            single[i] = ti.sin(x) * ti.exp(-x) + ti.sqrt(x) + ti.tanh(x) + ti.pow(x, 1.5) + ti.atan2(x, 3.0)
            double[i] = ti.cos(ti.cast(i, ti.f64)) * ti.log(1.0 + ti.cast(i, ti.f64))

    fill()
    i = np.arange(N)
    x = i * 0.01
    expected = np.sin(x) * np.exp(-x) + np.sqrt(x) + np.tanh(x) + x**1.5 + np.arctan2(x, 3)
    np.testing.assert_allclose(single.to_numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(double.to_numpy(), np.cos(i) * np.log(1.0 + i), rtol=1e-12, atol=1e-12)


@checks.register
def atomic_operations():
    bins, total, most = ti.field(ti.i32, 16), ti.field(ti.f64, ()), ti.field(ti.i32, ())

    @ti.kernel
    def count():
        for i in range(5000):
            ti.atomic_add(bins[i * i % 16], 1)
            ti.atomic_add(total[None], 0.5)
            ti.atomic_max(most[None], i * 7919 % 5003)

    count()
    i = np.arange(5000)
    np.testing.assert_array_equal(bins.to_numpy(), np.bincount(i * i % 16, minlength=16))
    assert total[None] == 2500 and most[None] == (i * 7919 % 5003).max()


@checks.register
def matrices_and_arrays():
    a = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    product, inverses = np.zeros_like(a), ti.Matrix.field(3, 3, ti.f32, N)

    @ti.kernel
    def multiply(a: ti.types.ndarray(), b: ti.types.ndarray()):
        for i, j in b:
            total = 0.0
            for k in range(32):
                total += a[i, k] * a[k, j]
            b[i, j] = total

    @ti.kernel
    def invert():
        for i in inverses:
            inverses[i] = ti.Matrix([[1.0, 2.0, 3.0], [0.0, i + 1.0, 4.0], [5.0, 6.0, 0.0]]).inverse()

    multiply(a, product)
    invert()
    np.testing.assert_allclose(product, a @ a, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(inverses.to_numpy()[4], np.linalg.inv([[1, 2, 3], [0, 5, 4], [5, 6, 0]]), rtol=1e-4)


@checks.register
def sparse_structures():
    """Blocks are allocated by the kernels that touch them."""
    grid, appended = ti.field(ti.i32), ti.field(ti.i32)
    blocks = ti.root.pointer(ti.ij, 8).bitmasked(ti.ij, 8)
    blocks.place(grid)
    ti.root.dynamic(ti.i, 1024, chunk_size=32).place(appended)
    sums = ti.field(ti.i32, 3)

    @ti.kernel
    def touch():
        for i in range(64):
            if i % 3 == 0:
                grid[i, i * 5 % 64] = i

    @ti.kernel
    def drop():
        for i, j in grid:
            if i < 32:
                ti.deactivate(blocks, [i, j])

    @ti.kernel
    def append():
        for i in range(200):
            ti.append(appended.parent(), [], i)

    @ti.kernel
    def walk():
        for i, j in grid:
            sums[0] += 1
            sums[1] += grid[i, j] * j
        for i in appended:
            sums[2] += appended[i]

    touch()
    drop()
    append()
    walk()
    left = [i for i in range(0, 64, 3) if i >= 32]
    assert sums.to_numpy().tolist() == [len(left), sum(i * (i * 5 % 64) for i in left), 199 * 100]


@checks.register
def gradients():
    x, loss = ti.field(ti.f32, N, needs_grad=True), ti.field(ti.f32, (), needs_grad=True)

    @ti.kernel
    def evaluate():
        for i in x:
            loss[None] += ti.sin(x[i]) ** 2 / N

    values = np.linspace(0, 3, N).astype(np.float32)
    x.from_numpy(values)
    with ti.ad.Tape(loss):
        evaluate()
    np.testing.assert_allclose(x.grad.to_numpy(), np.sin(2 * values) / N, rtol=1e-4, atol=1e-7)


@checks.register
def loops_and_random_numbers():
    @ti.kernel
    def longest() -> ti.i32:
        best = 0
        for i in range(1, 3000):
            n, steps = i, 0
            while n != 1:
                n = n // 2 if n % 2 == 0 else 3 * n + 1
                steps += 1
            ti.atomic_max(best, steps)
        return best

    @ti.kernel
    def mean() -> ti.f32:
        total = 0.0
        for _ in range(10000):
            total += ti.random() / 10000
        return total

    assert longest() == 216
    assert 0.47 < mean() < 0.53


sys.exit(checks.main("taichi"))
