// cuLaunchKernelEx with attributes: hints change nothing, what is unknown is an error.
#include "check.h"

static CUfunction fill;
static CUdeviceptr data;

static CUresult with(CUlaunchAttribute *attributes, unsigned count, int value) {
    int n = 1;
    void *params[] = {&data, &value, &n};
    CUlaunchConfig config = {.gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 32, .blockDimY = 1,
                             .blockDimZ = 1, .attrs = attributes, .numAttrs = count};
    return cuLaunchKernelEx(&config, fill, params, NULL);
}

static int result(void) {
    int value = -1;
    NEED(cuMemcpyDtoH(&value, data, sizeof value));
    return value;
}

int main(void) {
    start();
    fill = kernel(load("basic"), "fill");
    NEED(cuMemAlloc(&data, sizeof(int)));
    CUlaunchAttribute attribute;
    memset(&attribute, 0, sizeof attribute);

    attribute.id = CU_LAUNCH_ATTRIBUTE_IGNORE;
    CHECK_CU("ignore", with(&attribute, 1, 1));
    CHECK("ignore_result", result() == 1);
    attribute.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    CHECK_CU("priority", with(&attribute, 1, 2));
    CHECK("priority_result", result() == 2);
    attribute.id = CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN;
    CHECK_CU("mem_sync_domain", with(&attribute, 1, 3));
    CHECK("mem_sync_domain_result", result() == 3);
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = 1;
    CHECK_CU("cooperative", with(&attribute, 1, 4));
    CHECK("cooperative_result", result() == 4);
    memset(&attribute.value, 0, sizeof attribute.value);
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    if (device_attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH))
        CHECK_CU("cluster_of_one", with(&attribute, 1, 5));
    else
        SKIP("cluster_of_one", "no clusters on this device");
    memset(&attribute.value, 0, sizeof attribute.value);
    attribute.id = (CUlaunchAttributeID)200;
    CHECK_ERR("unknown", with(&attribute, 1, 6), CUDA_ERROR_INVALID_VALUE);
    CHECK("unknown_not_launched", result() != 6);
    CHECK_ERR("null_attributes", with(NULL, 1, 7), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_config", cuLaunchKernelEx(NULL, fill, NULL, NULL), CUDA_ERROR_INVALID_VALUE);

    // All blocks of a cooperative launch must be resident at once.
    int value = 1, n = 1;
    void *params[] = {&data, &value, &n};
    CHECK_CU("cooperative_kernel", cuLaunchCooperativeKernel(fill, 1, 1, 1, 32, 1, 1, 0, NULL, params));
    CHECK_ERR("cooperative_too_large", cuLaunchCooperativeKernel(fill, 1 << 20, 1, 1, 32, 1, 1, 0, NULL, params),
              CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    CHECK_CU("synchronize", cuCtxSynchronize());
    return finish();
}
