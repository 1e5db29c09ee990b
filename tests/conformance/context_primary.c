// The primary context: counted references, state and flags.
#include "check.h"

static int is_active(void) {
    unsigned flags;
    int active = -1;
    NEED(cuDevicePrimaryCtxGetState(0, &flags, &active));
    return active;
}

int main(void) {
    NEED(cuInit(0));
    CHECK("inactive_at_first", is_active() == 0);
    CHECK_CU("set_flags", cuDevicePrimaryCtxSetFlags(0, CU_CTX_SCHED_BLOCKING_SYNC));
    unsigned flags = 0;
    int active = -1;
    CHECK_CU("state", cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK("flags_are_set", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC);

    CUcontext context = NULL, again = NULL, current = (CUcontext)1;
    CHECK_CU("retain", cuDevicePrimaryCtxRetain(&context, 0));
    CHECK("active", context && is_active() == 1);
    NEED(cuCtxGetCurrent(&current));
    CHECK("retain_makes_nothing_current", current == NULL);
    CHECK_CU("retain_again", cuDevicePrimaryCtxRetain(&again, 0));
    CHECK("retain_again_is_the_same", again == context);
    NEED(cuCtxSetCurrent(context));
    CHECK_CU("flags_of_context", cuCtxGetFlags(&flags));
    CHECK("flags_of_context_value", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC);
    CUdeviceptr memory;
    CHECK_CU("allocate", cuMemAlloc(&memory, 1024));

    CHECK_CU("release", cuDevicePrimaryCtxRelease(0));
    CHECK("still_active", is_active() == 1);
    CHECK_CU("still_usable", cuMemsetD8(memory, 1, 1024));
    CHECK_CU("synchronize", cuCtxSynchronize());
    CHECK_CU("release_last", cuDevicePrimaryCtxRelease(0));
    CHECK("inactive_again", is_active() == 0);
    CHECK_ERR("release_too_often", cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);

    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    CHECK_CU("usable_after_return", cuMemAlloc(&memory, 1024));
    CHECK_CU("reset", cuDevicePrimaryCtxReset(0));
    CHECK_CU("release_after_reset", cuDevicePrimaryCtxRelease(0)); // a reset does not release
    CHECK_ERR("no_device", cuDevicePrimaryCtxRetain(&context, 99), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("null", cuDevicePrimaryCtxRetain(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
