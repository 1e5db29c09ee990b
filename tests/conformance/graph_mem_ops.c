// Nodes that wait for and write values in memory, added and captured.
#include "graph.h"

static CUstreamBatchMemOpParams write_op(CUdeviceptr address, unsigned value) {
    CUstreamBatchMemOpParams params = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32};
    params.writeValue.address = address;
    params.writeValue.value = value;
    return params;
}

static CUstreamBatchMemOpParams wait_op(CUdeviceptr address, unsigned value, unsigned flags) {
    CUstreamBatchMemOpParams params = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32};
    params.waitValue.address = address;
    params.waitValue.value = value;
    params.waitValue.flags = flags;
    return params;
}

static unsigned word(CUdeviceptr address) {
    unsigned value;
    NEED(cuMemcpyDtoH(&value, address, sizeof value));
    return value;
}

int main(void) {
    CUcontext context = graph_start();
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, 2048));
    NEED(cuMemsetD32(memory, 0, 512));
    if (!driver_has("cuGraphAddBatchMemOpNode") ||
        cuStreamWriteValue32(stream, memory, 1, 0) == CUDA_ERROR_NOT_SUPPORTED) {
        SKIP("nodes", "not supported by this driver");
        return finish();
    }
    CUgraph graph;
    CUgraphNode node, after;
    CUgraphExec exec;
    NEED(cuGraphCreate(&graph, 0));
    CUstreamBatchMemOpParams operations[255] = {write_op(memory, 7), wait_op(memory, 7, CU_STREAM_WAIT_VALUE_EQ),
                                                write_op(memory + 4, 8)};
    CUDA_BATCH_MEM_OP_NODE_PARAMS params = {.ctx = context, .count = 3, .paramArray = operations};
    CHECK_CU("add", cuGraphAddBatchMemOpNode(&node, graph, NULL, 0, &params));
    operations[0].writeValue.value = 99; // they were copied
    after = graph_kernel_node(graph, &node, 1, graph_fill, graph_data, 5);
    CUgraphNodeType type;
    NEED(cuGraphNodeGetType(node, &type));
    CHECK("type", type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP);
    CUDA_BATCH_MEM_OP_NODE_PARAMS told = {0};
    CHECK_CU("get", cuGraphBatchMemOpNodeGetParams(node, &told));
    CHECK("got", told.count == 3 && told.paramArray[0].writeValue.value == 7 &&
                     told.paramArray[2].writeValue.address == memory + 4);
    CHECK_ERR("get_of_another", cuGraphBatchMemOpNodeGetParams(after, &told), CUDA_ERROR_INVALID_VALUE);
    NEED(cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("launched", word(memory) == 7 && word(memory + 4) == 8 && graph_all_are(graph_data, 5));

    // The executable graph waits for and writes something else.
    operations[0] = write_op(memory + 8, 20);
    operations[1] = wait_op(memory + 8, 19, CU_STREAM_WAIT_VALUE_GEQ);
    operations[2] = write_op(memory + 12, 21);
    CHECK_CU("exec_set", cuGraphExecBatchMemOpNodeSetParams(exec, node, &params));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("exec_set_result", word(memory) == 7 && word(memory + 8) == 20 && word(memory + 12) == 21);
    CHECK_CU("get_again", cuGraphBatchMemOpNodeGetParams(node, &told));
    CHECK("node_is_as_it_was", told.paramArray[0].writeValue.address == memory);
    params.count = 2;
    CHECK_ERR("exec_count", cuGraphExecBatchMemOpNodeSetParams(exec, node, &params), CUDA_ERROR_INVALID_VALUE);
    params.count = 3;
    operations[0] = wait_op(memory + 8, 20, 0);
    CHECK_ERR("exec_kind", cuGraphExecBatchMemOpNodeSetParams(exec, node, &params), CUDA_ERROR_INVALID_VALUE);

    // The node itself, and an update with its graph.
    operations[0] = write_op(memory + 16, 1);
    operations[1] = wait_op(memory + 16, 1, CU_STREAM_WAIT_VALUE_AND);
    operations[2] = write_op(memory + 16, 30);
    CHECK_CU("set", cuGraphBatchMemOpNodeSetParams(node, &params));
    CUgraphExecUpdateResultInfo info;
    CHECK_CU("update", cuGraphExecUpdate(exec, graph, &info));
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("updated", word(memory + 16) == 30);
    params.count = 0;
    CHECK_ERR("none", cuGraphAddBatchMemOpNode(&after, graph, NULL, 0, &params), CUDA_ERROR_INVALID_VALUE);
    params.count = 256;
    CHECK_ERR("too_many", cuGraphAddBatchMemOpNode(&after, graph, NULL, 0, &params), CUDA_ERROR_INVALID_VALUE);
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));

    // As many as there can be, by the function for any node.
    if (driver_has("cuGraphAddNode")) {
        for (int i = 0; i < 255; i++)
            operations[i] = write_op(memory + 4 * i, 1000 + i);
        CUgraphNodeParams generic = {.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP};
        generic.memOp.ctx = context;
        generic.memOp.count = 255;
        generic.memOp.paramArray = operations;
        NEED(cuGraphCreate(&graph, 0));
        CHECK_CU("generic", cuGraphAddNode(&node, graph, NULL, NULL, 0, &generic));
        NEED(cuGraphInstantiate(&exec, graph, 0));
        NEED(cuGraphLaunch(exec, stream));
        NEED(cuStreamSynchronize(stream));
        CHECK("generic_result", word(memory) == 1000 && word(memory + 4 * 254) == 1254);
        NEED(cuGraphExecDestroy(exec));
        NEED(cuGraphDestroy(graph));
    }

    // Captured: the host lets a launch go on.
    volatile unsigned *pinned;
    CUdeviceptr mapped;
    NEED(cuMemHostAlloc((void **)&pinned, 64, CU_MEMHOSTALLOC_DEVICEMAP));
    NEED(cuMemHostGetDevicePointer(&mapped, (void *)pinned, 0));
    pinned[0] = 0;
    NEED(cuMemsetD32(memory, 0, 512));
    NEED(cuCtxSynchronize());
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CHECK_CU("capture_write", cuStreamWriteValue32(stream, memory, 1, 0));
    CHECK_CU("capture_wait", cuStreamWaitValue32(stream, mapped, 5, CU_STREAM_WAIT_VALUE_EQ));
    operations[0] = write_op(memory + 4, 2), operations[1] = write_op(memory + 8, 3);
    CHECK_CU("capture_batch", cuStreamBatchMemOp(stream, 2, operations, 0));
    NEED(cuStreamEndCapture(stream, &graph));
    size_t count = 0;
    NEED(cuGraphGetNodes(graph, NULL, &count));
    CHECK("captured_nodes", count == 3);
    CHECK("not_run_yet", word(memory) == 0);
    NEED(cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphLaunch(exec, stream));
    CHECK_ERR("held_up", cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    pinned[0] = 5;
    NEED(cuStreamSynchronize(stream));
    CHECK("captured_result", word(memory) == 1 && word(memory + 4) == 2 && word(memory + 8) == 3);
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));
    NEED(cuMemFreeHost((void *)pinned));
    NEED(cuMemFree(memory));
    return finish();
}
