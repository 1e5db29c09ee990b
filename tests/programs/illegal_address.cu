// A kernel that writes through a wild pointer: this process gets CUDA's error,
// and keeps getting it, because such an error is sticky.
#include "check.h"

__global__ void writeTo(int *address) { *address = 42; }

int main() {
    int *wild = reinterpret_cast<int *>(0x123456789000ull);
    CUDA_CHECK(cudaFree(nullptr));
    writeTo<<<1, 1>>>(wild);
    cudaError_t launched = cudaGetLastError();
    cudaError_t finished = cudaDeviceSynchronize();
    void *memory = nullptr;
    cudaError_t later = cudaMalloc(&memory, 4096);
    std::printf("illegal_address: launch %s, synchronise %s, later %s\n",
                cudaGetErrorName(launched), cudaGetErrorName(finished), cudaGetErrorName(later));
    return verdict(launched == cudaSuccess && finished == cudaErrorIllegalAddress &&
                       later == cudaErrorIllegalAddress,
                   "illegal_address");
}
