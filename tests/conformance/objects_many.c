// Streams, events and modules by the hundred, made, used and destroyed.
#include "check.h"

enum { COUNT = 300 };

int main(void) {
    start();
    char *ptx = kernel_ptx("basic");
    CUdeviceptr data;
    NEED(cuMemAlloc(&data, COUNT * sizeof(int)));
    NEED(cuMemsetD32(data, 0, COUNT));

    static CUstream streams[COUNT];
    static CUevent events[COUNT];
    CUmodule module;
    NEED(cuModuleLoadData(&module, ptx));
    CUfunction fill = kernel(module, "fill");
    for (int i = 0; i < COUNT; i++) {
        NEED(cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
        NEED(cuEventCreate(&events[i], CU_EVENT_DISABLE_TIMING));
    }
    // A chain through all of them: each stream waits for the one before.
    for (int i = 0; i < COUNT; i++) {
        CUdeviceptr place = data + i * sizeof(int);
        int value = i + 1, n = 1;
        void *params[] = {&place, &value, &n};
        if (i > 0)
            NEED(cuStreamWaitEvent(streams[i], events[i - 1], 0));
        NEED(cuLaunchKernel(fill, 1, 1, 1, 32, 1, 1, 0, streams[i], params, NULL));
        NEED(cuEventRecord(events[i], streams[i]));
    }
    NEED(cuEventSynchronize(events[COUNT - 1]));
    static int back[COUNT];
    NEED(cuMemcpyDtoH(back, data, sizeof back));
    int right = 1;
    for (int i = 0; i < COUNT; i++)
        right &= back[i] == i + 1;
    CHECK("chain", right);
    right = 1;
    for (int i = 0; i < COUNT; i++)
        right &= cuStreamDestroy(streams[i]) == CUDA_SUCCESS && cuEventDestroy(events[i]) == CUDA_SUCCESS;
    CHECK("destroyed", right);

    // Handles do not run out.
    right = 1;
    for (int i = 0; i < 10 * COUNT; i++) {
        CUevent event;
        CUstream stream;
        right &= cuEventCreate(&event, 0) == CUDA_SUCCESS && cuEventRecord(event, NULL) == CUDA_SUCCESS;
        right &= cuStreamCreate(&stream, 0) == CUDA_SUCCESS;
        right &= cuEventDestroy(event) == CUDA_SUCCESS && cuStreamDestroy(stream) == CUDA_SUCCESS;
    }
    CHECK("made_and_destroyed", right);
    right = 1;
    for (int i = 0; i < COUNT / 3; i++) {
        CUmodule other;
        right &= cuModuleLoadData(&other, ptx) == CUDA_SUCCESS && cuModuleUnload(other) == CUDA_SUCCESS;
    }
    CHECK("loaded_and_unloaded", right);
    CHECK_CU("context_is_fine", cuCtxSynchronize());
    free(ptx);
    return finish();
}
