// Pinned host memory: flags, the device's view of it, kernels that use it.
#include "check.h"

enum { N = 1000 };

int main(void) {
    start();
    CUfunction add = kernel(load("basic"), "add");
    unsigned flags;
    void *plain, *portable, *mapped, *combined;
    CHECK_CU("alloc_host", cuMemAllocHost(&plain, 4096));
    CHECK_CU("portable", cuMemHostAlloc(&portable, 4096, CU_MEMHOSTALLOC_PORTABLE));
    CHECK_CU("mapped", cuMemHostAlloc(&mapped, N * sizeof(int), CU_MEMHOSTALLOC_DEVICEMAP));
    CHECK_CU("write_combined", cuMemHostAlloc(&combined, 4096, CU_MEMHOSTALLOC_WRITECOMBINED | CU_MEMHOSTALLOC_DEVICEMAP));
    CHECK_CU("flags_of_portable", cuMemHostGetFlags(&flags, portable));
    // With unified addressing all memory is portable, and drivers differ in saying so.
    printf("# flags of portable memory: %#x\n", flags);
    CHECK_CU("flags_of_combined", cuMemHostGetFlags(&flags, combined));
    CHECK("write_combined_is_set", flags & CU_MEMHOSTALLOC_WRITECOMBINED);
    CHECK_CU("flags_of_plain", cuMemHostGetFlags(&flags, plain));
    CHECK("plain_is_not_write_combined", !(flags & CU_MEMHOSTALLOC_WRITECOMBINED));
    void *pageable = malloc(4096);
    CHECK_ERR("flags_of_pageable", cuMemHostGetFlags(&flags, pageable), CUDA_ERROR_INVALID_VALUE);

    CUdeviceptr view = 0;
    CHECK_CU("device_pointer", cuMemHostGetDevicePointer(&view, mapped, 0));
    // Addresses are unified: the device's is the host's, unless it is write-combined.
    CHECK("device_pointer_is_the_same", view == (CUdeviceptr)(uintptr_t)mapped);
    CHECK_CU("device_pointer_inside", cuMemHostGetDevicePointer(&view, (char *)mapped + 16, 0));
    CHECK("device_pointer_inside_is_the_same", view == (CUdeviceptr)(uintptr_t)mapped + 16);
    CHECK_ERR("device_pointer_flags", cuMemHostGetDevicePointer(&view, mapped, 1), CUDA_ERROR_INVALID_VALUE);
    free(pageable);

    int *values = mapped;
    for (int i = 0; i < N; i++)
        values[i] = i;
    int value = 5, n = N;
    NEED(cuMemHostGetDevicePointer(&view, mapped, 0));
    void *params[] = {&view, &value, &n};
    CHECK_CU("kernel", cuLaunchKernel(add, 4, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    NEED(cuCtxSynchronize());
    int right = 1;
    for (int i = 0; i < N; i++)
        right &= values[i] == i + 5;
    CHECK("kernel_result", right);

    CUdeviceptr base = 0;
    size_t size = 0;
    CHECK_CU("range", cuMemGetAddressRange(&base, &size, view + 8));
    CHECK("range_is_the_allocation", base == view && size == N * sizeof(int));

    // A fill without a stream is waited for where the host can look.
    for (int i = 0; i < 20; i++) {
        NEED(cuMemsetD32(view, 1000 + i, N));
        right &= values[0] == 1000 + i && values[N - 1] == 1000 + i;
    }
    CHECK("fill_is_waited_for", right);

    void *none = NULL;
    CHECK_ERR("unknown_flags", cuMemHostAlloc(&none, 4096, 0x80), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null", cuMemHostAlloc(NULL, 4096, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free_plain", cuMemFreeHost(plain));
    CHECK_CU("free_portable", cuMemFreeHost(portable));
    CHECK_CU("free_mapped", cuMemFreeHost(mapped));
    CHECK_CU("free_combined", cuMemFreeHost(combined));
    CHECK_CU("free_null", cuMemFreeHost(NULL));
    CHECK_ERR("free_twice", cuMemFreeHost(combined), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
