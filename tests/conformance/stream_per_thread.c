// Compiled for per-thread default streams: stream 0 of each thread is its own.
#define CUDA_API_PER_THREAD_DEFAULT_STREAM
#include "wait.h"

#include <pthread.h>

static struct gate gate;
static CUcontext context;

static void *other_thread(void *unused) {
    (void)unused;
    NEED(cuCtxSetCurrent(context));
    gate_increment(&gate, 1, 1, NULL);
    CHECK_CU("goes_ahead", cuStreamSynchronize(NULL));
    return NULL;
}

int main(void) {
    context = start();
    gate = gate_start();
    gate_close(&gate, NULL);
    gate_increment(&gate, 0, 0, NULL);
    CHECK_ERR("own_stream_is_busy", cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    CHECK_ERR("explicit_handle_is_the_same", cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
    pthread_t thread;
    pthread_create(&thread, NULL, other_thread, NULL);
    pthread_join(thread, NULL);
    CHECK_ERR("own_stream_is_still_busy", cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
    gate_open(&gate);
    CHECK_CU("synchronize", cuStreamSynchronize(NULL));
    CHECK("results", gate_number(&gate, 0) == 1 && gate_number(&gate, 1) == 1);
    return finish();
}
