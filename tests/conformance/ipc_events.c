// Events of two processes: what one records, streams and threads of the other
// wait for.
#include "peer.h"
#include "wait.h"

static const unsigned flags = CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING;

static int importer(struct peer parent) {
    start();
    struct gate gate = gate_start();
    CUipcEventHandle handle, nothing;
    CUipcMemHandle memory_handle;
    CUevent event, other;
    CUdeviceptr memory;
    CUstream stream;
    unsigned *copy;
    float time;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemHostAlloc((void **)&copy, sizeof *copy, 0));
    peer_receive(parent, &handle, sizeof handle);
    peer_receive(parent, &memory_handle, sizeof memory_handle);
    NEED(cuIpcOpenEventHandle(&event, handle));
    NEED(cuIpcOpenMemHandle(&memory, memory_handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    CHECK_CU("query_unrecorded", cuEventQuery(event));
    CHECK_CU("synchronize_unrecorded", cuEventSynchronize(event));
    CHECK_CU("wait_for_unrecorded", cuStreamWaitEvent(stream, event, 0));
    CHECK_CU("not_held_up", cuStreamSynchronize(stream));
    peer_signal(parent);

    // The parent's stream is held up in front of the record.
    peer_wait(parent);
    CHECK_ERR("query_pending", cuEventQuery(event), CUDA_ERROR_NOT_READY);
    CHECK_CU("wait_for_pending", cuStreamWaitEvent(stream, event, 0));
    *copy = 0;
    NEED(cuMemcpyDtoHAsync(copy, memory, sizeof *copy, stream));
    CHECK_ERR("stream_is_held_up", cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    peer_signal(parent);
    CHECK_CU("synchronize_stream", cuStreamSynchronize(stream));
    CHECK("work_after_the_record", *copy == 42);
    CHECK_CU("synchronize_recorded", cuEventSynchronize(event));
    CHECK_CU("query_recorded", cuEventQuery(event));

    // Now this process records, and the parent waits: it has seen the end of its own record, which this one
    // takes the place of.
    peer_wait(parent);
    gate_close(&gate, stream);
    NEED(cuMemsetD32Async(memory, 77, 1, stream));
    CHECK_CU("record_opened", cuEventRecord(event, stream));
    peer_signal(parent);
    peer_wait(parent);
    gate_open(&gate);
    CHECK_CU("synchronize_own", cuEventSynchronize(event));

    NEED(cuEventCreate(&other, CU_EVENT_DEFAULT));
    NEED(cuEventRecord(other, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK_ERR("no_time", cuEventElapsedTime(&time, other, event), CUDA_ERROR_INVALID_HANDLE);
    memset(&nothing, 0, sizeof nothing);
    CHECK_FAILS("open_nothing", cuIpcOpenEventHandle(&other, nothing));
    memset(&nothing, 0x5a, sizeof nothing);
    CHECK_FAILS("open_forged", cuIpcOpenEventHandle(&other, nothing));
    CHECK_ERR("open_null", cuIpcOpenEventHandle(NULL, handle), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("destroy_opened", cuEventDestroy(event));
    CHECK_CU("close_memory", cuIpcCloseMemHandle(memory));
    peer_signal(parent);
    return finish();
}

int main(int argc, char **argv) {
    struct peer parent;
    if (peer_is(argc, argv, "importer", &parent))
        return importer(parent);
    struct peer child = peer_start("importer");
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED))
        return peer_skip(child, "this device has no inter-process events");
    struct gate gate = gate_start();
    CUipcEventHandle handle;
    CUipcMemHandle memory_handle;
    CUevent event, plain;
    CUdeviceptr memory;
    CUstream stream;
    CHECK_ERR("create_with_timing", cuEventCreate(&event, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
    NEED(cuEventCreate(&event, flags));
    NEED(cuEventCreate(&plain, CU_EVENT_DISABLE_TIMING));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemAlloc(&memory, 2 << 20));
    NEED(cuMemsetD32(memory, 0, 1));
    NEED(cuCtxSynchronize());
    CHECK_FAILS("get_of_plain_event", cuIpcGetEventHandle(&handle, plain));
    CHECK_ERR("get_null", cuIpcGetEventHandle(NULL, event), CUDA_ERROR_INVALID_VALUE);
    NEED(cuIpcGetEventHandle(&handle, event));
    NEED(cuIpcGetMemHandle(&memory_handle, memory));
    CHECK_CU("query_fresh", cuEventQuery(event));
    peer_send(child, &handle, sizeof handle);
    peer_send(child, &memory_handle, sizeof memory_handle);
    peer_wait(child);

    gate_close(&gate, stream);
    NEED(cuMemsetD32Async(memory, 42, 1, stream));
    CHECK_CU("record", cuEventRecord(event, stream));
    CHECK_ERR("query_own_pending", cuEventQuery(event), CUDA_ERROR_NOT_READY);
    peer_signal(child);
    peer_wait(child);
    gate_open(&gate);
    CHECK_CU("synchronize_own_record", cuEventSynchronize(event));
    peer_signal(child);

    peer_wait(child);
    CHECK_ERR("query_record_of_importer", cuEventQuery(event), CUDA_ERROR_NOT_READY);
    CHECK_CU("wait_for_record_of_importer", cuStreamWaitEvent(stream, event, 0));
    peer_signal(child);
    CHECK_CU("synchronize_with_importer", cuStreamSynchronize(stream));
    CHECK("importer_has_written", device_holds(memory, 1, 77, 0));
    peer_wait(child);

    // It still is an event of this process's own.
    CHECK_CU("record_again", cuEventRecord(event, stream));
    CHECK_CU("synchronize_again", cuEventSynchronize(event));
    CHECK("importer_ended", peer_end(child) == 0);
    CHECK_CU("destroy", cuEventDestroy(event));
    return finish();
}
