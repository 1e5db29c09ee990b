// Ways to load a module, and images that are none.
#include "check.h"

static char *folder_file(const char *name) {
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash = length > 0 ? strrchr(path, '/') : NULL;
    if (slash)
        snprintf(slash, sizeof path - (size_t)(slash - path), "/kernels/%s", name);
    return path;
}

int main(void) {
    start();
    char *ptx = kernel_ptx("basic");
    CUmodule module = NULL, second = NULL;
    CUfunction function, same;
    CHECK_CU("data", cuModuleLoadData(&module, ptx));
    CHECK_CU("data_ex", cuModuleLoadDataEx(&second, ptx, 0, NULL, NULL));
    CHECK("two_modules", module != second);
    CHECK_CU("function", cuModuleGetFunction(&function, module, "fill"));
    CHECK_CU("function_again", cuModuleGetFunction(&same, module, "fill"));
    CHECK("function_is_the_same", function == same);
    CHECK_ERR("no_such_function", cuModuleGetFunction(&same, module, "nothing"), CUDA_ERROR_NOT_FOUND);
    CHECK_ERR("empty_name", cuModuleGetFunction(&same, module, ""), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_name", cuModuleGetFunction(&same, module, NULL), CUDA_ERROR_INVALID_VALUE);
    CUmodule owner = NULL;
    CHECK_CU("function_module", cuFuncGetModule(&owner, function));
    CHECK("function_module_is_right", owner == module);
    CHECK_CU("unload", cuModuleUnload(second));

    CHECK_CU("file", cuModuleLoad(&second, folder_file("basic.ptx")));
    CHECK_CU("file_function", cuModuleGetFunction(&same, second, "saxpy"));
    CHECK_CU("file_unload", cuModuleUnload(second));
    CHECK_ERR("no_such_file", cuModuleLoad(&second, "/nonexistent.ptx"), CUDA_ERROR_FILE_NOT_FOUND);

    CUmoduleLoadingMode mode = 0;
    CHECK_CU("loading_mode", cuModuleGetLoadingMode(&mode));
    CHECK("loading_mode_value", mode == CU_MODULE_LAZY_LOADING || mode == CU_MODULE_EAGER_LOADING);

    CHECK_NO_IMAGE("not_ptx", cuModuleLoadData(&second, "this is no image"));
    CHECK_ERR("null_image", cuModuleLoadData(&second, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_module", cuModuleLoadData(NULL, ptx), CUDA_ERROR_INVALID_VALUE);

    // A launch that was queued before its module is unloaded still runs.
    CUdeviceptr data;
    int value = 3, n = 64, back[64];
    NEED(cuMemAlloc(&data, sizeof back));
    void *params[] = {&data, &value, &n};
    NEED(cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    NEED(cuCtxSynchronize());
    CHECK_CU("unload_used", cuModuleUnload(module));
    NEED(cuMemcpyDtoH(back, data, sizeof back));
    CHECK("result_stays", back[0] == 3 && back[63] == 3);
    free(ptx);
    return finish();
}
