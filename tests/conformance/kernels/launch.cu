// Kernels about how they are launched.

// One number for each thread of a grid and block in three dimensions: where it
// is, and how large everything is.
extern "C" __global__ void place(unsigned *out) {
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    out[block * threads + thread] = block * 1000 + thread;
}

// All blocks wait for each other, which only a cooperative launch allows.
extern "C" __global__ void meet(unsigned *arrived, unsigned *out) {
    if (threadIdx.x == 0) {
        atomicAdd(arrived, 1);
        while (atomicAdd(arrived, 0) < gridDim.x) {
        }
    }
    __syncthreads();
    if (threadIdx.x == 0)
        out[blockIdx.x] = *(volatile unsigned *)arrived;
}

extern "C" __global__ void nothing(void) {}
