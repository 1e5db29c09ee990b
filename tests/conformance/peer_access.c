// Peer access: kernels of one device reach the memory of another as far as that is enabled.
#include "two.h"

enum { COUNT = 1000, BYTES = COUNT * sizeof(int) };

static void attributes(void) {
    int value = -1;
    CHECK_CU("attribute_access", cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 1));
    CHECK("access_is_supported", value == 1);
    CHECK_CU("attribute_rank", cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK, 0, 1));
    CHECK_CU("attribute_atomic", cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED, 0, 1));
    CHECK_CU("attribute_array", cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED, 0, 1));
    CHECK_ERR("attribute_null", cuDeviceGetP2PAttribute(NULL, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("attribute_unknown", cuDeviceGetP2PAttribute(&value, 99, 0, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("attribute_of_itself", cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 1, 1), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("attribute_no_device", cuDeviceGetP2PAttribute(&value, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 99), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("can_access_no_device", cuDeviceCanAccessPeer(&value, 0, 99), CUDA_ERROR_INVALID_DEVICE);
}

int main(void) {
    CUcontext contexts[2];
    CUdeviceptr early, late;
    start_peers(contexts);
    attributes();
    NEED(cuCtxSetCurrent(contexts[1]));
    NEED(cuMemAlloc(&early, BYTES));
    NEED(cuMemsetD32(early, 1, COUNT));

    NEED(cuCtxSetCurrent(contexts[0]));
    CHECK_ERR("disable_at_first", cuCtxDisablePeerAccess(contexts[1]), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    CHECK_ERR("enable_with_flags", cuCtxEnablePeerAccess(contexts[1], 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("enable_itself", cuCtxEnablePeerAccess(contexts[0], 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    CHECK_CU("enable", cuCtxEnablePeerAccess(contexts[1], 0));
    CHECK_ERR("enable_again", cuCtxEnablePeerAccess(contexts[1], 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);

    // What was allocated before that, and what is afterwards.
    NEED(cuCtxSetCurrent(contexts[1]));
    NEED(cuMemAlloc(&late, BYTES));
    NEED(cuMemsetD32(late, 2, COUNT));
    NEED(cuCtxSynchronize());
    NEED(cuCtxSetCurrent(contexts[0]));
    CUmodule module = load("basic");
    CUfunction add = kernel(module, "add");
    launch_basic(add, early, 10, COUNT, NULL);
    launch_basic(add, late, 20, COUNT, NULL);
    CHECK_CU("kernel_of_peer", cuCtxSynchronize());
    CHECK("early_memory", all_are(early, 11, COUNT));
    CHECK("late_memory", all_are(late, 22, COUNT));

    // One reads what the other one has: y and out here, x there.
    CUdeviceptr out;
    float a = 2;
    int count = COUNT;
    NEED(cuMemAlloc(&out, BYTES));
    NEED(cuMemsetD32(early, 0x3f800000, COUNT)); // 1.0
    NEED(cuMemsetD32(out, 0x40400000, COUNT));   // 3.0
    void *params[] = {&out, &early, &out, &a, &count};
    NEED(cuLaunchKernel(kernel(module, "saxpy"), 8, 1, 1, 128, 1, 1, 0, NULL, params, NULL));
    CHECK_CU("both_memories", cuCtxSynchronize());
    CHECK("both_result", all_are(out, 0x40a00000, COUNT)); // 5.0

    // A graph's kernel reaches it too.
    CUgraph graph;
    CUgraphNode node;
    CUgraphExec executable;
    CUDA_KERNEL_NODE_PARAMS launch;
    int value = 5;
    void *of_node[] = {&late, &value, &count};
    memset(&launch, 0, sizeof launch);
    launch.func = add;
    launch.gridDimX = 8, launch.gridDimY = launch.gridDimZ = 1;
    launch.blockDimX = 128, launch.blockDimY = launch.blockDimZ = 1;
    launch.kernelParams = of_node;
    NEED(cuGraphCreate(&graph, 0));
    NEED(cuGraphAddKernelNode(&node, graph, NULL, 0, &launch));
    NEED(cuGraphInstantiate(&executable, graph, 0));
    NEED(cuGraphLaunch(executable, NULL));
    CHECK_CU("graph_of_peer", cuCtxSynchronize());
    CHECK("graph_result", all_are(late, 27, COUNT));

    // The other direction is another matter.
    NEED(cuCtxSetCurrent(contexts[1]));
    CHECK_ERR("other_direction", cuCtxDisablePeerAccess(contexts[0]), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    CHECK_CU("enable_back", cuCtxEnablePeerAccess(contexts[0], 0));
    CUmodule globals = load("basic");
    launch_basic(kernel(globals, "fill"), out, 9, COUNT, NULL);
    CHECK_CU("kernel_back", cuCtxSynchronize());
    CHECK("result_back", all_are(out, 9, COUNT));
    CHECK_CU("disable_back", cuCtxDisablePeerAccess(contexts[0]));

    NEED(cuCtxSetCurrent(contexts[0]));
    CHECK_CU("disable", cuCtxDisablePeerAccess(contexts[1]));
    CHECK_ERR("disable_again", cuCtxDisablePeerAccess(contexts[1]), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    CHECK_CU("enable_once_more", cuCtxEnablePeerAccess(contexts[1], 0));
    launch_basic(add, late, 1, COUNT, NULL);
    CHECK_CU("kernel_once_more", cuCtxSynchronize());
    CHECK("result_once_more", all_are(late, 28, COUNT));

    // It ends with the context whose memory it is.
    NEED(cuDevicePrimaryCtxReset(1));
    NEED(cuDevicePrimaryCtxRetain(&contexts[1], 1));
    CHECK_CU("enable_after_reset", cuCtxEnablePeerAccess(contexts[1], 0));
    return finish();
}
