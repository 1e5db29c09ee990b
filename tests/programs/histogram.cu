// A 256-bin histogram: atomics in shared memory per block, then merged with
// atomics in global memory.
#include <vector>

#include "check.h"

constexpr int bins = 256;

__global__ void histogram(const unsigned char *data, int n, unsigned *counts) {
    __shared__ unsigned local[bins];
    for (int bin = threadIdx.x; bin < bins; bin += blockDim.x) local[bin] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&local[data[i]], 1u);
    __syncthreads();
    for (int bin = threadIdx.x; bin < bins; bin += blockDim.x)
        if (local[bin]) atomicAdd(&counts[bin], local[bin]);
}

int main() {
    const int n = 1 << 19;
    std::vector<unsigned char> data(n);
    std::vector<unsigned> counts(bins), expected(bins);
    unsigned state = 99;
    for (unsigned char &value : data) {
        state = state * 1664525u + 1013904223u;
        // Squaring crowds the low bins, so that lanes of a warp collide.
        unsigned draw = state >> 24;
        value = static_cast<unsigned char>(draw * draw >> 8);
        expected[value]++;
    }

    unsigned char *ddata;
    unsigned *dcounts;
    CUDA_CHECK(cudaMalloc(&ddata, n));
    CUDA_CHECK(cudaMalloc(&dcounts, bins * sizeof(unsigned)));
    CUDA_CHECK(cudaMemcpy(ddata, data.data(), n, cudaMemcpyHostToDevice));
    CUDA_CHECK(cudaMemset(dcounts, 0, bins * sizeof(unsigned)));
    histogram<<<32, 192>>>(ddata, n, dcounts);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaMemcpy(counts.data(), dcounts, bins * sizeof(unsigned),
                          cudaMemcpyDeviceToHost));
    CUDA_CHECK(cudaFree(ddata));
    CUDA_CHECK(cudaFree(dcounts));

    int wrong = 0;
    for (int bin = 0; bin < bins; bin++) wrong += counts[bin] != expected[bin];
    std::printf("histogram: %d values in %d bins, %d bins wrong\n", n, bins, wrong);
    return verdict(wrong == 0, "histogram");
}
