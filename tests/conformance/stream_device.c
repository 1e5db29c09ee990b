// Where a stream belongs, and host functions that say how the driver's thread
// waits for them.
#include "check.h"

static void note(void *place) { *(int *)place += 1; }

int main(void) {
    CUcontext context = start(), found = NULL;
    CUstream stream;
    CUdevice device = -1;
    int calls = 0;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CHECK_CU("context", cuStreamGetCtx(stream, &found));
    CHECK("context_is_own", found == context);
    if (driver_has("cuStreamGetDevice")) {
        CHECK_CU("device", cuStreamGetDevice(stream, &device));
        CHECK("device_is_first", device == 0);
        device = -1;
        CHECK_CU("device_of_default", cuStreamGetDevice(NULL, &device));
        CHECK("default_is_on_first", device == 0);
        CHECK_ERR("device_null", cuStreamGetDevice(stream, NULL), CUDA_ERROR_INVALID_VALUE);
    } else {
        SKIP("device", "this driver has no cuStreamGetDevice");
    }
    if (driver_has("cuLaunchHostFunc_v2")) {
        CHECK_CU("host_blocking", cuLaunchHostFunc_v2(stream, note, &calls, CU_HOST_TASK_BLOCKING));
        CHECK_CU("host_spinning", cuLaunchHostFunc_v2(stream, note, &calls, CU_HOST_TASK_SPINWAIT));
        NEED(cuStreamSynchronize(stream));
        CHECK("host_functions_ran", calls == 2);
    } else {
        SKIP("host", "this driver has no cuLaunchHostFunc_v2");
    }
    NEED(cuStreamDestroy(stream));
    return finish();
}
