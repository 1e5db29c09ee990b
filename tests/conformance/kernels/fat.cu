// A library of two kernels, with a variable and a managed one, in fat binaries too.
__device__ int base = 40;
__managed__ int shared_by_all = 7;

extern "C" __global__ void answer(int *out) { *out = base + 2; }

extern "C" __global__ void touch(void) { shared_by_all += 1; }
