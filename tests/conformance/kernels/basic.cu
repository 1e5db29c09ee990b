// Small kernels for programs about something else.

// out[i] = value
extern "C" __global__ void fill(int *out, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = value;
}

// data[i] += value
extern "C" __global__ void add(int *data, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        data[i] += value;
}

// out[i] = a * x[i] + y[i]
extern "C" __global__ void saxpy(float *out, const float *x, const float *y, float a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = a * x[i] + y[i];
}

// out[block] = the number of threads in it, counted in dynamic shared memory
extern "C" __global__ void count_threads(int *out) {
    extern __shared__ int counter[];
    if (threadIdx.x == 0)
        counter[0] = 0;
    __syncthreads();
    atomicAdd(&counter[0], 1);
    __syncthreads();
    if (threadIdx.x == 0)
        out[blockIdx.x] = counter[0];
}
