// The primary context is inactive until it is retained, and counted.
#include "check.h"

int main(void) {
    NEED(cuInit(0));
    unsigned flags = 99;
    int active = -1;
    CHECK_CU("state", cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK("inactive", active == 0 && flags == 0);
    CHECK_CU("set_flags", cuDevicePrimaryCtxSetFlags(0, CU_CTX_SCHED_SPIN));
    CHECK_ERR("set_bad_flags", cuDevicePrimaryCtxSetFlags(0, 0x4000), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("release_unretained", cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);

    CUcontext first = NULL, second = NULL;
    CHECK_CU("retain", cuDevicePrimaryCtxRetain(&first, 0));
    CHECK_CU("retain_again", cuDevicePrimaryCtxRetain(&second, 0));
    CHECK("same_context", first == second && first != NULL);
    CUcontext current = first;
    NEED(cuCtxGetCurrent(&current));
    CHECK("retain_does_not_set_current", current == NULL);
    NEED(cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK("active", active == 1 && (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_SPIN);
    CHECK_ERR("destroy_primary", cuCtxDestroy(first), CUDA_ERROR_INVALID_CONTEXT);

    NEED(cuCtxSetCurrent(first));
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, 64));
    CHECK_CU("release", cuDevicePrimaryCtxRelease(0));
    CHECK_CU("still_alive", cuMemsetD8(memory, 1, 64));
    CHECK_CU("release_last", cuDevicePrimaryCtxRelease(0));
    NEED(cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK("inactive_again", active == 0);
    CHECK_ERR("retain_bad_device", cuDevicePrimaryCtxRetain(&first, 42), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("retain_null", cuDevicePrimaryCtxRetain(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
