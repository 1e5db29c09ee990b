// Prints from kernels.
#include <stdio.h>

extern "C" __global__ void print(int x, double y, const char *text) {
    printf("%d %5.2f %s %c %x %lld%%\n", x + threadIdx.x, y, text, 'a' + threadIdx.x, 255, 1234567890123ll);
}

__device__ char message[] = "device text";

extern "C" __global__ void print_own(void) { printf("%s\n", message); }
