// The compiler's logs: an error names its line; the context stays usable.
#include "check.h"

static const char broken[] = ".version 7.0\n"
                             ".target sm_75\n"
                             ".address_size 64\n"
                             ".visible .entry broken()\n"
                             "{\n"
                             "    frobnicate.s32 %r1, %r2;\n"
                             "    ret;\n"
                             "}\n";

int main(void) {
    start();
    CUmodule module = NULL;
    char error[4096], info[4096];
    memset(error, 'x', sizeof error);
    memset(info, 'x', sizeof info);
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
                              CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_LOG_VERBOSE};
    void *values[] = {error, (void *)sizeof error, info, (void *)sizeof info, (void *)1};
    CHECK_ERR("broken", cuModuleLoadDataEx(&module, broken, 5, options, values), CUDA_ERROR_INVALID_PTX);
    CHECK("error_log_ends", memchr(error, 0, sizeof error) != NULL);
    CHECK("error_log_has_the_line", strstr(error, "line 6") != NULL);
    CHECK("error_log_size", (size_t)values[1] > 0 && (size_t)values[1] <= sizeof error);

    // A log that is too small is cut.
    char small[16];
    memset(small, 'x', sizeof small);
    void *few[] = {small, (void *)8};
    CHECK_ERR("broken_small_log", cuModuleLoadDataEx(&module, broken, 2, options, few), CUDA_ERROR_INVALID_PTX);
    CHECK("small_log_is_kept_to", small[8] == 'x' && small[15] == 'x');

    char *ptx = kernel_ptx("basic");
    CUjit_option numbers[] = {CU_JIT_MAX_REGISTERS, CU_JIT_OPTIMIZATION_LEVEL, CU_JIT_WALL_TIME, CU_JIT_ERROR_LOG_BUFFER,
                              CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *settings[] = {(void *)32, (void *)3, NULL, error, (void *)sizeof error};
    CHECK_CU("options", cuModuleLoadDataEx(&module, ptx, 5, numbers, settings));
    CHECK_CU("options_function", cuModuleGetFunction(&(CUfunction){0}, module, "add"));
    CHECK_CU("unload", cuModuleUnload(module));
    CHECK_ERR("null_options", cuModuleLoadDataEx(&module, broken, 0, NULL, NULL), CUDA_ERROR_INVALID_PTX);
    free(ptx);
    return finish();
}
