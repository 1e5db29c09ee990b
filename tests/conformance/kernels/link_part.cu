// The other input.
extern "C" __device__ int twice(int x) { return 2 * x; }
