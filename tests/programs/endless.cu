// A kernel that runs until a flag in device memory changes, which nobody does:
// the program is there to be killed. It holds 64 MiB of device memory and says
// RUNNING once the kernel runs; if the device goes away it prints the error
// and exits with code 3.
#include "check.h"

__global__ void waitFor(volatile int *flag) {
    while (*flag == 0) {
    }
}

int main() {
    int *flag;
    CUDA_CHECK(cudaMalloc(&flag, 64 << 20));
    CUDA_CHECK(cudaMemset(flag, 0, sizeof(int)));
    waitFor<<<1, 32>>>(flag);
    CUDA_CHECK(cudaGetLastError());
    cudaError_t state = cudaStreamQuery(nullptr);
    if (state != cudaErrorNotReady) {
        std::printf("FAIL endless: the kernel is not running: %s\n", cudaGetErrorName(state));
        return 1;
    }
    std::printf("RUNNING\n");
    std::fflush(stdout);
    state = cudaDeviceSynchronize();
    std::printf("endless: %s\n", cudaGetErrorName(state));
    return 3;
}
