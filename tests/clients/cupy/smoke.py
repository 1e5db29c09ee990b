"""What CuPy programs use, each result checked against numpy.

Prints `PASS cupy/NAME` or `FAIL cupy/NAME: reason`, one line each.
"""

import sys

import cupy as cp
import numpy as np
from cupyx import jit

import checks

test, rng = checks.register, np.random.default_rng(1)


def equal(actual, wanted):
    np.testing.assert_array_equal(cp.asnumpy(actual), wanted)


def close(actual, wanted, rtol=1e-6):
    np.testing.assert_allclose(cp.asnumpy(actual), wanted, rtol=rtol, atol=rtol)


@test
def creation_and_copies():
    values = rng.random((123, 45))
    equal(cp.asarray(values), values)
    equal(cp.arange(10_001, dtype=np.int16), np.arange(10_001, dtype=np.int16))
    equal(cp.linspace(0, 1, 77), np.linspace(0, 1, 77))
    equal(cp.eye(17, k=2), np.eye(17, k=2))
    equal(cp.full((3, 4, 5), 7.5), np.full((3, 4, 5), 7.5))


@test
def elementwise_arithmetic():
    for kind in (np.int8, np.uint16, np.int32, np.uint64, np.float32, np.float64):
        a, b = rng.integers(1, 100, (2, 1000)).astype(kind)
        x, y = cp.asarray(a), cp.asarray(b)
        equal(x + y * x - y, a + b * a - b)
        equal(x // y, a // b)
        equal(x % y, a % b)
        close(x / y, a / b)
        equal(cp.where(x > y, x, -y), np.where(a > b, a, -b))


@test
def half_precision_arithmetic():
    a, b = rng.random((2, 1000)).astype(np.float16)
    x, y = cp.asarray(a), cp.asarray(b)
    equal(x + y, a + b)
    equal(x * y, a * b)
    close(cp.exp(x), np.exp(a), 1e-3)
    equal(cp.asarray(a).astype(np.float32), a.astype(np.float32))


@test
def integer_operations():
    a, b = rng.integers(-1000, 1000, (2, 4000))
    x, y = cp.asarray(a), cp.asarray(b)
    for operation in ("bitwise_and", "bitwise_or", "bitwise_xor", "maximum", "minimum", "gcd", "lcm"):
        equal(getattr(cp, operation)(x, y), getattr(np, operation)(a, b))
    equal(x << 3, a << 3)
    equal(x >> 2, a >> 2)
    equal(~x, ~a)


@test
def math_functions():
    a = rng.random(3000) * 4 + 0.1
    names = "sin cos tan arctan sinh cosh tanh exp exp2 expm1 log log2 log10 log1p sqrt cbrt floor ceil rint trunc"
    for name in names.split():
        close(getattr(cp, name)(cp.asarray(a)), getattr(np, name)(a), 1e-12)
        single = a.astype(np.float32)
        close(getattr(cp, name)(cp.asarray(single)), getattr(np, name)(single), 1e-5)
    close(cp.arctan2(cp.asarray(a), 2), np.arctan2(a, 2), 1e-12)
    close(cp.hypot(cp.asarray(a), 2), np.hypot(a, 2), 1e-12)
    close(cp.power(cp.asarray(a), 2.5), np.power(a, 2.5), 1e-12)


@test
def special_functions():
    import math

    from cupyx.scipy import special

    a = rng.random(500) * 3 + 0.2
    close(special.erf(cp.asarray(a)), [math.erf(v) for v in a], 1e-12)
    close(special.gamma(cp.asarray(a)), [math.gamma(v) for v in a], 1e-11)
    close(special.gammaln(cp.asarray(a)), [math.lgamma(v) for v in a], 1e-11)


@test
def complex_numbers():
    a = rng.random(1000) + 1j * rng.random(1000)
    x = cp.asarray(a)
    close(x * x + 1 / x, a * a + 1 / a, 1e-12)
    close(cp.exp(x), np.exp(a), 1e-12)
    close(cp.abs(x), np.abs(a), 1e-12)
    close(cp.angle(x), np.angle(a), 1e-12)
    close(x.conj().sum(), a.conj().sum(), 1e-12)


@test
def broadcasting_and_strides():
    a, b = rng.random((40, 1, 30)), rng.random((20, 30))
    equal(cp.asarray(a) + cp.asarray(b), a + b)
    equal(cp.asarray(b)[::-2, 3:17:3] * 2, b[::-2, 3:17:3] * 2)
    equal(cp.asarray(b).T.copy(), b.T)
    equal(cp.asfortranarray(cp.asarray(b)).ravel(order="K"), np.asfortranarray(b).ravel(order="K"))


@test
def reductions():
    a = rng.integers(-50, 50, (33, 47, 21))
    x = cp.asarray(a)
    for name in ("sum", "max", "min", "argmax", "argmin", "any", "all", "mean", "var", "std", "ptp"):
        for axis in (None, 0, 1, 2):
            close(getattr(cp, name)(x, axis=axis), getattr(np, name)(a, axis=axis), 1e-10)
    close(cp.asarray(a[:4, :3, 0]).prod(axis=0), a[:4, :3, 0].prod(axis=0))
    equal(cp.count_nonzero(x), np.count_nonzero(a))


@test
def large_reductions():
    for kind in (np.int32, np.int64, np.float32, np.float64):
        a = rng.integers(0, 10, 100_003).astype(kind)
        x = cp.asarray(a)
        equal(x.sum(), a.sum())
        equal(x.max(), a.max())
        equal(x.argmax(), a.argmax())
    equal(cp.nansum(cp.asarray([1.0, np.nan, 2.0])), 3.0)


@test
def scans():
    for kind in (np.int32, np.float64, np.uint8):
        a = rng.integers(0, 10, 20_011).astype(kind)
        equal(cp.cumsum(cp.asarray(a)), np.cumsum(a))
    a = rng.integers(1, 3, (30, 20))
    equal(cp.cumsum(cp.asarray(a), axis=0), np.cumsum(a, axis=0))
    equal(cp.cumprod(cp.asarray(a[0])), np.cumprod(a[0]))
    equal(cp.diff(cp.asarray(a)), np.diff(a))


@test
def sorting():
    for kind in (np.int8, np.uint32, np.int64, np.float32, np.float64):
        a = rng.integers(0, 100, 5003).astype(kind)
        equal(cp.sort(cp.asarray(a)), np.sort(a))
        equal(cp.argsort(cp.asarray(a), kind="stable"), np.argsort(a, kind="stable"))
    a = rng.random((20, 30))
    for axis in (0, 1):
        equal(cp.sort(cp.asarray(a), axis=axis), np.sort(a, axis=axis))
    equal(cp.partition(cp.asarray(a[0]), 7)[7], np.partition(a[0], 7)[7])
    equal(cp.lexsort(cp.asarray(a[:2])), np.lexsort(a[:2]))


@test
def searching_and_sets():
    a = rng.integers(0, 50, 3000)
    x = cp.asarray(a)
    equal(cp.unique(x), np.unique(a))
    wanted = np.unique(a, return_index=True, return_counts=True)
    for part, wanted_part in zip(cp.unique(x, return_index=True, return_counts=True), wanted):
        equal(part, wanted_part)
    edges = np.arange(0, 50, 3)
    equal(cp.searchsorted(cp.asarray(edges), x), np.searchsorted(edges, a))
    equal(cp.nonzero(x > 25)[0], np.nonzero(a > 25)[0])
    equal(cp.isin(x, cp.asarray(edges)), np.isin(a, edges))


@test
def indexing():
    a = rng.random((50, 40))
    x = cp.asarray(a)
    rows, columns = rng.integers(0, 50, 100), rng.integers(0, 40, 100)
    equal(x[cp.asarray(rows), cp.asarray(columns)], a[rows, columns])
    equal(x[x > 0.5], a[a > 0.5])
    equal(x.take(cp.asarray(columns), axis=1), a.take(columns, axis=1))
    x[x < 0.25] = 0
    x[cp.asarray(rows)] += 1
    a[a < 0.25] = 0
    a[rows] += 1
    equal(x, a)
    equal(cp.choose(cp.asarray(rows % 3), cp.asarray(a[:3, :1].repeat(100, 1))), np.choose(rows % 3, a[:3, :1].repeat(100, 1)))


@test
def scatter_with_atomics():
    import cupyx

    places, values = rng.integers(0, 20, 5000), rng.integers(0, 9, 5000)
    for kind in (np.int32, np.float32, np.float64, np.uint64):
        sums = cp.zeros(20, kind)
        cupyx.scatter_add(sums, cp.asarray(places), cp.asarray(values.astype(kind)))
        equal(sums, np.bincount(places, values, 20))
    highest = cp.zeros(20, np.int32)
    cupyx.scatter_max(highest, cp.asarray(places), cp.asarray(values.astype(np.int32)))
    equal(highest, [values[places == k].max() for k in range(20)])


@test
def joining_and_shapes():
    a, b = rng.random((2, 30, 20))
    x, y = cp.asarray(a), cp.asarray(b)
    equal(cp.concatenate([x, y], axis=1), np.concatenate([a, b], axis=1))
    equal(cp.stack([x, y], axis=2), np.stack([a, b], axis=2))
    equal(cp.tile(x, (2, 3)), np.tile(a, (2, 3)))
    equal(cp.repeat(x, 3, axis=0), np.repeat(a, 3, axis=0))
    equal(cp.roll(x, 7, axis=1), np.roll(a, 7, axis=1))
    equal(cp.pad(x, 3, mode="reflect"), np.pad(a, 3, mode="reflect"))
    equal(cp.rot90(x), np.rot90(a))


@test
def histograms():
    a = rng.integers(0, 100, 10_000)
    equal(cp.bincount(cp.asarray(a)), np.bincount(a))
    equal(cp.histogram(cp.asarray(a), bins=10)[0], np.histogram(a, bins=10)[0])
    close(cp.percentile(cp.asarray(a), [10, 50, 90]), np.percentile(a, [10, 50, 90]))
    close(cp.median(cp.asarray(a)), np.median(a))


@test
def elementwise_kernel():
    kernel = cp.ElementwiseKernel("T x, T y, float32 scale", "T z", "T d = x - y; z = d * d * scale", "squared_difference")
    a, b = rng.integers(0, 9, (2, 1000)).astype(np.float64)
    equal(kernel(cp.asarray(a), cp.asarray(b), 2), (a - b) ** 2 * 2)


@test
def reduction_kernel():
    kernel = cp.ReductionKernel("T x", "T y", "x * x", "a + b", "y = sqrt(a)", "0", "euclidean_norm")
    a = rng.random((60, 70))
    close(kernel(cp.asarray(a), axis=1), np.sqrt((a * a).sum(axis=1)), 1e-12)


@test
def raw_kernel():
    kernel = cp.RawKernel(
        r"""
        extern "C" __global__ void reverse(const float* in, float* out, int n) {
            extern __shared__ float tile[];
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) tile[threadIdx.x] = in[i];
            __syncthreads();
            if (i < n) out[i] = tile[blockDim.x - 1 - threadIdx.x];
        }
        """,
        "reverse",
    )
    a = rng.random(1024, np.float32)
    out = cp.empty_like(cp.asarray(a))
    kernel((8,), (128,), (cp.asarray(a), out, np.int32(1024)), shared_mem=128 * 4)
    equal(out, a.reshape(8, 128)[:, ::-1].ravel())
    assert kernel.attributes["max_threads_per_block"] >= 128


@test
def raw_module_with_templates_and_globals():
    module = cp.RawModule(
        code=r"""
        template <typename T> __global__ void scale(T* values, T factor) {
            values[blockIdx.x * blockDim.x + threadIdx.x] *= factor;
        }
        __constant__ int table[4];
        extern "C" __global__ void lookup(int* out) { out[threadIdx.x] = table[threadIdx.x & 3]; }
        """,
        options=("--std=c++17",),
        name_expressions=("scale<float>", "scale<long long>"),
    )
    values = cp.arange(64, dtype=np.int64)
    module.get_function("scale<long long>")((2,), (32,), (values, np.int64(3)))
    equal(values, np.arange(64) * 3)
    floats = cp.arange(64, dtype=np.float32)
    module.get_function("scale<float>")((2,), (32,), (floats, np.float32(0.5)))
    equal(floats, np.arange(64, dtype=np.float32) * np.float32(0.5))
    table = cp.ndarray(4, np.int32, module.get_global("table"))
    table[:] = cp.asarray([5, 6, 7, 8])
    out = cp.zeros(32, np.int32)
    module.get_function("lookup")((1,), (32,), (out,))
    equal(out, np.tile([5, 6, 7, 8], 8))


@test
def matrix_products():
    """cuBLAS, plain, transposed and batched."""
    for kind, rtol in ((np.float32, 1e-4), (np.float64, 1e-11), (np.complex64, 1e-4), (np.complex128, 1e-11)):
        a, b = rng.standard_normal((2, 3, 70, 70))
        if np.dtype(kind).kind == "c":
            a, b = a + 1j * b, b - 2j * a
        a, b = a.astype(kind), b.astype(kind)
        x, y = cp.asarray(a), cp.asarray(b)
        close(x[0] @ y[0], a[0] @ b[0], rtol)
        close(x[1].T @ y[1][:, :33], a[1].T @ b[1][:, :33], rtol)
        close(cp.matmul(x, y), np.matmul(a, b), rtol)
        close(x[0] @ y[0][0], a[0] @ b[0][0], rtol)
        close(cp.vdot(x[0], y[0]), np.vdot(a[0], b[0]), rtol * 100)
    a, b = rng.integers(-8, 9, (2, 200, 130)).astype(np.float32)
    close(cp.tensordot(cp.asarray(a), cp.asarray(b), 2), np.tensordot(a, b, 2))
    close(cp.linalg.norm(cp.asarray(a, np.float64)), np.linalg.norm(a.astype(np.float64)), 1e-12)


@test
def tensor_cores():
    kernel = cp.RawKernel(
        r"""
        #include <mma.h>
        using namespace nvcuda::wmma;
        extern "C" __global__ void product(const half* a, const half* b, float* c, int n) {
            int row = blockIdx.y * 16, column = blockIdx.x * 16;
            fragment<matrix_a, 16, 16, 16, half, row_major> x;
            fragment<matrix_b, 16, 16, 16, half, col_major> y;
            fragment<accumulator, 16, 16, 16, float> sum;
            fill_fragment(sum, 0.5f);
            for (int k = 0; k < n; k += 16) {
                load_matrix_sync(x, a + row * n + k, n);
                load_matrix_sync(y, b + column * n + k, n);
                mma_sync(sum, x, y, sum);
            }
            for (int i = 0; i < sum.num_elements; i++) sum.x[i] *= 2;
            store_matrix_sync(c + row * n + column, sum, n, mem_row_major);
        }
        """,
        "product",
        options=("--std=c++17",),
    )
    a, b = rng.integers(-8, 9, (2, 96, 96)).astype(np.float16)
    out = cp.empty((96, 96), np.float32)
    kernel((6, 6), (32,), (cp.asarray(a), cp.asarray(b), out, np.int32(96)))
    equal(out, 2 * (a.astype(np.float32) @ b.T.astype(np.float32) + 0.5))


@test
def transforms():
    """cuFFT: powers of two, other factors, a large prime; several dimensions, real and complex."""
    for n in (8, 60, 97, 1024, 8191, 65536):
        a = rng.standard_normal(n) + 1j * rng.standard_normal(n)
        scale = np.sqrt(n)
        close(cp.fft.fft(cp.asarray(a)) / scale, np.fft.fft(a) / scale, 1e-9)
        close(cp.fft.ifft(cp.asarray(a.astype(np.complex64))) * scale, np.fft.ifft(a) * scale, 1e-3)
        close(cp.fft.rfft(cp.asarray(a.real)) / scale, np.fft.rfft(a.real) / scale, 1e-9)
        close(cp.fft.irfft(cp.fft.rfft(cp.asarray(a.real)), n), a.real, 1e-9)
    a = rng.standard_normal((12, 20, 32))
    close(cp.fft.fftn(cp.asarray(a)), np.fft.fftn(a), 1e-9)
    close(cp.fft.rfft2(cp.asarray(a)), np.fft.rfft2(a), 1e-9)
    close(cp.fft.fft(cp.asarray(a), axis=0), np.fft.fft(a, axis=0), 1e-9)


@test
def fused_functions():
    @cp.fuse()
    def blend(x, y, t):
        return cp.sqrt(x * (1 - t) + y * t)

    a, b = rng.random((2, 2000))
    close(blend(cp.asarray(a), cp.asarray(b), 0.25), np.sqrt(a * 0.75 + b * 0.25), 1e-12)

    @cp.fuse()
    def total(x, y):
        return cp.sum(x * y)

    close(total(cp.asarray(a), cp.asarray(b)), (a * b).sum(), 1e-12)


@test
def jit_kernels():
    @jit.rawkernel()
    def add(x, y, out, n):
        i = jit.grid(1)
        if i < n:
            out[i] = x[i] + y[i]

    a, b = rng.random((2, 1000), np.float32)
    out = cp.empty(1000, np.float32)
    add[8, 128](cp.asarray(a), cp.asarray(b), out, np.uint32(1000))
    equal(out, a + b)


@test
def legacy_random_numbers():
    cp.random.seed(5)
    values = cp.random.random(20_000)
    assert 0 <= float(values.min()) and float(values.max()) < 1
    assert abs(float(values.mean()) - 0.5) < 0.02
    assert abs(float(cp.random.standard_normal(20_000).std()) - 1) < 0.05
    whole = cp.random.randint(3, 9, 1000)
    assert set(cp.asnumpy(whole)) <= set(range(3, 9))
    equal(cp.sort(cp.random.permutation(500)), np.arange(500))


@test
def random_generators():
    generator = cp.random.default_rng(3)
    values = generator.random(10_000)
    assert abs(float(values.mean()) - 0.5) < 0.02
    assert abs(float(generator.standard_normal(10_000).std()) - 1) < 0.05
    assert abs(float(generator.exponential(2, 10_000).mean()) - 2) < 0.2
    whole = cp.asnumpy(generator.integers(0, 7, 1000))
    assert whole.min() >= 0 and whole.max() < 7


@test
def streams_and_events():
    streams = [cp.cuda.Stream(non_blocking=True) for _ in range(3)]
    results = []
    start, end = cp.cuda.Event(), cp.cuda.Event()
    start.record()
    for k, stream in enumerate(streams):
        with stream:
            results.append((cp.arange(1000) * k).sum())
    for stream in streams:
        stream.synchronize()
    end.record()
    end.synchronize()
    assert cp.cuda.get_elapsed_time(start, end) >= 0
    for k, result in enumerate(results):
        equal(result, np.arange(1000).sum() * k)


@test
def pinned_memory():
    import cupyx

    host = cupyx.zeros_pinned(5000, np.float64)
    device = cp.arange(5000, dtype=np.float64)
    stream = cp.cuda.Stream()
    device.get(stream=stream, out=host)
    stream.synchronize()
    equal(host, np.arange(5000))


@test
def memory_pool():
    pool = cp.get_default_memory_pool()
    before = pool.used_bytes()
    block = cp.empty(1 << 20, np.uint8)
    assert pool.used_bytes() == before + (1 << 20)
    del block
    assert pool.used_bytes() == before
    pool.free_all_blocks()
    free, total = cp.cuda.runtime.memGetInfo()
    assert 0 < free <= total


@test
def managed_memory():
    pool = cp.cuda.MemoryPool(cp.cuda.malloc_managed)
    with cp.cuda.using_allocator(pool.malloc):
        values = cp.arange(1000, dtype=np.int32)
        equal(values * 2, np.arange(1000) * 2)


@test
def stream_ordered_memory():
    pool = cp.cuda.MemoryAsyncPool()
    with cp.cuda.using_allocator(pool.malloc):
        values = cp.arange(1000, dtype=np.int32)
        equal(values * 2, np.arange(1000) * 2)


@test
def unowned_memory_and_interfaces():
    values = cp.arange(100, dtype=np.int32)
    memory = cp.cuda.UnownedMemory(values.data.ptr, values.nbytes, values)
    view = cp.ndarray(50, np.int32, cp.cuda.MemoryPointer(memory, 40))
    equal(view, np.arange(10, 60))
    equal(cp.from_dlpack(values), np.arange(100))


@test
def graphs():
    stream = cp.cuda.Stream(non_blocking=True)
    values = cp.zeros(256, np.int32)
    kernel = cp.ElementwiseKernel("", "int32 x", "x += 1", "increment")
    kernel(values)  # compiled and loaded before the capture
    with stream:
        stream.begin_capture()
        kernel(values)
        kernel(values)
        graph = stream.end_capture()
        for _ in range(3):
            graph.launch()
    stream.synchronize()
    equal(values, np.full(256, 7))


@test
def textures():
    from cupy.cuda import texture

    width, height = 16, 8
    channel = texture.ChannelFormatDescriptor(32, 0, 0, 0, cp.cuda.runtime.cudaChannelFormatKindFloat)
    array = texture.CUDAarray(channel, width, height)
    pixels = rng.random((height, width), np.float32)
    array.copy_from(pixels)
    resource = texture.ResourceDescriptor(cp.cuda.runtime.cudaResourceTypeArray, cuArr=array)
    clamp = cp.cuda.runtime.cudaAddressModeClamp
    description = texture.TextureDescriptor((clamp, clamp), cp.cuda.runtime.cudaFilterModePoint, cp.cuda.runtime.cudaReadModeElementType)
    kernel = cp.RawKernel(
        r"""
        extern "C" __global__ void fetch(cudaTextureObject_t texture, float* out, int width) {
            out[threadIdx.y * width + threadIdx.x] = tex2D<float>(texture, threadIdx.x + 0.5f, threadIdx.y + 0.5f);
        }
        """,
        "fetch",
    )
    out = cp.zeros((height, width), np.float32)
    kernel((1,), (width, height), (texture.TextureObject(resource, description), out, np.int32(width)))
    equal(out, pixels)


@test
def errors():
    kernel = cp.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    try:
        kernel((1,), (2000,), ())
    except cp.cuda.driver.CUDADriverError as error:
        assert "CUDA_ERROR_INVALID_VALUE" in str(error), error
    else:
        raise AssertionError("a block of 2000 threads was launched")
    try:
        cp.RawKernel('extern "C" __global__ void broken() { undefined(); }', "broken").compile()
    except cp.cuda.compiler.CompileException as error:
        assert "undefined" in str(error), error
    else:
        raise AssertionError("a broken kernel was compiled")


@test
def devices():
    properties = cp.cuda.runtime.getDeviceProperties(0)
    assert properties["warpSize"] == 32
    assert cp.cuda.Device(0).attributes["MaxThreadsPerBlock"] == 1024
    assert cp.cuda.Device(0).pci_bus_id
    cp.cuda.Device(0).synchronize()


@test
def pure_linear_algebra():
    # Integer products have kernels of CuPy's own; floating point ones are cuBLAS's.
    a, b = rng.integers(0, 9, (40, 30)), rng.integers(0, 9, (30, 20))
    equal(cp.asarray(a) @ cp.asarray(b), a @ b)
    equal(cp.trace(cp.asarray(a)), np.trace(a))
    equal(cp.kron(cp.asarray(a[:3, :2]), cp.asarray(b[:2, :3])), np.kron(a[:3, :2], b[:2, :3]))


if __name__ == "__main__":
    sys.exit(checks.main("cupy"))
