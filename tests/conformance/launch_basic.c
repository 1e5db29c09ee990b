// A kernel launched in the three ways of passing its parameters.
#include "check.h"

enum { N = 1000 };

static int all_are(CUdeviceptr data, int value) {
    int host[N];
    NEED(cuMemcpyDtoH(host, data, sizeof host));
    for (int i = 0; i < N; i++)
        if (host[i] != value)
            return 0;
    return 1;
}

int main(void) {
    start();
    CUfunction fill = kernel(load("basic"), "fill");
    CUdeviceptr data;
    NEED(cuMemAlloc(&data, N * sizeof(int)));
    int value = 7, n = N;
    void *params[] = {&data, &value, &n};
    unsigned blocks = (N + 255) / 256;

    CHECK_CU("kernel_params", cuLaunchKernel(fill, blocks, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    CHECK_CU("kernel_params_synchronize", cuCtxSynchronize());
    CHECK("kernel_params_result", all_are(data, 7));

    struct {
        CUdeviceptr out;
        int value, n;
    } block = {data, 8, N};
    size_t size = sizeof block;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                     CU_LAUNCH_PARAM_END};
    CHECK_CU("extra", cuLaunchKernel(fill, blocks, 1, 1, 256, 1, 1, 0, NULL, NULL, extra));
    CHECK("extra_result", all_are(data, 8));

    value = 9;
    CUlaunchConfig config = {.gridDimX = blocks, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 256, .blockDimY = 1, .blockDimZ = 1};
    CHECK_CU("launch_ex", cuLaunchKernelEx(&config, fill, params, NULL));
    CHECK("launch_ex_result", all_are(data, 9));

    CHECK_ERR("no_blocks", cuLaunchKernel(fill, 0, 1, 1, 256, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("too_many_threads", cuLaunchKernel(fill, 1, 1, 1, 2048, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("both_forms", cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, NULL, params, extra), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free", cuMemFree(data));
    return finish();
}
