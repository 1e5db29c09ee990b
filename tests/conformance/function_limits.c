// Attributes of functions: what they need, what they may have.
#include "check.h"

int main(void) {
    start();
    CUmodule module = load("basic");
    CUfunction count = kernel(module, "count_threads"), fill = kernel(module, "fill");
    int value = -1;
    CHECK_CU("threads", cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, fill));
    CHECK("threads_value", value > 0 && value <= 1024);
    CHECK_CU("static_shared", cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, fill));
    CHECK("static_shared_value", value == 0);
    CHECK_CU("ptx_version", cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, fill));
    CHECK("ptx_version_value", value == 75);
    CHECK_ERR("no_such_attribute", cuFuncGetAttribute(&value, (CUfunction_attribute)99, fill), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("attribute_null", cuFuncGetAttribute(NULL, CU_FUNC_ATTRIBUTE_NUM_REGS, fill), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("read_only", cuFuncSetAttribute(fill, CU_FUNC_ATTRIBUTE_NUM_REGS, 1), CUDA_ERROR_INVALID_VALUE);

    // More shared memory than usual must be asked for first.
    int normal = device_attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    int most = device_attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    CUdeviceptr out;
    NEED(cuMemAlloc(&out, sizeof(int)));
    void *params[] = {&out};
    if (most > normal) {
        CHECK_ERR("too_much_shared", cuLaunchKernel(count, 1, 1, 1, 32, 1, 1, most, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
        CHECK_CU("opt_in", cuFuncSetAttribute(count, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most));
        NEED(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, count));
        CHECK("opted_in", value == most);
        CHECK_CU("allowed_shared", cuLaunchKernel(count, 1, 1, 1, 32, 1, 1, most, NULL, params, NULL));
        CHECK_CU("synchronize", cuCtxSynchronize());
        CHECK_ERR("beyond_opt_in", cuFuncSetAttribute(count, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most + 1), CUDA_ERROR_INVALID_VALUE);
    } else {
        SKIP("opt_in", "this device has no more");
    }
    CHECK_CU("carveout", cuFuncSetAttribute(fill, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 50));
    NEED(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, fill));
    CHECK("carveout_value", value == 50);
    CHECK_ERR("carveout_range", cuFuncSetAttribute(fill, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 101), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("cache_config", cuFuncSetCacheConfig(fill, CU_FUNC_CACHE_PREFER_L1));

    CUmodule owner = NULL;
    CHECK_CU("module", cuFuncGetModule(&owner, fill));
    CHECK("module_value", owner == module);
    if (driver_has("cuFuncGetParamInfo")) {
        size_t offset = 99, size = 99;
        CHECK_CU("param_info", cuFuncGetParamInfo(fill, 1, &offset, &size));
        CHECK("param_info_value", offset == 8 && size == 4);
        CHECK_ERR("no_such_param", cuFuncGetParamInfo(fill, 3, &offset, &size), CUDA_ERROR_INVALID_VALUE);
        CHECK_CU("param_size_null", cuFuncGetParamInfo(fill, 0, &offset, NULL));
    }

    int blocks = 0, block_size = 0, grid = 0;
    CHECK_CU("occupancy", cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, fill, 256, 0));
    CHECK("occupancy_value", blocks >= 1 && blocks * 256 <= device_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR));
    CHECK_CU("block_size", cuOccupancyMaxPotentialBlockSize(&grid, &block_size, fill, NULL, 0, 0));
    CHECK("block_size_value", block_size % 32 == 0 && block_size > 0 && grid > 0);
    CHECK_CU("block_size_limit", cuOccupancyMaxPotentialBlockSize(&grid, &block_size, fill, NULL, 0, 64));
    CHECK("block_size_limited", block_size > 0 && block_size <= 64);
    size_t shared = 0;
    CHECK_CU("available_shared", cuOccupancyAvailableDynamicSMemPerBlock(&shared, fill, 1, 128));
    CHECK("available_shared_value", shared >= (size_t)normal);
    CHECK_ERR("occupancy_null", cuOccupancyMaxActiveBlocksPerMultiprocessor(NULL, fill, 256, 0), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
