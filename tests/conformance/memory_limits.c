// Many allocations, and ones that are too large: an error, and life goes on.
#include "check.h"

enum { COUNT = 2000 };

static int by_address(const void *a, const void *b) {
    CUdeviceptr x = *(const CUdeviceptr *)a, y = *(const CUdeviceptr *)b;
    return x < y ? -1 : x > y;
}

int main(void) {
    start();
    size_t free_bytes = 0, total = 0;
    CUdeviceptr memory = 0;
    void *host = NULL;
    NEED(cuMemGetInfo(&free_bytes, &total));
    CHECK_ERR("larger_than_the_device", cuMemAlloc(&memory, total + ((size_t)1 << 30)), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK_ERR("huge", cuMemAlloc(&memory, (size_t)1 << 46), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK_ERR("huge_host", cuMemAllocHost(&host, (size_t)1 << 46), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK_CU("goes_on", cuMemAlloc(&memory, 4096));
    CHECK_CU("usable", cuMemsetD8(memory, 1, 4096));
    CHECK_CU("free", cuMemFree(memory));

    // All at once, all different, each its own bytes.
    static CUdeviceptr all[COUNT];
    int right = 1;
    for (int i = 0; i < COUNT; i++) {
        NEED(cuMemAlloc(&all[i], 1 + i % 1000));
        right &= all[i] % 256 == 0;
        NEED(cuMemsetD8(all[i], (unsigned char)i, 1 + i % 1000));
    }
    CHECK("aligned", right);
    right = 1;
    for (int i = 0; i < COUNT; i += 7) {
        unsigned char first = 0, last = 0;
        NEED(cuMemcpyDtoH(&first, all[i], 1));
        NEED(cuMemcpyDtoH(&last, all[i] + i % 1000, 1));
        right &= first == (unsigned char)i && last == (unsigned char)i;
    }
    CHECK("own_bytes", right);
    qsort(all, COUNT, sizeof *all, by_address);
    right = 1;
    for (int i = 1; i < COUNT; i++)
        right &= all[i] > all[i - 1];
    CHECK("all_different", right);
    for (int i = 0; i < COUNT; i++)
        NEED(cuMemFree(all[i]));

    // Again and again the same amount: what is freed can be had again.
    size_t part = total / 4;
    right = 1;
    for (int i = 0; i < 20 && right; i++) {
        right = cuMemAlloc(&memory, part) == CUDA_SUCCESS;
        if (right)
            NEED(cuMemFree(memory));
    }
    CHECK("freed_memory_is_reused", right || free_bytes < total / 2);
    return finish();
}
