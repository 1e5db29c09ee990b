// Child graphs and clones.
#include "graph.h"

int main(void) {
    graph_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUgraph child, graph;
    NEED(cuGraphCreate(&child, 0));
    CUgraphNode inner = graph_kernel_node(child, NULL, 0, graph_add, graph_data, 2);
    graph_kernel_node(child, &inner, 1, graph_scale, graph_data, 10);

    NEED(cuGraphCreate(&graph, 0));
    CUgraphNode first = graph_kernel_node(graph, NULL, 0, graph_fill, graph_data, 1), middle, last;
    CHECK_CU("add", cuGraphAddChildGraphNode(&middle, graph, &first, 1, child));
    last = graph_kernel_node(graph, &middle, 1, graph_add, graph_data, 5);
    CHECK("add_after", last != NULL);
    CUgraphNodeType type;
    CHECK_CU("type", cuGraphNodeGetType(middle, &type));
    CHECK("type_value", type == CU_GRAPH_NODE_TYPE_GRAPH);

    // The node has a copy of its own.
    CUgraph embedded = NULL;
    CHECK_CU("get_graph", cuGraphChildGraphNodeGetGraph(middle, &embedded));
    CHECK("get_graph_value", embedded != NULL && embedded != child);
    CUgraphNode nodes[4];
    size_t count = 4;
    CHECK_CU("embedded_nodes", cuGraphGetNodes(embedded, nodes, &count));
    CHECK("embedded_nodes_value", count == 2 && nodes[0] != inner);
    CHECK_CU("destroy_child", cuGraphDestroy(child));

    CUgraphExec exec;
    CHECK_CU("instantiate", cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch", cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("result", graph_all_are(graph_data, 35));

    // A node of the child graph can be changed in the executable graph.
    int value = 3, n = GRAPH_N;
    void *params[] = {&graph_data, &value, &n};
    CUDA_KERNEL_NODE_PARAMS kernel = {.func = graph_add, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                      .blockDimX = GRAPH_N, .blockDimY = 1, .blockDimZ = 1, .kernelParams = params};
    CHECK_CU("set_in_child", cuGraphExecKernelNodeSetParams(exec, nodes[0], &kernel));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("set_in_child_result", graph_all_are(graph_data, 45));

    // A clone is independent of its original.
    CUgraph clone = NULL;
    CUgraphNode found = NULL;
    CHECK_CU("clone", cuGraphClone(&clone, graph));
    CHECK_CU("find_in_clone", cuGraphNodeFindInClone(&found, last, clone));
    CHECK("find_in_clone_value", found != NULL && found != last);
    CHECK_CU("found_params", cuGraphKernelNodeGetParams(found, &kernel));
    CHECK("found_params_value", kernel.func == graph_add && *(int *)kernel.kernelParams[1] == 5);
    CHECK_CU("destroy_in_clone", cuGraphDestroyNode(found));
    CHECK_ERR("find_destroyed", cuGraphNodeFindInClone(&found, last, clone), CUDA_ERROR_INVALID_VALUE);
    NEED(cuGraphGetNodes(graph, NULL, &count));
    CHECK("original_is_whole", count == 3);
    CUgraphExec of_clone;
    CHECK_CU("instantiate_clone", cuGraphInstantiate(&of_clone, clone, 0));
    NEED(cuGraphLaunch(of_clone, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("clone_result", graph_all_are(graph_data, 30));
    NEED(cuGraphExecDestroy(of_clone));
    CHECK_CU("destroy_clone", cuGraphDestroy(clone));

    NEED(cuGraphExecDestroy(exec));
    CHECK_CU("destroy", cuGraphDestroy(graph));
    return finish();
}
