// Memory pools and mapped memory: each says which devices reach it.
#include "two.h"

enum { COUNT = 1000, BYTES = COUNT * sizeof(int) };

static CUmemLocation at(int device) { return (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}; }

static CUmemAccessDesc access_of(int device, CUmemAccess_flags flags) {
    return (CUmemAccessDesc){.location = at(device), .flags = flags};
}

static void pools(CUcontext contexts[2], CUfunction fill) {
    CUmemoryPool own, defaults[2], pool;
    CUmemPoolProps props;
    CUdeviceptr early, late, default_memory;
    CUmemAccess_flags flags = 9;
    CUmemLocation first = at(0), second = at(1);
    int ordinal = -1;
    for (int dev = 0; dev < 2; dev++)
        NEED(cuDeviceGetDefaultMemPool(&defaults[dev], dev));
    CHECK("default_pools_differ", defaults[0] != defaults[1]);
    memset(&props, 0, sizeof props);
    props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    props.location = second;
    NEED(cuMemPoolCreate(&own, &props));
    CHECK_ERR("set_pool_of_other", cuDeviceSetMemPool(0, own), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("set_pool", cuDeviceSetMemPool(1, own));
    NEED(cuDeviceGetMemPool(&pool, 1));
    CHECK("pool_is_set", pool == own);
    NEED(cuDeviceGetMemPool(&pool, 0));
    CHECK("pool_of_other", pool == defaults[0]);

    CHECK_CU("get_access", cuMemPoolGetAccess(&flags, own, &first));
    CHECK("no_access_at_first", flags == CU_MEM_ACCESS_FLAGS_PROT_NONE);
    CHECK_CU("get_own_access", cuMemPoolGetAccess(&flags, own, &second));
    CHECK("own_access", flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    NEED(cuCtxSetCurrent(contexts[1]));
    NEED(cuMemAllocAsync(&early, BYTES, NULL));
    NEED(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, early));
    CHECK("pool_ordinal", ordinal == 1);
    CUmemAccessDesc desc = access_of(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    CHECK_CU("set_access", cuMemPoolSetAccess(own, &desc, 1));
    CHECK_CU("get_access_again", cuMemPoolGetAccess(&flags, own, &first));
    CHECK("access", flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    NEED(cuMemAllocAsync(&late, BYTES, NULL));
    NEED(cuCtxSynchronize());
    NEED(cuCtxSetCurrent(contexts[0]));
    launch_basic(fill, early, 1, COUNT, NULL);
    launch_basic(fill, late, 2, COUNT, NULL);
    CHECK_CU("kernel_in_pool", cuCtxSynchronize());
    CHECK("pool_early", all_are(early, 1, COUNT));
    CHECK("pool_late", all_are(late, 2, COUNT));
    desc = access_of(0, CU_MEM_ACCESS_FLAGS_PROT_NONE);
    CHECK_CU("revoke_access", cuMemPoolSetAccess(own, &desc, 1));
    NEED(cuMemPoolGetAccess(&flags, own, &first));
    CHECK("access_revoked", flags == CU_MEM_ACCESS_FLAGS_PROT_NONE);

    // A stream of one device takes memory of the other one's pool.
    CUdeviceptr other;
    CHECK_CU("alloc_from_other", cuMemAllocFromPoolAsync(&other, BYTES, own, NULL));
    NEED(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, other));
    CHECK("alloc_from_other_ordinal", ordinal == 1);
    NEED(cuMemAllocAsync(&default_memory, BYTES, NULL));
    NEED(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, default_memory));
    CHECK("default_ordinal", ordinal == 0);
    CUdeviceptr all[] = {early, late, other, default_memory};
    for (int i = 0; i < 4; i++)
        NEED(cuMemFreeAsync(all[i], NULL));
    NEED(cuCtxSynchronize());
    NEED(cuMemPoolDestroy(own));
}

static void mapped(CUcontext contexts[2], CUfunction fill) {
    int supported[2];
    for (int dev = 0; dev < 2; dev++)
        NEED(cuDeviceGetAttribute(&supported[dev], CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, dev));
    if (!supported[0] || !supported[1]) {
        SKIP("mapped", "a device has no virtual memory management");
        return;
    }
    CUmemAllocationProp prop, told;
    CUmemGenericAllocationHandle handle;
    CUdeviceptr base;
    size_t unit;
    unsigned long long flags = 9;
    int ordinal = -1;
    memset(&prop, 0, sizeof prop);
    prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    prop.location = at(1);
    NEED(cuMemGetAllocationGranularity(&unit, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    NEED(cuMemCreate(&handle, unit, &prop, 0));
    NEED(cuMemGetAllocationPropertiesFromHandle(&told, handle));
    CHECK("physical_on_1", told.location.id == 1);
    NEED(cuMemAddressReserve(&base, unit, 0, 0, 0));
    NEED(cuMemMap(base, unit, 0, handle, 0));
    CUmemAccessDesc both[] = {access_of(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE), access_of(1, CU_MEM_ACCESS_FLAGS_PROT_READ)};
    CHECK_CU("map_for_both", cuMemSetAccess(base, unit, both, 2));
    CHECK_CU("get_access_0", cuMemGetAccess(&flags, &both[0].location, base));
    CHECK("access_0", flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    NEED(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, base));
    CHECK("mapped_ordinal", ordinal == 1);
    NEED(cuCtxSetCurrent(contexts[0]));
    launch_basic(fill, base, 4, COUNT, NULL);
    CHECK_CU("kernel_in_mapping", cuCtxSynchronize());
    CHECK("mapping_written", all_are(base, 4, COUNT));
    both[0].location.id = 99;
    CHECK_ERR("map_for_no_device", cuMemSetAccess(base, unit, both, 1), CUDA_ERROR_INVALID_DEVICE);
    NEED(cuMemUnmap(base, unit));
    NEED(cuMemRelease(handle));
    NEED(cuMemAddressFree(base, unit));
}

int main(void) {
    CUcontext contexts[2];
    start_peers(contexts);
    CUfunction fill = kernel(load("basic"), "fill");
    pools(contexts, fill);
    mapped(contexts, fill);
    return finish();
}
