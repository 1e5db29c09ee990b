"""The CUDA runtimes of three major versions, as shared libraries, with a kernel registered as nvcc's code does it.

The first argument is a fat binary with PTX of `scale.cu`. Prints `PASS cudart/NAME` or `FAIL cudart/NAME: reason`,
one line each.
"""

import ctypes
import sys
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path

import checks

IMAGE = Path(sys.argv.pop(1)).read_bytes()
COUNT = 10_000
TO_DEVICE, TO_HOST = 1, 2


class Dim3(ctypes.Structure):
    _fields_ = [("x", c_uint), ("y", c_uint), ("z", c_uint)]


class Wrapper(ctypes.Structure):
    """What nvcc's code registers: `__fatBinC_Wrapper_t`."""

    _fields_ = [("magic", c_int), ("version", c_int), ("data", c_void_p), ("files", c_void_p)]


class Runtime:
    """A runtime library whose calls raise their errors."""

    def __init__(self, name):
        place = next(Path(sys.prefix).glob(f"lib/python3*/site-packages/nvidia/*/lib/{name}"))
        self.library = ctypes.CDLL(str(place))
        self.image = ctypes.create_string_buffer(IMAGE, len(IMAGE))
        self.wrapper = Wrapper(0x466243B1, 1, ctypes.addressof(self.image), None)
        self.scale = ctypes.create_string_buffer(16)  # its address names the kernel
        register = self.library.__getattr__("__cudaRegisterFatBinary")
        register.restype = c_void_p
        handle = c_void_p(register(byref(self.wrapper)))
        self.library.__getattr__("__cudaRegisterFunction")(
            handle, self.scale, b"scale", b"scale", c_int(-1), None, None, None, None, None)
        self.library.__getattr__("__cudaRegisterFatBinaryEnd")(handle)

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*arguments):
            error = function(*arguments)
            if error:
                raise RuntimeError(f"{name} returned {error}")

        return call

    def launch(self, values, by, stream=None):
        arguments = [values, c_float(by), c_int(COUNT)]
        pointers = (c_void_p * 3)(*(ctypes.addressof(argument) for argument in arguments))
        self.cudaLaunchKernel(self.scale, Dim3((COUNT + 255) // 256, 1, 1), Dim3(256, 1, 1), pointers, c_size_t(0), stream)


def check(name, major):
    cuda = Runtime(name)
    version = c_int()
    cuda.cudaRuntimeGetVersion(byref(version))
    assert version.value // 1000 == major
    cuda.cudaDriverGetVersion(byref(version))
    assert version.value >= 12000

    # The default stream, pageable memory.
    size = c_size_t(COUNT * 4)
    values, device = (c_float * COUNT)(*range(COUNT)), c_void_p()
    cuda.cudaMalloc(byref(device), size)
    cuda.cudaMemcpy(device, values, size, c_int(TO_DEVICE))
    cuda.launch(device, 2)
    cuda.cudaMemcpy(values, device, size, c_int(TO_HOST))
    assert all(values[i] == 2 * i for i in range(COUNT))

    # A stream with events, pinned memory, a graph.
    stream, start, end, pinned = c_void_p(), c_void_p(), c_void_p(), c_void_p()
    cuda.cudaStreamCreate(byref(stream))
    cuda.cudaEventCreate(byref(start))
    cuda.cudaEventCreate(byref(end))
    cuda.cudaMallocHost(byref(pinned), size)
    cuda.cudaStreamBeginCapture(stream, c_int(0))
    cuda.launch(device, 0.5, stream)
    cuda.cudaMemcpyAsync(pinned, device, size, c_int(TO_HOST), stream)
    graph, executable = c_void_p(), c_void_p()
    cuda.cudaStreamEndCapture(stream, byref(graph))
    cuda.cudaGraphInstantiateWithFlags(byref(executable), graph, c_ulonglong(0))
    cuda.cudaEventRecord(start, stream)
    cuda.cudaGraphLaunch(executable, stream)
    cuda.cudaGraphLaunch(executable, stream)
    cuda.cudaEventRecord(end, stream)
    cuda.cudaEventSynchronize(end)
    elapsed = c_float(-1)
    cuda.cudaEventElapsedTime(byref(elapsed), start, end)
    assert elapsed.value >= 0
    halved = (c_float * COUNT).from_address(pinned.value)
    assert all(halved[i] == i / 2 for i in range(COUNT))

    blocks, free, total = c_int(), c_size_t(), c_size_t()
    cuda.cudaOccupancyMaxActiveBlocksPerMultiprocessor(byref(blocks), cuda.scale, c_int(256), c_size_t(0))
    cuda.cudaMemGetInfo(byref(free), byref(total))
    assert blocks.value > 0 and 0 < free.value < total.value

    # What goes wrong is told, once.
    try:
        cuda.cudaMemcpy(device, None, size, c_int(TO_DEVICE))
    except RuntimeError:
        assert cuda.library.cudaGetLastError() == 1 and cuda.library.cudaGetLastError() == 0
    else:
        raise AssertionError("a copy from nowhere succeeded")
    cuda.cudaFree(device)
    cuda.cudaFreeHost(pinned)
    cuda.cudaStreamDestroy(stream)


@checks.register
def runtime_11():
    check("libcudart.so.11.0", 11)


@checks.register
def runtime_12():
    check("libcudart.so.12", 12)


@checks.register
def runtime_13():
    check("libcudart.so.13", 13)


if __name__ == "__main__":
    sys.exit(checks.main("cudart"))
