// Capturing a stream: nothing runs until the graph is launched, and then all of it.
#include "graph.h"

static void count(void *counter) { ++*(int *)counter; }

int main(void) {
    graph_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr other;
    NEED(cuMemAlloc(&other, GRAPH_N * sizeof(int)));
    int calls = 0;

    CUstreamCaptureStatus status = 77;
    CHECK_CU("not_capturing", cuStreamIsCapturing(stream, &status));
    CHECK("not_capturing_status", status == CU_STREAM_CAPTURE_STATUS_NONE);
    CHECK_CU("begin", cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_ERR("begin_twice", cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_ILLEGAL_STATE);
    CHECK_CU("capturing", cuStreamIsCapturing(stream, &status));
    CHECK("capturing_status", status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK_CU("kernel", graph_launch(graph_fill, graph_data, 5, stream));
    CHECK_CU("memset", cuMemsetD32Async(other, 3, GRAPH_N, stream));
    CHECK_CU("add", graph_launch(graph_add, other, 4, stream));
    CHECK_CU("copy", cuMemcpyDtoDAsync(graph_data, other, GRAPH_N / 2 * sizeof(int), stream));
    CHECK_CU("host_function", cuLaunchHostFunc(stream, count, &calls));
    CUgraph graph = NULL;
    CHECK_CU("end", cuStreamEndCapture(stream, &graph));
    CHECK("end_graph", graph != NULL);
    CUgraph none = graph;
    CHECK_ERR("end_twice", cuStreamEndCapture(stream, &none), CUDA_ERROR_ILLEGAL_STATE);
    CHECK("nothing_ran", graph_all_are(graph_data, 0) && calls == 0);

    CUgraphNode nodes[8];
    size_t nodes_count = 8;
    CHECK_CU("nodes", cuGraphGetNodes(graph, nodes, &nodes_count));
    CHECK("nodes_count", nodes_count == 5);
    const CUgraphNodeType kinds[] = {CU_GRAPH_NODE_TYPE_KERNEL, CU_GRAPH_NODE_TYPE_MEMSET, CU_GRAPH_NODE_TYPE_KERNEL,
                                     CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_HOST};
    int right = nodes_count == 5;
    for (size_t i = 0; right && i < 5; i++) {
        CUgraphNodeType type;
        CUgraphNode before[2];
        size_t count = 2;
        NEED(cuGraphNodeGetType(nodes[i], &type));
        NEED(cuGraphNodeGetDependencies(nodes[i], before, NULL, &count));
        right = type == kinds[i] && count == (i > 0) && (i == 0 || before[0] == nodes[i - 1]);
    }
    CHECK("nodes_are_a_chain", right);

    CUgraphExec exec = NULL;
    CHECK_CU("instantiate", cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch", cuGraphLaunch(exec, stream));
    CHECK_CU("synchronize", cuStreamSynchronize(stream));
    int host[GRAPH_N];
    NEED(cuMemcpyDtoH(host, graph_data, sizeof host));
    CHECK("results", host[0] == 7 && host[GRAPH_N / 2 - 1] == 7 && host[GRAPH_N / 2] == 5 && host[GRAPH_N - 1] == 5);
    CHECK("host_function_ran", calls == 1);
    CHECK_CU("launch_again", cuGraphLaunch(exec, stream));
    CHECK_CU("launch_a_third_time", cuGraphLaunch(exec, stream));
    CHECK_CU("synchronize_again", cuStreamSynchronize(stream));
    CHECK("host_function_ran_at_every_launch", calls == 3);

    // The graph may go before what was made from it.
    CHECK_CU("destroy_graph", cuGraphDestroy(graph));
    NEED(cuMemsetD32(graph_data, 0, GRAPH_N));
    CHECK_CU("launch_without_graph", cuGraphLaunch(exec, stream));
    CHECK_CU("synchronize_without_graph", cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(host, graph_data, sizeof host));
    CHECK("results_without_graph", host[0] == 7 && host[GRAPH_N - 1] == 5);
    CHECK_CU("destroy_exec", cuGraphExecDestroy(exec));

    // An empty capture is an empty graph, which can be launched.
    CHECK_CU("begin_empty", cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CHECK_CU("end_empty", cuStreamEndCapture(stream, &graph));
    nodes_count = 99;
    CHECK_CU("count_empty", cuGraphGetNodes(graph, NULL, &nodes_count));
    CHECK("empty", nodes_count == 0);
    CHECK_CU("instantiate_empty", cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch_empty", cuGraphLaunch(exec, stream));
    CHECK_CU("synchronize_empty", cuStreamSynchronize(stream));
    CHECK_CU("destroy_empty", cuGraphExecDestroy(exec));
    CHECK_CU("destroy_empty_graph", cuGraphDestroy(graph));

    CHECK_ERR("legacy_stream", cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
              CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_CU("free", cuMemFree(other));
    CHECK_CU("destroy_stream", cuStreamDestroy(stream));
    return finish();
}
