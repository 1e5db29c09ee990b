"""Speeds of PyTorch: training steps and token generation, eager and with CUDA graphs."""

import time

from checks import bench, skip_all

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    skip_all(error)

torch.manual_seed(0)


def timed(name, count, step, unit="us", per_second=None):
    """The mean time of a step, or with `per_second` how many of those a second."""
    for _ in range(max(count // 10, 3)):
        step()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    mean = (time.perf_counter() - started) / count
    bench(name, per_second / mean if per_second else 1e6 * mean, unit)


def graphed(step):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def attempt(name, work):
    """One measurement that fails does not keep the others from being made."""
    try:
        work()
        print(f"ok {name}", flush=True)
    except Exception as error:
        print(f"fail {name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}", flush=True)


def small_training():
    model = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 1024), nn.GELU(), nn.Linear(1024, 10)).cuda()
    optimizer = torch.optim.Adam(model.parameters(), capturable=True)
    x, y = torch.randn(64, 256).cuda(), torch.randint(10, (64,)).cuda()

    def step():
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    timed("mlp_step_eager", 300, step)
    timed("mlp_step_graph", 500, graphed(step))


def resnet_training():
    try:
        from torchvision.models import resnet50
    except ImportError as error:
        return print(f"skip resnet50: {error}")
    model = resnet50().cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randn(32, 3, 224, 224).cuda().to(memory_format=torch.channels_last)
    y = torch.randint(1000, (32,)).cuda()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    timed("resnet50_images_eager", 15, step, "images/s", per_second=32)
    timed("resnet50_images_graph", 15, graphed(step), "images/s", per_second=32)


class Block(nn.Module):
    """A decoder's layer with a cache of fixed size."""

    def __init__(self, width, heads, length):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        shape = (1, heads, length, width // heads)
        self.register_buffer("keys", torch.zeros(shape))
        self.register_buffer("values", torch.zeros(shape))

    def forward(self, x, position, mask):
        q, k, v = (t.view(1, 1, self.heads, -1).transpose(1, 2) for t in self.qkv(self.norms[0](x)).chunk(3, -1))
        self.keys.index_copy_(2, position, k)
        self.values.index_copy_(2, position, v)
        y = functional.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(1, 1, -1))
        return x + self.mlp(self.norms[1](x))


@torch.no_grad()
def decode():
    """GPT-2's size: 12 layers, width 768, 50257 tokens, one sequence."""
    length, width, vocabulary = 512, 768, 50257
    embedding = nn.Embedding(vocabulary, width).cuda().half()
    blocks = nn.ModuleList([Block(width, 12, length) for _ in range(12)]).cuda().half()
    token, position = torch.zeros(1, 1, dtype=torch.long).cuda(), torch.zeros(1, dtype=torch.long).cuda()
    places = torch.arange(length).cuda()

    def step():
        x = embedding(token)
        mask = (places <= position)[None, None, None]
        for block in blocks:
            x = block(x, position, mask)
        token.copy_((x @ embedding.weight.t()).argmax(-1))
        position.add_(1).remainder_(length)

    timed("gpt2_decode_eager", 100, step, "tokens/s", per_second=1)
    timed("gpt2_decode_graph", 200, graphed(step), "tokens/s", per_second=1)


def synchronous_reads():
    x = torch.ones(1).cuda()
    timed("item", 500, lambda: x.item())
    timed("elementwise_launch", 5000, lambda: x.add_(1))


started = time.perf_counter()
torch.cuda.init()
torch.zeros(1).cuda()
bench("torch_first_tensor", time.perf_counter() - started, "s")
for name, work in (("reads", synchronous_reads), ("decode", decode), ("mlp", small_training),
                   ("resnet", resnet_training)):
    attempt(name, work)
