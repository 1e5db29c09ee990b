// Calls from exit handlers, as destructors of global objects make them: before
// the driver's own end they work, after it they say so.
#include "check.h"

static CUdeviceptr memory;
static CUmodule module;
static CUevent event;

static int ends_well(CUresult result) { return result == CUDA_SUCCESS || result == CUDA_ERROR_DEINITIALIZED; }

// Registered last, run first.
static void early(void) {
    CHECK_CU("early_synchronize", cuCtxSynchronize());
    CHECK_CU("early_event", cuEventDestroy(event));
}

// Registered before cuInit, run last.
static void late(void) {
    CHECK("late_free", ends_well(cuMemFree(memory)));
    CHECK("late_unload", ends_well(cuModuleUnload(module)));
    CHECK("late_release", ends_well(cuDevicePrimaryCtxRelease(0)));
    CHECK("late_synchronize", cuCtxSynchronize() != CUDA_ERROR_NOT_SUPPORTED);
    _exit(finish());
}

int main(void) {
    atexit(late);
    start();
    module = load("basic");
    NEED(cuMemAlloc(&memory, 4096));
    NEED(cuEventCreate(&event, 0));
    CUfunction fill = kernel(module, "fill");
    int value = 1, n = 1024;
    void *params[] = {&memory, &value, &n};
    CHECK_CU("launch", cuLaunchKernel(fill, 4, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    atexit(early);
    return 0;
}
