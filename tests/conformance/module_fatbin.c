// Fat binaries: plain, compressed with LZ4 and with ZSTD, in a wrapper, cut.
#include "check.h"

static CUdeviceptr out;

static int runs(CUmodule module) {
    CUfunction answer = kernel(module, "answer");
    int number = 0;
    void *params[] = {&out};
    NEED(cuMemsetD32(out, 0, 1));
    NEED(cuLaunchKernel(answer, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    return number == 42;
}

int main(void) {
    start();
    NEED(cuMemAlloc(&out, sizeof(int)));
    CUmodule module;
    char *plain = kernel_file("fat-none.fatbin", NULL), *lz4 = kernel_file("fat-speed.fatbin", NULL);
    size_t size;
    char *zstd = kernel_file("fat-size.fatbin", &size);
    if (CHECK_CU("plain", cuModuleLoadData(&module, plain)))
        CHECK("plain_runs", runs(module));
    if (CHECK_CU("lz4", cuModuleLoadData(&module, lz4)))
        CHECK("lz4_runs", runs(module));
    int version = 0;
    NEED(cuDriverGetVersion(&version));
    if (version < 12080)
        SKIP("zstd", "the driver is older than this compression");
    else if (CHECK_CU("zstd", cuModuleLoadData(&module, zstd)))
        CHECK("zstd_runs", runs(module));
    if (CHECK_CU("fat_binary_call", cuModuleLoadFatBinary(&module, lz4)))
        CHECK("fat_binary_call_runs", runs(module));

    // What nvcc puts into a program: a wrapper that leads to the container. Libraries are loaded from
    // it; as a module's image not every driver takes it.
    struct {
        int magic, version;
        const void *data;
        void *unused;
    } wrapper = {0x466243b1, 1, lz4, NULL};
    CUresult wrapped = cuModuleLoadData(&module, &wrapper);
    CHECK("wrapper", wrapped == CUDA_ERROR_INVALID_IMAGE || (wrapped == CUDA_SUCCESS && runs(module)));
    if (CHECK_CU("options", cuModuleLoadDataEx(&module, lz4, 0, NULL, NULL)))
        CHECK("options_runs", runs(module));

    // No image in it for this device: an empty container.
    char empty[16] = {0};
    memcpy(empty, plain, 8);
    CUresult result = cuModuleLoadData(&module, empty);
    CHECK("empty_container", result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_IMAGE);
    free(plain), free(lz4), free(zstd);
    return finish();
}
