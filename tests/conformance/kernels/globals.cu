// Variables of every kind of memory.
__device__ int counter = 5;
__device__ int table[4] = {1, 2, 3, 4};
__constant__ float factors[3] = {0.5f, 1.5f, 2.5f};
__device__ int *pointer = &counter;

extern "C" __global__ void use(float *out) {
    if (threadIdx.x < 3)
        out[threadIdx.x] = factors[threadIdx.x] * table[threadIdx.x];
    if (threadIdx.x == 3)
        out[3] = (float)*pointer;
    if (threadIdx.x == 4)
        atomicAdd(&counter, 1);
}
