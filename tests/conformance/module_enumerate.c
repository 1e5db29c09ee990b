// What is in a module and in a library.
#include "check.h"

int main(void) {
    start();
    if (!driver_has("cuModuleGetFunctionCount")) {
        SKIP("enumerate", "newer than this driver");
        return finish();
    }
    CUmodule module = load("basic");
    unsigned count = 0;
    CHECK_CU("function_count", cuModuleGetFunctionCount(&count, module));
    CHECK("some_functions", count >= 4 && count < 100);
    CUfunction functions[100] = {0};
    CHECK_CU("enumerate", cuModuleEnumerateFunctions(functions, count, module));
    int found = 0, same = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *name = NULL;
        CUfunction by_name = NULL;
        if (cuFuncGetName(&name, functions[i]) == CUDA_SUCCESS && name) {
            found++;
            same += cuModuleGetFunction(&by_name, module, name) == CUDA_SUCCESS && by_name == functions[i];
        }
    }
    CHECK("names", found == (int)count);
    CHECK("same_as_by_name", same == (int)count);
    CUfunction first = NULL;
    CHECK_CU("enumerate_one", cuModuleEnumerateFunctions(&first, 1, module));
    CHECK("first", first == functions[0]);
    CHECK_ERR("count_null", cuModuleGetFunctionCount(NULL, module), CUDA_ERROR_INVALID_VALUE);

    char *ptx = kernel_ptx("basic");
    CUlibrary library;
    NEED(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    unsigned kernels = 0;
    CHECK_CU("kernel_count", cuLibraryGetKernelCount(&kernels, library));
    CHECK("same_count", kernels == count);
    CUkernel list[100] = {0}, fill = NULL;
    CHECK_CU("enumerate_kernels", cuLibraryEnumerateKernels(list, kernels, library));
    NEED(cuLibraryGetKernel(&fill, library, "fill"));
    int has_fill = 0;
    for (unsigned i = 0; i < kernels; i++)
        has_fill += list[i] == fill;
    CHECK("fill_once", has_fill == 1);
    const char *name = NULL;
    CHECK_CU("kernel_name", cuKernelGetName(&name, fill));
    CHECK("kernel_name_value", name && !strcmp(name, "fill"));
    CUlibrary owner = NULL;
    if (driver_has("cuKernelGetLibrary")) {
        CHECK_CU("kernel_library", cuKernelGetLibrary(&owner, fill));
        CHECK("kernel_library_value", owner == library);
    }
    if (driver_has("cuKernelGetParamCount")) {
        size_t params = 0;
        CHECK_CU("param_count", cuKernelGetParamCount(fill, &params));
        CHECK("param_count_value", params == 3);
    }
    CHECK_CU("unload", cuLibraryUnload(library));
    free(ptx);
    return finish();
}
