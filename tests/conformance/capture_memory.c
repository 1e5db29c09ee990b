// Copies of host memory in a capture: the memory is used when the graph runs, not before.
#include "graph.h"

static int pageable_in[GRAPH_N], pageable_out[GRAPH_N];

static void next_value(void *memory) {
    int *values = memory;
    int value = values[0] + 1;
    for (int i = 0; i < GRAPH_N; i++)
        values[i] = value;
}

static int all(const int *values, int value) {
    for (int i = 0; i < GRAPH_N; i++)
        if (values[i] != value)
            return 0;
    return 1;
}

static void set(int *values, int value) {
    for (int i = 0; i < GRAPH_N; i++)
        values[i] = value;
}

int main(void) {
    graph_start();
    size_t bytes = GRAPH_N * sizeof(int);
    CUstream stream, other;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    int *pinned_in, *pinned_out;
    NEED(cuMemAllocHost((void **)&pinned_in, bytes));
    NEED(cuMemAllocHost((void **)&pinned_out, bytes));
    CUgraph graph;
    CUgraphExec exec;
    CUevent event;
    NEED(cuEventCreate(&event, 0));

    // Pinned.
    set(pinned_in, 1);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("pinned_in", cuMemcpyHtoDAsync(graph_data, pinned_in, bytes, stream));
    NEED(graph_launch(graph_add, graph_data, 100, stream));
    CHECK_CU("pinned_out", cuMemcpyDtoHAsync(pinned_out, graph_data, bytes, stream));
    NEED(cuStreamEndCapture(stream, &graph));
    NEED(cuGraphInstantiate(&exec, graph, 0));
    set(pinned_in, 2);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("pinned_result", all(pinned_out, 102));
    set(pinned_in, 3);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("pinned_result_again", all(pinned_out, 103));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));

    // Pageable.
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("pageable_in", cuMemcpyHtoDAsync(graph_data, pageable_in, bytes, stream));
    NEED(graph_launch(graph_add, graph_data, 10, stream));
    CHECK_CU("pageable_out", cuMemcpyDtoHAsync(pageable_out, graph_data, bytes, stream));
    NEED(cuStreamEndCapture(stream, &graph));
    CHECK("pageable_untouched", all(pageable_out, 0));
    NEED(cuGraphInstantiate(&exec, graph, 0));
    set(pageable_in, 5);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("pageable_after_stream", all(pageable_out, 15));
    set(pageable_in, 6);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuCtxSynchronize());
    CHECK("pageable_after_context", all(pageable_out, 16));
    set(pageable_in, 7);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuEventRecord(event, stream));
    NEED(cuEventSynchronize(event));
    CHECK("pageable_after_event", all(pageable_out, 17));
    set(pageable_in, 8);
    NEED(cuGraphLaunch(exec, stream));
    while (cuStreamQuery(stream) == CUDA_ERROR_NOT_READY)
        usleep(100);
    CHECK("pageable_after_query", all(pageable_out, 18));
    set(pageable_in, 9);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuEventRecord(event, stream));
    NEED(cuStreamWaitEvent(other, event, 0));
    NEED(cuStreamSynchronize(other));
    CHECK("pageable_after_another_stream", all(pageable_out, 19));
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));

    // A host function makes what the copy behind it reads from pinned memory.
    set(pinned_in, 1);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("host_function", cuLaunchHostFunc(stream, next_value, pinned_in));
    NEED(cuMemcpyHtoDAsync(graph_data, pinned_in, bytes, stream));
    NEED(cuStreamEndCapture(stream, &graph));
    NEED(cuGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 3; i++)
        NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("host_function_result", graph_all_are(graph_data, 4));
    // Destroyed at once, it still does what was launched.
    for (int i = 0; i < 3; i++)
        NEED(cuGraphLaunch(exec, stream));
    CHECK_CU("destroy_launched", cuGraphExecDestroy(exec));
    NEED(cuStreamSynchronize(stream));
    CHECK("destroy_launched_result", graph_all_are(graph_data, 7));
    NEED(cuGraphDestroy(graph));

    // Rows with gaps.
    CUDA_MEMCPY2D rows = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = pageable_in, .srcPitch = 64,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = graph_data, .dstPitch = 128,
                          .WidthInBytes = 32, .Height = 4};
    NEED(cuMemsetD32(graph_data, 0, GRAPH_N));
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("rows", cuMemcpy2DAsync(&rows, stream));
    CHECK_CU("rows_memset", cuMemsetD2D8Async(graph_data + 64, 128, 0x11, 4, 4, stream));
    NEED(cuStreamEndCapture(stream, &graph));
    NEED(cuGraphInstantiate(&exec, graph, 0));
    set(pageable_in, 9);
    NEED(cuGraphLaunch(exec, stream));
    NEED(cuStreamSynchronize(stream));
    int host[GRAPH_N];
    NEED(cuMemcpyDtoH(host, graph_data, bytes));
    CHECK("rows_result", host[0] == 9 && host[7] == 9 && host[8] == 0 && host[32] == 9 && host[96 + 7] == 9);
    CHECK("rows_memset_result", host[16] == 0x11111111 && host[17] == 0 && host[96 + 16] == 0x11111111);
    NEED(cuGraphExecDestroy(exec));
    NEED(cuGraphDestroy(graph));
    NEED(cuMemFreeHost(pinned_in));
    NEED(cuMemFreeHost(pinned_out));
    return finish();
}
