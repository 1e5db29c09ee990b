// Dependencies between nodes: added, removed, listed, and what a cycle does.
#include "graph.h"

static int find(CUgraphNode node, const CUgraphNode *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == node)
            return (int)i;
    return -1;
}

int main(void) {
    graph_start();
    CUgraph graph, foreign;
    NEED(cuGraphCreate(&graph, 0));
    NEED(cuGraphCreate(&foreign, 0));
    CUgraphNode a, b, c, d, stranger;
    NEED(cuGraphAddEmptyNode(&a, graph, NULL, 0));
    NEED(cuGraphAddEmptyNode(&b, graph, NULL, 0));
    NEED(cuGraphAddEmptyNode(&c, graph, NULL, 0));
    NEED(cuGraphAddEmptyNode(&d, graph, NULL, 0));
    NEED(cuGraphAddEmptyNode(&stranger, foreign, NULL, 0));

    CUgraphNode from[] = {a, a, b, c}, to[] = {b, c, d, d};
    CHECK_CU("add", cuGraphAddDependencies(graph, from, to, NULL, 4));
    CHECK_ERR("add_again", cuGraphAddDependencies(graph, &a, &b, NULL, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("add_to_itself", cuGraphAddDependencies(graph, &a, &a, NULL, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("add_foreign", cuGraphAddDependencies(graph, &stranger, &a, NULL, 1), CUDA_ERROR_INVALID_VALUE);

    CUgraphNode starts[8], ends[8];
    CUgraphEdgeData data[8];
    size_t count = 0;
    CHECK_CU("count", cuGraphGetEdges(graph, NULL, NULL, NULL, &count));
    CHECK("count_value", count == 4);
    count = 8;
    memset(data, 0xff, sizeof data);
    CHECK_CU("list", cuGraphGetEdges(graph, starts, ends, data, &count));
    int right = count == 4;
    for (int i = 0; right && i < 4; i++) {
        int found = 0;
        for (int j = 0; j < 4; j++)
            found += starts[j] == from[i] && ends[j] == to[i];
        right = found == 1 && data[i].type == 0 && data[i].from_port == 0;
    }
    CHECK("list_values", right);
    CHECK("list_rest_is_null", starts[4] == NULL && ends[7] == NULL);
    count = 2;
    CHECK_CU("list_short", cuGraphGetEdges(graph, starts, ends, NULL, &count));
    CHECK("list_short_count", count == 2);

    CUgraphNode nodes[4];
    count = 4;
    CHECK_CU("dependencies", cuGraphNodeGetDependencies(d, nodes, NULL, &count));
    CHECK("dependencies_values", count == 2 && find(b, nodes, 2) >= 0 && find(c, nodes, 2) >= 0);
    count = 4;
    CHECK_CU("dependents", cuGraphNodeGetDependentNodes(a, nodes, NULL, &count));
    CHECK("dependents_values", count == 2 && find(b, nodes, 2) >= 0 && find(c, nodes, 2) >= 0);
    count = 4;
    CHECK_CU("roots", cuGraphGetRootNodes(graph, nodes, &count));
    CHECK("roots_value", count == 1 && nodes[0] == a);

    CHECK_CU("remove", cuGraphRemoveDependencies(graph, &a, &c, NULL, 1));
    CHECK_ERR("remove_again", cuGraphRemoveDependencies(graph, &a, &c, NULL, 1), CUDA_ERROR_INVALID_VALUE);
    count = 4;
    NEED(cuGraphGetRootNodes(graph, nodes, &count));
    CHECK("roots_after_remove", count == 2 && find(c, nodes, 2) >= 0);

    // A cycle cannot be instantiated.
    CUgraphExec exec = NULL;
    CHECK_CU("instantiate", cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphExecDestroy(exec));
    if (cuGraphAddDependencies(graph, &d, &a, NULL, 1) == CUDA_SUCCESS) {
        CUDA_GRAPH_INSTANTIATE_PARAMS params = {0};
        CHECK_ERR("cycle", cuGraphInstantiateWithParams(&exec, graph, &params), CUDA_ERROR_INVALID_VALUE);
        CHECK("cycle_result", params.result_out == CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE);
        CHECK("cycle_node", params.hErrNode_out != NULL);
        NEED(cuGraphRemoveDependencies(graph, &d, &a, NULL, 1));
    } else {
        SKIP("cycle", "this driver refuses the edge");
    }
    CUDA_GRAPH_INSTANTIATE_PARAMS params = {.result_out = CUDA_GRAPH_INSTANTIATE_ERROR};
    CHECK_CU("with_params", cuGraphInstantiateWithParams(&exec, graph, &params));
    CHECK("with_params_result", params.result_out == CUDA_GRAPH_INSTANTIATE_SUCCESS && params.hErrNode_out == NULL);
    NEED(cuGraphExecDestroy(exec));

    // The order that edges make.
    CUgraphNode last = graph_kernel_node(graph, NULL, 0, graph_scale, graph_data, 5);
    CUgraphNode middle = graph_kernel_node(graph, NULL, 0, graph_add, graph_data, 2);
    CUgraphNode first = graph_kernel_node(graph, NULL, 0, graph_fill, graph_data, 1);
    NEED(cuGraphAddDependencies(graph, (CUgraphNode[]){first, middle}, (CUgraphNode[]){middle, last}, NULL, 2));
    NEED(cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("launch", cuGraphLaunch(exec, CU_STREAM_PER_THREAD));
    CHECK_CU("synchronize", cuStreamSynchronize(CU_STREAM_PER_THREAD));
    CHECK("order", graph_all_are(graph_data, 15));
    NEED(cuGraphExecDestroy(exec));
    CHECK_CU("destroy", cuGraphDestroy(graph));
    CHECK_CU("destroy_foreign", cuGraphDestroy(foreign));
    return finish();
}
