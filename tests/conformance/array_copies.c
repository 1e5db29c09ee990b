// Copies of consecutive bytes to, from and between one-dimensional arrays.
#include "check.h"

enum { N = 1000, BYTES = N * 4 };

int main(void) {
    start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUDA_ARRAY_DESCRIPTOR line = {.Width = N, .Format = CU_AD_FORMAT_SIGNED_INT32, .NumChannels = 1};
    CUarray a, b;
    NEED(cuArrayCreate(&a, &line));
    NEED(cuArrayCreate(&b, &line));
    int source[N], back[N];
    for (int i = 0; i < N; i++)
        source[i] = i * 3 + 1;
    CUdeviceptr device;
    NEED(cuMemAlloc(&device, BYTES));

    CHECK_CU("host_to_array", cuMemcpyHtoA(a, 0, source, BYTES));
    CHECK_CU("array_to_host", cuMemcpyAtoH(back, a, 0, BYTES));
    CHECK("host_to_array_arrived", !memcmp(source, back, BYTES));

    CHECK_CU("array_to_array", cuMemcpyAtoA(b, 400, a, 0, BYTES - 400));
    CHECK_CU("array_to_array_start", cuMemcpyAtoA(b, 0, a, 800, 400));
    NEED(cuCtxSynchronize());
    NEED(cuMemcpyAtoH(back, b, 0, BYTES));
    CHECK("array_to_array_arrived", !memcmp(back, source + 200, 400) && !memcmp(back + 100, source, BYTES - 400));

    CHECK_CU("array_to_device", cuMemcpyAtoD(device, a, 40, BYTES - 40));
    NEED(cuCtxSynchronize());
    NEED(cuMemcpyDtoH(back, device, BYTES - 40));
    CHECK("array_to_device_arrived", !memcmp(back, source + 10, BYTES - 40));
    CHECK_CU("device_to_array", cuMemcpyDtoA(b, 80, device, 400));
    NEED(cuCtxSynchronize());
    NEED(cuMemcpyAtoH(back, b, 80, 400));
    CHECK("device_to_array_arrived", !memcmp(back, source + 10, 400));

    int *pinned;
    NEED(cuMemHostAlloc((void **)&pinned, BYTES, 0));
    memcpy(pinned, source, BYTES);
    CHECK_CU("host_to_array_async", cuMemcpyHtoAAsync(b, 0, pinned, BYTES, stream));
    NEED(cuStreamSynchronize(stream));
    memset(pinned, 0, BYTES);
    CHECK_CU("array_to_host_async", cuMemcpyAtoHAsync(pinned, b, 0, BYTES, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("async_arrived", !memcmp(pinned, source, BYTES));

    CHECK_ERR("beyond_the_end", cuMemcpyHtoA(a, 4, source, BYTES), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemFreeHost(pinned));
    NEED(cuMemFree(device));
    NEED(cuArrayDestroy(a));
    NEED(cuArrayDestroy(b));
    return finish();
}
