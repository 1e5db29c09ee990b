// Executable graphs with conditional nodes take the parameters, and the conditions, of other graphs.
#include "graph.h"

static CUfunction count_down;
static CUdeviceptr number;

// Adds `value` to all elements as often as `number` says, but once at least.
static CUgraph loop(int value, unsigned times, CUgraphConditionalNodeType type, CUcontext context) {
    CUgraph graph;
    NEED(cuGraphCreate(&graph, 0));
    CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL};
    params.conditional.type = type;
    params.conditional.size = 1;
    params.conditional.ctx = context;
    NEED(cuGraphConditionalHandleCreate(&params.conditional.handle, graph, context, 1, CU_GRAPH_COND_ASSIGN_DEFAULT));
    CUDA_MEMSET_NODE_PARAMS begin = {.dst = number, .value = times, .elementSize = 4, .width = 1, .height = 1};
    CUgraphNode first, node, down;
    NEED(cuGraphAddMemsetNode(&first, graph, NULL, 0, &begin, context));
    NEED(cuGraphAddNode(&node, graph, &first, NULL, 1, &params));
    CUgraph body = params.conditional.phGraph_out[0];
    CUgraphNode add = graph_kernel_node(body, NULL, 0, graph_add, graph_data, value);
    void *args[] = {&params.conditional.handle, &number};
    CUDA_KERNEL_NODE_PARAMS kernel = {.func = count_down, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                      .blockDimX = 1, .blockDimY = 1, .blockDimZ = 1, .kernelParams = args};
    NEED(cuGraphAddKernelNode(&down, body, &add, 1, &kernel));
    return graph;
}

static int result(CUgraphExec exec, int expected) {
    NEED(cuMemsetD32(graph_data, 0, GRAPH_N));
    NEED(cuGraphLaunch(exec, NULL));
    return graph_all_are(graph_data, expected);
}

int main(void) {
    CUcontext context = graph_start();
    if (!driver_has("cuGraphConditionalHandleCreate")) {
        SKIP("conditional_nodes", "not known to this driver");
        return finish();
    }
    CUmodule module = load("conditional");
    count_down = kernel(module, "count_down");
    NEED(cuMemAlloc(&number, sizeof(int)));
    CUgraph graph = loop(3, 5, CU_GRAPH_COND_TYPE_WHILE, context);
    CUgraphExec exec;
    NEED(cuGraphInstantiate(&exec, graph, 0));
    CHECK("before", result(exec, 15));

    CUgraphExecUpdateResultInfo info;
    CUgraph other = loop(10, 2, CU_GRAPH_COND_TYPE_WHILE, context);
    CHECK_CU("update", cuGraphExecUpdate(exec, other, &info));
    CHECK("updated", result(exec, 20));
    NEED(cuGraphDestroy(other));
    CHECK("updated_graph_is_gone", result(exec, 20));
    for (int i = 1; i <= 3; i++) {
        other = loop(i, 4, CU_GRAPH_COND_TYPE_WHILE, context);
        NEED(cuGraphExecUpdate(exec, other, &info));
        NEED(cuGraphDestroy(other));
    }
    CHECK("updated_often", result(exec, 12));
    CHECK_CU("back", cuGraphExecUpdate(exec, graph, &info));
    CHECK("back_result", result(exec, 15));

    other = loop(10, 2, CU_GRAPH_COND_TYPE_IF, context);
    CHECK_ERR("other_type", cuGraphExecUpdate(exec, other, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CHECK("other_type_result", info.result != CU_GRAPH_EXEC_UPDATE_SUCCESS);
    NEED(cuGraphDestroy(other));
    CHECK("unchanged", result(exec, 15));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));
    NEED(cuMemFree(number));
    return finish();
}
