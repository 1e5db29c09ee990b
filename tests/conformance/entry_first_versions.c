// First versions of functions whose newer ones CUDA 13 calls by the same name: programs that were built
// with CUDA 12 call these.
#include "check.h"

#define FIRST(type, symbol) ((CUresult(*) type)dlsym(RTLD_DEFAULT, symbol))

enum { N = 4096 };

static unsigned char back[N];

static int holds(CUdeviceptr data, int value) {
    NEED(cuMemcpyDtoH(back, data, N));
    for (int i = 0; i < N; i++)
        if (back[i] != value)
            return 0;
    return 1;
}

static CUmemcpy3DOperand bytes_at(CUdeviceptr pointer) {
    CUmemcpy3DOperand operand;
    memset(&operand, 0, sizeof operand);
    operand.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
    operand.op.ptr.ptr = pointer;
    return operand;
}

// A copy of N bytes from `from` to `to`.
static CUDA_MEMCPY3D_BATCH_OP row(CUdeviceptr to, CUdeviceptr from) {
    CUDA_MEMCPY3D_BATCH_OP operation;
    memset(&operation, 0, sizeof operation);
    operation.src = bytes_at(from);
    operation.dst = bytes_at(to);
    operation.extent = (CUextent3D){N, 1, 1};
    operation.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    return operation;
}

static void batches(CUdeviceptr a, CUdeviceptr b, CUstream stream) {
    if (!driver_has("cuMemcpyBatchAsync")) {
        SKIP("batches", "the driver is older than 12.8");
        return;
    }
    CUmemcpyAttributes attributes = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
    size_t size = N, first = 0, failed = 7;
    NEED(cuMemsetD8Async(a, 1, N, stream));
    typedef CUresult (*batch)(CUdeviceptr *, CUdeviceptr *, size_t *, size_t, CUmemcpyAttributes *, size_t *, size_t,
                              size_t *, CUstream);
    batch copy = (batch)dlsym(RTLD_DEFAULT, "cuMemcpyBatchAsync");
    CHECK_CU("batch", copy(&b, &a, &size, 1, &attributes, &first, 1, &failed, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("batch_result", holds(b, 1));

    CUDA_MEMCPY3D_BATCH_OP operation = row(b, a);
    NEED(cuMemsetD8Async(a, 2, N, stream));
    CHECK_CU("batch_3d", FIRST((size_t, CUDA_MEMCPY3D_BATCH_OP *, size_t *, unsigned long long, CUstream),
                               "cuMemcpy3DBatchAsync")(1, &operation, &failed, 0, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("batch_3d_result", holds(b, 2));
}

static void with_attributes(CUdeviceptr a, CUdeviceptr b, CUstream stream) {
    if (!driver_has("cuMemcpyWithAttributesAsync")) {
        SKIP("with_attributes", "the driver is older than 13.2");
        return;
    }
    CUmemcpyAttributes attributes = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
    NEED(cuMemsetD8Async(a, 3, N, stream));
    CHECK_CU("with_attributes", cuMemcpyWithAttributesAsync(b, a, N, &attributes, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("with_attributes_result", holds(b, 3));
    CUDA_MEMCPY3D_BATCH_OP operation = row(b, a);
    NEED(cuMemsetD8Async(a, 4, N, stream));
    CHECK_CU("with_attributes_3d", cuMemcpy3DWithAttributesAsync(&operation, 0, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("with_attributes_3d_result", holds(b, 4));
}

static void graphs(CUdeviceptr memory) {
    if (!driver_has("cuGraphAddNode")) {
        SKIP("graph_node", "the driver is older than 12.2");
        return;
    }
    CUgraph graph;
    CUgraphNode first, second;
    CUgraphExec executable;
    CUgraphNodeParams params;
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_MEMSET;
    params.memset.dst = memory;
    params.memset.value = 5;
    params.memset.elementSize = 1;
    params.memset.width = N;
    params.memset.height = 1;
    NEED(cuGraphCreate(&graph, 0));
    typedef CUresult (*add)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUgraphNodeParams *);
    add add_node = (add)dlsym(RTLD_DEFAULT, "cuGraphAddNode");
    CHECK_CU("graph_node", add_node(&first, graph, NULL, 0, &params));
    params.memset.value = 6;
    CHECK_CU("graph_node_after", add_node(&second, graph, &first, 1, &params));
    NEED(cuGraphInstantiate(&executable, graph, 0));
    NEED(cuGraphLaunch(executable, NULL));
    NEED(cuCtxSynchronize());
    CHECK("graph_ran_in_order", holds(memory, 6));
    NEED(cuGraphExecDestroy(executable));
    NEED(cuGraphDestroy(graph));
}

static void memory_operations(CUdeviceptr memory, CUstream stream) {
    CUstreamBatchMemOpParams writes[2];
    memset(writes, 0, sizeof writes);
    for (int i = 0; i < 2; i++) {
        writes[i].operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
        writes[i].writeValue.address = memory + 4 * i;
        writes[i].writeValue.value = 7 + i;
    }
    CUresult (*batch)(CUstream, unsigned, CUstreamBatchMemOpParams *, unsigned) =
        FIRST((CUstream, unsigned, CUstreamBatchMemOpParams *, unsigned), "cuStreamBatchMemOp");
    CUresult written = batch ? batch(stream, 2, writes, 0) : CUDA_ERROR_NOT_SUPPORTED;
    if (written == CUDA_ERROR_NOT_SUPPORTED) {
        SKIP("memory_operations", "this driver does not let programs use this version");
        return;
    }
    CHECK_CU("memory_operations", written);
    NEED(cuStreamSynchronize(stream));
    unsigned words[2] = {0, 0};
    NEED(cuMemcpyDtoH(words, memory, sizeof words));
    CHECK("memory_operations_done", words[0] == 7 && words[1] == 8);
}

static void contexts(CUcontext context) {
    CUdevice device = -1;
    if (!driver_has("cuCtxGetDevice_v2")) {
        SKIP("contexts", "the driver is older than 13.0");
        return;
    }
    CHECK_CU("device_of", cuCtxGetDevice_v2(&device, context));
    CHECK("device_of_value", device == 0);
    CHECK_CU("synchronize", cuCtxSynchronize_v2(context));
}

static void files(void) {
    CUlinkState link;
    NEED(cuLinkCreate(0, NULL, NULL, &link));
    typedef CUresult (*add)(CUlinkState, CUjitInputType, const char *, unsigned, CUjit_option *, void **);
    add first = (add)dlsym(RTLD_DEFAULT, "cuLinkAddFile");
    CHECK_ERR("no_file", first(link, CU_JIT_INPUT_PTX, "/nonexistent.ptx", 0, NULL, NULL), CUDA_ERROR_FILE_NOT_FOUND);
    NEED(cuLinkDestroy(link));
}

int main(void) {
    CUcontext context = start();
    CUdeviceptr a, b;
    CUstream stream;
    NEED(cuMemAlloc(&a, N));
    NEED(cuMemAlloc(&b, N));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    batches(a, b, stream);
    with_attributes(a, b, stream);
    graphs(a);
    memory_operations(a, stream);
    contexts(context);
    files();
    return finish();
}
