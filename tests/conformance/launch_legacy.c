// The launch functions of CUDA 2 and 3: state is set on the function first.
#include "check.h"

int main(void) {
    start();
    CUfunction fill = kernel(load("basic"), "fill");
    CUdeviceptr data;
    enum { N = 300 };
    int host[N], n = N, right = 1;
    NEED(cuMemAlloc(&data, sizeof host));
    NEED(cuMemsetD8(data, 0, sizeof host));
    CHECK_CU("block_shape", cuFuncSetBlockShape(fill, 100, 1, 1));
    CHECK_CU("shared_size", cuFuncSetSharedSize(fill, 0));
    CHECK_CU("param_pointer", cuParamSetv(fill, 0, &data, sizeof data));
    CHECK_CU("param_value", cuParamSeti(fill, 8, 42));
    CHECK_CU("param_count", cuParamSetv(fill, 12, &n, sizeof n));
    CHECK_CU("param_size", cuParamSetSize(fill, 16));
    CHECK_CU("launch_grid", cuLaunchGrid(fill, 3, 1));
    CHECK_CU("synchronize", cuCtxSynchronize());
    NEED(cuMemcpyDtoH(host, data, sizeof host));
    for (int i = 0; i < N; i++)
        right &= host[i] == 42;
    CHECK("filled", right);

    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuParamSeti(fill, 8, 43));
    CHECK_CU("launch_grid_async", cuLaunchGridAsync(fill, 1, 1, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(host, data, sizeof host));
    CHECK("filled_one_block", host[0] == 43 && host[99] == 43 && host[100] == 42);
    NEED(cuParamSeti(fill, 8, 44));
    CHECK_CU("launch", cuLaunch(fill));
    NEED(cuCtxSynchronize());
    NEED(cuMemcpyDtoH(host, data, sizeof host));
    CHECK("filled_again", host[99] == 44 && host[100] == 42);
    float number = 1.5f, filled = 0;
    CHECK_CU("param_float", cuParamSetf(fill, 8, number));
    NEED(cuLaunch(fill));
    NEED(cuMemcpyDtoH(&filled, data, sizeof filled));
    CHECK("filled_with_float", filled == number);
    CHECK_ERR("bad_block_shape", cuFuncSetBlockShape(fill, 0, 1, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("bad_grid", cuLaunchGrid(fill, 0, 1), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
