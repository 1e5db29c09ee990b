// A kernel that touches memory of another device to which it has no access: an illegal address.
#include "two.h"

int main(void) {
    CUcontext contexts[2];
    CUdeviceptr memory;
    start_two(contexts);
    NEED(cuCtxSetCurrent(contexts[1]));
    NEED(cuMemAlloc(&memory, 4096));
    NEED(cuMemsetD32(memory, 3, 1024));
    NEED(cuCtxSynchronize());
    NEED(cuCtxSetCurrent(contexts[0]));
    unsigned value = 1;
    void *params[] = {&memory, &value};
    NEED(cuLaunchKernel(kernel(load("touch"), "store"), 1, 1, 1, 1, 1, 1, 0, 0, params, NULL));
    CHECK_ERR("store", cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    return finish();
}
