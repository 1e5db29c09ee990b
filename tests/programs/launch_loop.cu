// Launches a kernel COUNT times and looks at the sum: `launch_loop COUNT`.
// With VGPU_TRACE=1 the round trips of start-up and of the loop are told.
#include "check.h"

__global__ void count_up(unsigned *counter) { *counter += 1; }

int main(int argc, char **argv) {
    unsigned count = argc > 1 ? (unsigned)std::strtoul(argv[1], nullptr, 10) : 1, seen = 0, *counter;
    CUDA_CHECK(cudaMalloc(&counter, sizeof *counter));
    CUDA_CHECK(cudaMemset(counter, 0, sizeof *counter));
    for (unsigned i = 0; i < count; i++)
        count_up<<<1, 1>>>(counter);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaMemcpy(&seen, counter, sizeof seen, cudaMemcpyDeviceToHost));
    std::printf("launch_loop: %u launches, %u seen\n", count, seen);
    return verdict(seen == count, "launch_loop");
}
