// Graphs that allocate and free memory.
#include "graph.h"

static CUDA_MEM_ALLOC_NODE_PARAMS wanted(size_t bytes) {
    CUDA_MEM_ALLOC_NODE_PARAMS params = {.poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                                       .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}},
                                         .bytesize = bytes};
    return params;
}

static cuuint64_t used(void) {
    cuuint64_t value = 0;
    NEED(cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &value));
    return value;
}

int main(void) {
    graph_start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)) {
        SKIP("graph_memory", "no memory pools");
        return finish();
    }
    size_t bytes = GRAPH_N * sizeof(int);
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUgraph graph;
    CUgraphExec exec;
    CUgraphNode allocate, fill, copy, free_node, again;
    CUcontext context;
    NEED(cuCtxGetCurrent(&context));

    // Allocated, used and freed within one graph.
    NEED(cuGraphCreate(&graph, 0));
    CUDA_MEM_ALLOC_NODE_PARAMS params = wanted(bytes);
    CHECK_CU("add_alloc", cuGraphAddMemAllocNode(&allocate, graph, NULL, 0, &params));
    CHECK("add_alloc_address", params.dptr != 0);
    CUDA_MEM_ALLOC_NODE_PARAMS got;
    CHECK_CU("get_alloc", cuGraphMemAllocNodeGetParams(allocate, &got));
    CHECK("get_alloc_values", got.dptr == params.dptr && got.bytesize == bytes);
    fill = graph_kernel_node(graph, &allocate, 1, graph_fill, params.dptr, 12);
    CUDA_MEMCPY3D back = graph_copy(graph_data, params.dptr, bytes);
    CHECK_CU("copy_from_it", cuGraphAddMemcpyNode(&copy, graph, &fill, 1, &back, context));
    CHECK_CU("add_free", cuGraphAddMemFreeNode(&free_node, graph, &copy, 1, params.dptr));
    CHECK_ERR("add_free_twice", cuGraphAddMemFreeNode(&again, graph, &copy, 1, params.dptr), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("add_free_of_other", cuGraphAddMemFreeNode(&again, graph, &copy, 1, graph_data), CUDA_ERROR_INVALID_VALUE);
    CUdeviceptr address = 0;
    CHECK_CU("get_free", cuGraphMemFreeNodeGetParams(free_node, &address));
    CHECK("get_free_value", address == params.dptr);
    CUgraph clone;
    CHECK("no_clone", cuGraphClone(&clone, graph) != CUDA_SUCCESS);
    CHECK_CU("instantiate", cuGraphInstantiate(&exec, graph, 0));
    CUgraphExec second;
    CHECK("one_instance", cuGraphInstantiate(&second, graph, 0) != CUDA_SUCCESS);
    for (int i = 0; i < 3; i++)
        NEED(cuGraphLaunch(exec, stream));
    CHECK_CU("synchronize", cuStreamSynchronize(stream));
    CHECK("result", graph_all_are(graph_data, 12));
    CHECK_CU("destroy_exec", cuGraphExecDestroy(exec));
    CHECK_CU("destroy", cuGraphDestroy(graph));

    // Captured, and used after the launch until it is freed.
    CUdeviceptr kept = 0;
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("capture_alloc", cuMemAllocAsync(&kept, bytes, stream));
    NEED(graph_launch(graph_fill, kept, 33, stream));
    NEED(cuStreamEndCapture(stream, &graph));
    CUgraphNode nodes[2];
    size_t count = 2;
    CUgraphNodeType type = 99;
    NEED(cuGraphGetNodes(graph, nodes, &count));
    NEED(cuGraphNodeGetType(nodes[0], &type));
    CHECK("capture_alloc_node", count == 2 && type == CU_GRAPH_NODE_TYPE_MEM_ALLOC);
    NEED(cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch_kept", cuGraphLaunch(exec, stream));
    CHECK_CU("use_kept", graph_launch(graph_add, kept, 1, stream));
    CHECK_CU("synchronize_kept", cuStreamSynchronize(stream));
    CHECK("kept_result", graph_all_are(kept, 34));
    CHECK("used", used() >= bytes);
    CHECK_ERR("launch_while_allocated", cuGraphLaunch(exec, stream), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("free_kept", cuMemFreeAsync(kept, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK_CU("launch_after_free", cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("kept_again", graph_all_are(kept, 33));
    CHECK_CU("free_kept_at_once", cuMemFree(kept));
    NEED(cuGraphExecDestroy(exec));

    // Freed by the next launch.
    CHECK_CU("instantiate_auto_free",
             cuGraphInstantiate(&exec, graph, CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH));
    cuuint64_t flags = 0;
    CHECK_CU("get_flags", cuGraphExecGetFlags(exec, &flags));
    CHECK("get_flags_value", flags == CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
    CHECK_CU("launch_auto_free", cuGraphLaunch(exec, stream));
    CHECK_CU("launch_auto_free_again", cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("auto_free_result", graph_all_are(kept, 33));
    CHECK_CU("free_last", cuMemFreeAsync(kept, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));

    CHECK_CU("trim", cuDeviceGraphMemTrim(0));
    cuuint64_t value = 0;
    CHECK_CU("reset_high", cuDeviceSetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &value));
    CHECK_CU("get_high", cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &value));
    CHECK("nothing_used", used() == 0);
    return finish();
}
