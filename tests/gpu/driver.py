"""The machine's libcuda, called directly: what the scripts here need of it that no framework has."""

import ctypes
import sys

try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    print(f"skip {sys.argv[0].rsplit('/', 1)[-1]}: {error}")
    sys.exit(0)

NO_ERROR = 0
handle, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class Failed(Exception):
    """A call that did not succeed."""

    def __init__(self, name, code):
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(text))
        super().__init__(f"{name}: {(text.value or b'error %d' % code).decode()}")


def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code != NO_ERROR:
        raise Failed(name, code)


def start():
    """The primary context of the first device, current; the device."""
    device, context = number(), handle()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    return device


def capability(device):
    """Compute capability, as 90."""
    major, minor = number(), number()
    call("cuDeviceGetAttribute", ctypes.byref(major), 75, device)
    call("cuDeviceGetAttribute", ctypes.byref(minor), 76, device)
    return 10 * major.value + minor.value


def load(text):
    """A module of PTX."""
    module = handle()
    call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(text.encode()))
    return module


def function(module, name):
    found = handle()
    call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
    return found


def allocate(length):
    memory = ctypes.c_uint64()
    call("cuMemAlloc_v2", ctypes.byref(memory), size(length))
    return memory


def launch(kernel, threads, *arguments):
    """One block, awaited. Arguments are ctypes values."""
    pointers = (handle * len(arguments))(*(ctypes.cast(ctypes.byref(value), handle) for value in arguments))
    call("cuLaunchKernel", kernel, 1, 1, 1, threads, 1, 1, 0, None, pointers, None)
    call("cuCtxSynchronize")
