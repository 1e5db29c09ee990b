// Kernels with known needs of resources.

// 4 KiB of shared memory.
extern "C" __global__ void static_shared(int *out) {
    __shared__ int values[1024];
    for (int i = threadIdx.x; i < 1024; i += blockDim.x)
        values[i] = i;
    __syncthreads();
    if (threadIdx.x == 0)
        *out = values[1023];
}

// At most 128 threads in a block.
extern "C" __global__ void __launch_bounds__(128) small_blocks(int *out) { *out = blockDim.x; }

// The last word of dynamic shared memory.
extern "C" __global__ void dynamic_shared(int *out, int words) {
    extern __shared__ int dynamic[];
    dynamic[words - 1] = words;
    *out = dynamic[words - 1];
}

struct mixed {
    char c;
    double d;
    short s;
};

// Parameters of several sizes and alignments.
extern "C" __global__ void parameters(char a, long long b, short c, float d, struct mixed e, int *out) {
    *out = a + (int)b * 2 + c * 3 + (int)d * 4 + (e.c + (int)e.d * 2 + e.s * 3) * 5;
}
