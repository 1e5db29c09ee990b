// Pools by location: the device's default and current pools are those that
// cuDeviceGetMemPool and its like name.
#include "check.h"

int main(void) {
    start();
    if (!driver_has("cuMemGetMemPool")) {
        SKIP("all", "this driver names pools by device only");
        return finish();
    }
    CUmemLocation here = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}, nowhere = {.type = CU_MEM_LOCATION_TYPE_INVALID};
    CUmemoryPool standard, pool, named, made;
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = here};
    NEED(cuDeviceGetDefaultMemPool(&standard, 0));
    CHECK_CU("default", cuMemGetDefaultMemPool(&named, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
    CHECK("default_same", named == standard);
    CHECK_CU("current", cuMemGetMemPool(&named, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
    CHECK("current_is_default", named == standard);
    NEED(cuMemPoolCreate(&made, &props));
    CHECK_CU("set", cuMemSetMemPool(&here, CU_MEM_ALLOCATION_TYPE_PINNED, made));
    NEED(cuDeviceGetMemPool(&pool, 0));
    CHECK("set_for_device", pool == made);
    CHECK_CU("current_after", cuMemGetMemPool(&named, &here, CU_MEM_ALLOCATION_TYPE_PINNED));
    CHECK("current_is_set", named == made);
    CHECK_ERR("nowhere", cuMemGetMemPool(&named, &nowhere, CU_MEM_ALLOCATION_TYPE_PINNED), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null", cuMemGetMemPool(NULL, &here, CU_MEM_ALLOCATION_TYPE_PINNED), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemPoolDestroy(made));
    NEED(cuDeviceGetMemPool(&pool, 0));
    CHECK("default_again", pool == standard);
    return finish();
}
