// Processes that end while others use what they have shared.
#include "peer.h"

enum { COUNT = (2 << 20) / 4 };

static void exporter(struct peer parent) {
    start();
    CUdeviceptr memory;
    CUipcMemHandle handle;
    CUipcEventHandle event_handle;
    CUevent event;
    NEED(cuMemAlloc(&memory, COUNT * sizeof(unsigned)));
    device_fill(memory, COUNT, 3, 1);
    NEED(cuIpcGetMemHandle(&handle, memory));
    NEED(cuEventCreate(&event, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING));
    NEED(cuIpcGetEventHandle(&event_handle, event));
    peer_send(parent, &handle, sizeof handle);
    peer_send(parent, &event_handle, sizeof event_handle);
    for (;;)
        pause();
}

static void importer(struct peer parent) {
    start();
    CUdeviceptr memory;
    CUipcMemHandle handle;
    peer_receive(parent, &handle, sizeof handle);
    NEED(cuIpcOpenMemHandle(&memory, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    device_fill(memory, COUNT, 11, 1);
    peer_signal(parent);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    struct peer parent;
    if (peer_is(argc, argv, "exporter", &parent))
        exporter(parent);
    if (peer_is(argc, argv, "importer", &parent))
        importer(parent);
    struct peer other = peer_start("exporter"), user = peer_start("importer");
    start();
    CUdeviceptr memory, again, own;
    CUipcMemHandle handle, own_handle;
    CUipcEventHandle event_handle;
    CUevent event;
    NEED(cuMemAlloc(&own, COUNT * sizeof(unsigned)));
    NEED(cuIpcGetMemHandle(&own_handle, own));
    peer_receive(other, &handle, sizeof handle);
    peer_receive(other, &event_handle, sizeof event_handle);
    NEED(cuIpcOpenMemHandle(&memory, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK("import_sees_the_bytes", device_holds(memory, COUNT, 3, 1));
    NEED(cuIpcOpenEventHandle(&event, event_handle));

    // The exporter dies, then the memory that it had shared is closed.
    kill(other.pid, SIGKILL);
    peer_end(other);
    CHECK_CU("close_after_exporter", cuIpcCloseMemHandle(memory));
    CHECK_CU("destroy_event_after_exporter", cuEventDestroy(event));
    // The driver may learn of the end a little later.
    while (cuIpcOpenMemHandle(&again, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) == CUDA_SUCCESS)
        NEED(cuIpcCloseMemHandle(again));
    while (cuIpcOpenEventHandle(&event, event_handle) == CUDA_SUCCESS)
        NEED(cuEventDestroy(event));
    CHECK("handles_end_with_exporter", 1);

    // A user of this process's memory dies.
    peer_send(user, &own_handle, sizeof own_handle);
    peer_wait(user);
    kill(user.pid, SIGKILL);
    peer_end(user);
    CHECK("memory_after_importer", device_holds(own, COUNT, 11, 1));
    CHECK_CU("free_after_importer", cuMemFree(own));
    CHECK_CU("allocate_after_all", cuMemAlloc(&own, COUNT * sizeof(unsigned)));
    CHECK_CU("synchronize_after_all", cuCtxSynchronize());
    return finish();
}
