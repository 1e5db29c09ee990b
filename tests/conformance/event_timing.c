// Elapsed time between events, and when there is none.
#include "wait.h"

int main(void) {
    start();
    struct gate gate = gate_start();
    CUevent first, second, untimed, never;
    float ms = -1;
    NEED(cuEventCreate(&first, CU_EVENT_DEFAULT));
    CHECK_CU("blocking_sync", cuEventCreate(&second, CU_EVENT_BLOCKING_SYNC));
    NEED(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
    NEED(cuEventCreate(&never, CU_EVENT_DEFAULT));
    CHECK_ERR("unknown_flags", cuEventCreate(&never, 0x100), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null", cuEventCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);

    NEED(cuEventRecord(first, NULL));
    gate_increment(&gate, 0, 0, NULL);
    CHECK_CU("record_with_flags", cuEventRecordWithFlags(second, NULL, CU_EVENT_RECORD_DEFAULT));
    NEED(cuEventRecord(untimed, NULL));
    NEED(cuEventSynchronize(untimed));
    CHECK_CU("elapsed", cuEventElapsedTime(&ms, first, second));
    CHECK("elapsed_is_a_time", ms >= 0);
    CHECK_CU("elapsed_to_itself", cuEventElapsedTime(&ms, first, first));
    CHECK("elapsed_to_itself_is_0", ms == 0);
    CHECK_CU("elapsed_back", cuEventElapsedTime(&ms, second, first));
    CHECK("elapsed_back_is_not_positive", ms <= 0);
    CHECK_ERR("untimed_event", cuEventElapsedTime(&ms, first, untimed), CUDA_ERROR_INVALID_HANDLE);
    CHECK_ERR("never_recorded", cuEventElapsedTime(&ms, first, never), CUDA_ERROR_INVALID_HANDLE);

    gate_close(&gate, NULL);
    NEED(cuEventRecord(second, NULL));
    CHECK_ERR("not_there_yet", cuEventElapsedTime(&ms, first, second), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    NEED(cuEventSynchronize(second));
    CHECK_CU("there_now", cuEventElapsedTime(&ms, first, second));

    // Recorded again, an event stands for the later point only.
    NEED(cuEventRecord(first, NULL));
    NEED(cuEventRecord(second, NULL));
    NEED(cuEventRecord(first, NULL));
    NEED(cuEventSynchronize(first));
    CHECK_CU("recorded_again", cuEventElapsedTime(&ms, first, second));
    CHECK("recorded_again_is_later", ms <= 0);
    CHECK_CU("destroy", cuEventDestroy(first));
    return finish();
}
