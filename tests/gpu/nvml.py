"""NVML and nvidia-smi: what is fixed is the same as for the host, what changes is in its range."""

import os
import shutil
import subprocess

import driver
from checks import check, run, skip, skip_all

try:
    import pynvml
except ImportError as error:
    skip_all(error)


def same(name, value):
    """What another run has to tell too."""
    print(f"hash {name} {str(value).replace(' ', '_')}", flush=True)


@check
def identity():
    pynvml.nvmlInit()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    for name, value in (
            ("count", pynvml.nvmlDeviceGetCount()), ("driver_version", pynvml.nvmlSystemGetDriverVersion()),
            ("cuda_version", pynvml.nvmlSystemGetCudaDriverVersion()), ("device_name", pynvml.nvmlDeviceGetName(gpu)),
            ("capability", pynvml.nvmlDeviceGetCudaComputeCapability(gpu)),
            ("memory_total", pynvml.nvmlDeviceGetMemoryInfo(gpu).total)):
        same(name, value)


# What may have no answer, natively too.
for query in ("UtilizationRates", "PowerUsage", "EnforcedPowerLimit", "PersistenceMode", "ComputeMode", "MigMode",
              "Brand", "Architecture", "MaxPcieLinkGeneration", "NumGpuCores", "MemoryBusWidth",
              "TotalEnergyConsumption"):

    def ask(query=query):
        try:
            getattr(pynvml, f"nvmlDeviceGet{query}")(pynvml.nvmlDeviceGetHandleByIndex(0))
        except pynvml.NVMLError_NotSupported as error:
            skip(error)

    ask.__name__ = query
    check(ask)


@check
def temperature_and_clocks():
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    try:
        pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)
    except pynvml.NVMLError_NotSupported as error:
        skip(error)
    assert 5 < pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU) < 120
    assert 0 < pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) < 10_000


@check
def memory_of_this_process():
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    driver.start()
    before = pynvml.nvmlDeviceGetMemoryInfo(gpu).used
    driver.allocate(512 << 20)
    assert pynvml.nvmlDeviceGetMemoryInfo(gpu).used - before >= 512 << 20
    assert os.getpid() in [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)]


def nvidia_smi(*arguments):
    if not shutil.which("nvidia-smi"):
        skip("there is no nvidia-smi")
    ran = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20)
    print(ran.stdout, ran.stderr, flush=True)
    assert ran.returncode == 0, f"exit code {ran.returncode}: {(ran.stdout + ran.stderr).strip()[-200:]}"
    return ran.stdout


@check
def nvidia_smi_table():
    text = nvidia_smi()
    assert "NVIDIA-SMI" in text and "Processes:" in text


@check
def nvidia_smi_query():
    columns = "--query-gpu=name,driver_version,memory.total,compute_cap"
    same("nvidia_smi", nvidia_smi(columns, "--format=csv,noheader").strip())


@check
def nvidia_smi_everything():
    assert "Product Name" in nvidia_smi("-q")


run()
