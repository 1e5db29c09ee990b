"""What PyCUDA programs use, each result checked against numpy.

Prints `PASS pycuda/NAME` or `FAIL pycuda/NAME: reason`, one line each.
"""

import functools
import sys

import numpy as np
import pycuda.autoinit
import pycuda.compiler
import pycuda.driver as cuda

import checks

# PyCUDA has nvcc make machine code unless it is asked for PTX, which is what the software GPU executes.
pycuda.compiler.compile = functools.partial(pycuda.compiler.compile, target="ptx")

from pycuda import cumath, gpuarray  # noqa: E402
from pycuda.compiler import SourceModule  # noqa: E402
from pycuda.elementwise import ElementwiseKernel  # noqa: E402
from pycuda.reduction import ReductionKernel  # noqa: E402
from pycuda.scan import InclusiveScanKernel  # noqa: E402

test, rng = checks.register, np.random.default_rng(1)


@functools.cache
def module():
    return SourceModule("""
    __constant__ float factors[4];

    __global__ void scale(float *values, int n)
    {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n)
            values[i] *= factors[i % 4];
    }

    __global__ void backwards(const int *from, int *to)
    {
        extern __shared__ int tile[];
        tile[threadIdx.x] = from[threadIdx.x];
        __syncthreads();
        to[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
    }
    """)


@test
def raw_kernel_with_constants():
    values, factors = rng.random(1000, np.float32), np.array([1, 2, 3, 4], np.float32)
    constants, size = module().get_global("factors")
    assert size == 16
    cuda.memcpy_htod(constants, factors)
    scaled = values.copy()
    module().get_function("scale")(cuda.InOut(scaled), np.int32(1000), block=(128, 1, 1), grid=(8, 1))
    np.testing.assert_array_equal(scaled, values * np.resize(factors, 1000))


@test
def prepared_call_with_shared_memory():
    values, to = np.arange(96, dtype=np.int32), np.empty(96, np.int32)
    function = module().get_function("backwards").prepare("PP")
    a, b = cuda.to_device(values), cuda.mem_alloc(values.nbytes)
    function.prepared_call((1, 1), (96, 1, 1), a, b, shared_size=values.nbytes)
    cuda.memcpy_dtoh(to, b)
    np.testing.assert_array_equal(to, values[::-1])
    assert function.num_regs > 0 and function.max_threads_per_block >= 96


@test
def streams_events_and_pinned_memory():
    stream, start, end = cuda.Stream(), cuda.Event(), cuda.Event()
    host = cuda.pagelocked_empty(100_000, np.float32)
    host[:] = 3
    device = cuda.mem_alloc(host.nbytes)
    start.record(stream)
    cuda.memcpy_htod_async(device, host, stream)
    cuda.memset_d32_async(device, 0x3F800000, 10, stream)
    cuda.memcpy_dtoh_async(host, device, stream)
    end.record(stream).synchronize()
    assert start.time_till(end) >= 0 and stream.is_done()
    np.testing.assert_array_equal(host[:12], [1] * 10 + [3] * 2)


@test
def managed_memory():
    values = cuda.managed_empty(64, np.float32, mem_flags=cuda.mem_attach_flags.GLOBAL)
    values[:] = 2
    cuda.memcpy_htod(module().get_global("factors")[0], np.full(4, 5, np.float32))
    module().get_function("scale")(np.uintp(values.base.get_device_pointer()), np.int32(64), block=(64, 1, 1))
    pycuda.autoinit.context.synchronize()
    np.testing.assert_array_equal(values, np.full(64, 10))


@test
def arrays():
    a, b = rng.random((2, 50, 40), np.float32)
    x, y = gpuarray.to_gpu(a), gpuarray.to_gpu(b)
    np.testing.assert_allclose((x * y + 2 * x - 1).get(), a * b + 2 * a - 1, rtol=1e-6)
    np.testing.assert_array_equal(x[10:20].get(), a[10:20])
    np.testing.assert_allclose(cumath.exp(x).get(), np.exp(a), rtol=1e-6)
    np.testing.assert_array_equal(gpuarray.arange(100, dtype=np.int32).get(), np.arange(100))


@test
def reductions():
    a = rng.random(30_000)
    x = gpuarray.to_gpu(a)
    np.testing.assert_allclose(gpuarray.sum(x).get(), a.sum(), rtol=1e-12)
    assert gpuarray.max(x).get() == a.max() and gpuarray.min(x).get() == a.min()
    np.testing.assert_allclose(gpuarray.dot(x, x).get(), a @ a, rtol=1e-12)
    longest = ReductionKernel(np.float64, "0", "fmax(a, b)", "fabs(x[i])", "double *x")
    assert longest(x).get() == a.max()


@test
def scan():
    values = rng.integers(0, 9, 10_000).astype(np.int32)
    x = gpuarray.to_gpu(values)
    InclusiveScanKernel(np.int32, "a + b")(x)
    np.testing.assert_array_equal(x.get(), np.cumsum(values))


@test
def elementwise_kernel():
    a, b = rng.random((2, 5000), np.float32)
    x, y = gpuarray.to_gpu(a), gpuarray.to_gpu(b)
    z = gpuarray.empty_like(x)
    ElementwiseKernel("float a, float *x, float *y, float *z", "z[i] = a * x[i] + y[i]", "axpy")(2, x, y, z)
    np.testing.assert_allclose(z.get(), 2 * a + b, rtol=1e-6)


@test
def two_dimensional_copies():
    values = rng.random((30, 20), np.float32)
    pitched, pitch = cuda.mem_alloc_pitch(20 * 4, 30, 4)
    copy = cuda.Memcpy2D()
    copy.set_src_host(values)
    copy.set_dst_device(pitched)
    copy.dst_pitch, copy.src_pitch, copy.width_in_bytes, copy.height = pitch, 80, 80, 30
    copy(aligned=False)
    row = np.empty(20, np.float32)
    cuda.memcpy_dtoh(row, int(pitched) + 7 * pitch)
    np.testing.assert_array_equal(row, values[7])


@test
def errors():
    try:
        cuda.mem_alloc(1 << 60)
    except cuda.MemoryError:
        pass
    else:
        raise AssertionError("an exabyte was allocated")
    try:
        SourceModule("this is not CUDA C")
    except cuda.CompileError:
        return
    raise AssertionError("it was compiled")


sys.exit(checks.main("pycuda"))
