// Feeds a model a prompt and some tokens more, and writes the logits behind each to standard output as floats.
//
//   logits MODEL LAYERS_ON_GPU PROMPT TOKENS
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "llama.h"

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    const int layers = atoi(argv[2]), prompt = atoi(argv[3]), count = atoi(argv[4]);
    ggml_backend_load_all();
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = layers;
    llama_model *model = llama_model_load_from_file(argv[1], model_params);
    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx = 256;
    context_params.n_batch = 128;
    context_params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    context_params.offload_kqv = context_params.op_offload = layers > 0;
    llama_context *context = model ? llama_init_from_model(model, context_params) : nullptr;
    if (!context)
        return 3;
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::vector<llama_token> tokens;
    for (int i = 0; i < prompt; i++)
        tokens.push_back((i * 37 + 11) % vocabulary);
    for (int i = 0; i < count; i++) {
        if (llama_decode(context, llama_batch_get_one(tokens.data(), (int)tokens.size())))
            return 4;
        fwrite(llama_get_logits_ith(context, -1), sizeof(float), vocabulary, stdout);
        tokens.assign(1, (i * 53 + 7) % vocabulary);
    }
    llama_free(context);
    llama_model_free(model);
    return 0;
}
