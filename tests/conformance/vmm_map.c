// Virtual memory management: reserved ranges that grow, physical memory at several addresses, access.
#include "check.h"

static size_t unit;

static CUmemAllocationProp properties(void) {
    CUmemAllocationProp prop;
    memset(&prop, 0, sizeof prop);
    prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    return prop;
}

static CUmemAccessDesc access_of(CUmemAccess_flags flags) {
    CUmemAccessDesc desc;
    memset(&desc, 0, sizeof desc);
    desc.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    desc.flags = flags;
    return desc;
}

static unsigned word_at(CUdeviceptr address) {
    unsigned value = 0xdead;
    NEED(cuMemcpyDtoH(&value, address, sizeof value));
    return value;
}

// A range that is reserved once and mapped in steps, as allocators do.
static void grow(void) {
    enum { STEPS = 4 };
    const size_t reserved = (size_t)4 << 30;
    CUmemAllocationProp prop = properties();
    CUmemAccessDesc access = access_of(CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    CUdeviceptr base = 0;
    if (!CHECK_CU("reserve", cuMemAddressReserve(&base, reserved, 0, 0, 0)))
        return;
    CHECK("reserved_aligned", base % unit == 0);
    int mapped = 1;
    for (int i = 0; i < STEPS; i++) {
        CUmemGenericAllocationHandle handle;
        mapped &= cuMemCreate(&handle, unit, &prop, 0) == CUDA_SUCCESS;
        mapped &= cuMemMap(base + i * unit, unit, 0, handle, 0) == CUDA_SUCCESS;
        mapped &= cuMemRelease(handle) == CUDA_SUCCESS;
        mapped &= cuMemSetAccess(base + i * unit, unit, &access, 1) == CUDA_SUCCESS;
    }
    CHECK("mapped_in_steps", mapped);
    CHECK_CU("set_across", cuMemsetD32(base, 77, STEPS * unit / 4));
    CHECK("set_result", word_at(base) == 77 && word_at(base + unit) == 77 && word_at(base + STEPS * unit - 4) == 77);
    unsigned *host = malloc(2 * unit);
    CHECK_CU("copy_across", cuMemcpyDtoH(host, base + unit / 2, unit));
    CHECK("copy_result", host[0] == 77 && host[unit / 4 - 1] == 77);
    host[0] = 5;
    CHECK_CU("copy_to", cuMemcpyHtoD(base + unit - 4, host, unit));
    CHECK("copied_to", word_at(base + unit - 4) == 5 && word_at(base + unit) == 77);
    free(host);

    CUdeviceptr start = 0;
    size_t size = 0;
    CUmemorytype type = 0;
    CHECK_CU("range_start", cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, base + unit + 8));
    CHECK_CU("range_size", cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, base + unit + 8));
    CHECK("range_is_reservation", start == base && size == reserved);
    CHECK_CU("memory_type", cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, base));
    CHECK("memory_type_is_device", type == CU_MEMORYTYPE_DEVICE);
    int is_mapped = 0;
    CHECK_CU("mapped", cuPointerGetAttribute(&is_mapped, CU_POINTER_ATTRIBUTE_MAPPED, base + unit));
    CHECK("mapped_where", (is_mapped & 0xff) == 1);
    CHECK_ERR("not_mapped", cuPointerGetAttribute(&is_mapped, CU_POINTER_ATTRIBUTE_MAPPED, base + STEPS * unit),
              CUDA_ERROR_INVALID_VALUE);

    CHECK_ERR("free_mapped", cuMemAddressFree(base, reserved), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("unmap", cuMemUnmap(base, STEPS * unit));
    CHECK("unmapped", cuMemcpyDtoH(&type, base, sizeof type) != CUDA_SUCCESS);
    CHECK_CU("free", cuMemAddressFree(base, reserved));
}

// The same physical memory at two addresses is the same bytes.
static void alias(CUmodule module) {
    CUmemAllocationProp prop = properties();
    CUmemAccessDesc access = access_of(CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    CUmemGenericAllocationHandle handle, again;
    CUdeviceptr base = 0, scratch = 0;
    NEED(cuMemCreate(&handle, 2 * unit, &prop, 0));
    NEED(cuMemAddressReserve(&base, 4 * unit, 0, 0, 0));
    CHECK_CU("map_first", cuMemMap(base, 2 * unit, 0, handle, 0));
    CHECK_CU("map_second", cuMemMap(base + 2 * unit, 2 * unit, 0, handle, 0));
    CHECK_CU("access_first", cuMemSetAccess(base, 2 * unit, &access, 1));
    CHECK_CU("access_second", cuMemSetAccess(base + 2 * unit, 2 * unit, &access, 1));
    NEED(cuMemAlloc(&scratch, 4));
    CUdeviceptr target = base + unit + 64, twin = target + 2 * unit;
    unsigned value = 4711;
    void *store[] = {&target, &value}, *load[] = {&scratch, &twin};
    NEED(cuLaunchKernel(kernel(module, "store"), 1, 1, 1, 1, 1, 1, 0, 0, store, NULL));
    NEED(cuLaunchKernel(kernel(module, "load"), 1, 1, 1, 1, 1, 1, 0, 0, load, NULL));
    CHECK("alias", word_at(scratch) == 4711 && word_at(twin) == 4711);

    CHECK_CU("retain", cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(base + 100)));
    CUmemAllocationProp found;
    memset(&found, 0x5a, sizeof found);
    CHECK_CU("properties", cuMemGetAllocationPropertiesFromHandle(&found, again));
    CHECK("properties_right", found.type == CU_MEM_ALLOCATION_TYPE_PINNED && found.location.id == 0 &&
                                  found.location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    CHECK_CU("release_retained", cuMemRelease(again));
    unsigned long long flags = 0;
    CHECK_CU("get_access", cuMemGetAccess(&flags, &prop.location, base));
    CHECK("access_is_right", flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);

    NEED(cuMemUnmap(base, 2 * unit));
    CHECK("twin_stays", word_at(twin) == 4711);
    CHECK_CU("release_mapped", cuMemRelease(handle));
    CHECK("mapping_keeps_memory", word_at(twin) == 4711);
    NEED(cuMemUnmap(base + 2 * unit, 2 * unit));
    NEED(cuMemAddressFree(base, 4 * unit));
    NEED(cuMemFree(scratch));
}

static void wrong_arguments(void) {
    CUmemAllocationProp prop = properties();
    CUmemAccessDesc access = access_of(CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    CUmemGenericAllocationHandle handle;
    CUdeviceptr base = 0, other = 0;
    CHECK_ERR("reserve_nothing", cuMemAddressReserve(&base, 0, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("reserve_part", cuMemAddressReserve(&base, 4097, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("reserve_to_nowhere", cuMemAddressReserve(NULL, unit, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("create_nothing", cuMemCreate(&handle, 0, &prop, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("create_part", cuMemCreate(&handle, 4097, &prop, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("create_without_properties", cuMemCreate(&handle, unit, NULL, 0), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemAddressReserve(&base, 2 * unit, 0, 0, 0));
    NEED(cuMemCreate(&handle, unit, &prop, 0));
    CHECK_ERR("map_too_much", cuMemMap(base, 2 * unit, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("map_flags", cuMemMap(base, unit, 0, handle, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("access_to_what_is_not", cuMemSetAccess(base, unit, &access, 1), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemMap(base, unit, 0, handle, 0));
    CHECK("map_twice", cuMemMap(base, unit, 0, handle, 0) != CUDA_SUCCESS);
    CHECK_ERR("free_part", cuMemAddressFree(base, unit), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemAlloc(&other, 16));
    CHECK_ERR("map_where_memory_is", cuMemMap(other, unit, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemFree(other));
    NEED(cuMemUnmap(base, unit));
    NEED(cuMemRelease(handle));
    CHECK_ERR("release_twice", cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemAddressFree(base, 2 * unit));
    CHECK_ERR("free_twice", cuMemAddressFree(base, 2 * unit), CUDA_ERROR_INVALID_VALUE);
}

int main(void) {
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)) {
        SKIP("vmm", "the device has no virtual memory management");
        return finish();
    }
    CUmodule module = load("touch");
    CUmemAllocationProp prop = properties();
    size_t recommended = 0;
    NEED(cuMemGetAllocationGranularity(&unit, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    CHECK("granularity", unit > 0 && (unit & (unit - 1)) == 0);
    CHECK_CU("recommended", cuMemGetAllocationGranularity(&recommended, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
    CHECK("recommended_is_multiple", recommended >= unit && recommended % unit == 0);
    grow();
    alias(module);
    wrong_arguments();
    CHECK_CU("end", cuCtxSynchronize());
    return finish();
}
