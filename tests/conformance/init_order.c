// What may come before cuInit and before there is a context.
#include "check.h"

int main(void) {
    int version = 0, count = 0;
    CUcontext context;
    CUdevice device;
    CUdeviceptr memory;
    CHECK_CU("version_before_init", cuDriverGetVersion(&version));
    CHECK("version", version >= 11000);
    CHECK_ERR("count_before_init", cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("device_before_init", cuDeviceGet(&device, 0), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("retain_before_init", cuDevicePrimaryCtxRetain(&context, 0), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("allocate_before_init", cuMemAlloc(&memory, 256), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("init_flags", cuInit(1), CUDA_ERROR_INVALID_VALUE);

    NEED(cuInit(0));
    CHECK_CU("init_twice", cuInit(0));
    CHECK_CU("count", cuDeviceGetCount(&count));
    CHECK("one_device_at_least", count >= 1);
    CHECK_CU("device", cuDeviceGet(&device, 0));
    CHECK_ERR("device_after_last", cuDeviceGet(&device, count), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("device_negative", cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("count_null", cuDeviceGetCount(NULL), CUDA_ERROR_INVALID_VALUE);

    context = (CUcontext)1;
    CHECK_CU("no_context_yet", cuCtxGetCurrent(&context));
    CHECK("current_is_null", context == NULL);
    CHECK_ERR("allocate_without_context", cuMemAlloc(&memory, 256), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_ERR("synchronize_without_context", cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
    CUstream stream;
    CHECK_ERR("stream_without_context", cuStreamCreate(&stream, 0), CUDA_ERROR_INVALID_CONTEXT);
    CUmodule module;
    char *ptx = kernel_ptx("basic");
    CHECK_ERR("module_without_context", cuModuleLoadData(&module, ptx), CUDA_ERROR_INVALID_CONTEXT);
    free(ptx);

    NEED(cuDevicePrimaryCtxRetain(&context, device));
    NEED(cuCtxSetCurrent(context));
    CHECK_CU("allocate", cuMemAlloc(&memory, 256));
    CHECK_CU("free", cuMemFree(memory));
    CHECK_CU("release", cuDevicePrimaryCtxRelease(device));
    return finish();
}
