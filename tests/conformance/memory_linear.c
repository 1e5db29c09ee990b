// Linear device memory: allocation, copies both ways and on the device, memset.
#include "check.h"

enum { N = 4096 };

int main(void) {
    start();
    unsigned char source[N], back[N];
    for (int i = 0; i < N; i++)
        source[i] = (unsigned char)(i * 7);
    CUdeviceptr a, b;
    NEED(cuMemAlloc(&a, N));
    NEED(cuMemAlloc(&b, N));
    CHECK("aligned", a % 256 == 0 && b % 256 == 0);

    CHECK_CU("to_device", cuMemcpyHtoD(a, source, N));
    CHECK_CU("on_device", cuMemcpyDtoD(b, a, N));
    CHECK_CU("to_host", cuMemcpyDtoH(back, b, N));
    CHECK("copied", memcmp(source, back, N) == 0);

    CHECK_CU("memset8", cuMemsetD8(b, 0xa5, N));
    NEED(cuMemcpyDtoH(back, b, N));
    CHECK("memset8_result", back[0] == 0xa5 && back[N - 1] == 0xa5);

    CUdeviceptr base;
    size_t size;
    CHECK_CU("address_range", cuMemGetAddressRange(&base, &size, a + 100));
    CHECK("address_range_result", base == a && size == N);

    CHECK_ERR("allocate_nothing", cuMemAlloc(&base, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free", cuMemFree(a));
    CHECK_CU("free_second", cuMemFree(b));
    CHECK_CU("free_null", cuMemFree(0));
    return finish();
}
