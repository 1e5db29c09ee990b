// Sum, minimum and maximum of an array: warp shuffles, one partial result per
// warp in shared memory, then one atomic per block.
#include <climits>
#include <vector>

#include "check.h"

struct Result {
    unsigned long long sum;
    int min, max;
};

__device__ long long warpSum(long long value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

__global__ void reduce(const int *data, int n, Result *result) {
    __shared__ long long partial[32];
    long long sum = 0;
    int low = INT_MAX, high = INT_MIN;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        sum += data[i];
        low = min(low, data[i]);
        high = max(high, data[i]);
    }

    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    sum = warpSum(sum);
    for (int mask = 16; mask > 0; mask /= 2) {
        low = min(low, __shfl_xor_sync(0xffffffffu, low, mask));
        high = max(high, __shfl_xor_sync(0xffffffffu, high, mask));
    }
    if (lane == 0) {
        partial[warp] = sum;
        atomicMin(&result->min, low);
        atomicMax(&result->max, high);
    }
    __syncthreads();
    if (warp == 0) {
        sum = warpSum(lane < blockDim.x / 32 ? partial[lane] : 0);
        if (lane == 0) atomicAdd(&result->sum, static_cast<unsigned long long>(sum));
    }
}

int main() {
    const int n = 300'000;
    std::vector<int> data(n);
    Result expected{0, INT_MAX, INT_MIN};
    unsigned state = 12345;
    for (int &value : data) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<int>(state >> 8) - (1 << 23);
        expected.sum += static_cast<long long>(value);
        expected.min = value < expected.min ? value : expected.min;
        expected.max = value > expected.max ? value : expected.max;
    }

    int *ddata;
    Result *dresult, result{0, INT_MAX, INT_MIN};
    CUDA_CHECK(cudaMalloc(&ddata, n * sizeof(int)));
    CUDA_CHECK(cudaMalloc(&dresult, sizeof(Result)));
    CUDA_CHECK(cudaMemcpy(ddata, data.data(), n * sizeof(int), cudaMemcpyHostToDevice));
    CUDA_CHECK(cudaMemcpy(dresult, &result, sizeof(Result), cudaMemcpyHostToDevice));
    reduce<<<48, 256>>>(ddata, n, dresult);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaMemcpy(&result, dresult, sizeof(Result), cudaMemcpyDeviceToHost));
    CUDA_CHECK(cudaFree(ddata));
    CUDA_CHECK(cudaFree(dresult));

    std::printf("reduction: sum %lld (expected %lld), min %d (%d), max %d (%d)\n",
                static_cast<long long>(result.sum), static_cast<long long>(expected.sum),
                result.min, expected.min, result.max, expected.max);
    return verdict(result.sum == expected.sum && result.min == expected.min &&
                       result.max == expected.max,
                   "reduction");
}
