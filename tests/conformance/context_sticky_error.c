// A fault of a kernel stays with its context: every later call returns it.
#include "wait.h"

static volatile CUresult told = CUDA_SUCCESS;

static void CUDA_CB callback(CUstream stream, CUresult status, void *data) {
    (void)stream, (void)data;
    told = status;
}

int main(void) {
    start();
    CUmodule module = load("basic");
    CUfunction fill = kernel(module, "fill");
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr nowhere = 0x10, memory;
    NEED(cuMemAlloc(&memory, 64));
    int value = 1, n = 1;
    void *params[] = {&nowhere, &value, &n};
    // The launch itself succeeds: errors of kernels come later. It is held up until all is queued.
    struct gate gate = gate_start();
    gate_close(&gate, stream);
    CHECK_CU("launch", cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
    CHECK_CU("callback", cuStreamAddCallback(stream, callback, NULL, 0));
    gate_open(&gate);
    CHECK_ERR("synchronize", cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_ERR("stays", cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_ERR("allocate", cuMemAlloc(&memory, 64), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_ERR("launch_again", cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_ERR("query", cuStreamQuery(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    // What needs no device still works.
    CUcontext current = NULL;
    CHECK_CU("get_current", cuCtxGetCurrent(&current));
    int device = -1;
    CHECK_CU("get_device", cuCtxGetDevice(&device));
    CHECK_CU("attribute", cuDeviceGetAttribute(&device, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
    return finish();
}
