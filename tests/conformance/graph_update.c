// Updating an executable graph with another graph of the same shape, or of another.
#include "graph.h"

static CUgraph chain(int first, int second, CUdeviceptr to) {
    CUgraph graph;
    NEED(cuGraphCreate(&graph, 0));
    CUgraphNode fill = graph_kernel_node(graph, NULL, 0, graph_fill, to, first);
    graph_kernel_node(graph, &fill, 1, graph_add, to, second);
    return graph;
}

int main(void) {
    graph_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr other;
    NEED(cuMemAlloc(&other, GRAPH_N * sizeof(int)));
    NEED(cuMemsetD32(other, 0, GRAPH_N));
    CUgraphExec exec;
    CUgraph graph = chain(1, 2, graph_data);
    NEED(cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("before", graph_all_are(graph_data, 3));

    CUgraphExecUpdateResultInfo info;
    CUgraph next = chain(10, 20, other);
    memset(&info, 0xff, sizeof info);
    CHECK_CU("update", cuGraphExecUpdate(exec, next, &info));
    CHECK("update_result", info.result == CU_GRAPH_EXEC_UPDATE_SUCCESS);
    CHECK_CU("destroy_used", cuGraphDestroy(next));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("updated", graph_all_are(other, 30));

    // Captured graphs update each other, as frameworks do it.
    for (int i = 1; i <= 3; i++) {
        NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
        NEED(graph_launch(graph_fill, graph_data, i, stream));
        NEED(graph_launch(graph_add, graph_data, 100, stream));
        NEED(cuStreamEndCapture(stream, &next));
        char name[32];
        snprintf(name, sizeof name, "captured_%d", i);
        CHECK_CU(name, cuGraphExecUpdate(exec, next, &info));
        NEED(cuGraphLaunch(exec, stream));
        NEED(cuGraphDestroy(next));
    }
    NEED(cuStreamSynchronize(stream));
    CHECK("captured_result", graph_all_are(graph_data, 103));

    // Another number of nodes.
    next = chain(1, 2, graph_data);
    CUgraphNode extra;
    NEED(cuGraphAddEmptyNode(&extra, next, NULL, 0));
    CHECK_ERR("count", cuGraphExecUpdate(exec, next, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CHECK("count_result", info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    NEED(cuGraphDestroy(next));

    // Another kind of node.
    NEED(cuGraphCreate(&next, 0));
    CUgraphNode fill = graph_kernel_node(next, NULL, 0, graph_fill, graph_data, 1), empty;
    NEED(cuGraphAddEmptyNode(&empty, next, &fill, 1));
    CHECK_ERR("kind", cuGraphExecUpdate(exec, next, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CHECK("kind_result", info.result == CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED && info.errorNode == empty);
    NEED(cuGraphDestroy(next));

    // Other edges.
    NEED(cuGraphCreate(&next, 0));
    graph_kernel_node(next, NULL, 0, graph_fill, graph_data, 1);
    graph_kernel_node(next, NULL, 0, graph_add, graph_data, 1);
    CHECK_ERR("edges", cuGraphExecUpdate(exec, next, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CHECK("edges_result", info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    NEED(cuGraphDestroy(next));

    // What was refused has changed nothing.
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("unchanged", graph_all_are(graph_data, 103));

    // Within a child graph.
    CUgraph child = chain(1, 1, graph_data), parent;
    CUgraphNode node;
    NEED(cuGraphCreate(&parent, 0));
    NEED(cuGraphAddChildGraphNode(&node, parent, NULL, 0, child));
    CUgraphExec outer;
    NEED(cuGraphInstantiate(&outer, parent, 0));
    CUgraph other_child = chain(50, 5, graph_data);
    CHECK_CU("child", cuGraphExecChildGraphNodeSetParams(outer, node, other_child));
    NEED(cuGraphLaunch(outer, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("child_result", graph_all_are(graph_data, 55));
    NEED(cuGraphDestroy(child));
    NEED(cuGraphDestroy(other_child));
    NEED(cuGraphExecDestroy(outer));
    NEED(cuGraphDestroy(parent));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));
    return finish();
}
