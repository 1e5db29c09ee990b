// Host functions and callbacks run in stream order, with what came before done.
#include <stdatomic.h>

#include "wait.h"

enum { CALLS = 20, SOME = 300, MANY = 20000 };

static struct { int order[CALLS], count; } seen;
static int *pinned; // what the device wrote last

static void CUDA_CB note(void *number) {
    if (seen.count < CALLS)
        seen.order[seen.count] = *pinned * 100 + *(int *)number;
    seen.count++;
}

static CUresult callback_status = CUDA_ERROR_UNKNOWN;
static CUstream callback_stream;
static int callback_saw = -1;

static void CUDA_CB callback(CUstream stream, CUresult status, void *number) {
    callback_stream = stream;
    callback_status = status;
    callback_saw = *(int *)number;
}

static atomic_int queued;

static void CUDA_CB await_queued(void *none) {
    (void)none;
    while (atomic_load(&queued) < SOME)
        ;
}

int main(void) {
    start();
    struct gate gate = gate_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemAllocHost((void **)&pinned, sizeof *pinned));
    int numbers[CALLS];
    for (int i = 0; i < CALLS; i++) {
        numbers[i] = i;
        gate_increment(&gate, 0, 0, stream);
        NEED(cuMemcpyDtoHAsync(pinned, gate.numbers, sizeof *pinned, stream));
        NEED(cuLaunchHostFunc(stream, note, &numbers[i]));
    }
    CHECK_CU("synchronize", cuStreamSynchronize(stream));
    CHECK("all_called", seen.count == CALLS);
    int right = 1;
    for (int i = 0; i < CALLS; i++)
        right &= seen.order[i] == (i + 1) * 100 + i;
    CHECK("in_order_with_results", right);

    // Not before what comes before it.
    seen.count = 0;
    gate_close(&gate, stream);
    NEED(cuLaunchHostFunc(stream, note, &numbers[0]));
    CHECK_ERR("held_up", cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    CHECK("not_called_yet", seen.count == 0);
    gate_open(&gate);
    NEED(cuStreamSynchronize(stream));
    CHECK("called", seen.count == 1);

    int number = 42;
    CHECK_CU("callback", cuStreamAddCallback(stream, callback, &number, 0));
    NEED(cuStreamSynchronize(stream));
    CHECK("callback_arguments", callback_saw == 42 && callback_status == CUDA_SUCCESS && callback_stream == stream);
    CHECK_ERR("callback_flags", cuStreamAddCallback(stream, callback, &number, 1), CUDA_ERROR_INVALID_VALUE);

    // More work behind a function than a driver takes before it has the caller wait.
    atomic_store(&queued, 0);
    NEED(cuLaunchHostFunc(stream, await_queued, NULL));
    for (int i = 0; i < MANY; i++) {
        gate_increment(&gate, 0, 0, stream);
        atomic_fetch_add(&queued, 1);
    }
    CHECK_CU("much_behind_a_function", cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(pinned, gate.numbers, sizeof *pinned));
    CHECK("all_of_it_done", *pinned == CALLS + MANY);
    return finish();
}
