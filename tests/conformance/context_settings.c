// Settings of contexts and functions that are hints or of old devices: they are
// taken, and what can be asked for is what was set.
#include "check.h"

CUresult cuProfilerStart(void); // of cudaProfiler.h
CUresult cuProfilerStop(void);
// Hidden by cuda.h since CUDA 13.
CUresult cuCtxCreate_v3(CUcontext *, CUexecAffinityParam *, int, unsigned, CUdevice);

int main(void) {
    start();
    CUcontext context, attached, current;
    CUsharedconfig config = -1;
    CUexecAffinityParam affinity;
    CHECK_CU("l2_reset", cuCtxResetPersistingL2Cache());
    CHECK_CU("shared_config", cuCtxSetSharedMemConfig(CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE));
    CHECK_CU("shared_config_get", cuCtxGetSharedMemConfig(&config));
    CHECK("shared_config_known", config == CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE || config == CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE);
    int affinity_supported = 0;
    NEED(cuDeviceGetExecAffinitySupport(&affinity_supported, CU_EXEC_AFFINITY_TYPE_SM_COUNT, 0));
    CUresult asked = cuCtxGetExecAffinity(&affinity, CU_EXEC_AFFINITY_TYPE_SM_COUNT);
    if (asked == CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY)
        CHECK("affinity", !affinity_supported);
    else
        CHECK("affinity", asked == CUDA_SUCCESS && affinity.type == CU_EXEC_AFFINITY_TYPE_SM_COUNT && affinity.param.smCount.val > 0);
    CHECK_CU("profiler_start", cuProfilerStart());
    CHECK_CU("profiler_stop", cuProfilerStop());

    CUmodule module = load("basic");
    CUfunction function = kernel(module, "fill");
    CHECK_CU("function_shared_config", cuFuncSetSharedMemConfig(function, CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE));
    if (driver_has("cuFuncIsLoaded")) {
        CUfunctionLoadingState state = -1;
        CHECK_CU("load", cuFuncLoad(function));
        CHECK_CU("is_loaded", cuFuncIsLoaded(&state, function));
        CHECK("loaded", state == CU_FUNCTION_LOADING_STATE_LOADED);
    } else {
        SKIP("load", "this driver has no cuFuncLoad");
    }
    CUlibrary library;
    CUkernel library_kernel;
    char *ptx = kernel_ptx("basic");
    NEED(cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    NEED(cuLibraryGetKernel(&library_kernel, library, "fill"));
    CHECK_CU("kernel_cache_config", cuKernelSetCacheConfig(library_kernel, CU_FUNC_CACHE_PREFER_L1, 0));
    NEED(cuLibraryUnload(library));
    free(ptx);

    // A context made with an affinity that the device need not support, by none.
    CHECK_CU("create_v3", cuCtxCreate_v3(&context, NULL, 0, CU_CTX_SCHED_AUTO, 0));
    NEED(cuCtxGetCurrent(&current));
    CHECK("created_is_current", current == context);
    CHECK_CU("attach", cuCtxAttach(&attached, 0));
    CHECK("attached", attached == context);
    CHECK_CU("detach", cuCtxDetach(attached));
    CHECK_CU("still_there", cuCtxSynchronize());
    CHECK_CU("detach_last", cuCtxDetach(context));
    CHECK_ERR("gone", cuCtxSetCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
    return finish();
}
