// What the programs about graphs share: a buffer on the device, and kernels that
// show in which order they ran.
#pragma once

#include "check.h"

enum { GRAPH_N = 256 };

static CUdeviceptr graph_data;
static CUfunction graph_add, graph_fill, graph_scale;

// A context, GRAPH_N zeroes in `graph_data`, and the kernels.
static inline CUcontext graph_start(void) {
    CUcontext context = start();
    CUmodule module = load("graph");
    graph_add = kernel(module, "add");
    graph_fill = kernel(module, "fill");
    graph_scale = kernel(module, "scale");
    NEED(cuMemAlloc(&graph_data, GRAPH_N * sizeof(int)));
    NEED(cuMemsetD32(graph_data, 0, GRAPH_N));
    NEED(cuCtxSynchronize());
    return context;
}

// Launches `kernel(data, value, n)`.
static inline CUresult graph_launch(CUfunction kernel, CUdeviceptr data, int value, CUstream stream) {
    int n = GRAPH_N;
    void *params[] = {&data, &value, &n};
    return cuLaunchKernel(kernel, 1, 1, 1, GRAPH_N, 1, 1, 0, stream, params, NULL);
}

// Adds a node that runs `kernel(data, value, n)`.
static inline CUgraphNode graph_kernel_node(CUgraph graph, const CUgraphNode *after, size_t count, CUfunction kernel,
                                            CUdeviceptr data, int value) {
    int n = GRAPH_N;
    void *params[] = {&data, &value, &n};
    CUDA_KERNEL_NODE_PARAMS node = {.func = kernel, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1,
                                    .blockDimX = GRAPH_N, .blockDimY = 1, .blockDimZ = 1, .kernelParams = params};
    CUgraphNode added = NULL;
    NEED(cuGraphAddKernelNode(&added, graph, after, count, &node));
    return added;
}

// Whether all of a buffer has one value, once the device is idle.
static inline int graph_all_are(CUdeviceptr data, int value) {
    int host[GRAPH_N];
    NEED(cuCtxSynchronize());
    NEED(cuMemcpyDtoH(host, data, sizeof host));
    for (int i = 0; i < GRAPH_N; i++)
        if (host[i] != value) {
            printf("# element %d is %d, not %d\n", i, host[i], value);
            return 0;
        }
    return 1;
}

// A linear copy as a node describes it.
static inline CUDA_MEMCPY3D graph_copy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    CUDA_MEMCPY3D copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = from,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = to,
                          .WidthInBytes = bytes, .Height = 1, .Depth = 1};
    return copy;
}
