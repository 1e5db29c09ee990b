// Kernels that set the conditions of conditional nodes.
#include <cuda_runtime.h>

extern "C" __global__ void set(cudaGraphConditionalHandle condition, unsigned value) {
    cudaGraphSetConditional(condition, value);
}

// Sets a condition to what is in memory.
extern "C" __global__ void set_from(cudaGraphConditionalHandle condition, const int *value) {
    cudaGraphSetConditional(condition, *value);
}

// Counts down; the condition is whether there is something left.
extern "C" __global__ void count_down(cudaGraphConditionalHandle condition, int *count) {
    cudaGraphSetConditional(condition, --*count > 0);
}
