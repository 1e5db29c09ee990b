// Streams run their work in order and apart from each other; events and the
// legacy default stream put work of different streams in order.
#include "wait.h"

int main(void) {
    start();
    struct gate gate = gate_start();
    CUstream a, b, apart;
    CUevent event, done;
    NEED(cuStreamCreate(&a, CU_STREAM_DEFAULT));
    NEED(cuStreamCreate(&b, CU_STREAM_DEFAULT));
    NEED(cuStreamCreate(&apart, CU_STREAM_NON_BLOCKING));
    NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    NEED(cuEventCreate(&done, CU_EVENT_DISABLE_TIMING));

    CHECK_CU("idle_stream_is_ready", cuStreamQuery(a));
    CHECK_CU("unrecorded_event_is_ready", cuEventQuery(event));
    CHECK_CU("wait_for_unrecorded_event", cuStreamWaitEvent(b, event, 0));

    // In one stream: one after the other, and the launch does not wait.
    gate_close(&gate, a);
    gate_increment(&gate, 0, 0, a);
    NEED(cuEventRecord(event, a));
    CHECK_ERR("stream_is_busy", cuStreamQuery(a), CUDA_ERROR_NOT_READY);
    CHECK_ERR("event_is_pending", cuEventQuery(event), CUDA_ERROR_NOT_READY);
    CHECK_CU("other_stream_is_ready", cuStreamQuery(apart));
    gate_open(&gate);
    CHECK_CU("event_synchronize", cuEventSynchronize(event));
    CHECK_CU("event_is_done", cuEventQuery(event));
    CHECK_CU("stream_synchronize", cuStreamSynchronize(a));
    CHECK("in_order", gate_number(&gate, 0) == 1);

    // Another stream goes ahead while the first is held up.
    gate_close(&gate, a);
    gate_increment(&gate, 1, 0, apart);
    CHECK_CU("goes_ahead", cuStreamSynchronize(apart));
    CHECK_ERR("still_held_up", cuStreamQuery(a), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    NEED(cuStreamSynchronize(a));
    CHECK("went_ahead", gate_number(&gate, 1) == 2);

    // An event holds the other stream up, as it stood when it was waited for.
    gate_close(&gate, a);
    gate_increment(&gate, 0, 0, a);
    NEED(cuEventRecord(event, a));
    CHECK_CU("wait_event", cuStreamWaitEvent(apart, event, 0));
    gate_increment(&gate, 1, 0, apart);
    NEED(cuEventRecord(done, apart));
    CHECK_ERR("held_up_by_event", cuEventQuery(done), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    NEED(cuEventSynchronize(done));
    CHECK("event_order", gate_number(&gate, 1) == 3);

    // The legacy default stream waits for blocking streams, and they for it.
    gate_close(&gate, a);
    gate_increment(&gate, 0, 0, a);
    gate_increment(&gate, 1, 0, NULL);
    gate_increment(&gate, 0, 1, b);
    CHECK_ERR("legacy_waits", cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    CHECK_ERR("blocking_waits_for_legacy", cuStreamQuery(b), CUDA_ERROR_NOT_READY);
    CHECK_CU("non_blocking_does_not", cuStreamQuery(apart));
    gate_open(&gate);
    NEED(cuStreamSynchronize(b));
    CHECK("legacy_order", gate_number(&gate, 0) == 5 && gate_number(&gate, 1) == 4);
    CHECK_CU("legacy_is_ready", cuStreamQuery(CU_STREAM_LEGACY));

    // A context is synchronised with all its streams.
    gate_close(&gate, apart);
    gate_increment(&gate, 0, 0, apart);
    gate_open(&gate);
    NEED(cuCtxSynchronize());
    CHECK_CU("context_synchronize", cuStreamQuery(apart));

    // Destruction of a busy stream or event lets its work finish.
    gate_close(&gate, apart);
    gate_increment(&gate, 0, 0, apart);
    NEED(cuEventRecord(event, apart));
    CHECK_CU("destroy_busy_stream", cuStreamDestroy(apart));
    CHECK_CU("destroy_pending_event", cuEventDestroy(event));
    gate_open(&gate);
    NEED(cuCtxSynchronize());
    CHECK("destroyed_stream_finished", gate_number(&gate, 0) == 7);
    return finish();
}
