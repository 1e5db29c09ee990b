// Stream-ordered allocation: addresses that are good at once, frees in stream order, all ways to free.
#include "check.h"

enum { N = 1 << 20, SIZE = N * sizeof(int) };

static CUfunction fill, add;

static void launch(CUfunction function, CUdeviceptr data, int value, CUstream stream) {
    int n = N;
    void *params[] = {&data, &value, &n};
    NEED(cuLaunchKernel(function, (N + 255) / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
}

static int holds(const int *data, int value) {
    for (int i = 0; i < N; i++)
        if (data[i] != value)
            return 0;
    return 1;
}

int main(void) {
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)) {
        SKIP("pools", "the device has no memory pools");
        return finish();
    }
    CUmodule module = load("basic");
    fill = kernel(module, "fill");
    add = kernel(module, "add");
    CUstream first, second;
    NEED(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
    int *host = malloc(SIZE);

    CUdeviceptr memory = 0;
    CHECK_CU("allocate", cuMemAllocAsync(&memory, SIZE, first));
    CHECK("aligned", memory && memory % 256 == 0);
    launch(fill, memory, 7, first);
    CHECK_CU("copy", cuMemcpyDtoHAsync(host, memory, SIZE, first));
    NEED(cuStreamSynchronize(first));
    CHECK("used_at_once", holds(host, 7));

    // Another stream may use and free it after an event.
    CUevent event;
    NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    launch(fill, memory, 9, first);
    NEED(cuEventRecord(event, first));
    NEED(cuStreamWaitEvent(second, event, 0));
    launch(add, memory, 1, second);
    NEED(cuMemcpyDtoHAsync(host, memory, SIZE, second));
    CHECK_CU("free_in_other_stream", cuMemFreeAsync(memory, second));
    NEED(cuStreamSynchronize(second));
    CHECK("used_by_other_stream", holds(host, 10));

    // Many short-lived buffers, whose memory the pool may use again in stream order.
    int sum = 1;
    CUdeviceptr kept = 0;
    NEED(cuMemAllocAsync(&kept, SIZE, first));
    launch(fill, kept, 0, first);
    for (int i = 0; i < 20; i++) {
        CUdeviceptr scratch = 0;
        NEED(cuMemAllocAsync(&scratch, SIZE, first));
        launch(fill, scratch, i, first);
        NEED(cuMemcpyDtoHAsync(host, scratch, SIZE, first));
        NEED(cuMemFreeAsync(scratch, first));
        NEED(cuStreamSynchronize(first));
        sum &= holds(host, i);
    }
    NEED(cuMemcpyDtoH(host, kept, SIZE));
    CHECK("reused_in_order", sum && holds(host, 0));
    CHECK_CU("free_at_once", cuMemFree(kept));
    CHECK_ERR("free_twice", cuMemFreeAsync(kept, first), CUDA_ERROR_INVALID_VALUE);

    CUdeviceptr plain = 0;
    NEED(cuMemAlloc(&plain, SIZE));
    CHECK_CU("free_plain_in_order", cuMemFreeAsync(plain, first));
    NEED(cuStreamSynchronize(first));

    CHECK_CU("allocate_in_null_stream", cuMemAllocAsync(&memory, 100, 0));
    CHECK_CU("set_in_null_stream", cuMemsetD8Async(memory, 3, 100, 0));
    CUdeviceptr base = 0;
    size_t size = 0;
    CHECK_CU("range", cuMemGetAddressRange(&base, &size, memory + 50));
    CHECK("range_is_right", base == memory && size >= 100);
    CUmemorytype type = 0;
    CHECK_CU("type", cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, memory));
    CHECK("type_is_device", type == CU_MEMORYTYPE_DEVICE);
    CHECK_CU("free_in_null_stream", cuMemFreeAsync(memory, 0));

    CHECK_CU("allocate_nothing", cuMemAllocAsync(&memory, 0, first));
    CHECK("nothing_has_no_address", memory == 0);
    CHECK_ERR("allocate_to_nowhere", cuMemAllocAsync(NULL, 16, first), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("allocate_too_much", cuMemAllocAsync(&memory, (size_t)1 << 60, first), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK_ERR("free_what_is_not", cuMemFreeAsync((CUdeviceptr)0x1000, first), CUDA_ERROR_INVALID_VALUE);

    // A pool that is destroyed keeps what is allocated from it.
    CUmemPoolProps props;
    memset(&props, 0, sizeof props);
    props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    CUmemoryPool pool = NULL;
    NEED(cuMemPoolCreate(&pool, &props));
    NEED(cuMemAllocFromPoolAsync(&memory, SIZE, pool, first));
    CHECK_CU("destroy_in_use", cuMemPoolDestroy(pool));
    launch(fill, memory, 5, first);
    NEED(cuMemcpyDtoHAsync(host, memory, SIZE, first));
    NEED(cuStreamSynchronize(first));
    CHECK("usable_after_destroy", holds(host, 5));
    CHECK_CU("free_after_destroy", cuMemFreeAsync(memory, first));
    NEED(cuStreamSynchronize(first));
    CHECK_CU("end", cuCtxSynchronize());
    free(host);
    return finish();
}
