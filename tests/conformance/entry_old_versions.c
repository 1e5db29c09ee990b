// Functions that newer ones have replaced: programs built long ago still call
// them by their first symbols, which cuda.h hides.
#include "check.h"

#define OLD(type, symbol) ((CUresult(*) type)old(symbol))

static void *old(const char *symbol) {
    void *function = dlsym(RTLD_DEFAULT, symbol);
    if (!function) {
        printf("fail %s: not exported\n", symbol);
        exit(1);
    }
    return function;
}

static void contexts(void) {
    CUcontext context, popped, current;
    CUuuid uuid, newer;
    unsigned flags;
    int active;
    CHECK_CU("uuid", OLD((CUuuid *, CUdevice), "cuDeviceGetUuid")(&uuid, 0));
    NEED(cuDeviceGetUuid(&newer, 0));
    CHECK("uuid_same", memcmp(&uuid, &newer, sizeof uuid) == 0);
    CHECK_CU("create", OLD((CUcontext *, unsigned, CUdevice), "cuCtxCreate")(&context, CU_CTX_SCHED_SPIN, 0));
    CHECK_CU("pop", OLD((CUcontext *), "cuCtxPopCurrent")(&popped));
    CHECK("popped", popped == context);
    CHECK_CU("push", OLD((CUcontext), "cuCtxPushCurrent")(context));
    NEED(cuCtxGetCurrent(&current));
    CHECK("pushed", current == context);
    CHECK_CU("destroy", OLD((CUcontext), "cuCtxDestroy")(context));
    CHECK_CU("primary_flags", OLD((CUdevice, unsigned), "cuDevicePrimaryCtxSetFlags")(0, CU_CTX_SCHED_YIELD));
    NEED(cuDevicePrimaryCtxGetState(0, &flags, &active));
    CHECK("primary_flags_set", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_YIELD);
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    CHECK_CU("primary_release", OLD((CUdevice), "cuDevicePrimaryCtxRelease")(0));
}

static void streams(void) {
    CUstream stream;
    CUevent first, second;
    CUdeviceptr memory;
    float time = -1;
    cuuint64_t wide = 0;
    unsigned word = 0;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuEventCreate(&first, 0));
    NEED(cuEventCreate(&second, 0));
    NEED(cuMemAlloc(&memory, 64));
    NEED(cuMemsetD32(memory, 0, 16));
    NEED(cuEventRecord(first, stream));
    // Values in memory, if the driver still has these first versions.
    typedef CUresult (*word_function)(CUstream, CUdeviceptr, cuuint32_t, unsigned);
    typedef CUresult (*wide_function)(CUstream, CUdeviceptr, cuuint64_t, unsigned);
    word_function write32 = (word_function)dlsym(RTLD_DEFAULT, "cuStreamWriteValue32");
    word_function wait32 = (word_function)dlsym(RTLD_DEFAULT, "cuStreamWaitValue32");
    wide_function write64 = (wide_function)dlsym(RTLD_DEFAULT, "cuStreamWriteValue64");
    wide_function wait64 = (wide_function)dlsym(RTLD_DEFAULT, "cuStreamWaitValue64");
    CUresult written = write32 ? write32(stream, memory, 7, 0) : CUDA_ERROR_NOT_SUPPORTED;
    if (written == CUDA_ERROR_NOT_SUPPORTED) {
        SKIP("values", "this driver does not let programs use these versions");
    } else {
        CHECK_CU("write_32", written);
        CHECK_CU("wait_32", wait32(stream, memory, 7, CU_STREAM_WAIT_VALUE_EQ));
        CHECK_CU("write_64", write64(stream, memory + 8, 1ull << 40, 0));
        CHECK_CU("wait_64", wait64(stream, memory + 8, 1ull << 40, CU_STREAM_WAIT_VALUE_GEQ));
        NEED(cuStreamSynchronize(stream));
        NEED(cuMemcpyDtoH(&word, memory, sizeof word));
        NEED(cuMemcpyDtoH(&wide, memory + 8, sizeof wide));
        CHECK("values_written", word == 7 && wide == 1ull << 40);
    }
    NEED(cuEventRecord(second, stream));
    NEED(cuEventSynchronize(second));
    CHECK_CU("elapsed", OLD((float *, CUevent, CUevent), "cuEventElapsedTime")(&time, first, second));
    CHECK("elapsed_time", time >= 0);
    CHECK_CU("event_destroy", OLD((CUevent), "cuEventDestroy")(first));
    CHECK_CU("stream_destroy", OLD((CUstream), "cuStreamDestroy")(stream));
    NEED(cuEventDestroy(second));
    NEED(cuMemFree(memory));
}

static void managed(void) {
    CUdeviceptr memory;
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS)) {
        SKIP("managed", "this device has no concurrent managed access");
        return;
    }
    NEED(cuMemAllocManaged(&memory, 1 << 16, CU_MEM_ATTACH_GLOBAL));
    CHECK_CU("advise", OLD((CUdeviceptr, size_t, CUmem_advise, CUdevice), "cuMemAdvise")(memory, 1 << 16, CU_MEM_ADVISE_SET_READ_MOSTLY, 0));
    int advised = 0;
    NEED(cuMemRangeGetAttribute(&advised, sizeof advised, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, memory, 1 << 16));
    CHECK("advised", advised == 1);
    CHECK_CU("prefetch", OLD((CUdeviceptr, size_t, CUdevice, CUstream), "cuMemPrefetchAsync")(memory, 1 << 16, 0, NULL));
    CHECK_CU("prefetch_to_host", OLD((CUdeviceptr, size_t, CUdevice, CUstream), "cuMemPrefetchAsync")(memory, 1 << 16, CU_DEVICE_CPU, NULL));
    NEED(cuCtxSynchronize());
    NEED(cuMemFree(memory));
}

static void linking(void) {
    CUlinkState link;
    void *image;
    size_t size;
    CUmodule module;
    char *main_part = kernel_ptx("link_main"), *part = kernel_ptx("link_part");
    typedef CUresult (*create)(unsigned, CUjit_option *, void **, CUlinkState *);
    typedef CUresult (*add)(CUlinkState, CUjitInputType, void *, size_t, const char *, unsigned, CUjit_option *, void **);
    CHECK_CU("link_create", ((create)old("cuLinkCreate"))(0, NULL, NULL, &link));
    CHECK_CU("link_add", ((add)old("cuLinkAddData"))(link, CU_JIT_INPUT_PTX, main_part, strlen(main_part) + 1, "main", 0, NULL, NULL));
    CHECK_CU("link_add_second", ((add)old("cuLinkAddData"))(link, CU_JIT_INPUT_PTX, part, strlen(part) + 1, "part", 0, NULL, NULL));
    NEED(cuLinkComplete(link, &image, &size));
    NEED(cuModuleLoadData(&module, image));
    CUdeviceptr memory;
    int number = 21;
    NEED(cuMemAlloc(&memory, sizeof number));
    void *params[] = {&memory, &number};
    NEED(cuLaunchKernel(kernel(module, "call_twice"), 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, memory, sizeof number));
    CHECK("linked_kernel_ran", number == 42);
    NEED(cuMemFree(memory));
    NEED(cuLinkDestroy(link));
    NEED(cuModuleUnload(module));
    free(main_part);
    free(part);
}

// The parameters of a kernel node before CUDA 12.
struct kernel_node {
    CUfunction func;
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared;
    void **params, **extra;
};

static void graphs(void) {
    CUgraph graph;
    CUgraphNode first, second, from, to, error_node;
    CUgraphExec executable;
    CUdeviceptr memory;
    CUfunction fill = kernel(load("basic"), "fill");
    int value = 5, count = 16, numbers[16];
    size_t edges = 1;
    NEED(cuMemAlloc(&memory, sizeof numbers));
    void *params[] = {&memory, &value, &count};
    struct kernel_node node = {fill, 1, 1, 1, 32, 1, 1, 0, params, NULL}, found;
    NEED(cuGraphCreate(&graph, 0));
    typedef CUresult (*add)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const struct kernel_node *);
    CHECK_CU("graph_add_kernel", ((add)old("cuGraphAddKernelNode"))(&first, graph, NULL, 0, &node));
    value = 9;
    CHECK_CU("graph_add_second", ((add)old("cuGraphAddKernelNode"))(&second, graph, NULL, 0, &node));
    CHECK_CU("graph_get_kernel", OLD((CUgraphNode, struct kernel_node *), "cuGraphKernelNodeGetParams")(first, &found));
    CHECK("graph_kernel", found.func == fill && found.block_x == 32);
    value = 11;
    CHECK_CU("graph_set_kernel", OLD((CUgraphNode, const struct kernel_node *), "cuGraphKernelNodeSetParams")(second, &node));
    typedef CUresult (*depend)(CUgraph, const CUgraphNode *, const CUgraphNode *, size_t);
    CHECK_CU("graph_depend", ((depend)old("cuGraphAddDependencies"))(graph, &first, &second, 1));
    CHECK_CU("graph_edges", OLD((CUgraph, CUgraphNode *, CUgraphNode *, size_t *), "cuGraphGetEdges")(graph, &from, &to, &edges));
    CHECK("graph_edge", edges == 1 && from == first && to == second);
    edges = 1;
    CHECK_CU("graph_dependencies", OLD((CUgraphNode, CUgraphNode *, size_t *), "cuGraphNodeGetDependencies")(second, &from, &edges));
    CHECK("graph_dependency", edges == 1 && from == first);
    edges = 1;
    CHECK_CU("graph_dependents", OLD((CUgraphNode, CUgraphNode *, size_t *), "cuGraphNodeGetDependentNodes")(first, &to, &edges));
    CHECK("graph_dependent", edges == 1 && to == second);
    typedef CUresult (*instantiate)(CUgraphExec *, CUgraph, CUgraphNode *, char *, size_t);
    char log[64];
    CHECK_CU("graph_instantiate", ((instantiate)old("cuGraphInstantiate"))(&executable, graph, &error_node, log, sizeof log));
    NEED(cuGraphLaunch(executable, NULL));
    NEED(cuMemcpyDtoH(numbers, memory, sizeof numbers));
    CHECK("graph_ran", numbers[0] == 11 && numbers[15] == 11);
    value = 13;
    CHECK_CU("graph_exec_set", OLD((CUgraphExec, CUgraphNode, const struct kernel_node *), "cuGraphExecKernelNodeSetParams")(executable, second, &node));
    NEED(cuGraphLaunch(executable, NULL));
    NEED(cuMemcpyDtoH(numbers, memory, sizeof numbers));
    CHECK("graph_exec_changed", numbers[3] == 13);
    int updated = -1;
    CHECK_CU("graph_update", OLD((CUgraphExec, CUgraph, CUgraphNode *, int *), "cuGraphExecUpdate")(executable, graph, &error_node, &updated));
    CHECK("graph_updated", updated == CU_GRAPH_EXEC_UPDATE_SUCCESS);
    NEED(cuGraphLaunch(executable, NULL));
    NEED(cuMemcpyDtoH(numbers, memory, sizeof numbers));
    CHECK("graph_update_ran", numbers[3] == 11);
    NEED(cuGraphExecDestroy(executable));
    CHECK_CU("graph_instantiate_second", ((instantiate)old("cuGraphInstantiate_v2"))(&executable, graph, &error_node, log, sizeof log));
    NEED(cuGraphExecDestroy(executable));
    CHECK_CU("graph_remove", ((depend)old("cuGraphRemoveDependencies"))(graph, &first, &second, 1));
    NEED(cuGraphDestroy(graph));
    NEED(cuMemFree(memory));
}

static void captures(void) {
    CUstream stream;
    CUgraph graph, found;
    CUstreamCaptureStatus status;
    cuuint64_t id = 0, second_id = 0;
    const CUgraphNode *dependencies;
    size_t count = 9;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK_CU("capture_info", OLD((CUstream, CUstreamCaptureStatus *, cuuint64_t *), "cuStreamGetCaptureInfo")(stream, &status, &id));
    CHECK("capture_active", status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    typedef CUresult (*info)(CUstream, CUstreamCaptureStatus *, cuuint64_t *, CUgraph *, const CUgraphNode **, size_t *);
    CHECK_CU("capture_info_2", ((info)old("cuStreamGetCaptureInfo_v2"))(stream, &status, &second_id, &found, &dependencies, &count));
    CHECK("capture_same", second_id == id && count == 0 && found != NULL);
    typedef CUresult (*update)(CUstream, CUgraphNode *, size_t, unsigned);
    CHECK_CU("capture_update", ((update)old("cuStreamUpdateCaptureDependencies"))(stream, NULL, 0, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
    NEED(cuStreamEndCapture(stream, &graph));
    NEED(cuGraphDestroy(graph));
    NEED(cuStreamDestroy(stream));
}

int main(void) {
    NEED(cuInit(0));
    contexts();
    start();
    streams();
    managed();
    linking();
    graphs();
    captures();
    return finish();
}
