// What a function says about itself, and what can be set.
#include "check.h"

static int attribute(CUfunction function, CUfunction_attribute which) {
    int value = -1;
    NEED(cuFuncGetAttribute(&value, which, function));
    return value;
}

int main(void) {
    start();
    CUmodule module = load("resources");
    CUfunction shared = kernel(module, "static_shared"), small = kernel(module, "small_blocks");
    CUfunction dynamic = kernel(module, "dynamic_shared"), many = kernel(module, "parameters");

    CHECK("static_shared_size", attribute(shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) == 4096);
    CHECK("no_static_shared", attribute(small, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) == 0);
    CHECK("threads", attribute(shared, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 1024);
    CHECK("launch_bounds", attribute(small, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 128);
    CHECK("registers", attribute(shared, CU_FUNC_ATTRIBUTE_NUM_REGS) > 0);
    CHECK("ptx_version", attribute(shared, CU_FUNC_ATTRIBUTE_PTX_VERSION) == 75);
    CHECK("binary_version", attribute(shared, CU_FUNC_ATTRIBUTE_BINARY_VERSION) >= 75);
    CHECK("local_size", attribute(small, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES) >= 0);

    // 48 KiB without asking; more after asking, up to what the device offers.
    int most = device_attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    CHECK("dynamic_default", attribute(dynamic, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) == 49152);
    CUdeviceptr out;
    int words = most / 4, number = 0;
    NEED(cuMemAlloc(&out, sizeof number));
    void *params[] = {&out, &words};
    CHECK_ERR("too_much_without_asking", cuLaunchKernel(dynamic, 1, 1, 1, 1, 1, 1, most, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("ask", cuFuncSetAttribute(dynamic, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most));
    CHECK("asked", attribute(dynamic, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) == most);
    CHECK_CU("launch_with_all", cuLaunchKernel(dynamic, 1, 1, 1, 1, 1, 1, most, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    CHECK("launch_with_all_result", number == words);
    CHECK_ERR("ask_for_too_much", cuFuncSetAttribute(dynamic, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most + 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("carveout", cuFuncSetAttribute(dynamic, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 50));
    CHECK_ERR("read_only_attribute", cuFuncSetAttribute(dynamic, CU_FUNC_ATTRIBUTE_NUM_REGS, 8), CUDA_ERROR_INVALID_VALUE);
    int value;
    CHECK_ERR("no_such_attribute", cuFuncGetAttribute(&value, (CUfunction_attribute)1000, dynamic), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("cache_config", cuFuncSetCacheConfig(dynamic, CU_FUNC_CACHE_PREFER_SHARED));

    if (driver_has("cuFuncGetParamInfo")) {
        static const size_t offsets[] = {0, 8, 16, 20, 24, 48}, sizes[] = {1, 8, 2, 4, 24, 8};
        int right = 1;
        for (size_t i = 0; i < 6; i++) {
            size_t offset = 99, size = 99;
            NEED(cuFuncGetParamInfo(many, i, &offset, &size));
            right &= offset == offsets[i] && size == sizes[i];
        }
        CHECK("parameters", right);
        size_t offset;
        CHECK_ERR("no_such_parameter", cuFuncGetParamInfo(many, 6, &offset, NULL), CUDA_ERROR_INVALID_VALUE);
    } else
        SKIP("parameters", "newer than the driver");
    if (driver_has("cuFuncGetName")) {
        const char *name = NULL;
        CHECK_CU("name", cuFuncGetName(&name, small));
        CHECK("name_is_right", name && strcmp(name, "small_blocks") == 0);
    } else
        SKIP("name", "newer than the driver");

    // Every parameter arrives at its place.
    char a = 1;
    long long b = 2;
    short c = 3;
    float d = 4;
    struct {
        char c;
        double d;
        short s;
    } e = {5, 6, 7};
    void *arguments[] = {&a, &b, &c, &d, &e, &out};
    CHECK_CU("launch_parameters", cuLaunchKernel(many, 1, 1, 1, 1, 1, 1, 0, NULL, arguments, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    CHECK("launch_parameters_result", number == 1 + 4 + 9 + 16 + (5 + 12 + 21) * 5);
    return finish();
}
