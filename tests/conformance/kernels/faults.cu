// Kernels that go wrong.
#include <assert.h>

extern "C" __global__ void fails_assert(int x) { assert(x == 12345); }

extern "C" __global__ void traps(void) { __trap(); }

extern "C" __global__ void stores(char *address) { *(volatile int *)address = 1; }
