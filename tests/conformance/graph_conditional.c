// Conditional nodes: kernels decide which graphs of a launch run, and how often.
#include "graph.h"

static CUfunction set, set_from, count_down;
static CUcontext context;

static CUgraphConditionalHandle condition(CUgraph graph, unsigned value, unsigned flags) {
    CUgraphConditionalHandle handle;
    NEED(cuGraphConditionalHandleCreate(&handle, graph, context, value, flags));
    return handle;
}

// Adds a node that runs `kernel(condition, argument)` in one thread.
static CUgraphNode set_node(CUgraph graph, const CUgraphNode *after, size_t count, CUfunction kernel,
                            CUgraphConditionalHandle condition, void *argument) {
    void *params[] = {&condition, argument};
    CUDA_KERNEL_NODE_PARAMS node = {.func = kernel, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                    .blockDimX = 1, .blockDimY = 1, .blockDimZ = 1, .kernelParams = params};
    CUgraphNode added = NULL;
    NEED(cuGraphAddKernelNode(&added, graph, after, count, &node));
    return added;
}

static CUgraphNodeParams conditional(CUgraphConditionalHandle handle, CUgraphConditionalNodeType type, unsigned size) {
    CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL};
    params.conditional.handle = handle;
    params.conditional.type = type;
    params.conditional.size = size;
    params.conditional.ctx = context;
    return params;
}

// Adds a conditional node; its bodies.
static CUgraph *choose(CUgraph graph, const CUgraphNode *after, size_t count, CUgraphConditionalHandle handle,
                       CUgraphConditionalNodeType type, unsigned size, CUgraphNode *added) {
    CUgraphNodeParams params = conditional(handle, type, size);
    NEED(cuGraphAddNode(added, graph, after, NULL, count, &params));
    return params.conditional.phGraph_out;
}

static void run(CUgraphExec exec) {
    NEED(cuMemsetD32(graph_data, 0, GRAPH_N));
    NEED(cuGraphLaunch(exec, NULL));
}

static CUgraphExec instantiate(CUgraph graph) {
    CUgraphExec exec;
    NEED(cuGraphInstantiate(&exec, graph, 0));
    return exec;
}

static void end(CUgraphExec exec, CUgraph graph) {
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));
}

// A condition that a kernel sets to a number of the host's, and a node that looks at it.
static CUgraphExec chooser(CUgraph *graph, CUgraphConditionalNodeType type, unsigned size, CUdeviceptr number) {
    NEED(cuGraphCreate(graph, 0));
    CUgraphConditionalHandle handle = condition(*graph, 0, 0);
    CUgraphNode first = set_node(*graph, NULL, 0, set_from, handle, &number), node;
    CUgraph *bodies = choose(*graph, &first, 1, handle, type, size, &node);
    for (unsigned i = 0; i < size; i++)
        graph_kernel_node(bodies[i], NULL, 0, graph_fill, graph_data, 10 + (int)i);
    // What comes behind the node comes behind its bodies.
    graph_kernel_node(*graph, &node, 1, graph_add, graph_data, 100);
    return instantiate(*graph);
}

static int chosen(CUgraphExec exec, CUdeviceptr number, int value) {
    NEED(cuMemcpyHtoD(number, &value, sizeof value));
    run(exec);
    int first;
    NEED(cuMemcpyDtoH(&first, graph_data, sizeof first));
    return graph_all_are(graph_data, first) ? first : -1;
}

int main(void) {
    context = graph_start();
    if (!driver_has("cuGraphConditionalHandleCreate")) {
        SKIP("conditional_nodes", "not known to this driver");
        return finish();
    }
    CUmodule module = load("conditional");
    set = kernel(module, "set"), set_from = kernel(module, "set_from"), count_down = kernel(module, "count_down");
    CUdeviceptr number;
    NEED(cuMemAlloc(&number, sizeof(int)));
    CUgraph graph;
    CUgraphExec exec;

    exec = chooser(&graph, CU_GRAPH_COND_TYPE_IF, 1, number);
    CHECK("if_true", chosen(exec, number, 1) == 110);
    CHECK("if_false", chosen(exec, number, 0) == 100);
    CHECK("if_other_than_zero", chosen(exec, number, 77) == 110);
    end(exec, graph);
    exec = chooser(&graph, CU_GRAPH_COND_TYPE_IF, 2, number);
    CHECK("if_else_true", chosen(exec, number, 1) == 110);
    CHECK("if_else_false", chosen(exec, number, 0) == 111);
    end(exec, graph);
    exec = chooser(&graph, CU_GRAPH_COND_TYPE_SWITCH, 3, number);
    CHECK("switch_first", chosen(exec, number, 0) == 110);
    CHECK("switch_last", chosen(exec, number, 2) == 112);
    CHECK("switch_none", chosen(exec, number, 3) == 100);
    end(exec, graph);

    // A loop that counts down from five: the default value lets it begin at every launch.
    NEED(cuGraphCreate(&graph, 0));
    CUgraphConditionalHandle handle = condition(graph, 1, CU_GRAPH_COND_ASSIGN_DEFAULT);
    CUgraphNode node, fill, in_body;
    CUgraph body = choose(graph, NULL, 0, handle, CU_GRAPH_COND_TYPE_WHILE, 1, &node)[0];
    in_body = graph_kernel_node(body, NULL, 0, graph_add, graph_data, 3);
    set_node(body, &in_body, 1, count_down, handle, &number);
    exec = instantiate(graph);
    int five = 5;
    for (int i = 0; i < 2; i++) {
        NEED(cuMemcpyHtoD(number, &five, sizeof five));
        run(exec);
        CHECK(i ? "while_again" : "while", graph_all_are(graph_data, 15));
    }
    // Another launch of the same, with another node in the body.
    int n = GRAPH_N, value = 4;
    void *params[] = {&graph_data, &value, &n};
    CUDA_KERNEL_NODE_PARAMS other = {.func = graph_add, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                     .blockDimX = GRAPH_N, .blockDimY = 1, .blockDimZ = 1, .kernelParams = params};
    CHECK_CU("set_in_body", cuGraphExecKernelNodeSetParams(exec, in_body, &other));
    NEED(cuMemcpyHtoD(number, &five, sizeof five));
    run(exec);
    CHECK("set_in_body_result", graph_all_are(graph_data, 20));
    // What a graph with conditional nodes cannot do.
    CUgraphExec second;
    CUgraph clone, parent;
    CHECK("instantiated_twice", cuGraphInstantiate(&second, graph, 0) != CUDA_SUCCESS);
    CHECK("cloned", cuGraphClone(&clone, graph) != CUDA_SUCCESS);
    NEED(cuGraphCreate(&parent, 0));
    CHECK("in_a_child", cuGraphAddChildGraphNode(&fill, parent, NULL, 0, graph) != CUDA_SUCCESS);
    NEED(cuGraphDestroy(parent));
    // Once more, after the first one is gone.
    NEED(cuGraphExecDestroy(exec));
    CHECK_CU("instantiated_again", cuGraphInstantiate(&exec, graph, 0));
    NEED(cuMemcpyHtoD(number, &five, sizeof five));
    run(exec);
    CHECK("instantiated_again_result", graph_all_are(graph_data, 15));
    CUgraphNodeType type;
    NEED(cuGraphNodeGetType(node, &type));
    CHECK("type", type == CU_GRAPH_NODE_TYPE_CONDITIONAL);
    CHECK("body_is_the_nodes", cuGraphDestroy(body) != CUDA_SUCCESS);
    end(exec, graph);

    // A condition in the body of another, and child graphs there. 3 x (1 + 2 x 10).
    NEED(cuGraphCreate(&graph, 0));
    CUgraphConditionalHandle outer = condition(graph, 1, CU_GRAPH_COND_ASSIGN_DEFAULT), inner = condition(graph, 0, 0);
    CUdeviceptr inner_number;
    NEED(cuMemAlloc(&inner_number, sizeof(int)));
    body = choose(graph, NULL, 0, outer, CU_GRAPH_COND_TYPE_WHILE, 1, &node)[0];
    CUDA_MEMSET_NODE_PARAMS two = {.dst = inner_number, .value = 2, .elementSize = 4, .width = 1, .height = 1};
    CUgraphNode before[3], inner_node;
    NEED(cuGraphAddMemsetNode(&before[0], body, NULL, 0, &two, context));
    unsigned one = 1;
    before[1] = set_node(body, NULL, 0, set, inner, &one);
    CUgraph child;
    NEED(cuGraphCreate(&child, 0));
    graph_kernel_node(child, NULL, 0, graph_add, graph_data, 1);
    CHECK_CU("child_in_body", cuGraphAddChildGraphNode(&before[2], body, NULL, 0, child));
    NEED(cuGraphDestroy(child));
    CUgraph inner_body = choose(body, before, 3, inner, CU_GRAPH_COND_TYPE_WHILE, 1, &inner_node)[0];
    CUgraphNode add = graph_kernel_node(inner_body, NULL, 0, graph_add, graph_data, 10);
    set_node(inner_body, &add, 1, count_down, inner, &inner_number);
    set_node(body, &inner_node, 1, count_down, outer, &number);
    exec = instantiate(graph);
    int three = 3;
    NEED(cuMemcpyHtoD(number, &three, sizeof three));
    run(exec);
    CHECK("nested", graph_all_are(graph_data, 63));
    end(exec, graph);

    // Captured: the node goes into the graph that is captured, and the body is captured into its own.
    CUstream stream, side;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    CUstreamCaptureStatus status;
    const CUgraphNode *last;
    size_t count;
    NEED(cuStreamGetCaptureInfo(stream, &status, NULL, &graph, NULL, NULL, NULL));
    handle = condition(graph, 0, 0);
    void *set_params[] = {&handle, &number};
    NEED(cuLaunchKernel(set_from, 1, 1, 1, 1, 1, 1, 0, stream, set_params, NULL));
    NEED(cuStreamGetCaptureInfo(stream, &status, NULL, &graph, &last, NULL, &count));
    body = choose(graph, last, count, handle, CU_GRAPH_COND_TYPE_IF, 1, &node)[0];
    CHECK_CU("goes_on_behind",
             cuStreamUpdateCaptureDependencies(stream, &node, NULL, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
    CHECK_CU("begin_in_body", cuStreamBeginCaptureToGraph(side, body, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED));
    NEED(graph_launch(graph_fill, graph_data, 10, side));
    NEED(cuStreamEndCapture(side, &child));
    CHECK("captured_into_body", child == body);
    NEED(graph_launch(graph_add, graph_data, 100, stream));
    NEED(cuStreamEndCapture(stream, &graph));
    exec = instantiate(graph);
    CHECK("captured_true", chosen(exec, number, 1) == 110);
    CHECK("captured_false", chosen(exec, number, 0) == 100);
    NEED(cuGraphDestroy(graph)); // before its executable graph

    // What is wrong with nodes and conditions.
    NEED(cuGraphCreate(&graph, 0));
    CHECK_ERR("handle_flags", cuGraphConditionalHandleCreate(&handle, graph, context, 0, 2), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("handle_null", cuGraphConditionalHandleCreate(NULL, graph, context, 0, 0), CUDA_ERROR_INVALID_VALUE);
    handle = condition(graph, 0, 0);
    CUDA_GRAPH_INSTANTIATE_PARAMS how = {0};
    if (cuGraphInstantiateWithParams(&second, graph, &how) == CUDA_SUCCESS) {
        SKIP("unused_condition", "this driver takes it");
        NEED(cuGraphExecDestroy(second));
    } else {
        CHECK("unused_condition", how.result_out == CUDA_GRAPH_INSTANTIATE_CONDITIONAL_HANDLE_UNUSED);
    }
    CUgraphNodeParams bad = conditional(handle, CU_GRAPH_COND_TYPE_WHILE, 2);
    CHECK_ERR("while_with_two", cuGraphAddNode(&node, graph, NULL, NULL, 0, &bad), CUDA_ERROR_INVALID_VALUE);
    bad = conditional(handle, CU_GRAPH_COND_TYPE_IF, 3);
    CHECK_ERR("if_with_three", cuGraphAddNode(&node, graph, NULL, NULL, 0, &bad), CUDA_ERROR_INVALID_VALUE);
    bad = conditional(handle, CU_GRAPH_COND_TYPE_SWITCH, 0);
    CHECK_ERR("switch_with_none", cuGraphAddNode(&node, graph, NULL, NULL, 0, &bad), CUDA_ERROR_INVALID_VALUE);
    bad = conditional(handle, (CUgraphConditionalNodeType)7, 1);
    CHECK_ERR("other_type", cuGraphAddNode(&node, graph, NULL, NULL, 0, &bad), CUDA_ERROR_INVALID_VALUE);
    body = choose(graph, NULL, 0, handle, CU_GRAPH_COND_TYPE_IF, 1, &node)[0];
    bad = conditional(handle, CU_GRAPH_COND_TYPE_IF, 1);
    CHECK("condition_used_twice", cuGraphAddNode(&node, graph, NULL, NULL, 0, &bad) != CUDA_SUCCESS);
    // Bodies take no events; a driver may tell when the graph is instantiated.
    CUevent event;
    NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    CHECK("event_in_body", cuGraphAddEventRecordNode(&node, body, NULL, 0, event) != CUDA_SUCCESS ||
                               cuGraphInstantiate(&second, graph, 0) != CUDA_SUCCESS);
    NEED(cuGraphDestroy(graph));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuEventDestroy(event));
    NEED(cuMemFree(inner_number));
    NEED(cuMemFree(number));
    return finish();
}
