// Nodes of any type through one function, attributes of kernel nodes, and the description in DOT.
#include "graph.h"

static void add_one(void *counter) { ++*(int *)counter; }

int main(void) {
    graph_start();
    size_t bytes = GRAPH_N * sizeof(int);
    CUcontext context;
    NEED(cuCtxGetCurrent(&context));
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr other;
    NEED(cuMemAlloc(&other, bytes));
    CUgraph graph;
    NEED(cuGraphCreate(&graph, 0));
    int value = 6, n = GRAPH_N, counter = 0;
    void *params[] = {&graph_data, &value, &n};
    CUgraphNode kernel = NULL, set = NULL, copy = NULL, host = NULL, empty = NULL;
    if (!driver_has("cuGraphAddNode_v2")) {
        SKIP("generic", "newer than the driver");
        return finish();
    }

    CUgraphNodeParams node = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
    node.kernel.func = graph_fill;
    node.kernel.gridDimX = node.kernel.gridDimY = node.kernel.gridDimZ = 1;
    node.kernel.blockDimX = GRAPH_N;
    node.kernel.blockDimY = node.kernel.blockDimZ = 1;
    node.kernel.kernelParams = params;
    CHECK_CU("add_kernel", cuGraphAddNode(&kernel, graph, NULL, NULL, 0, &node));
    node = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEMSET};
    node.memset.dst = other;
    node.memset.elementSize = 4;
    node.memset.value = 9;
    node.memset.width = GRAPH_N;
    node.memset.height = 1;
    node.memset.ctx = context;
    CHECK_CU("add_memset", cuGraphAddNode(&set, graph, NULL, NULL, 0, &node));
    node = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEMCPY};
    node.memcpy.copyCtx = context;
    node.memcpy.copyParams = graph_copy(graph_data, other, bytes / 2);
    CUgraphNode both[] = {kernel, set};
    CUgraphEdgeData data[2] = {{0}, {0}};
    CHECK_CU("add_memcpy", cuGraphAddNode(&copy, graph, both, data, 2, &node));
    node = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_HOST};
    node.host.fn = add_one;
    node.host.userData = &counter;
    CHECK_CU("add_host", cuGraphAddNode(&host, graph, &copy, NULL, 1, &node));
    node = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_EMPTY};
    CHECK_CU("add_empty", cuGraphAddNode(&empty, graph, &host, NULL, 1, &node));
    node.reserved0[1] = 1;
    CHECK_ERR("reserved", cuGraphAddNode(&empty, graph, &host, NULL, 1, &node), CUDA_ERROR_INVALID_VALUE);

    CUgraphExec exec;
    NEED(cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    int values[GRAPH_N];
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("results", values[0] == 9 && values[GRAPH_N - 1] == 6 && counter == 1);

    node = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEMSET};
    node.memset.dst = other;
    node.memset.elementSize = 4;
    node.memset.value = 11;
    node.memset.width = GRAPH_N;
    node.memset.height = 1;
    node.memset.ctx = context;
    CHECK_CU("exec_set", cuGraphExecNodeSetParams(exec, set, &node));
    CHECK_ERR("exec_set_wrong_kind", cuGraphExecNodeSetParams(exec, host, &node), CUDA_ERROR_INVALID_VALUE);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("exec_set_result", values[0] == 11);
    node.memset.value = 21;
    CHECK_CU("set", cuGraphNodeSetParams(set, &node));
    CUDA_MEMSET_NODE_PARAMS got;
    NEED(cuGraphMemsetNodeGetParams(set, &got));
    CHECK("set_value", got.value == 21);
    if (driver_has("cuGraphNodeGetParams")) {
        CHECK_CU("get", cuGraphNodeGetParams(kernel, &node));
        CHECK("get_values", node.type == CU_GRAPH_NODE_TYPE_KERNEL && node.kernel.func == graph_fill &&
                                *(int *)node.kernel.kernelParams[1] == 6);
    } else {
        SKIP("get", "newer than the driver");
    }
    NEED(cuGraphExecDestroy(exec));

    // Attributes.
    CUkernelNodeAttrValue attribute;
    memset(&attribute, 0xff, sizeof attribute);
    CHECK_CU("get_attribute", cuGraphKernelNodeGetAttribute(kernel, CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE, &attribute));
    CHECK("get_attribute_value", attribute.cooperative == 0);
    attribute.cooperative = 1;
    CHECK_CU("set_attribute", cuGraphKernelNodeSetAttribute(kernel, CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE, &attribute));
    CUgraphNode twin = graph_kernel_node(graph, &empty, 1, graph_add, graph_data, 1);
    CHECK_CU("copy_attributes", cuGraphKernelNodeCopyAttributes(twin, kernel));
    attribute.cooperative = 0;
    CHECK_CU("get_copied", cuGraphKernelNodeGetAttribute(twin, CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE, &attribute));
    CHECK("get_copied_value", attribute.cooperative == 1);
    CHECK("attribute_of_host_node",
          cuGraphKernelNodeGetAttribute(host, CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE, &attribute) != CUDA_SUCCESS);
    CHECK_CU("instantiate_cooperative", cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(values, graph_data, bytes));
    CHECK("cooperative_result", values[0] == 22 && values[GRAPH_N - 1] == 7);
    NEED(cuGraphExecDestroy(exec));

    // The description.
    char path[] = "/tmp/graph-XXXXXX", text[8192] = "";
    int descriptor = mkstemp(path);
    CHECK_CU("dot", cuGraphDebugDotPrint(graph, path, 0));
    ssize_t length = read(descriptor, text, sizeof text - 1);
    CHECK("dot_text", length > 0 && strstr(text, "digraph") && strstr(text, "->") && strstr(text, "fill"));
    close(descriptor);
    unlink(path);
    CHECK_ERR("dot_no_folder", cuGraphDebugDotPrint(graph, "/nowhere/at/all", 0), CUDA_ERROR_OPERATING_SYSTEM);
    CHECK_CU("destroy", cuGraphDestroy(graph));
    return finish();
}
