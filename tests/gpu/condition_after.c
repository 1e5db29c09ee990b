// Conditions of graphs whose node is gone: what a driver does with them is not documented. Of each of these only
// the result is told, in notes.
#include "../conformance/graph.h"

static CUfunction set;

static CUgraphConditionalHandle with_node(CUgraph graph, CUcontext context, CUgraphNode *node) {
    CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL};
    NEED(cuGraphConditionalHandleCreate(&params.conditional.handle, graph, context, 0, 0));
    params.conditional.type = CU_GRAPH_COND_TYPE_IF;
    params.conditional.size = 1;
    params.conditional.ctx = context;
    NEED(cuGraphAddNode(node, graph, NULL, NULL, 0, &params));
    graph_kernel_node(params.conditional.phGraph_out[0], NULL, 0, graph_fill, graph_data, 10);
    return params.conditional.handle;
}

static void set_now(const char *when, CUgraphConditionalHandle handle) {
    unsigned one = 1;
    void *params[] = {&handle, &one};
    CUresult launched = cuLaunchKernel(set, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
    printf("# set %s: launch %s", when, check_error_name_(launched));
    printf(", then %s\n", check_error_name_(cuCtxSynchronize()));
    fflush(stdout);
}

int main(void) {
    CUcontext context = graph_start();
    if (!driver_has("cuGraphConditionalHandleCreate")) {
        SKIP("condition_after", "conditional nodes are not known to this driver");
        return finish();
    }
    set = kernel(load("conditional"), "set");
    CUgraph graph;
    CUgraphNode node, again;
    CUgraphExec exec;
    NEED(cuGraphCreate(&graph, 0));
    CUgraphConditionalHandle handle = with_node(graph, context, &node);
    CHECK_CU("instantiate", cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphExecDestroy(exec));
    printf("# destroying the node: %s\n", check_error_name_(cuGraphDestroyNode(node)));
    CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL};
    params.conditional.handle = handle;
    params.conditional.type = CU_GRAPH_COND_TYPE_IF;
    params.conditional.size = 1;
    params.conditional.ctx = context;
    printf("# another node with its condition: %s\n",
           check_error_name_(cuGraphAddNode(&again, graph, NULL, NULL, 0, &params)));
    CUresult result = cuGraphInstantiate(&exec, graph, 0);
    printf("# instantiating the graph: %s\n", check_error_name_(result));
    if (result == CUDA_SUCCESS)
        printf("# launching it: %s\n", check_error_name_(cuGraphLaunch(exec, NULL)));
    // Kernels that may break the context come last.
    set_now("outside of a launch", handle);
    printf("# destroying the graph: %s\n", check_error_name_(cuGraphDestroy(graph)));
    set_now("without a graph", handle);
    return finish();
}
