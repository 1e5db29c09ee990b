// A sum over halves of an array on two GPUs: each reduces its half, the first one reads the other's sums where they
// are (peer access), and copies go there and back. The runtime keeps each GPU's module and default stream.
#include "check.h"

__global__ void sumInto(unsigned long long *sum, const int *data, int n) {
    unsigned long long own = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) own += data[i];
    atomicAdd(sum, own);
}

// One thread: out = here + there.
__global__ void join(unsigned long long *out, const unsigned long long *here, const unsigned long long *there) {
    *out = *here + *there;
}

__device__ int offset = 1;

__global__ void fill(int *data, int n, int first) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) data[i] = first + i + offset;
}

int main() {
    const int half = 100'000, block = 256, grid = (half + block - 1) / block;
    int count = 0, there = 0, back = 0, value = 1000;
    CUDA_CHECK(cudaGetDeviceCount(&count));
    if (count < 2) {
        std::printf("two_gpus: %d device(s)\n", count);
        return verdict(false, "two_gpus");
    }
    CUDA_CHECK(cudaDeviceCanAccessPeer(&there, 0, 1));
    CUDA_CHECK(cudaDeviceCanAccessPeer(&back, 1, 0));

    int *data[2];
    unsigned long long *sums[2], *total, result = 0;
    cudaStream_t streams[2];
    cudaEvent_t done;
    for (int dev = 0; dev < 2; dev++) {
        CUDA_CHECK(cudaSetDevice(dev));
        CUDA_CHECK(cudaMalloc(&data[dev], half * sizeof(int)));
        CUDA_CHECK(cudaMalloc(&sums[dev], sizeof(unsigned long long)));
        CUDA_CHECK(cudaMemset(sums[dev], 0, sizeof(unsigned long long)));
        CUDA_CHECK(cudaStreamCreate(&streams[dev]));
    }
    // A variable of the program is another one on each device; this one is the second's.
    CUDA_CHECK(cudaMemcpyToSymbol(offset, &value, sizeof value));
    CUDA_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    fill<<<grid, block, 0, streams[1]>>>(data[1], half, half);
    sumInto<<<8, block, 0, streams[1]>>>(sums[1], data[1], half);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaEventRecord(done, streams[1]));

    CUDA_CHECK(cudaSetDevice(0));
    CUDA_CHECK(cudaDeviceEnablePeerAccess(1, 0));
    bool again = cudaDeviceEnablePeerAccess(1, 0) == cudaErrorPeerAccessAlreadyEnabled;
    cudaGetLastError();
    CUDA_CHECK(cudaMalloc(&total, sizeof *total));
    fill<<<grid, block, 0, streams[0]>>>(data[0], half, 0);
    sumInto<<<8, block, 0, streams[0]>>>(sums[0], data[0], half);
    CUDA_CHECK(cudaStreamWaitEvent(streams[0], done, 0));
    join<<<1, 1, 0, streams[0]>>>(total, sums[0], sums[1]);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaMemcpyAsync(&result, total, sizeof result, cudaMemcpyDeviceToHost, streams[0]));
    CUDA_CHECK(cudaStreamSynchronize(streams[0]));
    unsigned long long n = 2 * half, expected = n * (n - 1) / 2 + half * 1ull + half * 1000ull;

    // The second half there, over to the first GPU and back, and one word compared.
    int word = 0;
    CUDA_CHECK(cudaMemcpyPeer(data[0], 0, data[1], 1, half * sizeof(int)));
    CUDA_CHECK(cudaMemset(data[1], 0, half * sizeof(int)));
    CUDA_CHECK(cudaMemcpyPeerAsync(data[1], 1, data[0], 0, half * sizeof(int), streams[0]));
    CUDA_CHECK(cudaStreamSynchronize(streams[0]));
    CUDA_CHECK(cudaMemcpy(&word, data[1] + half - 1, sizeof word, cudaMemcpyDefault));
    cudaPointerAttributes attributes;
    CUDA_CHECK(cudaPointerGetAttributes(&attributes, data[1]));
    bool copied = word == 2 * half - 1 + 1000 && attributes.device == 1;

    // A kernel of one GPU in a stream of the other is refused.
    join<<<1, 1, 0, streams[1]>>>(total, sums[0], sums[0]);
    bool refused = cudaGetLastError() == cudaErrorInvalidResourceHandle;
    CUDA_CHECK(cudaDeviceDisablePeerAccess(1));
    CUDA_CHECK(cudaDeviceSynchronize());

    std::printf("two_gpus: sum %llu (expected %llu), peers %d %d, copies %s\n", result, expected, there, back,
                copied ? "right" : "wrong");
    return verdict(there && back && again && copied && refused && result == expected, "two_gpus");
}
