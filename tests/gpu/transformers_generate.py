"""A small GPT-2 with random weights: generation, eager and with a static cache."""

from checks import check, run, same_bits, skip_all

try:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
except ImportError as error:
    skip_all(error)

torch.backends.cuda.matmul.allow_tf32 = False


def model():
    torch.manual_seed(0)
    config = GPT2Config(n_layer=4, n_head=8, n_embd=256, vocab_size=5000, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config).eval().cuda()


PROMPT = torch.arange(1, 17).unsqueeze(0)


@check
def greedy():
    tokens = model().generate(PROMPT.cuda(), max_new_tokens=32, do_sample=False, pad_token_id=0)
    same_bits("greedy_bits", tokens.cpu())


@check
def sampled():
    torch.manual_seed(3)
    tokens = model().generate(PROMPT.cuda(), max_new_tokens=16, do_sample=True, top_k=50, pad_token_id=0)
    same_bits("sampled_bits", tokens.cpu())


@check
def half_precision_batch():
    network = model().bfloat16()
    tokens = network.generate(PROMPT.repeat(8, 1).cuda(), max_new_tokens=16, do_sample=False, pad_token_id=0)
    assert tokens.shape == (8, 32)


run()
