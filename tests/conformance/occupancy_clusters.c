// How large clusters may be and how many fit, on devices that have them.
#include "check.h"

int main(void) {
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH)) {
        SKIP("clusters", "no clusters on this device");
        return finish();
    }
    CUfunction fill = kernel(load("basic"), "fill");
    CUlaunchAttribute attribute;
    memset(&attribute, 0, sizeof attribute);
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = 2;
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    CUlaunchConfig config = {.gridDimX = 8, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 128, .blockDimY = 1,
                             .blockDimZ = 1, .attrs = &attribute, .numAttrs = 1};
    int clusters = 0, size = 0;
    CHECK_CU("active_clusters", cuOccupancyMaxActiveClusters(&clusters, fill, &config));
    CHECK("some_fit", clusters > 0);
    config.numAttrs = 0;
    CHECK_CU("largest_cluster", cuOccupancyMaxPotentialClusterSize(&size, fill, &config));
    CHECK("at_least_the_portable_size", size >= 8);
    CHECK_ERR("null", cuOccupancyMaxActiveClusters(NULL, fill, &config), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_config", cuOccupancyMaxActiveClusters(&clusters, fill, NULL), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
