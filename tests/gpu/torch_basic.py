"""PyTorch: tensors, and the libraries behind it (cuBLAS, cuFFT, cuSOLVER, cuRAND, Thrust)."""

from checks import check, close, run, same_bits, skip_all

try:
    import torch
except ImportError as error:
    skip_all(error)

torch.backends.cuda.matmul.allow_tf32 = False
torch.use_deterministic_algorithms(True, warn_only=True)


def host(tensor):
    return tensor.detach().float().cpu().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().cpu().numpy()


def numbers(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


@check
def properties():
    properties = torch.cuda.get_device_properties(0)
    print(properties, hex(torch.empty(1 << 20, device="cuda").data_ptr()))
    assert torch.cuda.is_available() and properties.multi_processor_count > 0
    assert torch.cuda.mem_get_info()[1] > 0


@check
def elementwise():
    x = numbers(1 << 20)
    y = (x.cuda() * 2 + 1).relu().sqrt()
    close(host(y), (x * 2 + 1).relu().sqrt())
    same_bits("elementwise_bits", host(y))


@check
def reductions():
    x = numbers(1000, 1000)
    d = x.cuda()
    close(host(d.sum()), x.double().sum(), 1e-2)
    close(host(d.softmax(1)), x.softmax(1))
    same_bits("reduction_bits", host(d.sum(0)), host(d.max(1).values), host(d.softmax(1)))


@check
def indexing_and_sort():
    x = numbers(100_000)
    d = x.cuda()
    values, order = d.sort()
    assert torch.equal(values.cpu(), x.sort().values)
    assert torch.equal(d[order].cpu(), values.cpu())
    assert torch.equal(d[d > 0].cpu(), x[x > 0])
    assert torch.equal(d.unique().cpu(), x.unique())
    same_bits("cumsum_bits", host(d.cumsum(0)))


@check
def random_numbers():
    torch.cuda.manual_seed(7)
    x = torch.randn(100_000, device="cuda")
    assert abs(x.mean().item()) < 0.02
    same_bits("random_bits", host(x), host(torch.randperm(1000, device="cuda")))


@check
def matmul_float32():
    a, b = numbers(512, 384), numbers(384, 640, seed=1)
    c = a.cuda() @ b.cuda()
    close(host(c), a.double() @ b.double(), 1e-4)
    same_bits("matmul_float32_bits", host(c))


@check
def matmul_bfloat16():
    a, b = numbers(1024, 1024, dtype=torch.bfloat16), numbers(1024, 1024, seed=1, dtype=torch.bfloat16)
    c = a.cuda() @ b.cuda()
    close(host(c), a.double() @ b.double(), 2e-2)
    same_bits("matmul_bfloat16_bits", host(c))


@check
def matmul_float16_batched():
    a, b = numbers(16, 256, 128, dtype=torch.float16), numbers(16, 128, 256, seed=1, dtype=torch.float16)
    c = torch.bmm(a.cuda(), b.cuda())
    close(host(c), torch.bmm(a.double(), b.double()), 1e-2)
    same_bits("matmul_float16_bits", host(c))


@check
def linear_with_epilogue():
    layer = torch.nn.Linear(512, 2048).cuda().half()
    x = numbers(64, 512, dtype=torch.float16).cuda()
    y = torch.nn.functional.gelu(layer(x))
    close(host(y), torch.nn.functional.gelu(layer.double()(x.double())).detach().cpu(), 1e-2)


@check
def fourier():
    x = numbers(64, 1000)
    y = torch.fft.rfft(x.cuda())
    close(torch.view_as_real(y).cpu(), torch.view_as_real(torch.fft.rfft(x)))
    close(host(torch.fft.irfft(y, n=1000)), x)


@check
def linear_algebra():
    a = numbers(200, 200) + 20 * torch.eye(200)
    b = numbers(200, 3, seed=1)
    close(host(torch.linalg.solve(a.cuda(), b.cuda())), torch.linalg.solve(a, b))
    s = a @ a.T
    close(host(torch.linalg.eigvalsh(s.cuda())), torch.linalg.eigvalsh(s))
    close(host(torch.linalg.cholesky(s.cuda())), torch.linalg.cholesky(s))
    close(host(torch.linalg.svdvals(a.cuda())), torch.linalg.svdvals(a))


@check
def sparse():
    dense = numbers(300, 300)
    dense[dense.abs() < 1] = 0
    x = numbers(300, 8, seed=1)
    close(host(dense.to_sparse_csr().cuda() @ x.cuda()), dense @ x)


@check
def streams_and_events():
    x = torch.ones(1 << 22, device="cuda")
    side = torch.cuda.Stream()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = x * 3
    torch.cuda.current_stream().wait_stream(side)
    y += 1
    end.record()
    end.synchronize()
    assert start.elapsed_time(end) > 0 and bool((y == 4).all())
    high = torch.cuda.Stream(priority=-1)
    assert high.priority == -1


@check
def pinned_copies():
    source = torch.arange(1 << 22, dtype=torch.int32).pin_memory()
    device = source.to("cuda", non_blocking=True)
    back = torch.empty_like(source, pin_memory=True)
    back.copy_(device, non_blocking=True)
    torch.cuda.synchronize()
    assert torch.equal(source, back) and source.is_pinned()


@check
def pageable_copies():
    for size in (1, 1000, 70_000, 1 << 20, 10_000_019):
        source = torch.arange(size, dtype=torch.int32)
        assert torch.equal(source.cuda().cpu(), source), size


@check
def caching_allocator():
    tensors = [torch.empty(1 << 20, device="cuda") for _ in range(64)]
    assert torch.cuda.memory_allocated() >= 64 << 22
    del tensors
    torch.cuda.empty_cache()
    torch.cuda.memory_summary()


@check
def out_of_memory():
    try:
        torch.empty(1 << 42, dtype=torch.int8, device="cuda")
    except torch.cuda.OutOfMemoryError:
        pass
    else:
        raise AssertionError("4 TiB were allocated")
    assert torch.ones(4, device="cuda").sum().item() == 4


run()
