// A kernel that touches mapped memory to which the device has no access: an illegal address.
#include "check.h"

int main(void) {
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)) {
        SKIP("vmm", "the device has no virtual memory management");
        return finish();
    }
    CUmodule module = load("touch");
    CUmemAllocationProp prop;
    memset(&prop, 0, sizeof prop);
    prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    size_t unit = 0;
    NEED(cuMemGetAllocationGranularity(&unit, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    CUmemGenericAllocationHandle handle;
    CUdeviceptr base = 0;
    NEED(cuMemAddressReserve(&base, unit, 0, 0, 0));
    NEED(cuMemCreate(&handle, unit, &prop, 0));
    NEED(cuMemMap(base, unit, 0, handle, 0));
    unsigned long long flags = 9;
    CHECK_CU("get_access", cuMemGetAccess(&flags, &prop.location, base));
    CHECK("no_access_at_first", flags == CU_MEM_ACCESS_FLAGS_PROT_NONE);
    unsigned value = 1;
    void *params[] = {&base, &value};
    NEED(cuLaunchKernel(kernel(module, "store"), 1, 1, 1, 1, 1, 1, 0, 0, params, NULL));
    CHECK_ERR("store", cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    return finish();
}
