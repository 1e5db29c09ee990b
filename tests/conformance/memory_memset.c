// Fills of 8, 16 and 32 bits, in lines and in rows, at once and in a stream.
#include "check.h"

enum { SIZE = 4096, PITCH = 64 };

static CUdeviceptr data;
static unsigned char back[SIZE];

static void clear(void) {
    NEED(cuMemsetD8(data, 0, SIZE));
}

// Whether exactly `count` values of `unit` bytes from `offset` on are `value`.
static int filled(size_t offset, unsigned value, size_t unit, size_t count) {
    NEED(cuMemcpyDtoH(back, data, SIZE));
    for (size_t i = 0; i < SIZE; i++) {
        int inside = i >= offset && i < offset + unit * count;
        if (back[i] != (inside ? (unsigned char)(value >> 8 * ((i - offset) % unit)) : 0))
            return 0;
    }
    return 1;
}

// The same for rows of `width` values, PITCH bytes apart.
static int rows_filled(unsigned value, size_t unit, size_t width, size_t height) {
    NEED(cuMemcpyDtoH(back, data, SIZE));
    for (size_t i = 0; i < SIZE; i++) {
        int inside = i / PITCH < height && i % PITCH < unit * width;
        if (back[i] != (inside ? (unsigned char)(value >> 8 * (i % PITCH % unit)) : 0))
            return 0;
    }
    return 1;
}

int main(void) {
    start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemAlloc(&data, SIZE));

    clear();
    CHECK_CU("d8", cuMemsetD8(data + 3, 0xab, 1001));
    CHECK("d8_result", filled(3, 0xab, 1, 1001));
    clear();
    CHECK_CU("d16", cuMemsetD16(data + 6, 0xabcd, 501));
    CHECK("d16_result", filled(6, 0xabcd, 2, 501));
    clear();
    CHECK_CU("d32", cuMemsetD32(data + 12, 0x89abcdef, 333));
    CHECK("d32_result", filled(12, 0x89abcdef, 4, 333));
    clear();
    CHECK_CU("rows8", cuMemsetD2D8(data, PITCH, 0x5a, 33, 9));
    CHECK("rows8_result", rows_filled(0x5a, 1, 33, 9));
    clear();
    CHECK_CU("rows16", cuMemsetD2D16(data, PITCH, 0x1234, 15, 5));
    CHECK("rows16_result", rows_filled(0x1234, 2, 15, 5));
    clear();
    CHECK_CU("rows32", cuMemsetD2D32(data, PITCH, 0x12345678, 7, 64));
    CHECK("rows32_result", rows_filled(0x12345678, 4, 7, 64));

    NEED(cuMemsetD8Async(data, 0, SIZE, stream));
    CHECK_CU("d8_stream", cuMemsetD8Async(data, 1, 10, stream));
    CHECK_CU("d16_stream", cuMemsetD16Async(data, 0x0202, 4, stream));
    CHECK_CU("d32_stream", cuMemsetD32Async(data, 0x03030303, 1, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(back, data, 12));
    CHECK("stream_result", memcmp(back, "\3\3\3\3\2\2\2\2\1\1\0\0", 12) == 0);
    NEED(cuMemsetD8Async(data, 0, SIZE, stream));
    CHECK_CU("rows8_stream", cuMemsetD2D8Async(data, PITCH, 1, 12, 2, stream));
    CHECK_CU("rows16_stream", cuMemsetD2D16Async(data, PITCH, 0x0202, 4, 2, stream));
    CHECK_CU("rows32_stream", cuMemsetD2D32Async(data, PITCH, 0x03030303, 1, 2, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(back, data + PITCH, 13));
    CHECK("rows_stream_result", memcmp(back, "\3\3\3\3\2\2\2\2\1\1\1\1\0", 13) == 0);

    CHECK_ERR("d16_misaligned", cuMemsetD16(data + 1, 0, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("d32_misaligned", cuMemsetD32(data + 2, 0, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null", cuMemsetD8(0, 0, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("past_the_end", cuMemsetD8(data, 0, (size_t)1 << 40), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free", cuMemFree(data));
    return finish();
}
