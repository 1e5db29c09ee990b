// Capture that spreads to other streams through events and comes back.
#include "graph.h"

int main(void) {
    graph_start();
    CUstream a, b, c;
    NEED(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&c, CU_STREAM_NON_BLOCKING));
    CUevent fork, join, late;
    NEED(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    NEED(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
    NEED(cuEventCreate(&late, CU_EVENT_DISABLE_TIMING));
    CUdeviceptr other;
    NEED(cuMemAlloc(&other, GRAPH_N * sizeof(int)));
    CUgraph graph = NULL;
    CUstreamCaptureStatus status;

    NEED(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("first", graph_launch(graph_fill, graph_data, 1, a));
    CHECK_CU("fork_record", cuEventRecord(fork, a));
    CHECK_CU("fork_wait", cuStreamWaitEvent(b, fork, 0));
    CHECK_CU("forked_status", cuStreamIsCapturing(b, &status));
    CHECK("forked_is_capturing", status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK_CU("left", graph_launch(graph_add, graph_data, 1, a));
    CHECK_CU("right", graph_launch(graph_fill, other, 10, b));
    CHECK_CU("join_record", cuEventRecord(join, b));
    CHECK_CU("join_wait", cuStreamWaitEvent(a, join, 0));
    CHECK_CU("last", graph_launch(graph_scale, graph_data, 3, a));
    CHECK_CU("end", cuStreamEndCapture(a, &graph));
    CHECK_CU("joined_status", cuStreamIsCapturing(b, &status));
    CHECK("joined_is_free", status == CU_STREAM_CAPTURE_STATUS_NONE);

    CUgraphNode nodes[8], before[4];
    size_t count = 8, edges = 0;
    NEED(cuGraphGetNodes(graph, nodes, &count));
    CHECK("nodes", count == 4);
    CHECK_CU("edges", cuGraphGetEdges(graph, NULL, NULL, NULL, &edges));
    CHECK("edges_count", edges == 4);
    size_t roots = 4, ends = 4;
    CHECK_CU("roots", cuGraphGetRootNodes(graph, before, &roots));
    CHECK("one_root", roots == 1 && before[0] == nodes[0]);
    CHECK_CU("dependencies", cuGraphNodeGetDependencies(nodes[3], before, NULL, &ends));
    CHECK("last_waits_for_both", ends == 2);
    ends = 4;
    CHECK_CU("dependents", cuGraphNodeGetDependentNodes(nodes[0], before, NULL, &ends));
    CHECK("both_wait_for_first", ends == 2);

    CUgraphExec exec;
    NEED(cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch", cuGraphLaunch(exec, c));
    CHECK_CU("synchronize", cuStreamSynchronize(c));
    CHECK("left_result", graph_all_are(graph_data, 6));
    CHECK("right_result", graph_all_are(other, 10));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));

    // Work of a stream that does not come back.
    NEED(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    NEED(cuEventRecord(fork, a));
    NEED(cuStreamWaitEvent(b, fork, 0));
    NEED(graph_launch(graph_fill, other, 10, b));
    graph = (CUgraph)1;
    CHECK_ERR("unjoined", cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CHECK("unjoined_graph", graph == NULL);
    NEED(cuStreamIsCapturing(b, &status));
    CHECK("unjoined_is_free", status == CU_STREAM_CAPTURE_STATUS_NONE);

    // A fork ends where it began.
    NEED(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    NEED(cuEventRecord(fork, a));
    NEED(cuStreamWaitEvent(b, fork, 0));
    CHECK_ERR("unmatched", cuStreamEndCapture(b, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    cuStreamEndCapture(a, &graph);

    // An event from outside stands for work that is not captured.
    NEED(cuEventRecord(late, c));
    NEED(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_ERR("isolation", cuStreamWaitEvent(a, late, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    CHECK_ERR("isolation_end", cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

    // Two captures stay two.
    NEED(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    NEED(cuStreamBeginCapture(b, CU_STREAM_CAPTURE_MODE_RELAXED));
    NEED(cuEventRecord(fork, a));
    CHECK_ERR("merge", cuStreamWaitEvent(b, fork, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
    cuStreamEndCapture(a, &graph);
    cuStreamEndCapture(b, &graph);

    // External events are nodes.
    NEED(cuEventRecord(late, c));
    NEED(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("external_wait", cuStreamWaitEvent(a, late, CU_EVENT_WAIT_EXTERNAL));
    CHECK_CU("external_work", graph_launch(graph_fill, graph_data, 42, a));
    CHECK_CU("external_record", cuEventRecordWithFlags(join, a, CU_EVENT_RECORD_EXTERNAL));
    CHECK_CU("external_end", cuStreamEndCapture(a, &graph));
    count = 8;
    NEED(cuGraphGetNodes(graph, nodes, &count));
    CUgraphNodeType first = 99, last = 99;
    CUevent event = NULL;
    if (count == 3) {
        NEED(cuGraphNodeGetType(nodes[0], &first));
        NEED(cuGraphNodeGetType(nodes[2], &last));
        NEED(cuGraphEventRecordNodeGetEvent(nodes[2], &event));
    }
    CHECK("external_nodes", first == CU_GRAPH_NODE_TYPE_WAIT_EVENT && last == CU_GRAPH_NODE_TYPE_EVENT_RECORD);
    CHECK("external_event", event == join);
    NEED(cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("external_launch", cuGraphLaunch(exec, b));
    CHECK_CU("external_recorded", cuEventSynchronize(join));
    CHECK("external_result", graph_all_are(graph_data, 42));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));
    CHECK_ERR("external_outside", cuEventRecordWithFlags(join, a, CU_EVENT_RECORD_EXTERNAL), CUDA_ERROR_ILLEGAL_STATE);
    return finish();
}
