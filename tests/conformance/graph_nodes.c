// Graphs built node by node: every kind of node, its parameters read and changed.
#include "graph.h"

static void add_one(void *counter) { ++*(int *)counter; }
static void add_ten(void *counter) { *(int *)counter += 10; }

int main(void) {
    graph_start();
    size_t bytes = GRAPH_N * sizeof(int);
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr other;
    NEED(cuMemAlloc(&other, bytes));
    CUcontext context;
    NEED(cuCtxGetCurrent(&context));
    int counter = 0;
    CUgraph graph;
    CHECK_ERR("create_flags", cuGraphCreate(&graph, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("create", cuGraphCreate(&graph, 0));

    CUgraphNode fill, memset, add, copy, host, empty, record, wait;
    CUDA_MEMSET_NODE_PARAMS set = {.dst = other, .elementSize = 4, .value = 3, .width = GRAPH_N, .height = 1};
    CHECK_CU("add_memset", cuGraphAddMemsetNode(&memset, graph, NULL, 0, &set, context));
    fill = graph_kernel_node(graph, NULL, 0, graph_fill, graph_data, 1);
    CHECK("add_kernel", fill != NULL && fill != memset);
    CUgraphNode both[] = {memset, fill};
    CHECK_CU("add_empty", cuGraphAddEmptyNode(&empty, graph, both, 2));
    add = graph_kernel_node(graph, &empty, 1, graph_add, other, 4);
    CUDA_MEMCPY3D half = graph_copy(graph_data, other, bytes / 2);
    CHECK_CU("add_memcpy", cuGraphAddMemcpyNode(&copy, graph, &add, 1, &half, context));
    CUDA_HOST_NODE_PARAMS call = {.fn = add_one, .userData = &counter};
    CHECK_CU("add_host", cuGraphAddHostNode(&host, graph, &copy, 1, &call));
    CUevent event, later;
    NEED(cuEventCreate(&event, 0));
    NEED(cuEventCreate(&later, 0));
    CHECK_CU("add_event_record", cuGraphAddEventRecordNode(&record, graph, &host, 1, event));
    CHECK_CU("add_event_wait", cuGraphAddEventWaitNode(&wait, graph, NULL, 0, later));

    CHECK_ERR("duplicate_dependencies", cuGraphAddEmptyNode(&empty, graph, (CUgraphNode[]){fill, fill}, 2),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_graph", cuGraphAddEmptyNode(&empty, NULL, NULL, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_place", cuGraphAddEmptyNode(NULL, graph, NULL, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("host_without_function", cuGraphAddHostNode(&empty, graph, NULL, 0, &(CUDA_HOST_NODE_PARAMS){0}),
              CUDA_ERROR_INVALID_VALUE);

    CUgraphExec exec;
    CHECK_CU("instantiate", cuGraphInstantiate(&exec, graph, 0));
    CHECK_CU("upload", cuGraphUpload(exec, stream));
    CHECK_CU("launch", cuGraphLaunch(exec, stream));
    CHECK_CU("synchronize", cuStreamSynchronize(stream));
    CHECK_CU("event_recorded", cuEventQuery(event));
    int values[GRAPH_N];
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("results", values[0] == 7 && values[GRAPH_N / 2 - 1] == 7 && values[GRAPH_N / 2] == 1);
    CHECK("host_ran", counter == 1);

    // Parameters come back as they were given.
    CUDA_KERNEL_NODE_PARAMS kernel;
    CHECK_CU("get_kernel", cuGraphKernelNodeGetParams(add, &kernel));
    CHECK("get_kernel_shape", kernel.func == graph_add && kernel.gridDimX == 1 && kernel.blockDimX == GRAPH_N &&
                                  kernel.blockDimZ == 1 && kernel.sharedMemBytes == 0);
    CHECK("get_kernel_params", kernel.kernelParams && *(CUdeviceptr *)kernel.kernelParams[0] == other &&
                                   *(int *)kernel.kernelParams[1] == 4 && *(int *)kernel.kernelParams[2] == GRAPH_N);
    CUDA_MEMCPY3D got_copy;
    CHECK_CU("get_memcpy", cuGraphMemcpyNodeGetParams(copy, &got_copy));
    CHECK("get_memcpy_values", got_copy.dstDevice == graph_data && got_copy.srcDevice == other &&
                                   got_copy.WidthInBytes == bytes / 2 && got_copy.Height == 1);
    CUDA_MEMSET_NODE_PARAMS got_set;
    CHECK_CU("get_memset", cuGraphMemsetNodeGetParams(memset, &got_set));
    CHECK("get_memset_values", got_set.dst == other && got_set.value == 3 && got_set.width == GRAPH_N);
    CUDA_HOST_NODE_PARAMS got_host;
    CHECK_CU("get_host", cuGraphHostNodeGetParams(host, &got_host));
    CHECK("get_host_values", got_host.fn == add_one && got_host.userData == &counter);
    CUevent got_event;
    CHECK_CU("get_event_record", cuGraphEventRecordNodeGetEvent(record, &got_event));
    CHECK("get_event_record_value", got_event == event);
    CHECK_CU("get_event_wait", cuGraphEventWaitNodeGetEvent(wait, &got_event));
    CHECK("get_event_wait_value", got_event == later);
    CHECK_ERR("get_wrong_kind", cuGraphKernelNodeGetParams(copy, &kernel), CUDA_ERROR_INVALID_VALUE);

    // Changes to nodes show in what is instantiated afterwards, and only there.
    int value = 40, n = GRAPH_N;
    void *params[] = {&other, &value, &n};
    kernel = (CUDA_KERNEL_NODE_PARAMS){.func = graph_add, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                       .blockDimX = GRAPH_N, .blockDimY = 1, .blockDimZ = 1, .kernelParams = params};
    CHECK_CU("set_kernel", cuGraphKernelNodeSetParams(add, &kernel));
    value = 0; // copied above
    half = graph_copy(graph_data, other, bytes);
    CHECK_CU("set_memcpy", cuGraphMemcpyNodeSetParams(copy, &half));
    set.value = 2;
    CHECK_CU("set_memset", cuGraphMemsetNodeSetParams(memset, &set));
    call.fn = add_ten;
    CHECK_CU("set_host", cuGraphHostNodeSetParams(host, &call));
    CHECK_CU("set_event_record", cuGraphEventRecordNodeSetEvent(record, later));
    CHECK_CU("set_event_wait", cuGraphEventWaitNodeSetEvent(wait, event));
    CHECK_CU("launch_old", cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("old_results", values[0] == 7 && values[GRAPH_N - 1] == 1 && counter == 2);
    CUgraphExec changed;
    CHECK_CU("instantiate_changed", cuGraphInstantiate(&changed, graph, 0));
    CHECK_CU("launch_changed", cuGraphLaunch(changed, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("changed_results", graph_all_are(graph_data, 42) && counter == 12);

    // llama.cpp writes to where the parameters of a node are, and goes on to do so when it has set them.
    CUDA_KERNEL_NODE_PARAMS live;
    NEED(cuGraphKernelNodeGetParams(add, &live));
    for (int i = 0; i < 50; i++) {
        *(int *)live.kernelParams[1] = 30 + i;
        NEED(cuGraphKernelNodeSetParams(add, &live));
        CUDA_KERNEL_NODE_PARAMS again;
        NEED(cuGraphKernelNodeGetParams(add, &again));
        if (again.kernelParams != live.kernelParams || *(int *)again.kernelParams[1] != 30 + i)
            break;
        value = i;
    }
    CHECK("set_params_stay_in_place", value == 49);

    // Changes to an executable graph.
    value = 60;
    CHECK_CU("exec_set_kernel", cuGraphExecKernelNodeSetParams(changed, add, &kernel));
    set.value = 1;
    CHECK_CU("exec_set_memset", cuGraphExecMemsetNodeSetParams(changed, memset, &set, context));
    half = graph_copy(graph_data, other, bytes / 2);
    CHECK_CU("exec_set_memcpy", cuGraphExecMemcpyNodeSetParams(changed, copy, &half, context));
    call.fn = add_one;
    CHECK_CU("exec_set_host", cuGraphExecHostNodeSetParams(changed, host, &call));
    CHECK_CU("exec_set_event_record", cuGraphExecEventRecordNodeSetEvent(changed, record, event));
    CHECK_CU("exec_set_event_wait", cuGraphExecEventWaitNodeSetEvent(changed, wait, later));
    CHECK_ERR("exec_set_wrong_kind", cuGraphExecHostNodeSetParams(changed, copy, &call), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("launch_updated", cuGraphLaunch(changed, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("updated_results", values[0] == 61 && values[GRAPH_N - 1] == 1 && counter == 13);

    // Switched off and on.
    unsigned enabled = 9;
    CHECK_CU("is_enabled", cuGraphNodeGetEnabled(changed, add, &enabled));
    CHECK("enabled_at_first", enabled == 1);
    CHECK_CU("disable", cuGraphNodeSetEnabled(changed, add, 0));
    CHECK_CU("is_disabled", cuGraphNodeGetEnabled(changed, add, &enabled));
    CHECK("disabled", enabled == 0);
    CHECK_ERR("disable_host", cuGraphNodeSetEnabled(changed, host, 0), CUDA_ERROR_INVALID_VALUE);
    NEED(cuGraphLaunch(changed, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("disabled_results", values[0] == 1 && values[GRAPH_N - 1] == 1);
    CHECK_CU("enable", cuGraphNodeSetEnabled(changed, add, 1));
    NEED(cuGraphLaunch(changed, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("enabled_results", values[0] == 61);
    NEED(cuGraphExecDestroy(changed));
    NEED(cuGraphExecDestroy(exec));

    // Without the node that was between them, the others go on.
    CHECK_CU("destroy_node", cuGraphDestroyNode(host));
    size_t count = 0;
    NEED(cuGraphGetNodes(graph, NULL, &count));
    CHECK("destroyed_node_is_gone", count == 7);
    count = 9;
    CHECK_CU("record_dependencies", cuGraphNodeGetDependencies(record, NULL, NULL, &count));
    CHECK("record_is_a_root", count == 0);
    CHECK_ERR("destroyed_node", cuGraphHostNodeGetParams(host, &got_host), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("destroy", cuGraphDestroy(graph));
    return finish();
}
