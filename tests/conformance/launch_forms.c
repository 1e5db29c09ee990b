// Grids and blocks of three dimensions, dynamic shared memory, cooperative
// launches, launch attributes, and launches that cannot be.
#include "check.h"

static CUdeviceptr out;

static int placed(CUfunction place, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz) {
    static unsigned back[4096];
    unsigned blocks = gx * gy * gz, threads = bx * by * bz;
    void *params[] = {&out};
    NEED(cuMemsetD32(out, 0xffffffff, 4096));
    NEED(cuLaunchKernel(place, gx, gy, gz, bx, by, bz, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(back, out, sizeof back));
    for (unsigned i = 0; i < 4096; i++)
        if (back[i] != (i < blocks * threads ? i / threads * 1000 + i % threads : 0xffffffff))
            return 0;
    return 1;
}

int main(void) {
    start();
    CUmodule module = load("launch"), basic = load("basic");
    CUfunction place = kernel(module, "place"), meet = kernel(module, "meet"), nothing = kernel(module, "nothing");
    CUfunction count = kernel(basic, "count_threads");
    NEED(cuMemAlloc(&out, 4096 * sizeof(unsigned)));
    unsigned back[64];

    CHECK("one_thread", placed(place, 1, 1, 1, 1, 1, 1));
    CHECK("line", placed(place, 5, 1, 1, 33, 1, 1));
    CHECK("box", placed(place, 2, 3, 4, 5, 3, 2));
    CHECK("deep_block", placed(place, 1, 2, 2, 2, 2, 64));
    CHECK("full_block", placed(place, 4, 1, 1, 32, 32, 1));
    CHECK_CU("no_parameters", cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    CHECK_CU("large_grid", cuLaunchKernel(nothing, 70000, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    NEED(cuCtxSynchronize());

    void *params[] = {&out};
    CHECK_CU("dynamic_shared", cuLaunchKernel(count, 3, 1, 1, 100, 1, 1, 4, NULL, params, NULL));
    NEED(cuMemcpyDtoH(back, out, 3 * sizeof *back));
    CHECK("dynamic_shared_result", back[0] == 100 && back[1] == 100 && back[2] == 100);

    // As many blocks as fit at once, and then one more.
    if (device_attribute(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)) {
        int each = 0, multiprocessors = device_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        NEED(cuOccupancyMaxActiveBlocksPerMultiprocessor(&each, meet, 64, 0));
        unsigned blocks = (unsigned)(multiprocessors < 8 ? multiprocessors : 8);
        CUdeviceptr arrived = out, result = out + 256;
        void *arguments[] = {&arrived, &result};
        NEED(cuMemsetD32(out, 0, 128));
        CHECK_CU("cooperative", cuLaunchCooperativeKernel(meet, blocks, 1, 1, 64, 1, 1, 0, NULL, arguments));
        NEED(cuMemcpyDtoH(back, result, blocks * sizeof *back));
        int right = 1;
        for (unsigned i = 0; i < blocks; i++)
            right &= back[i] == blocks;
        CHECK("cooperative_result", right);
        CHECK_ERR("cooperative_too_large", cuLaunchCooperativeKernel(meet, (unsigned)(each * multiprocessors + 1), 1, 1, 64, 1, 1, 0, NULL, arguments),
                  CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);

        NEED(cuMemsetD32(out, 0, 128));
        CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value.cooperative = 1};
        CUlaunchConfig config = {.gridDimX = blocks, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 64, .blockDimY = 1, .blockDimZ = 1,
                                 .attrs = &attribute, .numAttrs = 1};
        CHECK_CU("cooperative_attribute", cuLaunchKernelEx(&config, meet, arguments, NULL));
        NEED(cuMemcpyDtoH(back, result, sizeof *back));
        CHECK("cooperative_attribute_result", back[0] == blocks);
    } else
        SKIP("cooperative", "the device has no cooperative launches");

    CUlaunchConfig config = {.gridDimX = 2, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 8, .blockDimY = 1, .blockDimZ = 1, .sharedMemBytes = 4};
    CHECK_CU("ex_shared", cuLaunchKernelEx(&config, count, params, NULL));
    NEED(cuMemcpyDtoH(back, out, 2 * sizeof *back));
    CHECK("ex_shared_result", back[0] == 8 && back[1] == 8);
    CHECK_ERR("ex_null", cuLaunchKernelEx(NULL, count, params, NULL), CUDA_ERROR_INVALID_VALUE);

    CHECK_ERR("no_grid", cuLaunchKernel(place, 1, 0, 1, 1, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_block", cuLaunchKernel(place, 1, 1, 1, 1, 1, 0, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("block_too_large", cuLaunchKernel(place, 1, 1, 1, 1025, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("block_too_deep", cuLaunchKernel(place, 1, 1, 1, 1, 1, 65, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("grid_too_high", cuLaunchKernel(place, 1, 65536, 1, 1, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("too_much_shared", cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 1 << 20, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_function", cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_HANDLE);
    CHECK_CU("context_is_fine", cuCtxSynchronize());
    return finish();
}
