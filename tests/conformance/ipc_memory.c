// Device memory of one process in another: both see the same bytes, by
// handles that can be opened more than once and that end with what they name.
#include "peer.h"

enum { COUNT = (3 << 20) / 4 + 75 };
static const CUipcMemHandle nothing;

// The second process.
static int importer(struct peer parent) {
    start();
    CUipcMemHandle handle, second, changed;
    CUdeviceptr memory = 0, again = 0, other = 0, base;
    unsigned type = 0;
    size_t size;
    peer_receive(parent, &handle, sizeof handle);
    peer_receive(parent, &second, sizeof second);
    NEED(cuIpcOpenMemHandle(&memory, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK("import_sees_the_bytes", device_holds(memory, COUNT, 7, 3));
    CHECK_CU("open_again", cuIpcOpenMemHandle(&again, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK("open_again_same_address", again == memory);
    CHECK_CU("open_second", cuIpcOpenMemHandle(&other, second, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK("open_second_other_address", other != memory);
    CHECK_CU("import_type", cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, memory));
    CHECK("import_is_device_memory", type == CU_MEMORYTYPE_DEVICE);
    CHECK_CU("import_range", cuMemGetAddressRange(&base, &size, memory + 400));
    CHECK("import_range_covers", base <= memory && base + size >= memory + COUNT * sizeof(unsigned));

    // What this process writes, by a copy, a fill and a kernel, the other one sees.
    CUfunction function = kernel(load("basic"), "fill");
    int value = 5, count = 1000;
    void *params[] = {&other, &value, &count};
    NEED(cuLaunchKernel(function, 4, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    device_fill(memory, COUNT / 2, 100, 1);
    NEED(cuMemsetD32(memory + COUNT / 2 * sizeof(unsigned), 9, 10));
    NEED(cuCtxSynchronize());
    peer_signal(parent);
    peer_wait(parent);
    CHECK("import_sees_later_bytes", device_holds(memory, 16, 55, 0));

    CHECK_ERR("close_unknown", cuIpcCloseMemHandle(memory + 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("close_first", cuIpcCloseMemHandle(memory));
    CHECK("still_open", device_holds(memory, 16, 55, 0));
    CHECK_CU("close_last", cuIpcCloseMemHandle(memory));
    CHECK_ERR("close_once_more", cuIpcCloseMemHandle(memory), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("open_after_close", cuIpcOpenMemHandle(&again, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK("open_after_close_sees", device_holds(again, 16, 55, 0));
    CHECK_CU("close_after_open", cuIpcCloseMemHandle(again));

    CHECK_FAILS("open_nothing", cuIpcOpenMemHandle(&again, nothing, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    memset(&changed, 0x5a, sizeof changed);
    CHECK_FAILS("open_forged", cuIpcOpenMemHandle(&again, changed, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK_ERR("open_null", cuIpcOpenMemHandle(NULL, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS), CUDA_ERROR_INVALID_VALUE);

    // `other` goes with its context.
    peer_signal(parent);
    peer_wait(parent);
    CHECK_CU("end_context", cuDevicePrimaryCtxRelease(0));
    return finish();
}

int main(int argc, char **argv) {
    struct peer parent;
    if (peer_is(argc, argv, "importer", &parent))
        return importer(parent);
    struct peer child = peer_start("importer");
    start();
    CUdeviceptr memory, second, pinned, address;
    CUipcMemHandle handle, same;
    void *host;
    int capable = 0;
    NEED(cuMemAlloc(&memory, COUNT * sizeof(unsigned)));
    NEED(cuMemAlloc(&second, 4 << 20));
    device_fill(memory, COUNT, 7, 3);
    CHECK_CU("attribute", cuPointerGetAttribute(&capable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, memory));
    CHECK("memory_is_capable", capable == 1);
    NEED(cuIpcGetMemHandle(&handle, memory));
    CHECK("memory_keeps_its_bytes", device_holds(memory, COUNT, 7, 3));
    CHECK_CU("get_again", cuIpcGetMemHandle(&same, memory));
    peer_send(child, &handle, sizeof handle);
    NEED(cuIpcGetMemHandle(&handle, second));
    peer_send(child, &handle, sizeof handle);
    CHECK_ERR("open_in_exporter", cuIpcOpenMemHandle(&address, same, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
              CUDA_ERROR_INVALID_CONTEXT);
    NEED(cuMemHostAlloc(&host, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
    NEED(cuMemHostGetDevicePointer(&pinned, host, 0));
    CHECK_ERR("get_of_host_memory", cuIpcGetMemHandle(&same, pinned), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("get_null", cuIpcGetMemHandle(NULL, memory), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("get_nothing", cuIpcGetMemHandle(&same, 0), CUDA_ERROR_INVALID_VALUE);

    peer_wait(child);
    CHECK("exporter_sees_the_copy", device_holds(memory, COUNT / 2, 100, 1));
    CHECK("exporter_sees_the_fill", device_holds(memory + COUNT / 2 * sizeof(unsigned), 10, 9, 0));
    CHECK("exporter_sees_the_kernel", device_holds(second, 1000, 5, 0));
    device_fill(memory, 16, 55, 0);
    peer_signal(child);
    peer_wait(child);

    // Memory that was given back and allocated anew is not what it was.
    NEED(cuMemFree(memory));
    NEED(cuMemAlloc(&memory, COUNT * sizeof(unsigned)));
    device_fill(memory, COUNT, 1, 1);
    CHECK_CU("get_of_new_memory", cuIpcGetMemHandle(&same, memory));
    CHECK("new_memory_works", device_holds(memory, COUNT, 1, 1));
    peer_signal(child);
    CHECK("importer_ended", peer_end(child) == 0);
    CHECK("memory_outlives_importer", device_holds(second, 1000, 5, 0));
    CHECK_CU("free_after_importer", cuMemFree(second));
    return finish();
}
