"""The GPT-2 of transformers_generate.py with a cache of fixed size, for which its decoding step is compiled and
runs as CUDA graphs."""

from checks import check, run, same_bits, skip_all

try:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
except ImportError as error:
    skip_all(error)


@check
def static_cache():
    torch.manual_seed(0)
    config = GPT2Config(n_layer=4, n_head=8, n_embd=256, vocab_size=5000, bos_token_id=0, eos_token_id=0)
    network = GPT2LMHeadModel(config).eval().cuda()
    prompt = torch.arange(1, 17).unsqueeze(0).cuda()
    options = dict(max_new_tokens=24, min_new_tokens=24, do_sample=False, pad_token_id=0)
    expected = network.generate(prompt, **options)
    tokens = network.generate(prompt, cache_implementation="static", **options)
    same_bits("static_cache_bits", tokens.cpu())
    # Roundings may decide otherwise once; what follows is another text then.
    same = int((tokens == expected).sum())
    assert same >= tokens.numel() // 2, f"{same} of {tokens.numel()} tokens are the eager run's"


run()
