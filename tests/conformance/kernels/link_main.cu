// Calls a function that another input of the link defines.
extern "C" __device__ int twice(int x);

extern "C" __global__ void call_twice(int *out, int x) { *out = twice(x); }
