// A cooperative launch whose blocks wait for each other at the grid barrier of cooperative groups.
#include <cooperative_groups.h>

#include <vector>

#include "check.h"

namespace cg = cooperative_groups;

__global__ void rounds(unsigned *sums, unsigned *seen, int count) {
    cg::grid_group grid = cg::this_grid();
    for (int round = 0; round < count; round++) {
        if (threadIdx.x == 0) atomicAdd(&sums[round], blockIdx.x + 1);
        grid.sync();
        if (threadIdx.x == 0) seen[round * gridDim.x + blockIdx.x] = sums[round];
    }
}

int main() {
    int threads = 64, count = 5, resident = 0, processors = 0;
    CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, rounds, threads, 0));
    CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
    int blocks = resident * processors < 24 ? resident * processors : 24;
    unsigned *sums, *dseen;
    CUDA_CHECK(cudaMalloc(&sums, count * sizeof *sums));
    CUDA_CHECK(cudaMalloc(&dseen, count * blocks * sizeof *dseen));
    CUDA_CHECK(cudaMemset(sums, 0, count * sizeof *sums));
    void *arguments[] = {&sums, &dseen, &count};
    CUDA_CHECK(cudaLaunchCooperativeKernel(rounds, dim3(blocks), dim3(threads), arguments));
    std::vector<unsigned> seen(count * blocks);
    CUDA_CHECK(cudaMemcpy(seen.data(), dseen, seen.size() * sizeof(unsigned), cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (unsigned sum : seen) wrong += sum != unsigned(blocks * (blocks + 1) / 2);
    std::printf("grid_sync: %d blocks, %d rounds, %d wrong\n", blocks, count, wrong);
    return verdict(wrong == 0, "grid_sync");
}
