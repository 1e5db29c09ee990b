"""PyTorch's other allocators: virtual memory management, and the driver's memory pools."""

import os
import subprocess
import sys

from checks import check, run, skip_all

try:
    import torch
except ImportError as error:
    skip_all(error)

PROGRAM = """
import torch
tensors = [torch.full((1 << 20,), i, device="cuda") for i in range(32)]
assert all(int(t[7]) == i for i, t in enumerate(tensors))
del tensors[::2]
torch.cuda.empty_cache()
grown = torch.ones(48 << 20, device="cuda")
assert int(grown.sum()) == 48 << 20 and all(int(t[-1]) == 2 * i + 1 for i, t in enumerate(tensors))
"""


def with_allocator(configuration):
    environment = dict(os.environ, PYTORCH_ALLOC_CONF=configuration, PYTORCH_CUDA_ALLOC_CONF=configuration)
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], env=environment, capture_output=True,
                            text=True, timeout=100)
    print(result.stdout, result.stderr, flush=True)
    # What our library says of itself comes last and is not the reason.
    messages = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("vgpu: ")]
    assert result.returncode == 0, (messages or ["no message"])[-1]


@check
def expandable_segments():
    with_allocator("expandable_segments:True")


@check
def memory_pools():
    with_allocator("backend:cudaMallocAsync")


run()
