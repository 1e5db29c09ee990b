// Many threads at once in one context: each allocates, copies, launches in a
// stream of its own, and reads its own results.
#include "check.h"

#include <pthread.h>

enum { THREADS = 24, ROUNDS = 5, N = 3000 };

static CUcontext context;
static CUfunction fill, add;
static int results[THREADS];

static void *work(void *argument) {
    int self = (int)(intptr_t)argument, right = 1;
    NEED(cuCtxSetCurrent(context));
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (int round = 0; round < ROUNDS; round++) {
        int *back = malloc(N * sizeof(int)), value = self * 100, more = round, n = N;
        CUdeviceptr data;
        CUevent event;
        NEED(cuMemAlloc(&data, N * sizeof(int)));
        NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
        void *first[] = {&data, &value, &n}, *second[] = {&data, &more, &n};
        NEED(cuLaunchKernel(fill, (N + 127) / 128, 1, 1, 128, 1, 1, 0, stream, first, NULL));
        NEED(cuLaunchKernel(add, (N + 127) / 128, 1, 1, 128, 1, 1, 0, stream, second, NULL));
        NEED(cuMemcpyDtoHAsync(back, data, N * sizeof(int), stream));
        NEED(cuEventRecord(event, stream));
        NEED(cuEventSynchronize(event));
        for (int i = 0; i < N; i++)
            right &= back[i] == self * 100 + round;
        NEED(cuEventDestroy(event));
        NEED(cuMemFree(data));
        free(back);
    }
    NEED(cuStreamDestroy(stream));
    results[self] = right;
    return NULL;
}

int main(void) {
    context = start();
    CUmodule module = load("basic");
    fill = kernel(module, "fill");
    add = kernel(module, "add");
    pthread_t threads[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    int right = 1;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        right &= results[i];
    }
    CHECK("every_thread", right);
    CHECK_CU("context_is_fine", cuCtxSynchronize());
    return finish();
}
