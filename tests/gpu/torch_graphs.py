"""PyTorch: CUDA graphs, captured by hand, and around a training step."""

from checks import check, close, run, same_bits, skip_all

try:
    import torch
    from torch import nn
except ImportError as error:
    skip_all(error)


@check
def capture_and_replay():
    x = torch.zeros(1 << 16, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = (x * 2 + 1).sin()
    for value in range(4):
        x.fill_(value)
        graph.replay()
        close(y.cpu(), torch.full((1 << 16,), 2.0 * value + 1).sin())


@check
def capture_of_matrix_products():
    a = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)).cuda().half()
    static = a.clone()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        static @ static
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = static @ static @ static
    graph.replay()
    torch.cuda.synchronize()
    close(y.float().cpu(), (a @ a @ a).float().cpu(), 1e-2)


@check
def capture_across_streams():
    x = torch.ones(1 << 16, device="cuda")
    side = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            a = x * 2
        b = x * 3
        torch.cuda.current_stream().wait_stream(side)
        y = a + b
    x.fill_(2)
    graph.replay()
    assert bool((y == 10).all())


@check
def training_step():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1)).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, capturable=True)
    x, y = torch.randn(128, 64).cuda(), torch.randn(128, 1).cuda()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = step()
    graph.replay()
    first = loss.item()
    for _ in range(50):
        graph.replay()
    assert loss.item() < first
    same_bits("training_step_bits", loss.detach().cpu())


@check
def graphed_callable():
    torch.manual_seed(0)
    layer = nn.Linear(64, 64).cuda()
    x = torch.randn(32, 64, device="cuda", requires_grad=True)
    graphed = torch.cuda.make_graphed_callables(layer, (x,))
    graphed(x).sum().backward()
    assert layer.weight.grad.isfinite().all()


run()
