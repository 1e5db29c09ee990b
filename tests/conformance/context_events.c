// An event captures the work of a whole context, and a context waits for an event.
#include "wait.h"

int main(void) {
    CUcontext context = start();
    if (!driver_has("cuCtxRecordEvent")) {
        SKIP("record_context", "newer than this driver");
        return finish();
    }
    struct gate gate = gate_start();
    CUstream a, b;
    CUevent event;
    NEED(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CHECK_CU("record_idle", cuCtxRecordEvent(context, event));
    CHECK_CU("idle_is_done", cuEventSynchronize(event));

    gate_close(&gate, a);
    gate_increment(&gate, 0, 0, a);
    CHECK_CU("record", cuCtxRecordEvent(context, event));
    CHECK_ERR("pending", cuEventQuery(event), CUDA_ERROR_NOT_READY);
    CHECK_CU("wait", cuCtxWaitEvent(context, event));
    // Work of another stream that comes later waits, too.
    gate_increment(&gate, 1, 0, b);
    CHECK_ERR("held_up", cuStreamQuery(b), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    CHECK_CU("event_synchronize", cuEventSynchronize(event));
    NEED(cuStreamSynchronize(b));
    CHECK("in_order", gate_number(&gate, 1) == 2);
    CHECK_CU("goes_on", cuStreamQuery(b));
    return finish();
}
