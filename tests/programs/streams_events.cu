// Two streams with pinned memory and asynchronous copies, joined by an event,
// timed by events. The second stream uses what the first one computed.
#include "check.h"

__global__ void fill(int *data, int n, int scale) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) data[i] = i * scale;
}

__global__ void addTo(int *sum, const int *other, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) sum[i] += other[i];
}

int main() {
    const int n = 200'000, block = 256, grid = (n + block - 1) / block;
    const size_t bytes = n * sizeof(int);
    int *host, *first, *second;
    CUDA_CHECK(cudaMallocHost(&host, bytes));
    CUDA_CHECK(cudaMalloc(&first, bytes));
    CUDA_CHECK(cudaMalloc(&second, bytes));
    for (int i = 0; i < n; i++) host[i] = 7;

    cudaStream_t streams[2];
    cudaEvent_t start, filled, stop;
    for (cudaStream_t &stream : streams)
        CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA_CHECK(cudaEventCreate(&start));
    CUDA_CHECK(cudaEventCreateWithFlags(&filled, cudaEventDisableTiming));
    CUDA_CHECK(cudaEventCreate(&stop));

    CUDA_CHECK(cudaEventRecord(start, streams[1]));
    CUDA_CHECK(cudaMemcpyAsync(second, host, bytes, cudaMemcpyHostToDevice, streams[1]));
    for (int round = 1; round <= 3; round++)
        fill<<<grid, block, 0, streams[0]>>>(first, n, round);
    CUDA_CHECK(cudaEventRecord(filled, streams[0]));
    CUDA_CHECK(cudaStreamWaitEvent(streams[1], filled, 0));
    addTo<<<grid, block, 0, streams[1]>>>(second, first, n);
    CUDA_CHECK(cudaMemcpyAsync(host, second, bytes, cudaMemcpyDeviceToHost, streams[1]));
    CUDA_CHECK(cudaEventRecord(stop, streams[1]));
    CUDA_CHECK(cudaEventSynchronize(stop));
    CUDA_CHECK(cudaStreamQuery(streams[1]));

    int wrong = 0;
    for (int i = 0; i < n; i++) wrong += host[i] != 7 + i * 3;
    float milliseconds = -1;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start, stop));

    CUDA_CHECK(cudaEventDestroy(start));
    CUDA_CHECK(cudaEventDestroy(filled));
    CUDA_CHECK(cudaEventDestroy(stop));
    for (cudaStream_t stream : streams) CUDA_CHECK(cudaStreamDestroy(stream));
    CUDA_CHECK(cudaFree(first));
    CUDA_CHECK(cudaFree(second));
    CUDA_CHECK(cudaFreeHost(host));

    std::printf("streams_events: %d elements, %d wrong, elapsed %.3f ms\n", n, wrong,
                milliseconds);
    return verdict(wrong == 0 && milliseconds > 0, "streams_events");
}
