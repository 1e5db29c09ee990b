"""NVIDIA's own Python packages (cuda-bindings, cuda-core, NVRTC, nvJitLink, NVML), each result checked.

Prints `PASS bindings/NAME` or `FAIL bindings/NAME: reason`, one line each.
"""

import ctypes
import os
import sys

import numpy as np
import pynvml
from cuda.bindings import driver, nvjitlink, nvrtc, runtime
from cuda.core import Device, EventOptions, LaunchConfig, Program, ProgramOptions, launch

import checks

test = checks.register

SCALE = r"""
extern "C" __global__ void scale(float* values, float factor, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) values[i] *= factor;
}
"""
TEMPLATE = r"""
template <typename T, int N> __global__ void add(T* values) {
    values[threadIdx.x] += N;
}
__device__ int counter = 5;
__constant__ float table[4];
"""

CONDITIONS = r"""
extern "C" __device__ void cudaGraphSetConditional(unsigned long long condition, unsigned value);
extern "C" __global__ void count_down(unsigned long long condition, int* count) {
    cudaGraphSetConditional(condition, --*count > 0);
}
extern "C" __global__ void is_large(unsigned long long condition, const int* sum) {
    cudaGraphSetConditional(condition, *sum > 100);
}
extern "C" __global__ void add(int* sum, int value) { *sum += value; }
"""


def ok(result):
    """The values of a call that succeeded."""
    error, *values = result
    assert int(error) == 0, repr(error)
    return values[0] if len(values) == 1 else tuple(values)


def compile_ptx(source, *options, names=()):
    """PTX text, and the lowered names of expressions."""
    program = ok(nvrtc.nvrtcCreateProgram(source.encode(), b"test.cu", 0, [], []))
    for name in names:
        ok(nvrtc.nvrtcAddNameExpression(program, name))
    options = [b"--gpu-architecture=compute_75", *options]
    error, *_ = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(error) != 0:
        log = b" " * ok(nvrtc.nvrtcGetProgramLogSize(program))
        ok(nvrtc.nvrtcGetProgramLog(program, log))
        raise AssertionError(log.decode())
    ptx = b" " * ok(nvrtc.nvrtcGetPTXSize(program))
    ok(nvrtc.nvrtcGetPTX(program, ptx))
    lowered = [ok(nvrtc.nvrtcGetLoweredName(program, name)) for name in names]
    ok(nvrtc.nvrtcDestroyProgram(program))
    return ptx, lowered


def context():
    """The primary context, current."""
    ok(driver.cuInit(0))
    current = ok(driver.cuDevicePrimaryCtxRetain(ok(driver.cuDeviceGet(0))))
    ok(driver.cuCtxSetCurrent(current))
    return current


@test
def nvrtc_compiles_what_the_driver_runs():
    context()
    ptx, _ = compile_ptx(SCALE)
    module = ok(driver.cuModuleLoadData(ptx))
    function = ok(driver.cuModuleGetFunction(module, b"scale"))
    values = np.arange(1000, dtype=np.float32)
    device = ok(driver.cuMemAlloc(values.nbytes))
    ok(driver.cuMemcpyHtoD(device, values.ctypes.data, values.nbytes))
    arguments = ((device, 2.5, values.size), (None, ctypes.c_float, ctypes.c_int))
    ok(driver.cuLaunchKernel(function, 4, 1, 1, 256, 1, 1, 0, 0, arguments, 0))
    out = np.empty_like(values)
    ok(driver.cuMemcpyDtoH(out.ctypes.data, device, out.nbytes))
    ok(driver.cuMemFree(device))
    ok(driver.cuModuleUnload(module))
    np.testing.assert_array_equal(out, values * np.float32(2.5))


@test
def nvrtc_templates_and_variables():
    context()
    name = b"add<long long, 7>"
    ptx, (lowered,) = compile_ptx(TEMPLATE, b"--std=c++17", names=[name])
    module = ok(driver.cuModuleLoadData(ptx))
    function = ok(driver.cuModuleGetFunction(module, lowered))
    values = np.arange(32, dtype=np.int64)
    device = ok(driver.cuMemAlloc(values.nbytes))
    ok(driver.cuMemcpyHtoD(device, values.ctypes.data, values.nbytes))
    ok(driver.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, 0, ((device,), (None,)), 0))
    ok(driver.cuMemcpyDtoH(values.ctypes.data, device, values.nbytes))
    np.testing.assert_array_equal(values, np.arange(32) + 7)


@test
def nvrtc_options_change_the_code():
    for option in (b"--device-debug", b"--generate-line-info", b"--use_fast_math", b"--maxrregcount=32", b"--relocatable-device-code=true"):
        ptx, _ = compile_ptx(SCALE, option)
        module = ok(driver.cuModuleLoadData(ptx))
        ok(driver.cuModuleUnload(module))


@test
def module_errors_come_with_a_log():
    context()
    log = bytearray(1000)
    options = [driver.CUjit_option.CU_JIT_ERROR_LOG_BUFFER, driver.CUjit_option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
    error, _ = driver.cuModuleLoadDataEx(b".version 8.0\n.target sm_75\nnonsense\0", 2, options, [log, len(log)])
    assert error == driver.CUresult.CUDA_ERROR_INVALID_PTX, error
    assert b"line 3" in log, log


@test
def driver_libraries_and_links():
    context()
    caller, _ = compile_ptx(
        'extern "C" __device__ int twice(int); extern "C" __global__ void k(int* p) { *p = twice(*p); }', b"-rdc=true"
    )
    callee, _ = compile_ptx('extern "C" __device__ int twice(int x) { return 2 * x; }', b"-rdc=true")
    link = ok(driver.cuLinkCreate(0, [], []))
    for ptx in (caller, callee):
        kind = driver.CUjitInputType.CU_JIT_INPUT_PTX
        ok(driver.cuLinkAddData(link, kind, ptx, len(ptx), b"part", 0, [], []))
    image, size = ok(driver.cuLinkComplete(link))
    library = ok(driver.cuLibraryLoadData(ctypes.string_at(image, size), [], [], 0, [], [], 0))
    kernel = ok(driver.cuLibraryGetKernel(library, b"k"))
    device = ok(driver.cuMemAlloc(4))
    ok(driver.cuMemsetD32(device, 21, 1))
    function = driver.CUfunction(int(ok(driver.cuKernelGetFunction(kernel))))
    ok(driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, 0, ((device,), (None,)), 0))
    out = np.zeros(1, np.int32)
    ok(driver.cuMemcpyDtoH(out.ctypes.data, device, 4))
    assert out[0] == 42, out
    ok(driver.cuLinkDestroy(link))
    ok(driver.cuLibraryUnload(library))


@test
def runtime_api_through_bindings():
    count = ok(runtime.cudaGetDeviceCount())
    properties = ok(runtime.cudaGetDeviceProperties(0))
    assert count == 1 and properties.warpSize == 32
    pointer = ok(runtime.cudaMalloc(1024))
    ok(runtime.cudaMemset(pointer, 0x5A, 1024))
    out = np.zeros(1024, np.uint8)
    kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
    ok(runtime.cudaMemcpy(out.ctypes.data, pointer, 1024, kind))
    assert (out == 0x5A).all()
    attributes = ok(runtime.cudaPointerGetAttributes(pointer))
    assert attributes.type == runtime.cudaMemoryType.cudaMemoryTypeDevice
    ok(runtime.cudaFree(pointer))


@test
def core_devices_streams_and_events():
    device = Device()
    device.set_current()
    assert device.properties.warp_size == 32 and device.name and device.uuid
    stream = device.create_stream()
    start = stream.record(options=EventOptions(timing_enabled=True))
    end = stream.record(options=EventOptions(timing_enabled=True))
    end.sync()
    assert end.is_done and end - start >= 0
    stream.sync()
    stream.close()


@test
def core_programs_and_launches():
    device = Device()
    device.set_current()
    stream = device.create_stream()
    code = Program(SCALE, "c++", ProgramOptions(arch="sm_75", std="c++17")).compile("ptx")
    kernel = code.get_kernel("scale")
    memory = ok(driver.cuMemAlloc(4000))
    values = np.arange(1000, dtype=np.float32)
    ok(driver.cuMemcpyHtoD(memory, values.ctypes.data, values.nbytes))
    launch(stream, LaunchConfig(grid=4, block=256), kernel, int(memory), np.float32(3), np.int32(1000))
    stream.sync()
    out = np.empty_like(values)
    ok(driver.cuMemcpyDtoH(out.ctypes.data, memory, out.nbytes))
    np.testing.assert_array_equal(out, values * 3)
    assert kernel.attributes.max_threads_per_block >= 256


@test
def core_graphs_with_conditions():
    device = Device()
    device.set_current()
    options = ProgramOptions(arch="sm_75", std="c++17", relocatable_device_code=True)
    code = Program(CONDITIONS, "c++", options).compile("ptx")
    count_down, is_large, add = (code.get_kernel(name) for name in ("count_down", "is_large", "add"))
    one = LaunchConfig(grid=1, block=1)
    memory = ok(driver.cuMemAlloc(8))
    count, total = int(memory), int(memory) + 4
    # A loop that adds 30 as often as the count says, and then 1000 or 2000.
    builder = device.create_graph_builder().begin_building()
    again = builder.create_condition(default_value=1)
    body = builder.while_loop(again).begin_building()
    launch(body, one, add, total, np.int32(30))
    launch(body, one, count_down, again, count)
    body.end_building()
    large = builder.create_condition()
    launch(builder, one, is_large, large, total)
    more, less = builder.if_else(large)
    for branch, value in ((more, 1000), (less, 2000)):
        launch(branch.begin_building(), one, add, total, np.int32(value))
        branch.end_building()
    graph = builder.end_building().complete()
    stream = device.create_stream()
    for times, expected in ((2, 2060), (5, 1150), (1, 2030)):
        numbers = np.array([times, 0], np.int32)
        ok(driver.cuMemcpyHtoD(memory, numbers.ctypes.data, 8))
        graph.launch(stream)
        stream.sync()
        ok(driver.cuMemcpyDtoH(numbers.ctypes.data, memory, 8))
        assert numbers.tolist() == [0, expected], (times, numbers)
    graph.close()
    ok(driver.cuMemFree(memory))


@test
def core_buffers_from_the_memory_pool():
    device = Device()
    device.set_current()
    stream = device.create_stream()
    buffer = device.allocate(4096, stream=stream)
    assert buffer.size == 4096 and buffer.is_device_accessible
    buffer.close(stream)
    stream.sync()


@test
def nvjitlink_makes_no_machine_code_that_runs_here():
    # nvJitLink compiles for real GPUs. Its result is a cubin, which the software GPU refuses.
    context()
    ptx, _ = compile_ptx(SCALE)
    handle = nvjitlink.create(1, ["-arch=sm_75"])
    nvjitlink.add_data(handle, nvjitlink.InputType.PTX, ptx, len(ptx), "scale")
    nvjitlink.complete(handle)
    cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
    nvjitlink.get_linked_cubin(handle, cubin)
    nvjitlink.destroy(handle)
    assert cubin[:4] == b"\x7fELF"
    error, _ = driver.cuModuleLoadData(bytes(cubin))
    if "software" not in Device().name:
        assert int(error) == 0, error
    else:
        assert error == driver.CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU, error


@test
def nvml_names_the_device():
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 1
    assert pynvml.nvmlSystemGetDriverVersion().split(".")[0].isdigit()
    major, minor = divmod(pynvml.nvmlSystemGetCudaDriverVersion(), 1000)
    assert (major, minor // 10) == divmod(ok(driver.cuDriverGetVersion()), 1000)[:1] + (minor // 10,)
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetName(handle) == Device().name
    assert pynvml.nvmlDeviceGetUUID(handle).startswith("GPU-")
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(handle)))
    bus = pynvml.nvmlDeviceGetPciInfo(handle).busId
    assert pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByPciBusId(bus)) == 0
    capability = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    assert tuple(capability) == tuple(Device().compute_capability)
    pynvml.nvmlShutdown()


@test
def nvml_counts_memory_and_processes():
    context()
    held = ok(driver.cuMemAlloc(64 << 20))
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    for memory in (pynvml.nvmlDeviceGetMemoryInfo(handle), pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)):
        assert memory.total == ok(driver.cuDeviceTotalMem(0))
        assert 0 <= memory.free <= memory.total and memory.free + memory.used <= memory.total
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    used = {process.pid: process.usedGpuMemory for process in processes}
    assert os.getpid() in used, processes
    # Another driver of a host may not tell it.
    assert used[os.getpid()] is None or 64 << 20 <= used[os.getpid()] <= memory.total, used
    usage = pynvml.nvmlDeviceGetUtilizationRates(handle)
    assert 0 <= usage.gpu <= 100 and 0 <= usage.memory <= 100
    pynvml.nvmlShutdown()
    ok(driver.cuMemFree(held))


@test
def nvml_refuses_what_there_is_not():
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    refused = 0
    for query in (
        lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        lambda: pynvml.nvmlDeviceGetFanSpeed(handle),
        lambda: pynvml.nvmlDeviceGetPowerUsage(handle),
        lambda: pynvml.nvmlDeviceGetNvLinkState(handle, 0),
        lambda: pynvml.nvmlDeviceGetTotalEccErrors(handle, 0, 0),
    ):
        try:
            query()
        except pynvml.NVMLError_NotSupported:
            refused += 1
    assert refused == 5 or "software" not in Device().name, refused
    for call, error in (
        (lambda: pynvml.nvmlDeviceGetHandleByIndex(7), pynvml.NVMLError_InvalidArgument),
        (lambda: pynvml.nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-000000000000"), pynvml.NVMLError_NotFound),
    ):
        try:
            call()
        except error:
            continue
        raise AssertionError(f"no {error.__name__}")
    pynvml.nvmlShutdown()


if __name__ == "__main__":
    sys.exit(checks.main("bindings"))
