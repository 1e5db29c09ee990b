// Two-dimensional copies between pitched rows, with offsets on both sides.
#include "check.h"

enum { WIDTH = 100, HEIGHT = 7, HOST_PITCH = 120 };

int main(void) {
    start();
    unsigned char host[HOST_PITCH * (HEIGHT + 2)], back[HOST_PITCH * (HEIGHT + 2)];
    for (size_t i = 0; i < sizeof host; i++)
        host[i] = (unsigned char)(i * 31 + 7);
    CUdeviceptr rows, packed;
    size_t pitch = 0;
    CHECK_CU("allocate_pitched", cuMemAllocPitch(&rows, &pitch, WIDTH, HEIGHT, 4));
    CHECK("pitch", pitch >= WIDTH && pitch % 4 == 0);
    NEED(cuMemAlloc(&packed, WIDTH * HEIGHT));

    CUDA_MEMCPY2D up = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = host, .srcPitch = HOST_PITCH, .srcXInBytes = 8, .srcY = 1,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = rows, .dstPitch = pitch,
                        .WidthInBytes = WIDTH, .Height = HEIGHT};
    CHECK_CU("host_to_rows", cuMemcpy2D(&up));
    CUDA_MEMCPY2D across = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = rows, .srcPitch = pitch,
                            .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = packed, .dstPitch = WIDTH,
                            .WidthInBytes = WIDTH, .Height = HEIGHT};
    CHECK_CU("rows_to_packed", cuMemcpy2D(&across));
    memset(back, 0, sizeof back);
    CUDA_MEMCPY2D down = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = packed, .srcPitch = WIDTH,
                          .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = back, .dstPitch = HOST_PITCH, .dstXInBytes = 8, .dstY = 1,
                          .WidthInBytes = WIDTH, .Height = HEIGHT};
    CHECK_CU("packed_to_host", cuMemcpy2D(&down));
    int right = 1;
    for (size_t y = 0; y < HEIGHT + 2; y++)
        for (size_t x = 0; x < HOST_PITCH; x++) {
            int inside = y >= 1 && y <= HEIGHT && x >= 8 && x < 8 + WIDTH;
            right &= back[y * HOST_PITCH + x] == (inside ? host[y * HOST_PITCH + x] : 0);
        }
    CHECK("exactly_the_box", right);

    // A box inside the rows.
    CUDA_MEMCPY2D box = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = rows, .srcPitch = pitch, .srcXInBytes = 10, .srcY = 2,
                         .dstMemoryType = CU_MEMORYTYPE_HOST, .dstHost = back, .dstPitch = 16, .WidthInBytes = 16, .Height = 3};
    CHECK_CU("box", cuMemcpy2D(&box));
    right = 1;
    for (size_t y = 0; y < 3; y++)
        for (size_t x = 0; x < 16; x++)
            right &= back[y * 16 + x] == host[(y + 3) * HOST_PITCH + x + 18];
    CHECK("box_result", right);

    CUstream stream;
    NEED(cuStreamCreate(&stream, 0));
    NEED(cuMemsetD2D8Async(rows, pitch, 0, WIDTH, HEIGHT, stream));
    CHECK_CU("stream", cuMemcpy2DAsync(&up, stream));
    CHECK_CU("stream_across", cuMemcpy2DAsync(&across, stream));
    CHECK_CU("stream_down", cuMemcpy2DAsync(&down, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("stream_result", memcmp(back + HOST_PITCH + 8, host + HOST_PITCH + 8, WIDTH) == 0);

    up.srcMemoryType = CU_MEMORYTYPE_UNIFIED;
    up.srcDevice = (CUdeviceptr)(uintptr_t)host;
    up.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
    CHECK_CU("unified", cuMemcpy2D(&up));
    CHECK_CU("unaligned", cuMemcpy2DUnaligned(&across));

    across.WidthInBytes = WIDTH + 1;
    CHECK_ERR("wider_than_pitch", cuMemcpy2D(&across), CUDA_ERROR_INVALID_VALUE);
    across.WidthInBytes = 0;
    CHECK_CU("nothing", cuMemcpy2D(&across));
    across.WidthInBytes = WIDTH;
    across.srcDevice = 0;
    CHECK_ERR("null_source", cuMemcpy2D(&across), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_description", cuMemcpy2D(NULL), CUDA_ERROR_INVALID_VALUE);
    size_t other;
    CUdeviceptr none;
    CHECK_ERR("element_size", cuMemAllocPitch(&none, &other, WIDTH, HEIGHT, 5), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free", cuMemFree(rows));
    NEED(cuMemFree(packed));
    return finish();
}
