// Copies from and to pinned memory happen when their turn comes in the stream,
// not when they are called; kernel parameters are taken at the call.
#include "wait.h"

enum { N = 100000 };

int main(void) {
    start();
    struct gate gate = gate_start();
    CUmodule basic = load("basic");
    CUfunction fill = kernel(basic, "fill");
    CUstream stream;
    CUevent event;
    CUdeviceptr data;
    int *pinned, *result;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    NEED(cuMemAlloc(&data, N * sizeof(int)));
    NEED(cuMemAllocHost((void **)&pinned, N * sizeof(int)));
    NEED(cuMemAllocHost((void **)&result, N * sizeof(int)));
    int value = 1, n = N;
    void *params[] = {&data, &value, &n};
    NEED(cuLaunchKernel(fill, (N + 255) / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    NEED(cuStreamSynchronize(stream));

    // Written between the call and the copy: the copy sees it.
    memset(pinned, 0, N * sizeof(int));
    gate_close(&gate, stream);
    CHECK_CU("to_device", cuMemcpyHtoDAsync(data, pinned, N * sizeof(int), stream));
    CHECK_CU("to_host", cuMemcpyDtoHAsync(result, data, N * sizeof(int), stream));
    NEED(cuEventRecord(event, stream));
    CHECK_ERR("returned_before_the_copy", cuEventQuery(event), CUDA_ERROR_NOT_READY);
    for (int i = 0; i < N; i++)
        pinned[i] = i;
    gate_open(&gate);
    NEED(cuStreamSynchronize(stream));
    CHECK("copied_in_its_turn", memcmp(pinned, result, N * sizeof(int)) == 0);

    // A launch keeps its own parameters.
    gate_close(&gate, stream);
    value = 77;
    NEED(cuLaunchKernel(fill, (N + 255) / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    value = 88;
    n = 0;
    NEED(cuMemcpyDtoHAsync(result, data, N * sizeof(int), stream));
    gate_open(&gate);
    NEED(cuStreamSynchronize(stream));
    CHECK("parameters_taken_at_the_call", result[0] == 77 && result[N - 1] == 77);

    // Into pageable memory the copy has happened when the call returns.
    int back = 0;
    value = 5, n = 1;
    NEED(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
    CHECK_CU("to_pageable", cuMemcpyDtoHAsync(&back, data, sizeof back, stream));
    CHECK("pageable_is_there_at_once", back == 5);
    CHECK_CU("free", cuMemFreeHost(pinned));
    return finish();
}
