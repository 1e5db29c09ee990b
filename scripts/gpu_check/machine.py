"""What the machine is."""

import json
import os
import subprocess
import sys
import time


def describe_machine(runner):
    """What the machine is, in environment.txt."""
    commands = [
        ["uname", "-a"], ["cat", "/etc/os-release"], ["nvidia-smi"], ["nvidia-smi", "-q"], ["ldconfig", "-p"],
        ["sh", "-c", "env | grep -iE 'cuda|nvidia|ld_library|python' | sort"],
        ["sh", "-c", "ls -l /dev/nvidia* /usr/local/nvidia /usr/local/nvidia/lib64 2>&1"],
        ["sh", "-c", "df -h /dev/shm /tmp; nproc; free -m; ulimit -a; cat /sys/module/nvidia_uvm/parameters/uvm_disable_hmm"],
        ["nvcc", "--version"], [sys.executable, "-m", "pip", "list"],
    ]
    with open(runner.logs / "environment.txt", "w") as log:
        for command in commands:
            print("$", " ".join(command), file=log, flush=True)
            try:
                subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=20)
            except (OSError, subprocess.TimeoutExpired) as error:
                print(error, file=log, flush=True)
    text = machine()
    runner.stream.write(json.dumps({"step": "machine", "text": text}) + "\n")
    print(text, flush=True)


def machine():
    """GPU, driver, processor and date in one sentence."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        gpus = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        gpus = []
    gpu, _, driver = (gpus or ["no NVIDIA GPU, none"])[0].partition(", ")
    processor = next((line.split(": ")[1] for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    return (f"{gpu}, driver {driver}; {os.cpu_count()} threads of {processor.strip()}, Linux {os.uname().release.split('-')[0]}; "
            f"{time.strftime('%Y-%m-%d')}.")
