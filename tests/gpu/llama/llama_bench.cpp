// llama.cpp with a model of random weights: logits to be compared with another run's, and speeds.
//
//   llama_bench FOLDER WEIGHTS SIZE [no_graphs]     WEIGHTS: q4_0, q8_0 or f16; SIZE: tiny, or like Llama's of 1B
//
// The model is written to FOLDER if it is not there yet.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "llama.h"

namespace {

// A Llama's shape. Heads of 128 and four of them a key, as Llama 3 has them: other attention is not compiled in.
struct Shape {
    int64_t layers, heads, inner, vocabulary;
    int64_t width() const { return heads * 128; }
    int64_t key_width() const { return heads / 4 * 128; }
};

struct Run {
    std::string name;
    ggml_type type;
    Shape shape;
    int prompt, tokens;
    double seconds; // of each measurement, at least
};

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void fail(const std::string &what) {
    printf("fail %s\n", what.c_str());
    exit(1);
}

void report(const std::string &name, double value, const char *unit) {
    printf("{\"bench\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name.c_str(), value, unit);
    fflush(stdout);
}

// A row's blocks: random weights whose products with values of size one have size one.
void fill(ggml_type type, int64_t columns, std::vector<uint8_t> &row, std::mt19937_64 &random) {
    const float deviation = 1 / std::sqrt(float(columns));
    if (type == GGML_TYPE_F32) {
        // Weights of a norm.
        std::fill_n((float *)row.data(), columns, 1.0f);
        return;
    }
    for (size_t at = 0; at + 8 <= row.size(); at += 8) {
        const uint64_t bits = random();
        memcpy(&row[at], &bits, 8);
    }
    if (type == GGML_TYPE_F16) {
        for (int64_t i = 0; i < columns; i++) {
            uint16_t &half = ((uint16_t *)row.data())[i];
            half = ggml_fp32_to_fp16((half / 32768.0f - 1) * 1.73f * deviation);
        }
        return;
    }
    // Blocks begin with their scale; deviation of numbers that are equally likely: a twelfth of the range's square.
    const float levels = type == GGML_TYPE_Q4_0 ? 16 : 256;
    const ggml_fp16_t scale = ggml_fp32_to_fp16(deviation / (levels * 0.2887f));
    for (size_t at = 0; at < row.size(); at += ggml_type_size(type))
        memcpy(&row[at], &scale, sizeof scale);
}

// Writes a model; tensors go to the file one by one.
void write_model(const std::string &path, ggml_type type, const Shape &shape) {
    ggml_context *tensors = ggml_init({16 << 20, nullptr, true});
    gguf_context *file = gguf_init_empty();
    gguf_set_val_str(file, "general.architecture", "llama");
    gguf_set_val_str(file, "tokenizer.ggml.model", "no_vocab");
    gguf_set_val_u32(file, "llama.context_length", 4096);
    gguf_set_val_u32(file, "llama.embedding_length", uint32_t(shape.width()));
    gguf_set_val_u32(file, "llama.block_count", uint32_t(shape.layers));
    gguf_set_val_u32(file, "llama.feed_forward_length", uint32_t(shape.inner));
    gguf_set_val_u32(file, "llama.attention.head_count", uint32_t(shape.heads));
    gguf_set_val_u32(file, "llama.attention.head_count_kv", uint32_t(shape.heads / 4));
    gguf_set_val_f32(file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_set_val_u32(file, "llama.rope.dimension_count", 128);
    gguf_set_val_u32(file, "llama.vocab_size", uint32_t(shape.vocabulary));
    std::vector<ggml_tensor *> all;
    auto tensor = [&](const std::string &name, ggml_type kind, int64_t columns, int64_t rows) {
        all.push_back(rows > 1 ? ggml_new_tensor_2d(tensors, kind, columns, rows)
                               : ggml_new_tensor_1d(tensors, kind, columns));
        ggml_set_name(all.back(), (name + ".weight").c_str());
        gguf_add_tensor(file, all.back());
    };
    tensor("token_embd", type, shape.width(), shape.vocabulary);
    for (int64_t i = 0; i < shape.layers; i++) {
        const std::string layer = "blk." + std::to_string(i) + ".";
        tensor(layer + "attn_norm", GGML_TYPE_F32, shape.width(), 1);
        tensor(layer + "ffn_norm", GGML_TYPE_F32, shape.width(), 1);
        tensor(layer + "attn_q", type, shape.width(), shape.width());
        tensor(layer + "attn_k", type, shape.width(), shape.key_width());
        tensor(layer + "attn_v", type, shape.width(), shape.key_width());
        tensor(layer + "attn_output", type, shape.width(), shape.width());
        tensor(layer + "ffn_gate", type, shape.width(), shape.inner);
        tensor(layer + "ffn_up", type, shape.width(), shape.inner);
        tensor(layer + "ffn_down", type, shape.inner, shape.width());
    }
    tensor("output_norm", GGML_TYPE_F32, shape.width(), 1);
    tensor("output", type, shape.width(), shape.vocabulary);
    FILE *out = fopen((path + ".new").c_str(), "wb");
    if (!out || !gguf_write_to_file_ptr(file, out, true))
        fail("model: cannot write " + path);
    std::mt19937_64 random(1);
    for (const ggml_tensor *t : all) {
        std::vector<uint8_t> row(ggml_row_size(t->type, t->ne[0]));
        for (int64_t i = 0; i < t->ne[1]; i++) {
            fill(t->type, t->ne[0], row, random);
            fwrite(row.data(), 1, row.size(), out);
        }
        static const char zeros[64] = {};
        fwrite(zeros, 1, GGML_PAD(ggml_nbytes(t), gguf_get_alignment(file)) - ggml_nbytes(t), out);
    }
    if (ferror(out) | fclose(out) || rename((path + ".new").c_str(), path.c_str()))
        fail("model: cannot write " + path);
    gguf_free(file);
    ggml_free(tensors);
}

// FNV-1a.
struct Hash {
    uint64_t value = 0xcbf29ce484222325;
    void add(const void *data, size_t length) {
        for (size_t i = 0; i < length; i++)
            value = (value ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
    }
};

// Feeds tokens; the logits behind the last one.
const float *decode(llama_context *context, std::vector<llama_token> &tokens) {
    if (llama_decode(context, llama_batch_get_one(tokens.data(), int(tokens.size()))))
        fail("decode: llama_decode");
    return llama_get_logits_ith(context, -1);
}

// Generates tokens, the likeliest each, behind a prompt, from an empty context.
std::pair<Hash, Hash> generate(llama_context *context, const Run &run, double *decode_seconds, double *prompt_seconds) {
    std::vector<llama_token> tokens;
    for (int i = 0; i < run.prompt; i++)
        tokens.push_back(llama_token((i * 37 + 11) % run.shape.vocabulary));
    std::pair<Hash, Hash> bits;
    llama_memory_clear(llama_get_memory(context), false);
    const double start = now();
    const float *logits = decode(context, tokens);
    const double middle = now();
    bits.first.add(logits, size_t(run.shape.vocabulary) * sizeof *logits);
    for (int i = 0; i < run.tokens; i++) {
        const float *likeliest = std::max_element(logits, logits + run.shape.vocabulary);
        if (!std::isfinite(*likeliest))
            fail("finite: a logit is no number");
        tokens.assign(1, llama_token(likeliest - logits));
        logits = decode(context, tokens);
        // A few bytes of each: the hash is not to be what takes the time.
        bits.second.add(logits, 64 * sizeof *logits);
    }
    *prompt_seconds = middle - start;
    *decode_seconds = now() - middle;
    return bits;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void same_bits(const std::string &name, const Hash &first, const Hash &second) {
    if (first.value == second.value)
        printf("hash %s %016llx\n", name.c_str(), (unsigned long long)first.value);
    else
        printf("skip %s: not the same twice\n", name.c_str());
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    const std::string folder = argv[1], weights = argv[2];
    const bool tiny = !strcmp(argv[3], "tiny"), no_graphs = argc > 4;
    Run run = {"llama_" + weights, GGML_TYPE_Q4_0, {24, 16, 8192, 32000}, 512, 128, 2};
    if (weights == "q8_0")
        run.type = GGML_TYPE_Q8_0;
    if (weights == "f16")
        run.type = GGML_TYPE_F16, run.shape.layers = 8;
    if (tiny)
        run.shape = {2, 4, 512, 512}, run.prompt = 40, run.tokens = 4, run.seconds = 0;
    if (no_graphs)
        setenv("GGML_CUDA_DISABLE_GRAPHS", "1", 1), run.name += "_no_graphs";
    const std::string path = folder + "/" + weights + ".gguf";
    if (FILE *there = fopen(path.c_str(), "rb"))
        fclose(there);
    else
        write_model(path, run.type, run.shape);

    // Only what goes wrong is told, but for where the layers are.
    static bool offloaded = false;
    llama_log_set(
        [](ggml_log_level level, const char *text, void *) {
            offloaded |= strstr(text, "offloaded") && !strstr(text, "offloaded 0/");
            if (level >= GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_CONT)
                fputs(text, stderr);
        },
        nullptr);
    ggml_backend_load_all();
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 999;
    double start = now();
    llama_model *model = llama_model_load_from_file(path.c_str(), model_params);
    if (!model)
        fail("load: llama_model_load_from_file");
    report(run.name + "_load", now() - start, "s");
    printf("%s offloaded\n", offloaded ? "ok" : "fail");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 1024;
    params.n_batch = params.n_ubatch = 512;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    llama_context *context = llama_init_from_model(model, params);
    if (!context)
        fail("context: llama_init_from_model");

    std::vector<double> decoding, prompts;
    double decode_seconds, prompt_seconds;
    const auto first = generate(context, run, &decode_seconds, &prompt_seconds);
    start = now();
    for (int round = 0; round < 2 || (round < 30 && now() - start < run.seconds); round++) {
        const auto again = generate(context, run, &decode_seconds, &prompt_seconds);
        if (round == 0) {
            same_bits("prompt_logits", first.first, again.first);
            same_bits("decode_logits", first.second, again.second);
        }
        decoding.push_back(decode_seconds);
        prompts.push_back(prompt_seconds);
    }
    report(run.name + "_decode", run.tokens / median(decoding), "tokens/s");
    if (!no_graphs)
        report(run.name + "_prompt", run.prompt / median(prompts), "tokens/s");
    llama_free(context);
    llama_model_free(model);
    return 0;
}
