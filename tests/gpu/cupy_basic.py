"""CuPy: arrays, its libraries, and kernels compiled at run time."""

from checks import check, close, run, same_bits, skip_all

try:
    import cupy
    import numpy
except ImportError as error:
    skip_all(error)

random = numpy.random.default_rng(0)


@check
def elementwise():
    x = random.standard_normal(100_000).astype("float32")
    y = cupy.asarray(x)
    close(cupy.asnumpy(cupy.exp(y) * 2 + y), numpy.exp(x) * 2 + x)
    same_bits("elementwise_bits", cupy.asnumpy(cupy.exp(y)))


@check
def reduction():
    x = random.standard_normal((300, 500))
    close(cupy.asarray(x).sum(axis=0).get(), x.sum(axis=0))
    assert int(cupy.asarray(x).argmax()) == int(x.argmax())


@check
def sort_and_scan():
    x = random.integers(0, 1000, 50_000)
    assert (cupy.sort(cupy.asarray(x)).get() == numpy.sort(x)).all()
    assert (cupy.cumsum(cupy.asarray(x)).get() == numpy.cumsum(x)).all()


@check
def matmul():
    a, b = random.standard_normal((200, 300)), random.standard_normal((300, 100))
    close((cupy.asarray(a) @ cupy.asarray(b)).get(), a @ b)


@check
def fourier():
    x = random.standard_normal((16, 1024))
    close(cupy.abs(cupy.fft.fft(cupy.asarray(x))).get(), numpy.abs(numpy.fft.fft(x)))


@check
def linear_algebra():
    a = random.standard_normal((100, 100)) + 10 * numpy.eye(100)
    close(cupy.linalg.solve(cupy.asarray(a), cupy.ones(100)).get(), numpy.linalg.solve(a, numpy.ones(100)))
    close(cupy.linalg.svd(cupy.asarray(a), compute_uv=False).get(), numpy.linalg.svd(a, compute_uv=False))


@check
def raw_kernel():
    kernel = cupy.RawKernel(r"""
extern "C" __global__ void saxpy(float a, const float *x, float *y, int n) {
    int i = blockDim.x * blockIdx.x + threadIdx.x;
    if (i < n) y[i] += a * x[i];
}""", "saxpy")
    x, y = cupy.arange(10_000, dtype="float32"), cupy.ones(10_000, dtype="float32")
    kernel((40,), (256,), (numpy.float32(2), x, y, numpy.int32(10_000)))
    close(y.get(), numpy.arange(10_000) * 2 + 1)


@check
def elementwise_kernel():
    kernel = cupy.ElementwiseKernel("float32 x, float32 y", "float32 z", "z = x * x + y", "squares")
    x = cupy.arange(1000, dtype="float32")
    close(kernel(x, x).get(), numpy.arange(1000.0) ** 2 + numpy.arange(1000.0))


@check
def pools_and_streams():
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = cupy.arange(1 << 20)
        y = (x * 2).sum()
    stream.synchronize()
    assert int(y) == (1 << 20) * ((1 << 20) - 1)
    pool = cupy.cuda.MemoryAsyncPool()
    with cupy.cuda.using_allocator(pool.malloc):
        assert float(cupy.ones(1000).sum()) == 1000


@check
def graph():
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = cupy.zeros(1000)
        x += 1  # compiled before the capture
        stream.begin_capture()
        x += 1
        graph = stream.end_capture()
        for _ in range(5):
            graph.launch(stream)
    stream.synchronize()
    assert (x.get() == 6).all()


@check
def textures():
    texture = cupy.cuda.texture
    channel = texture.ChannelFormatDescriptor(32, 0, 0, 0, cupy.cuda.runtime.cudaChannelFormatKindFloat)
    array = texture.CUDAarray(channel, 16, 16)
    source = cupy.arange(256, dtype="float32").reshape(16, 16)
    array.copy_from(source)
    back = cupy.zeros((16, 16), dtype="float32")
    array.copy_to(back)
    assert (back == source).all()


run()
