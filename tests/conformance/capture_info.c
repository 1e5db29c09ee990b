// What a capture tells about itself, and nodes that are added to it by hand.
#include "graph.h"

int main(void) {
    graph_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUstreamCaptureStatus status = 99;
    cuuint64_t id = 0, again = 0;
    CUgraph graph = NULL, ended = NULL;
    const CUgraphNode *nodes = NULL;
    const CUgraphEdgeData *data = NULL;
    size_t count = 99;

    CHECK_CU("idle", cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, NULL, &count));
    CHECK("idle_status", status == CU_STREAM_CAPTURE_STATUS_NONE);

    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("empty", cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, &data, &count));
    CHECK("empty_values", status == CU_STREAM_CAPTURE_STATUS_ACTIVE && id != 0 && graph != NULL && count == 0);
    CHECK_CU("only_status", cuStreamGetCaptureInfo(stream, &status, NULL, NULL, NULL, NULL, NULL));
    CHECK_ERR("no_status", cuStreamGetCaptureInfo(stream, NULL, &id, NULL, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    NEED(graph_launch(graph_fill, graph_data, 2, stream));
    CHECK_CU("one", cuStreamGetCaptureInfo(stream, &status, &again, &graph, &nodes, NULL, &count));
    CHECK("one_values", again == id && count == 1);
    CUgraphNode first = count == 1 ? nodes[0] : NULL;

    // A node by hand, behind which the stream goes on.
    CUgraphNode by_hand = graph_kernel_node(graph, &first, 1, graph_add, graph_data, 5);
    CHECK_CU("set_dependencies", cuStreamUpdateCaptureDependencies(stream, &by_hand, NULL, 1,
                                                                   CU_STREAM_SET_CAPTURE_DEPENDENCIES));
    CHECK_CU("set_info", cuStreamGetCaptureInfo(stream, &status, NULL, NULL, &nodes, NULL, &count));
    CHECK("set_values", count == 1 && nodes[0] == by_hand);
    CHECK_CU("add_dependencies",
             cuStreamUpdateCaptureDependencies(stream, &first, NULL, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
    CHECK_CU("add_info", cuStreamGetCaptureInfo(stream, &status, NULL, NULL, &nodes, NULL, &count));
    CHECK("add_values", count == 2);
    NEED(graph_launch(graph_scale, graph_data, 10, stream));
    CHECK_CU("end", cuStreamEndCapture(stream, &ended));
    CHECK("end_graph", ended == graph);
    CHECK_ERR("update_outside", cuStreamUpdateCaptureDependencies(stream, &first, NULL, 1, 0),
              CUDA_ERROR_ILLEGAL_STATE);
    CUgraphExec exec;
    NEED(cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch", cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("result", graph_all_are(graph_data, 70));
    NEED(cuGraphExecDestroy(exec));

    // A later capture has another number.
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    NEED(cuStreamGetCaptureInfo(stream, &status, &again, NULL, NULL, NULL, NULL));
    CHECK("another_id", again != id);
    NEED(cuStreamEndCapture(stream, &ended));
    NEED(cuGraphDestroy(ended));

    // Into a graph that is there.
    if (driver_has("cuStreamBeginCaptureToGraph")) {
        CUgraphNode last[8];
        size_t nodes_count = 8;
        NEED(cuGraphGetNodes(graph, last, &nodes_count));
        CUgraphNode tail = last[nodes_count - 1];
        CHECK_CU("into_graph", cuStreamBeginCaptureToGraph(stream, graph, &tail, NULL, 1, CU_STREAM_CAPTURE_MODE_GLOBAL));
        CHECK_CU("into_graph_work", graph_launch(graph_add, graph_data, 1, stream));
        CHECK_CU("into_graph_end", cuStreamEndCapture(stream, &ended));
        CHECK("into_graph_same", ended == graph);
        NEED(cuGraphGetNodes(graph, NULL, &nodes_count));
        CHECK("into_graph_nodes", nodes_count == 4);
        NEED(cuGraphInstantiate(&exec, graph, 0));
        NEED(cuGraphLaunch(exec, stream));
        NEED(cuStreamSynchronize(stream));
        CHECK("into_graph_result", graph_all_are(graph_data, 71));
        NEED(cuGraphExecDestroy(exec));
    } else {
        SKIP("into_graph", "newer than the driver");
    }
    CHECK_CU("destroy", cuGraphDestroy(graph));
    return finish();
}
