"""PyTorch: torch.compile, whose kernels Triton builds, and with CUDA graphs."""

from checks import check, close, run, skip_all

try:
    import torch
    import triton
    from torch import nn
except ImportError as error:
    skip_all(error)


@check
def compiled_function():
    @torch.compile
    def fused(x, y):
        return (x.sin() * y.cos() + x).softmax(-1)

    x, y = torch.randn(64, 1000), torch.randn(64, 1000)
    close(fused(x.cuda(), y.cuda()).cpu(), (x.sin() * y.cos() + x).softmax(-1))


@check
def compiled_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 1)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    compiled = torch.compile(model)
    x, y = torch.randn(128, 64).cuda(), torch.randn(128, 1).cuda()
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (compiled(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@check
def compiled_with_graphs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 8)).cuda()
    compiled = torch.compile(model, mode="reduce-overhead")
    x = torch.randn(16, 64).cuda()
    with torch.no_grad():
        expected = model(x).cpu()
        for _ in range(4):
            torch.compiler.cudagraph_mark_step_begin()
            result = compiled(x).cpu()
    close(result, expected)


run()
