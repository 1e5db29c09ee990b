// Two devices: what each is, and that contexts, memory, modules, streams and events belong to one of them.
#include "two.h"

enum { COUNT = 1000, BYTES = COUNT * sizeof(int) };

static void identities(void) {
    CUuuid uuids[2];
    char places[2][32];
    for (int dev = 0; dev < 2; dev++) {
        int back = -1, found = -1;
        NEED(cuDeviceGet(&back, dev));
        NEED(cuDeviceGetUuid(&uuids[dev], dev));
        NEED(cuDeviceGetPCIBusId(places[dev], sizeof places[dev], dev));
        CHECK(dev ? "device_1" : "device_0", back == dev);
        CHECK_CU(dev ? "by_place_1" : "by_place_0", cuDeviceGetByPCIBusId(&found, places[dev]));
        CHECK(dev ? "found_1" : "found_0", found == dev);
    }
    CHECK("uuids_differ", memcmp(&uuids[0], &uuids[1], sizeof uuids[0]));
    CHECK("places_differ", strcmp(places[0], places[1]));
}

static void contexts_of_both(CUcontext contexts[2]) {
    CUdevice dev = -1;
    CUcontext created;
    unsigned flags;
    int active = -1;
    CHECK("primaries_differ", contexts[0] != contexts[1]);
    NEED(cuCtxGetDevice(&dev));
    CHECK("current_is_0", dev == 0);
    NEED(cuCtxPushCurrent(contexts[1]));
    NEED(cuCtxGetDevice(&dev));
    CHECK("current_is_1", dev == 1);
    NEED(cuCtxCreate(&created, (CUctxCreateParams *)NULL, 0, 1));
    NEED(cuCtxGetDevice(&dev));
    CHECK("created_on_1", dev == 1);
    CHECK_CU("destroy_created", cuCtxDestroy(created));
    NEED(cuCtxPopCurrent(NULL));
    CHECK_CU("retain_again", cuDevicePrimaryCtxRetain(&created, 1));
    CHECK("retained_is_the_same", created == contexts[1]);
    NEED(cuDevicePrimaryCtxRelease(1));
    NEED(cuDevicePrimaryCtxGetState(1, &flags, &active));
    CHECK("still_active", active == 1);
}

static void memory_of_both(CUcontext contexts[2], CUdeviceptr data[2]) {
    size_t before[2], after[2], total;
    for (int dev = 0; dev < 2; dev++) {
        CUcontext owner = NULL;
        int ordinal = -1;
        NEED(cuCtxSetCurrent(contexts[dev]));
        NEED(cuMemAlloc(&data[dev], BYTES));
        NEED(cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, data[dev]));
        NEED(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, data[dev]));
        CHECK(dev ? "ordinal_1" : "ordinal_0", ordinal == dev);
        CHECK(dev ? "owner_1" : "owner_0", owner == contexts[dev]);
        NEED(cuMemGetInfo(&before[dev], &total));
    }
    CUdeviceptr large;
    NEED(cuMemAlloc(&large, 64 << 20)); // on device 1
    NEED(cuMemGetInfo(&after[1], &total));
    NEED(cuCtxSetCurrent(contexts[0]));
    NEED(cuMemGetInfo(&after[0], &total));
    CHECK("taken_from_1", before[1] - after[1] >= 64 << 20);
    CHECK("not_taken_from_0", after[0] + (64 << 20) > before[0]);
    // Memory is freed whichever context is current.
    CHECK_CU("free_elsewhere", cuMemFree(large));
}

static void work_of_both(CUcontext contexts[2], CUdeviceptr data[2]) {
    CUfunction fill[2], add[2];
    CUstream streams[2];
    CUevent events[2], timed[2];
    for (int dev = 0; dev < 2; dev++) {
        NEED(cuCtxSetCurrent(contexts[dev]));
        CUmodule module = load("basic");
        fill[dev] = kernel(module, "fill");
        add[dev] = kernel(module, "add");
        NEED(cuStreamCreate(&streams[dev], CU_STREAM_NON_BLOCKING));
        NEED(cuEventCreate(&events[dev], CU_EVENT_DISABLE_TIMING));
        NEED(cuEventCreate(&timed[dev], 0));
        launch_basic(fill[dev], data[dev], 10 + dev, COUNT, NULL);
        NEED(cuEventRecord(timed[dev], NULL));
        NEED(cuCtxSynchronize());
        CHECK(dev ? "filled_1" : "filled_0", all_are(data[dev], 10 + dev, COUNT));
    }
    // Context 1 is current.
    int value = 1, count = COUNT;
    void *params[] = {&data[1], &value, &count};
    CHECK_ERR("launch_in_other_stream", cuLaunchKernel(fill[1], 8, 1, 1, 128, 1, 1, 0, streams[0], params, NULL),
              CUDA_ERROR_INVALID_HANDLE);
    CHECK_ERR("record_in_other_stream", cuEventRecord(events[1], streams[0]), CUDA_ERROR_INVALID_HANDLE);
    float milliseconds;
    CHECK_ERR("elapsed_between_devices", cuEventElapsedTime(&milliseconds, timed[0], timed[1]), CUDA_ERROR_INVALID_HANDLE);

    // Each device waits for the other one's event: 20 fills on 0, copies to 1, adds there, copies back.
    NEED(cuCtxSetCurrent(contexts[0]));
    for (int i = 0; i <= 20; i++)
        launch_basic(fill[0], data[0], 100 + i, COUNT, streams[0]);
    NEED(cuEventRecord(events[0], streams[0]));
    CHECK_CU("wait_across", cuStreamWaitEvent(streams[1], events[0], 0));
    CHECK_CU("copy_across", cuMemcpyDtoDAsync(data[1], data[0], BYTES, streams[1]));
    NEED(cuCtxSetCurrent(contexts[1]));
    launch_basic(add[1], data[1], 7, COUNT, streams[1]);
    NEED(cuEventRecord(events[1], streams[1]));
    CHECK_CU("wait_back", cuStreamWaitEvent(streams[0], events[1], 0));
    CHECK_CU("copy_back", cuMemcpyDtoDAsync(data[0], data[1], BYTES, streams[0]));
    CHECK_CU("synchronise_other", cuStreamSynchronize(streams[0]));
    CHECK("in_order", all_are(data[1], 127, COUNT));
    CHECK("in_order_back", all_are(data[0], 127, COUNT));
    CHECK_CU("destroy_other_stream", cuStreamDestroy(streams[0]));
    CHECK_CU("destroy_other_event", cuEventDestroy(events[0]));
}

static void managed_of_both(CUcontext contexts[2]) {
    int concurrent[2] = {0, 0};
    for (int dev = 0; dev < 2; dev++)
        NEED(cuDeviceGetAttribute(&concurrent[dev], CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, dev));
    if (!concurrent[0] || !concurrent[1]) {
        SKIP("managed", "a device cannot use managed memory while another one does");
        return;
    }
    CUdeviceptr managed;
    NEED(cuCtxSetCurrent(contexts[0]));
    NEED(cuMemAllocManaged(&managed, BYTES, CU_MEM_ATTACH_GLOBAL));
    launch_basic(kernel(load("basic"), "fill"), managed, 3, COUNT, NULL);
    NEED(cuCtxSynchronize());
    NEED(cuCtxSetCurrent(contexts[1]));
    launch_basic(kernel(load("basic"), "add"), managed, 4, COUNT, NULL);
    NEED(cuCtxSynchronize());
    CHECK("managed_by_both", ((int *)(uintptr_t)managed)[COUNT - 1] == 7);
    NEED(cuMemFree(managed));
}

int main(void) {
    CUcontext contexts[2];
    CUdeviceptr data[2];
    int count, dev;
    start_two(contexts);
    NEED(cuDeviceGetCount(&count));
    CHECK_ERR("no_such_device", cuDeviceGet(&dev, count), CUDA_ERROR_INVALID_DEVICE);
    identities();
    contexts_of_both(contexts);
    memory_of_both(contexts, data);
    work_of_both(contexts, data);
    managed_of_both(contexts);
    // The end of one device's context leaves the other's memory as it is.
    NEED(cuDevicePrimaryCtxReset(0));
    NEED(cuCtxSetCurrent(contexts[1]));
    CHECK("memory_outlives_other_context", all_are(data[1], 127, COUNT));
    return finish();
}
