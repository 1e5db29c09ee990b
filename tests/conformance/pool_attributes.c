// Memory pools: default and current pool, attributes, what is reserved and used.
#include "check.h"

enum { SIZE = 4 << 20 };

static cuuint64_t wide(CUmemoryPool pool, CUmemPool_attribute attribute) {
    cuuint64_t value = ~0ull;
    NEED(cuMemPoolGetAttribute(pool, attribute, &value));
    return value;
}

static CUmemPoolProps device_pool(void) {
    CUmemPoolProps props;
    memset(&props, 0, sizeof props);
    props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    return props;
}

static void current_pools(CUmemoryPool pool) {
    CUmemoryPool first = NULL, current = NULL;
    CHECK_CU("default_pool", cuDeviceGetDefaultMemPool(&first, 0));
    CHECK_CU("current_pool", cuDeviceGetMemPool(&current, 0));
    CHECK("current_is_default", first && current == first);
    CHECK_CU("set_current", cuDeviceSetMemPool(0, pool));
    CHECK_CU("current_after_set", cuDeviceGetMemPool(&current, 0));
    CHECK("current_is_set", current == pool);

    CUdeviceptr memory = 0;
    CUmemoryPool owner = NULL;
    CHECK_CU("allocate_from_current", cuMemAllocAsync(&memory, SIZE, 0));
    CHECK_CU("pool_of_pointer", cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, memory));
    CHECK("pool_of_pointer_is_current", owner == pool);
    CHECK("used_in_current", wide(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT) >= SIZE);
    CHECK_CU("free_to_current", cuMemFreeAsync(memory, 0));
    CHECK_CU("set_default", cuDeviceSetMemPool(0, first));

    CHECK("destroy_default", cuMemPoolDestroy(first) != CUDA_SUCCESS);
    CHECK_ERR("default_of_no_device", cuDeviceGetDefaultMemPool(&first, 99), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("default_to_nowhere", cuDeviceGetDefaultMemPool(NULL, 0), CUDA_ERROR_INVALID_VALUE);

    CHECK_CU("create_second", cuMemPoolCreate(&owner, &(CUmemPoolProps){.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                                                       .location = {CU_MEM_LOCATION_TYPE_DEVICE, {0}}}));
    CHECK_CU("set_second", cuDeviceSetMemPool(0, owner));
    CHECK_CU("destroy_current", cuMemPoolDestroy(owner));
    CHECK_CU("current_after_destroy", cuDeviceGetMemPool(&current, 0));
    CHECK("current_is_default_again", current == first);
}

static void attributes(CUmemoryPool pool) {
    const CUmemPool_attribute reuse[] = {CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES,
                                         CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC,
                                         CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES};
    int enabled = 1, set = 1;
    for (int i = 0; i < 3; i++) {
        int value[2] = {-1, 0x5a5a5a5a};
        NEED(cuMemPoolGetAttribute(pool, reuse[i], value));
        enabled &= value[0] == 1 && value[1] == 0x5a5a5a5a;
        value[0] = 0;
        NEED(cuMemPoolSetAttribute(pool, reuse[i], value));
        value[0] = -1;
        NEED(cuMemPoolGetAttribute(pool, reuse[i], value));
        set &= value[0] == 0;
        value[0] = 1;
        NEED(cuMemPoolSetAttribute(pool, reuse[i], value));
    }
    CHECK("reuse_defaults_are_ints", enabled);
    CHECK("reuse_is_set", set);
    CHECK("threshold_default", wide(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) == 0);
    cuuint64_t most = ~0ull, none = 0, one = 1;
    CHECK_CU("set_threshold", cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &most));
    CHECK("threshold_set", wide(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) == most);

    CUdeviceptr memory = 0;
    NEED(cuMemAllocFromPoolAsync(&memory, SIZE, pool, 0));
    CHECK("used", wide(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT) >= SIZE);
    CHECK("reserved", wide(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) >= SIZE);
    NEED(cuMemFreeAsync(memory, 0));
    NEED(cuStreamSynchronize(0));
    CHECK("used_after_free", wide(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT) == 0);
    CHECK("kept_below_threshold", wide(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) >= SIZE);
    CHECK("used_high", wide(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH) >= SIZE);
    CHECK("reserved_high", wide(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH) >= SIZE);
    CHECK_CU("reset_used_high", cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &none));
    CHECK("used_high_is_reset", wide(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH) == 0);
    CHECK_ERR("set_high_to_one", cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &one),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("set_current", cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &none),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("unknown_attribute", cuMemPoolGetAttribute(pool, (CUmemPool_attribute)999, &one),
              CUDA_ERROR_INVALID_VALUE);

    CHECK_CU("trim", cuMemPoolTrimTo(pool, 0));
    CHECK("trimmed", wide(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) == 0);
}

static void access_of(CUmemoryPool pool) {
    CUmemLocation device = {.type = CU_MEM_LOCATION_TYPE_DEVICE};
    CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
    CHECK_CU("get_access", cuMemPoolGetAccess(&flags, pool, &device));
    CHECK("own_device_has_access", flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    CUmemAccessDesc desc = {.location = device, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CHECK_CU("set_access", cuMemPoolSetAccess(pool, &desc, 1));
    CHECK_ERR("access_without_list", cuMemPoolSetAccess(pool, NULL, 1), CUDA_ERROR_INVALID_VALUE);
    device.id = 99;
    CHECK("access_of_no_device", cuMemPoolGetAccess(&flags, pool, &device) != CUDA_SUCCESS);
}

int main(void) {
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)) {
        SKIP("pools", "the device has no memory pools");
        return finish();
    }
    CUmemPoolProps props = device_pool();
    CUmemoryPool pool = NULL;
    NEED(cuMemPoolCreate(&pool, &props));
    attributes(pool);
    access_of(pool);
    current_pools(pool);

    CHECK_ERR("create_to_nowhere", cuMemPoolCreate(NULL, &props), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("create_without_properties", cuMemPoolCreate(&pool, NULL), CUDA_ERROR_INVALID_VALUE);
    props.location.id = 99;
    CUmemoryPool other = NULL;
    CHECK("create_on_no_device", cuMemPoolCreate(&other, &props) != CUDA_SUCCESS);
    CHECK_CU("destroy", cuMemPoolDestroy(pool));
    return finish();
}
