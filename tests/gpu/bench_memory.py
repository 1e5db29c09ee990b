"""Host memory of a CUDA context: what the process that has it grows by; behind a virtual GPU, all of its worker."""

import os
import pathlib

import driver
from checks import bench


def status(process):
    """Lines of /proc/PID/status."""
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def resident(process):
    """MB."""
    return int(status(process)["VmRSS"].split()[0]) / 1e3


def workers():
    """Workers of this project that are alive, the youngest first."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().split(b"\0")[:2] == [b"vhost-user-vgpu", b"worker"]:
                found.append((int((folder / "stat").read_text().rsplit(")", 1)[1].split()[19]), folder.name))
        except OSError:
            continue
    return [process for _, process in sorted(found, reverse=True)]


before, others = resident(os.getpid()), set(workers())
driver.start()
mine = [process for process in workers() if process not in others]
bench("context_memory", resident(mine[0]) if mine else resident(os.getpid()) - before, "MB")
if mine:
    for name in ("RssAnon", "RssFile", "RssShmem"):
        print(f"# worker {name}: {status(mine[0])[name].strip()}")
