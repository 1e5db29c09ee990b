// Memory calls with wrong arguments, and what ends with a context.
#include "check.h"

int main(void) {
    CUdeviceptr device = 0, base = 0;
    CHECK_ERR("allocate_before_init", cuMemAlloc(&device, 16), CUDA_ERROR_NOT_INITIALIZED);
    CUcontext context = start(), second = NULL;
    int local = 0;
    size_t size = 0;

    CHECK_ERR("allocate_to_nowhere", cuMemAlloc(NULL, 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("allocate_too_much", cuMemAlloc(&device, (size_t)1 << 60), CUDA_ERROR_OUT_OF_MEMORY);
    NEED(cuMemAlloc(&device, 4096));
    CHECK_ERR("free_inside", cuMemFree(device + 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("free_host", cuMemFree((CUdeviceptr)(uintptr_t)&local), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("copy_from_nowhere", cuMemcpyDtoH(&local, 0, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("copy_within_from_nowhere", cuMemcpyDtoD(device, 16, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("copy_nothing", cuMemcpyDtoH(&local, device, 0));
    CHECK_CU("set_nothing", cuMemsetD8(device, 1, 0));
    CHECK_CU("range_without_outputs", cuMemGetAddressRange(NULL, NULL, device + 5));
    CHECK_CU("range", cuMemGetAddressRange(&base, &size, device + 4095));
    CHECK("range_is_right", base == device && size == 4096);
    CHECK_ERR("range_of_nothing", cuMemGetAddressRange(&base, &size, 64), CUDA_ERROR_NOT_FOUND);

    // Addresses are good in every context, and memory ends with its own.
    CUdeviceptr other = 0;
    void *pinned = NULL;
    NEED(cuCtxCreate(&second, NULL, 0, 0));
    NEED(cuMemAlloc(&other, 4096));
    NEED(cuMemHostAlloc(&pinned, 4096, CU_MEMHOSTALLOC_PORTABLE));
    CHECK_CU("set_of_other_context", cuMemsetD8(device, 7, 4096));
    NEED(cuCtxSynchronize());
    NEED(cuCtxSetCurrent(context));
    CHECK_CU("portable_copy", cuMemcpyDtoH(pinned, device, 4096));
    CHECK("portable_result", ((unsigned char *)pinned)[4095] == 7);
    NEED(cuCtxDestroy(second));
    NEED(cuCtxSetCurrent(context));
    unsigned type = 0;
    CHECK("memory_ends_with_context",
          cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, other) != CUDA_SUCCESS);
    CHECK("free_of_ended_context", cuMemFree(other) != CUDA_SUCCESS);
    CHECK_CU("free", cuMemFree(device));
    CHECK_CU("end", cuCtxSynchronize());
    return finish();
}
