// Kernels whose order can be observed: one waits until the host lets it go.

// Returns once *flag, in memory that the host can write, is not 0.
extern "C" __global__ void wait_for(volatile int *flag) {
    while (*flag == 0) {
    }
}

// *to = *from + 1
extern "C" __global__ void increment(int *to, const int *from) { *to = *from + 1; }
