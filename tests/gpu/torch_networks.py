"""PyTorch: cuDNN's convolutions and attention, and training loops."""

from checks import check, close, run, same_bits, skip_all

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    skip_all(error)

torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.deterministic = True
torch.use_deterministic_algorithms(True, warn_only=True)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def train(model, inputs, targets, steps=8, dtype=None):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=dtype, enabled=dtype is not None):
            loss = functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).float().cpu()


@check
def convolution():
    x, w = numbers(4, 16, 32, 32), numbers(32, 16, 3, 3, seed=1)
    y = functional.conv2d(x.cuda(), w.cuda(), padding=1)
    close(y.cpu(), functional.conv2d(x, w, padding=1))
    same_bits("convolution_bits", y.cpu())


@check
def convolution_half_channels_last():
    x, w = numbers(8, 64, 56, 56), numbers(64, 64, 3, 3, seed=1)
    to = lambda t: t.cuda().half().to(memory_format=torch.channels_last)
    y = functional.conv2d(to(x), to(w), padding=1)
    close(y.float().cpu(), functional.conv2d(x, w, padding=1), 1e-2)


@check
def convolution_backward():
    x = numbers(4, 8, 16, 16).cuda().requires_grad_()
    layer = nn.Conv2d(8, 8, 3).cuda()
    layer(x).square().sum().backward()
    assert x.grad.isfinite().all() and layer.weight.grad.abs().sum() > 0


@check
def train_mlp():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.LayerNorm(256), nn.Linear(256, 10)).cuda()
    losses = train(model, numbers(128, 64).cuda(), torch.arange(128).remainder(10).cuda())
    assert losses[-1] < losses[0]
    same_bits("train_mlp_bits", losses)


@check
def train_convolutional():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                          nn.Flatten(), nn.Linear(64, 10)).cuda()
    losses = train(model, numbers(32, 3, 32, 32).cuda(), torch.arange(32).remainder(10).cuda())
    assert losses[-1] < losses[0]


@check
def train_mixed_precision():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 10)).cuda()
    losses = train(model, numbers(64, 256).cuda(), torch.arange(64).remainder(10).cuda(), dtype=torch.bfloat16)
    assert losses[-1] < losses[0]


@check
def recurrent():
    torch.manual_seed(0)
    lstm = nn.LSTM(32, 64, 2, batch_first=True)
    x = numbers(8, 20, 32)
    with torch.no_grad():
        expected = lstm(x)[0]
        close(lstm.cuda()(x.cuda())[0].cpu(), expected)


def attention(backend):
    from torch.nn.attention import sdpa_kernel
    q, k, v = (numbers(2, 8, 256, 64, seed=i).cuda().bfloat16() for i in range(3))
    with sdpa_kernel(backend):
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    expected = functional.scaled_dot_product_attention(q.double().cpu(), k.double().cpu(), v.double().cpu(),
                                                       is_causal=True)
    close(y.float().cpu(), expected, 2e-2)
    same_bits(f"attention_{backend.name.lower()}_bits", y.float().cpu())


@check
def attention_flash():
    attention(torch.nn.attention.SDPBackend.FLASH_ATTENTION)


@check
def attention_efficient():
    attention(torch.nn.attention.SDPBackend.EFFICIENT_ATTENTION)


@check
def attention_cudnn():
    attention(torch.nn.attention.SDPBackend.CUDNN_ATTENTION)


run()
