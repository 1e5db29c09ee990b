"""What numba programs use, each result checked against numpy.

Prints `PASS numba/NAME` or `FAIL numba/NAME: reason`, one line each.
"""

import ctypes
import math
import sys

import numpy as np
from cuda.bindings import driver
from numba import cuda, float32, int32, vectorize

import checks

RNG = np.random.default_rng(1)
test = checks.register


@test
def vector_add():
    @cuda.jit
    def add(a, b, out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = a[i] + b[i]

    n = 100_003
    a, b = RNG.random(n, np.float32), RNG.random(n, np.float32)
    out = cuda.device_array(n, np.float32)
    add[(n + 255) // 256, 256](cuda.to_device(a), cuda.to_device(b), out)
    np.testing.assert_array_equal(out.copy_to_host(), a + b)


@test
def host_arrays_are_copied_in_and_out():
    @cuda.jit
    def double(values):
        i = cuda.grid(1)
        if i < values.size:
            values[i] *= 2

    values = np.arange(1000, dtype=np.int64)
    double[4, 256](values)
    np.testing.assert_array_equal(values, np.arange(1000) * 2)


@test
def shared_memory_reduction():
    @cuda.jit
    def reduce(values, sums):
        tile = cuda.shared.array(256, float32)
        thread = cuda.threadIdx.x
        i = cuda.grid(1)
        tile[thread] = values[i] if i < values.size else 0
        cuda.syncthreads()
        step = 128
        while step > 0:
            if thread < step:
                tile[thread] += tile[thread + step]
            cuda.syncthreads()
            step //= 2
        if thread == 0:
            sums[cuda.blockIdx.x] = tile[0]

    values = RNG.integers(0, 100, 10_000).astype(np.float32)
    sums = np.zeros(40, np.float32)
    reduce[40, 256](values, sums)
    padded = np.pad(values, (0, 40 * 256 - values.size)).reshape(40, 256)
    np.testing.assert_array_equal(sums, padded.sum(axis=1))


@test
def dynamic_shared_memory():
    @cuda.jit
    def reverse(values):
        tile = cuda.shared.array(0, int32)
        thread = cuda.threadIdx.x
        tile[thread] = values[thread]
        cuda.syncthreads()
        values[thread] = tile[cuda.blockDim.x - 1 - thread]

    values = np.arange(128, dtype=np.int32)
    reverse[1, 128, 0, 128 * 4](values)
    np.testing.assert_array_equal(values, np.arange(128)[::-1])


@test
def atomics():
    @cuda.jit
    def histogram(values, bins, extremes):
        i = cuda.grid(1)
        if i < values.size:
            cuda.atomic.add(bins, values[i], 1)
            cuda.atomic.max(extremes, 0, values[i])
            cuda.atomic.min(extremes, 1, values[i])

    values = RNG.integers(3, 61, 20_000).astype(np.int32)
    bins, extremes = np.zeros(64, np.int32), np.array([0, 1000], np.int32)
    histogram[(values.size + 127) // 128, 128](values, bins, extremes)
    np.testing.assert_array_equal(bins, np.bincount(values, minlength=64))
    np.testing.assert_array_equal(extremes, [values.max(), values.min()])


@test
def float_atomics_and_compare_and_swap():
    @cuda.jit
    def accumulate(total, slot):
        cuda.atomic.add(total, 0, 0.5)
        cuda.atomic.cas(slot, 0, -1, cuda.threadIdx.x)

    total, slot = np.zeros(1, np.float64), np.array([-1], np.int32)
    accumulate[8, 64](total, slot)
    assert total[0] == 256, total
    assert 0 <= slot[0] < 64, slot


@test
def matmul_2d():
    @cuda.jit
    def matmul(a, b, c):
        row, column = cuda.grid(2)
        if row < c.shape[0] and column < c.shape[1]:
            total = float32(0)
            for k in range(a.shape[1]):
                total += a[row, k] * b[k, column]
            c[row, column] = total

    a, b = RNG.random((70, 50), np.float32), RNG.random((50, 90), np.float32)
    c = np.zeros((70, 90), np.float32)
    matmul[(5, 6), (16, 16)](a, b, c)
    np.testing.assert_allclose(c, a @ b, rtol=1e-5)


@test
def device_functions():
    @cuda.jit(device=True)
    def clamp(x, low, high):
        return min(max(x, low), high)

    @cuda.jit(device=True, inline="never")
    def collatz(n):
        steps = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        return steps

    @cuda.jit
    def kernel(out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = clamp(collatz(i + 1), 5, 50)

    def steps(n):
        count = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            count += 1
        return count

    out = np.zeros(300, np.int64)
    kernel[3, 128](out)
    np.testing.assert_array_equal(out, [min(max(steps(i + 1), 5), 50) for i in range(300)])


@test
def streams_and_events():
    @cuda.jit
    def scale(values, factor):
        i = cuda.grid(1)
        if i < values.size:
            values[i] *= factor

    streams = [cuda.stream() for _ in range(4)]
    inputs = [np.arange(5000, dtype=np.float32) + k for k in range(4)]
    start, end = cuda.event(), cuda.event()
    start.record(streams[0])
    outputs = []
    for k, (stream, values) in enumerate(zip(streams, inputs)):
        device = cuda.to_device(values, stream=stream)
        scale[20, 256, stream](device, float32(k + 1))
        outputs.append(device.copy_to_host(stream=stream))
    end.record(streams[0])
    end.synchronize()
    for stream in streams:
        stream.synchronize()
    assert cuda.event_elapsed_time(start, end) >= 0
    for k, (values, output) in enumerate(zip(inputs, outputs)):
        np.testing.assert_array_equal(output, values * (k + 1))


@test
def pinned_arrays():
    @cuda.jit
    def increment(values):
        i = cuda.grid(1)
        if i < values.size:
            values[i] += 1

    stream = cuda.stream()
    host = cuda.pinned_array(100_000, np.int32)
    host[:] = np.arange(host.size)
    device = cuda.to_device(host, stream=stream)
    increment[(host.size + 255) // 256, 256, stream](device)
    device.copy_to_host(host, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(host, np.arange(host.size) + 1)


@test
def mapped_arrays():
    @cuda.jit
    def fill(values):
        i = cuda.grid(1)
        if i < values.size:
            values[i] = i * i

    values = cuda.mapped_array(1000, np.int64)
    fill[4, 256](values)
    cuda.synchronize()
    np.testing.assert_array_equal(values, np.arange(1000) ** 2)


@test
def managed_arrays():
    @cuda.jit
    def fill(values):
        i = cuda.grid(1)
        if i < values.size:
            values[i] = 3 * i

    values = cuda.managed_array(1000, np.int32)
    values[:] = 0
    fill[4, 256](values)
    cuda.synchronize()
    np.testing.assert_array_equal(values, np.arange(1000) * 3)


@test
def math_functions():
    @cuda.jit
    def kernel(x, out):
        i = cuda.grid(1)
        if i < x.size:
            v = x[i]
            out[0, i] = math.sin(v)
            out[1, i] = math.exp(v)
            out[2, i] = math.log(v)
            out[3, i] = math.sqrt(v)
            out[4, i] = math.pow(v, 1.5)
            out[5, i] = math.atan2(v, 2.0)
            out[6, i] = math.erf(v)
            out[7, i] = math.tanh(v)
            out[8, i] = math.floor(v)

    x = RNG.random(1000) * 9 + 0.1
    out = np.zeros((9, x.size))
    kernel[8, 128](x, out)
    erf = np.array([math.erf(v) for v in x])
    wanted = [np.sin(x), np.exp(x), np.log(x), np.sqrt(x), x**1.5, np.arctan2(x, 2.0), erf, np.tanh(x), np.floor(x)]
    np.testing.assert_allclose(out, wanted, rtol=1e-13, atol=1e-13)


@test
def single_precision_math():
    @cuda.jit(fastmath=True)
    def kernel(x, out):
        i = cuda.grid(1)
        if i < x.size:
            out[i] = math.exp(-x[i]) * math.cos(x[i]) / (1 + math.sqrt(x[i]))

    x = RNG.random(1000, np.float32)
    out = np.zeros_like(x)
    kernel[8, 128](x, out)
    np.testing.assert_allclose(out, np.exp(-x) * np.cos(x) / (1 + np.sqrt(x)), rtol=1e-4, atol=1e-6)


@test
def warp_intrinsics():
    @cuda.jit
    def kernel(sums, votes):
        lane = cuda.threadIdx.x
        value = lane
        offset = 16
        while offset > 0:
            value += cuda.shfl_down_sync(0xFFFFFFFF, value, offset)
            offset //= 2
        if lane == 0:
            sums[0] = value
        votes[lane] = cuda.popc(cuda.ballot_sync(0xFFFFFFFF, lane % 3 == 0))

    sums, votes = np.zeros(1, np.int32), np.zeros(32, np.int32)
    kernel[1, 32](sums, votes)
    assert sums[0] == 496, sums
    assert (votes == 11).all(), votes


@test
def local_arrays_and_constants():
    table = np.arange(16, dtype=np.float32) ** 2

    @cuda.jit
    def kernel(out):
        constant = cuda.const.array_like(table)
        local = cuda.local.array(16, float32)
        for k in range(16):
            local[k] = constant[k] + cuda.threadIdx.x
        total = float32(0)
        for k in range(16):
            total += local[15 - k]
        out[cuda.threadIdx.x] = total

    out = np.zeros(64, np.float32)
    kernel[1, 64](out)
    np.testing.assert_array_equal(out, table.sum() + 16 * np.arange(64))


@test
def records_and_strides():
    kind = np.dtype([("weight", np.float64), ("count", np.int32)], align=True)

    @cuda.jit
    def kernel(records, matrix):
        i = cuda.grid(1)
        if i < records.size:
            records[i].weight = matrix[i, 1] * records[i]["count"]

    records = np.zeros(50, kind)
    records["count"] = np.arange(50)
    matrix = np.asfortranarray(RNG.random((50, 3)))
    device = cuda.to_device(records)
    kernel[1, 64](device, cuda.to_device(matrix))
    np.testing.assert_array_equal(device.copy_to_host()["weight"], matrix[:, 1] * np.arange(50))


@test
def linked_ptx():
    ptx = """
.version 7.0
.target sm_70
.address_size 64
.visible .func (.param .b32 result) triple(.param .b64 out, .param .b32 x)
{
    .reg .b32 %r<3>; .reg .b64 %d<2>;
    ld.param.b64 %d1, [out];
    ld.param.b32 %r1, [x];
    mul.lo.s32 %r2, %r1, 3;
    st.s32 [%d1], %r2;
    mov.b32 %r1, 0;
    st.param.b32 [result], %r1;
    ret;
}
"""
    triple = cuda.declare_device("triple", "int32(int32)", link=[cuda.PTXSource(ptx.encode())])

    @cuda.jit
    def kernel(values):
        i = cuda.grid(1)
        if i < values.size:
            values[i] = triple(values[i])

    values = np.arange(100, dtype=np.int32)
    kernel[1, 128](values)
    np.testing.assert_array_equal(values, np.arange(100) * 3)


@test
def occupancy():
    @cuda.jit
    def kernel(values):
        values[cuda.grid(1)] = 1

    kernel[1, 1](np.zeros(1, np.float32))
    (compiled,) = kernel.overloads.values()
    function = compiled._codelibrary.get_cufunc()
    context = cuda.current_context()

    def resident(threads):
        return threads * context.get_active_blocks_per_multiprocessor(function, threads, 96 * threads)

    # The driver asks for the shared memory of each block size it considers.
    shared = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_int)(lambda threads: 96 * threads)
    callback = driver.CUoccupancyB2DSize(_ptr=ctypes.addressof(shared))
    result, grid, block = driver.cuOccupancyMaxPotentialBlockSize(int(function.kernel.handle), callback, 0, 512)
    assert result == driver.CUresult.CUDA_SUCCESS, result
    assert grid > 0 and resident(block) == max(resident(n) for n in range(32, 513, 32)), (grid, block)


@test
def forall_and_ufuncs():
    @cuda.jit
    def triple(values):
        i = cuda.grid(1)
        if i < values.size:
            values[i] *= 3

    @vectorize(["float64(float64, float64)"], target="cuda")
    def hypotenuse(a, b):
        return math.sqrt(a * a + b * b)

    values = np.arange(3000, dtype=np.int32)
    triple.forall(values.size)(values)
    np.testing.assert_array_equal(values, np.arange(3000) * 3)
    a, b = RNG.random(1000), RNG.random(1000)
    np.testing.assert_allclose(hypotenuse(a, b), np.hypot(a, b), rtol=1e-15)


@test
def library_reduction():
    total = cuda.reduce(lambda a, b: a + b)
    values = np.arange(10_001, dtype=np.int64)
    assert total(values) == values.sum()


@test
def random_numbers():
    from numba.cuda.random import create_xoroshiro128p_states, xoroshiro128p_uniform_float32

    @cuda.jit
    def pi(states, out):
        i = cuda.grid(1)
        inside = 0
        for _ in range(200):
            x = xoroshiro128p_uniform_float32(states, i)
            y = xoroshiro128p_uniform_float32(states, i)
            if x * x + y * y <= 1:
                inside += 1
        out[i] = 4 * inside / 200

    states = create_xoroshiro128p_states(512, seed=7)
    out = np.zeros(512)
    pi[8, 64](states, out)
    assert abs(out.mean() - math.pi) < 0.05, out.mean()


@test
def memory_info():
    free, total = cuda.current_context().get_memory_info()
    assert 0 < free <= total


if __name__ == "__main__":
    sys.exit(checks.main("numba"))
