// Kernels whose results tell in which order they ran.

extern "C" __global__ void fill(int *data, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        data[i] = value;
}

extern "C" __global__ void add(int *data, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        data[i] += value;
}

extern "C" __global__ void scale(int *data, int value, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        data[i] *= value;
}

struct Numbers {
    int value[1000];
};

// out[i] = numbers[i]
extern "C" __global__ void spread(int *out, Numbers numbers, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = numbers.value[i];
}
