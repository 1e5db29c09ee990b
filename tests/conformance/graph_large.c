// Graphs with many nodes, many dependencies of one node, and large kernel parameters.
#include "graph.h"

enum { WIDTH = 700 };

int main(void) {
    graph_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr cells;
    NEED(cuMemAlloc(&cells, WIDTH * sizeof(int)));
    CUcontext context;
    NEED(cuCtxGetCurrent(&context));
    CUgraph graph;
    CUgraphExec exec;

    // One node before and one behind many that are beside each other.
    static CUgraphNode side[WIDTH];
    CUgraphNode first, last;
    CUDA_MEMSET_NODE_PARAMS all = {.dst = cells, .elementSize = 4, .value = 1, .width = WIDTH, .height = 1};
    NEED(cuGraphCreate(&graph, 0));
    NEED(cuGraphAddMemsetNode(&first, graph, NULL, 0, &all, context));
    int added = 0;
    for (int i = 0; i < WIDTH; i++) {
        CUDA_MEMSET_NODE_PARAMS one = {.dst = cells + 4 * i, .elementSize = 4, .value = i, .width = 1, .height = 1};
        added += cuGraphAddMemsetNode(&side[i], graph, &first, 1, &one, context) == CUDA_SUCCESS;
    }
    CHECK("wide_nodes", added == WIDTH);
    CUDA_MEMCPY3D copy = graph_copy(graph_data, cells + 4 * (WIDTH - GRAPH_N), GRAPH_N * sizeof(int));
    CHECK_CU("wide_join", cuGraphAddMemcpyNode(&last, graph, side, WIDTH, &copy, context));
    size_t count = 0;
    CHECK_CU("wide_dependents", cuGraphNodeGetDependentNodes(first, NULL, NULL, &count));
    CHECK("wide_dependents_count", count == WIDTH);
    CHECK_CU("wide_instantiate", cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("wide_launch", cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    int values[GRAPH_N], right = 1;
    NEED(cuMemcpyDtoH(values, graph_data, sizeof values));
    for (int i = 0; i < GRAPH_N; i++)
        right = right && values[i] == WIDTH - GRAPH_N + i;
    CHECK("wide_result", right);
    CUDA_MEMSET_NODE_PARAMS other = {.dst = cells + 4 * (WIDTH - 1), .elementSize = 4, .value = 9, .width = 1, .height = 1};
    CHECK_CU("wide_set", cuGraphExecMemsetNodeSetParams(exec, side[WIDTH - 1], &other, context));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, sizeof values));
    CHECK("wide_set_result", values[GRAPH_N - 1] == 9 && values[0] == WIDTH - GRAPH_N);
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));

    // Nearly as many parameters as a kernel can have.
    struct {
        int value[1000];
    } numbers;
    for (int i = 0; i < 1000; i++)
        numbers.value[i] = 3 * i;
    CUfunction spread = kernel(load("graph"), "spread");
    int n = GRAPH_N;
    void *params[] = {&graph_data, &numbers, &n};
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("large_launch", cuLaunchKernel(spread, 1, 1, 1, GRAPH_N, 1, 1, 0, stream, params, NULL));
    NEED(cuStreamEndCapture(stream, &graph));
    memset(&numbers, 0, sizeof numbers);
    NEED(cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, sizeof values));
    CHECK("large_result", values[1] == 3 && values[GRAPH_N - 1] == 3 * (GRAPH_N - 1));
    CUgraphNode node;
    count = 1;
    NEED(cuGraphGetNodes(graph, &node, &count));
    numbers.value[GRAPH_N - 1] = -7;
    CUDA_KERNEL_NODE_PARAMS large = {.func = spread, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                     .blockDimX = GRAPH_N, .blockDimY = 1, .blockDimZ = 1, .kernelParams = params};
    CHECK_CU("large_set", cuGraphExecKernelNodeSetParams(exec, node, &large));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, sizeof values));
    CHECK("large_set_result", values[1] == 0 && values[GRAPH_N - 1] == -7);
    NEED(cuGraphExecDestroy(exec));
    CHECK_CU("destroy", cuGraphDestroy(graph));
    return finish();
}
