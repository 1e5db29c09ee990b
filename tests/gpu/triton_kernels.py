"""Triton: kernels of its own, with tensor cores and tensor descriptors."""

from checks import check, close, run, same_bits, skip_all

try:
    import torch
    import triton
    import triton.language as tl
except ImportError as error:
    skip_all(error)


@triton.jit
def add_kernel(x, y, z, n, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    mask = at < n
    tl.store(z + at, tl.load(x + at, mask=mask) + tl.load(y + at, mask=mask), mask=mask)


@triton.jit
def matmul_kernel(a, b, c, k, sa, sb, sc, m: tl.constexpr, n: tl.constexpr, step: tl.constexpr):
    rows = tl.program_id(0) * m + tl.arange(0, m)
    columns = tl.program_id(1) * n + tl.arange(0, n)
    inner = tl.arange(0, step)
    total = tl.zeros((m, n), dtype=tl.float32)
    for i in range(0, k, step):
        left = tl.load(a + rows[:, None] * sa + (i + inner)[None, :])
        right = tl.load(b + (i + inner)[:, None] * sb + columns[None, :])
        total += tl.dot(left, right)
    tl.store(c + rows[:, None] * sc + columns[None, :], total)


@check
def addition():
    n = 100_003
    x, y = torch.randn(n), torch.randn(n)
    z = torch.empty(n, device="cuda")
    add_kernel[(triton.cdiv(n, 1024),)](x.cuda(), y.cuda(), z, n, block=1024)
    assert torch.equal(z.cpu(), x + y)


@check
def matmul():
    torch.manual_seed(0)
    a, b = torch.randn(512, 512).half(), torch.randn(512, 512).half()
    c = torch.empty(512, 512, device="cuda")
    matmul_kernel[(4, 4)](a.cuda(), b.cuda(), c, 512, 512, 512, 512, m=128, n=128, step=64)
    close(c.cpu(), a.double() @ b.double(), 1e-3)
    same_bits("matmul_bits", c.cpu())


@triton.jit
def copy_kernel(source, target, m, n, rows: tl.constexpr, columns: tl.constexpr):
    from_map = tl.make_tensor_descriptor(source, shape=[m, n], strides=[n, 1], block_shape=[rows, columns])
    to_map = tl.make_tensor_descriptor(target, shape=[m, n], strides=[n, 1], block_shape=[rows, columns])
    row, column = tl.program_id(0) * rows, tl.program_id(1) * columns
    to_map.store([row, column], from_map.load([row, column]))


@check
def tensor_descriptors_on_the_device():
    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, device="cuda", dtype=torch.int8))
    x = torch.randn(256, 256)
    y = torch.zeros(256, 256, device="cuda")
    copy_kernel[(4, 4)](x.cuda(), y, 256, 256, rows=64, columns=64)
    assert torch.equal(y.cpu(), x)


@triton.jit
def described_copy_kernel(source, target, rows: tl.constexpr, columns: tl.constexpr):
    row, column = tl.program_id(0) * rows, tl.program_id(1) * columns
    target.store([row, column], source.load([row, column]))


@check
def tensor_descriptors_of_the_host():
    from triton.tools.tensor_descriptor import TensorDescriptor
    x = torch.randn(256, 256)
    source, target = x.cuda(), torch.zeros(256, 256, device="cuda")
    describe = lambda tensor: TensorDescriptor(tensor, [256, 256], [256, 1], [64, 64])
    described_copy_kernel[(4, 4)](describe(source), describe(target), rows=64, columns=64)
    assert torch.equal(target.cpu(), x)


run()
