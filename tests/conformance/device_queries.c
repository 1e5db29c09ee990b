// What can be asked of a device beside its attributes.
#include "check.h"

int main(void) {
    CUcontext context = start();
    int count = 0, major = 0, minor = 0, can = -1;
    NEED(cuDeviceGetCount(&count));
    CUdevice device = -1;
    CHECK_ERR("no_such_device", cuDeviceGet(&device, count), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("negative_device", cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);

    char name[64], id[32], other[32] = "";
    CHECK_CU("name", cuDeviceGetName(name, sizeof name, 0));
    CHECK("name_not_empty", name[0] && strlen(name) < sizeof name);
    char four[4];
    CHECK_CU("name_cut", cuDeviceGetName(four, sizeof four, 0));
    CHECK("name_cut_value", strlen(four) == 3 && !strncmp(four, name, 3));
    CHECK_CU("bus_id", cuDeviceGetPCIBusId(id, sizeof id, 0));
    CHECK_CU("by_bus_id", cuDeviceGetByPCIBusId(&device, id));
    CHECK("by_bus_id_value", device == 0);
    CHECK_ERR("by_bad_bus_id", cuDeviceGetByPCIBusId(&device, "rubbish"), CUDA_ERROR_INVALID_VALUE);
    (void)other;

    CHECK_CU("capability", cuDeviceComputeCapability(&major, &minor, 0));
    CHECK("capability_value", major == device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) &&
                                  minor == device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
    CUdevprop properties;
    CHECK_CU("properties", cuDeviceGetProperties(&properties, 0));
    CHECK("properties_value", properties.maxThreadsPerBlock == device_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK) &&
                                  properties.SIMDWidth == 32);
    size_t total = 0, width = 0;
    CHECK_CU("total", cuDeviceTotalMem(&total, 0));
    CHECK("total_value", total > 0);
    CHECK_CU("texture_width", cuDeviceGetTexture1DLinearMaxWidth(&width, CU_AD_FORMAT_FLOAT, 1, 0));
    CHECK_ERR("texture_width_null", cuDeviceGetTexture1DLinearMaxWidth(NULL, CU_AD_FORMAT_FLOAT, 1, 0), CUDA_ERROR_INVALID_VALUE);

    // LUIDs are a notion of Windows.
    char luid[8];
    unsigned nodes = 0;
    CUresult told = cuDeviceGetLuid(luid, &nodes, 0);
    CHECK("luid_not_told", told == CUDA_ERROR_NOT_SUPPORTED);

    // No device is a peer of itself.
    CHECK_CU("can_access_itself", cuDeviceCanAccessPeer(&can, 0, 0));
    CHECK("cannot", can == 0);
    CHECK_ERR("peer_of_itself", cuDeviceGetP2PAttribute(&can, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 0), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("enable_peer_itself", cuCtxEnablePeerAccess(context, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    CHECK_ERR("enable_peer_null", cuCtxEnablePeerAccess(NULL, 0), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_ERR("disable_peer_null", cuCtxDisablePeerAccess(NULL), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_CU("affinity_support", cuDeviceGetExecAffinitySupport(&can, CU_EXEC_AFFINITY_TYPE_SM_COUNT, 0));
    CHECK("affinity_flag", can == 0 || can == 1);

    // The device's multiprocessors, all of which its contexts and streams may use.
    CUdevResource whole = {0}, ours = {0}, stream = {0};
    unsigned all = device_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    CHECK_CU("resource", cuDeviceGetDevResource(0, &whole, CU_DEV_RESOURCE_TYPE_SM));
    CHECK("resource_all", whole.type == CU_DEV_RESOURCE_TYPE_SM && whole.sm.smCount == all);
    CHECK("resource_parts", whole.sm.minSmPartitionSize >= 1 && whole.sm.minSmPartitionSize <= whole.sm.smCount);
    CHECK_CU("resource_context", cuCtxGetDevResource(context, &ours, CU_DEV_RESOURCE_TYPE_SM));
    CHECK("resource_context_all", ours.sm.smCount == whole.sm.smCount);
    CHECK_ERR("resource_no_type", cuDeviceGetDevResource(0, &whole, CU_DEV_RESOURCE_TYPE_INVALID), CUDA_ERROR_INVALID_RESOURCE_TYPE);
    CHECK_ERR("resource_null", cuDeviceGetDevResource(0, NULL, CU_DEV_RESOURCE_TYPE_SM), CUDA_ERROR_INVALID_VALUE);
    if (driver_has("cuStreamGetDevResource")) {
        CHECK_CU("resource_stream", cuStreamGetDevResource(NULL, &stream, CU_DEV_RESOURCE_TYPE_SM));
        CHECK("resource_stream_all", stream.sm.smCount == whole.sm.smCount);
    } else {
        SKIP("resource_stream", "this driver has no cuStreamGetDevResource");
    }
    return finish();
}
