// Libraries: code without a context, its kernels, variables and modules.
#include "check.h"

int main(void) {
    start();
    char *ptx = kernel_ptx("fat");
    CUlibrary library, from_file;
    CUkernel answer, same, touch;
    CUfunction function;
    CUmodule module;
    CUdeviceptr out, address = 0, managed = 0;
    size_t size = 0;
    int number = 0;
    NEED(cuMemAlloc(&out, sizeof(int)));
    CHECK_CU("load", cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    CHECK_CU("kernel", cuLibraryGetKernel(&answer, library, "answer"));
    CHECK_CU("kernel_again", cuLibraryGetKernel(&same, library, "answer"));
    CHECK("kernel_is_the_same", answer == same);
    CHECK_CU("other_kernel", cuLibraryGetKernel(&touch, library, "touch"));
    CHECK("other_kernel_differs", touch != answer);
    CHECK_ERR("no_such_kernel", cuLibraryGetKernel(&same, library, "nothing"), CUDA_ERROR_NOT_FOUND);

    void *params[] = {&out};
    CHECK_CU("launch_kernel", cuLaunchKernel((CUfunction)answer, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    CHECK("launch_kernel_result", number == 42);
    CHECK_CU("function", cuKernelGetFunction(&function, answer));
    NEED(cuMemsetD32(out, 0, 1));
    CHECK_CU("launch_function", cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    CHECK("launch_function_result", number == 42);

    CHECK_CU("global", cuLibraryGetGlobal(&address, &size, library, "base"));
    CHECK("global_size", address && size == sizeof(int));
    number = 60;
    NEED(cuMemcpyHtoD(address, &number, sizeof number));
    NEED(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    CHECK("global_written", number == 62);
    CHECK_ERR("no_such_global", cuLibraryGetGlobal(&address, &size, library, "nothing"), CUDA_ERROR_NOT_FOUND);
    if (CHECK_CU("managed", cuLibraryGetManaged(&managed, &size, library, "shared_by_all"))) {
        CHECK("managed_size", managed && size == sizeof(int));
        NEED(cuLaunchKernel((CUfunction)touch, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
        NEED(cuMemcpyDtoH(&number, managed, sizeof number));
        CHECK("managed_value", number == 8);
    }

    CHECK_CU("module", cuLibraryGetModule(&module, library));
    CHECK_CU("module_function", cuModuleGetFunction(&function, module, "answer"));
    CUdeviceptr in_module = 0;
    NEED(cuLibraryGetGlobal(&address, NULL, library, "base"));
    CHECK_CU("module_global", cuModuleGetGlobal(&in_module, NULL, module, "base"));
    CHECK("module_global_is_the_library_s", in_module == address);

    int value = -1;
    CHECK_CU("attribute", cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, answer, 0));
    CHECK("attribute_value", value > 0 && value <= 1024);
    CHECK_CU("set_attribute", cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1024, answer, 0));
    if (driver_has("cuKernelGetName")) {
        const char *name = NULL;
        CHECK_CU("name", cuKernelGetName(&name, answer));
        CHECK("name_is_right", name && strcmp(name, "answer") == 0);
    } else
        SKIP("name", "newer than the driver");
    if (driver_has("cuKernelGetParamInfo")) {
        size_t offset = 99, bytes = 0;
        CHECK_CU("parameter", cuKernelGetParamInfo(answer, 0, &offset, &bytes));
        CHECK("parameter_place", offset == 0 && bytes == 8);
        CHECK_ERR("no_such_parameter", cuKernelGetParamInfo(answer, 1, &offset, &bytes), CUDA_ERROR_INVALID_VALUE);
    } else
        SKIP("parameter", "newer than the driver");

    char path[PATH_MAX] = "";
    if (readlink("/proc/self/exe", path, sizeof path - 20) > 0) {
        strcpy(strrchr(path, '/'), "/kernels/fat.ptx");
        CHECK_CU("file", cuLibraryLoadFromFile(&from_file, path, NULL, NULL, 0, NULL, NULL, 0));
        CHECK_CU("file_kernel", cuLibraryGetKernel(&same, from_file, "answer"));
        CHECK_CU("file_unload", cuLibraryUnload(from_file));
    }
    // A driver that loads lazily finds out when something of the library is asked for.
    CUresult loaded = cuLibraryLoadData(&from_file, "no code", NULL, NULL, 0, NULL, NULL, 0);
    CHECK("not_code", loaded != CUDA_SUCCESS || cuLibraryGetKernel(&same, from_file, "answer") != CUDA_SUCCESS);
    CHECK_ERR("null_code", cuLibraryLoadData(&from_file, NULL, NULL, NULL, 0, NULL, NULL, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("unload", cuLibraryUnload(library));
    free(ptx);
    return finish();
}
