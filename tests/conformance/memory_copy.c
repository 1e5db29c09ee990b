// Linear copies: every direction, pageable and pinned, small and large,
// aligned and not, synchronous and in a stream.
#include "check.h"

enum { LARGE = 9 * 1024 * 1024 + 5 };

static unsigned char *source, *back, *pinned;
static CUdeviceptr a, b;

static void pattern(unsigned char *bytes, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)((i * 2654435761u + seed) >> 11);
}

// There and back through two allocations, at an odd offset.
static int survives(size_t size, size_t offset) {
    pattern(source, size, (unsigned)size);
    memset(back, 0, size);
    NEED(cuMemcpyHtoD(a + offset, source, size));
    NEED(cuMemcpyDtoD(b + offset, a + offset, size));
    NEED(cuMemcpyDtoH(back, b + offset, size));
    return memcmp(source, back, size) == 0;
}

static int survives_stream(unsigned char *from, unsigned char *to, size_t size, CUstream stream) {
    pattern(from, size, 77);
    NEED(cuMemcpyHtoDAsync(a, from, size, stream));
    NEED(cuMemcpyDtoDAsync(b, a, size, stream));
    memset(to, 0, size);
    NEED(cuMemcpyDtoHAsync(to, b, size, stream));
    NEED(cuStreamSynchronize(stream));
    return memcmp(from, to, size) == 0;
}

int main(void) {
    start();
    source = malloc(LARGE + 64);
    back = malloc(LARGE + 64);
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemAlloc(&a, LARGE + 64));
    NEED(cuMemAlloc(&b, LARGE + 64));

    CHECK("one_byte", survives(1, 0));
    CHECK("odd_offset", survives(13, 7));
    CHECK("one_page", survives(4096, 0));
    CHECK("past_a_page", survives(4097, 3));
    CHECK("64_KiB", survives(65536, 0));
    CHECK("past_1_MiB", survives((1 << 20) + 1, 1));
    CHECK("large", survives(LARGE, 0));
    CHECK("stream_pageable", survives_stream(source, back, LARGE, stream));
    CHECK("stream_legacy", survives_stream(source, back, 100000, CU_STREAM_LEGACY));
    CHECK("stream_per_thread", survives_stream(source, back, 100000, CU_STREAM_PER_THREAD));

    NEED(cuMemAllocHost((void **)&pinned, 2 * LARGE));
    CHECK("stream_pinned", survives_stream(pinned, pinned + LARGE, LARGE, stream));
    CHECK("stream_pinned_to_pageable", survives_stream(pinned, back, LARGE, stream));
    CHECK("stream_pageable_to_pinned", survives_stream(source, pinned, LARGE, stream));

    // A pageable source may change as soon as the call has returned.
    pattern(source, LARGE, 5);
    memcpy(back, source, LARGE);
    NEED(cuMemcpyHtoDAsync(a, source, LARGE, stream));
    memset(source, 0xee, LARGE);
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(source, a, LARGE));
    CHECK("source_reused", memcmp(source, back, LARGE) == 0);

    // Overwritten in stream order.
    NEED(cuMemsetD8Async(a, 1, LARGE, stream));
    NEED(cuMemcpyDtoDAsync(b, a, LARGE, stream));
    NEED(cuMemsetD8Async(a, 2, LARGE, stream));
    NEED(cuMemcpyDtoHAsync(back, b, LARGE, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("stream_order", back[0] == 1 && back[LARGE / 2] == 1 && back[LARGE - 1] == 1);

    // cuMemcpy finds out what each address is.
    pattern(source, 5000, 9);
    CHECK_CU("unified_to_device", cuMemcpy(a, (CUdeviceptr)(uintptr_t)source, 5000));
    CHECK_CU("unified_on_device", cuMemcpy(b, a, 5000));
    CHECK_CU("unified_to_host", cuMemcpy((CUdeviceptr)(uintptr_t)back, b, 5000));
    CHECK("unified", memcmp(source, back, 5000) == 0);
    memset(pinned, 0, 5000);
    CHECK_CU("unified_host_to_host", cuMemcpy((CUdeviceptr)(uintptr_t)pinned, (CUdeviceptr)(uintptr_t)source, 5000));
    CHECK("unified_host", memcmp(source, pinned, 5000) == 0);
    CHECK_CU("unified_stream", cuMemcpyAsync(a, (CUdeviceptr)(uintptr_t)pinned, 5000, stream));
    CHECK_CU("unified_stream_back", cuMemcpyAsync((CUdeviceptr)(uintptr_t)back, a, 5000, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("unified_stream_result", memcmp(source, back, 5000) == 0);

    CHECK_CU("nothing_to_device", cuMemcpyHtoD(a, source, 0));
    CHECK_CU("nothing_to_host", cuMemcpyDtoH(back, a, 0));
    CHECK_CU("nothing_on_device", cuMemcpyDtoD(a, b, 0));
    CHECK_ERR("null_device", cuMemcpyHtoD(0, source, 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_device_source", cuMemcpyDtoH(back, 0, 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_host", cuMemcpyHtoD(a, NULL, 16), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("past_the_end", cuMemcpyHtoD(a + LARGE, source, LARGE), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free_host", cuMemFreeHost(pinned));
    CHECK_CU("free", cuMemFree(a));
    NEED(cuMemFree(b));
    return finish();
}
