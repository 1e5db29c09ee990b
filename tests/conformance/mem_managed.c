// Managed memory: one address for host and device, hints and what is told of them.
#include "check.h"

enum { N = 1 << 16, SIZE = N * sizeof(int) };

static void hints(CUdeviceptr data, CUstream stream) {
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS)) {
        SKIP("hints", "the device has no concurrent managed access");
        return;
    }
    CUmemLocation device = {.type = CU_MEM_LOCATION_TYPE_DEVICE}, host = {.type = CU_MEM_LOCATION_TYPE_HOST};
    int value = 77;
    CHECK_CU("read_mostly", cuMemAdvise(data, SIZE, CU_MEM_ADVISE_SET_READ_MOSTLY, device));
    CHECK_CU("get_read_mostly",
             cuMemRangeGetAttribute(&value, sizeof value, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, data, SIZE));
    CHECK("is_read_mostly", value == 1);
    CHECK_CU("not_read_mostly", cuMemAdvise(data, SIZE, CU_MEM_ADVISE_UNSET_READ_MOSTLY, device));
    NEED(cuMemRangeGetAttribute(&value, sizeof value, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, data, SIZE));
    CHECK("is_not_read_mostly", value == 0);

    NEED(cuMemRangeGetAttribute(&value, sizeof value, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, data, SIZE));
    CHECK("no_preferred_location", value == CU_DEVICE_INVALID);
    CHECK_CU("prefer_device", cuMemAdvise(data, SIZE, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, device));
    NEED(cuMemRangeGetAttribute(&value, sizeof value, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, data, SIZE));
    CHECK("prefers_device", value == 0);
    CHECK_CU("prefer_host", cuMemAdvise(data, SIZE / 2, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, host));
    NEED(cuMemRangeGetAttribute(&value, sizeof value, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, data, SIZE / 2));
    CHECK("prefers_host", value == CU_DEVICE_CPU);
    NEED(cuMemRangeGetAttribute(&value, sizeof value, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, data, SIZE));
    CHECK("prefers_both", value == CU_DEVICE_INVALID);

    int devices[3] = {5, 5, 5};
    CHECK_CU("accessed_by_device", cuMemAdvise(data, SIZE, CU_MEM_ADVISE_SET_ACCESSED_BY, device));
    CHECK_CU("get_accessed_by",
             cuMemRangeGetAttribute(devices, sizeof devices, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, data, SIZE));
    CHECK("is_accessed_by", devices[0] == 0 && devices[1] == CU_DEVICE_INVALID && devices[2] == CU_DEVICE_INVALID);

    CHECK_CU("prefetch", cuMemPrefetchAsync(data, SIZE, device, 0, stream));
    NEED(cuStreamSynchronize(stream));
    int last = 77, type = 77;
    void *places[] = {&last, &type};
    size_t sizes[] = {sizeof last, sizeof type};
    CUmem_range_attribute wanted[] = {CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION,
                                      CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE};
    CHECK_CU("get_several", cuMemRangeGetAttributes(places, sizes, wanted, 2, data, SIZE));
    CHECK("prefetched_to_device", last == 0 && type == CU_MEM_LOCATION_TYPE_DEVICE);
    CHECK_CU("prefetch_back", cuMemPrefetchAsync(data, SIZE, host, 0, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("prefetch_keeps_bytes", ((int *)(uintptr_t)data)[N - 1] == 43);

    CHECK_ERR("unknown_advice", cuMemAdvise(data, SIZE, (CUmem_advise)99, host), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("short_answer",
              cuMemRangeGetAttribute(&value, 1, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, data, SIZE),
              CUDA_ERROR_INVALID_VALUE);

    if (driver_has("cuMemPrefetchBatchAsync")) {
        CUdeviceptr parts[] = {data, data + SIZE / 2};
        size_t part_sizes[] = {SIZE / 2, SIZE / 2}, first = 0;
        device.id = 0;
        CHECK_CU("prefetch_batch", cuMemPrefetchBatchAsync(parts, part_sizes, 2, &device, &first, 1, 0, stream));
        NEED(cuStreamSynchronize(stream));
        CHECK("batch_keeps_bytes", ((int *)(uintptr_t)data)[N - 1] == 43);
        CHECK_ERR("prefetch_no_batch", cuMemPrefetchBatchAsync(parts, part_sizes, 0, &device, &first, 1, 0, stream),
                  CUDA_ERROR_INVALID_VALUE);
        CHECK_CU("discard", cuMemDiscardBatchAsync(parts, part_sizes, 2, 0, stream));
        CHECK_CU("discard_and_prefetch", cuMemDiscardAndPrefetchBatchAsync(parts, part_sizes, 2, &device, &first, 1, 0, stream));
        NEED(cuStreamSynchronize(stream));
    }
}

int main(void) {
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY)) {
        SKIP("managed", "the device has no managed memory");
        return finish();
    }
    CUmodule module = load("basic");
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr data = 0;
    CHECK_CU("allocate", cuMemAllocManaged(&data, SIZE, CU_MEM_ATTACH_GLOBAL));
    int *host = (int *)(uintptr_t)data;
    for (int i = 0; i < N; i++)
        host[i] = 40;
    int value = 3, n = N;
    void *params[] = {&data, &value, &n};
    NEED(cuLaunchKernel(kernel(module, "add"), N / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    NEED(cuStreamSynchronize(stream));
    CHECK("shared_with_device", host[0] == 43 && host[N - 1] == 43);
    unsigned managed = 0;
    CHECK_CU("is_managed", cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, data + 8));
    CHECK("managed", (managed & 0xff) == 1);

    CHECK_CU("attach_single", cuStreamAttachMemAsync(stream, data, 0, CU_MEM_ATTACH_SINGLE));
    NEED(cuStreamSynchronize(stream));
    CHECK_CU("attach_global", cuStreamAttachMemAsync(stream, data, 0, CU_MEM_ATTACH_GLOBAL));
    NEED(cuStreamSynchronize(stream));
    CHECK("attach_single_to_all", cuStreamAttachMemAsync(0, data, 0, CU_MEM_ATTACH_SINGLE) != CUDA_SUCCESS);
    CHECK("attach_unknown", cuStreamAttachMemAsync(stream, data, 0, 99) != CUDA_SUCCESS);

    hints(data, stream);

    CUdeviceptr plain = 0;
    NEED(cuMemAlloc(&plain, SIZE));
    CUmemLocation device = {.type = CU_MEM_LOCATION_TYPE_DEVICE};
    CHECK_ERR("advise_device_memory", cuMemAdvise(plain, SIZE, CU_MEM_ADVISE_SET_READ_MOSTLY, device),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("prefetch_device_memory", cuMemPrefetchAsync(plain, SIZE, device, 0, stream), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("prefetch_too_much", cuMemPrefetchAsync(data, SIZE + 4096, device, 0, stream),
              CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemFree(plain));
    CHECK_ERR("allocate_nothing", cuMemAllocManaged(&plain, 0, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("allocate_unattached", cuMemAllocManaged(&plain, 16, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free", cuMemFree(data));
    CHECK_ERR("free_twice", cuMemFree(data), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
