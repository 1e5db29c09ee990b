// What every program here shares: checked CUDA calls and one verdict line.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define CUDA_CHECK(call)                                                              \
    do {                                                                              \
        cudaError_t error_ = (call);                                                  \
        if (error_ != cudaSuccess) {                                                  \
            std::printf("FAIL %s:%d: %s returned %s (%s)\n", __FILE__, __LINE__,      \
                        #call, cudaGetErrorName(error_), cudaGetErrorString(error_)); \
            std::exit(1);                                                             \
        }                                                                             \
    } while (0)

// Prints the verdict and returns the program's exit code.
inline int verdict(bool passed, const char *what) {
    std::printf("%s %s\n", passed ? "PASS" : "FAIL", what);
    return passed ? 0 : 1;
}
