"""numba-cuda: kernels from Python, shared memory, atomics, streams, ufuncs."""

from checks import check, close, run, skip_all

try:
    import math

    import numpy
    if not hasattr(numpy, "row_stack"):
        # Older releases of numba-cuda want what newer ones of numpy have dropped.
        numpy.row_stack = numpy.vstack
    from numba import cuda, float32, vectorize
except ImportError as error:
    skip_all(error)


@check
def kernel():
    @cuda.jit
    def scale(x, factor):
        i = cuda.grid(1)
        if i < x.size:
            x[i] = math.sqrt(x[i]) * factor

    x = numpy.arange(10_000, dtype="float32")
    device = cuda.to_device(x)
    scale[40, 256](device, 3.0)
    close(device.copy_to_host(), numpy.sqrt(x) * 3)


@check
def shared_memory():
    @cuda.jit
    def total(x, out):
        part = cuda.shared.array(256, float32)
        i = cuda.threadIdx.x
        part[i] = x[cuda.grid(1)]
        cuda.syncthreads()
        half = 128
        while half > 0:
            if i < half:
                part[i] += part[i + half]
            cuda.syncthreads()
            half //= 2
        if i == 0:
            cuda.atomic.add(out, 0, part[0])

    x = numpy.ones(256 * 64, dtype="float32")
    out = numpy.zeros(1, dtype="float32")
    total[64, 256](x, out)
    assert out[0] == x.size


@check
def ufunc():
    @vectorize(["float32(float32, float32)"], target="cuda")
    def combine(a, b):
        return a * b + 1

    x = numpy.arange(1000, dtype="float32")
    close(combine(x, x), x * x + 1)


@check
def streams_and_pinned_memory():
    stream = cuda.stream()
    source = numpy.arange(1 << 16, dtype="int32")
    with cuda.pinned(source):
        device = cuda.to_device(source, stream=stream)
        stream.synchronize()
    back = cuda.pinned_array(1 << 16, dtype="int32")
    device.copy_to_host(back, stream=stream)
    stream.synchronize()
    assert (back == source).all()


@check
def managed_memory():
    @cuda.jit
    def increment(x):
        x[cuda.grid(1)] += 1

    x = cuda.managed_array(1024, dtype="int32")
    x[:] = 1
    increment[4, 256](x)
    cuda.synchronize()
    assert (x == 2).all()


run()
