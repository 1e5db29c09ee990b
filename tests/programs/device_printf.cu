// printf on the device: the program catches its own standard output, prints it
// and compares it with what the kernel must have written.
#include <algorithm>
#include <string>
#include <unistd.h>
#include <vector>

#include "check.h"

__global__ void greet(float base) {
    printf("block %d thread %2u: %.3f %#x %s %lld%%\n", blockIdx.x, threadIdx.x,
           base + threadIdx.x, 255 + threadIdx.x, threadIdx.x % 2 ? "odd" : "even",
           -5000000000LL - threadIdx.x);
}

int main() {
    const int blocks = 2, threads = 3;
    std::fflush(stdout);
    int terminal = dup(STDOUT_FILENO);
    std::FILE *caught = std::tmpfile();
    if (terminal < 0 || !caught || dup2(fileno(caught), STDOUT_FILENO) < 0)
        return verdict(false, "device_printf: cannot redirect standard output");
    greet<<<blocks, threads>>>(1.5f);
    cudaError_t launched = cudaGetLastError();
    cudaError_t finished = cudaDeviceSynchronize();
    std::fflush(stdout);
    dup2(terminal, STDOUT_FILENO);
    CUDA_CHECK(launched);
    CUDA_CHECK(finished);

    std::vector<std::string> lines, expected;
    char line[256];
    std::rewind(caught);
    while (std::fgets(line, sizeof line, caught)) {
        std::fputs(line, stdout);
        lines.push_back(line);
    }
    for (int block = 0; block < blocks; block++)
        for (int thread = 0; thread < threads; thread++) {
            std::snprintf(line, sizeof line, "block %d thread %2d: %.3f %#x %s %lld%%\n", block,
                          thread, 1.5f + thread, 255 + thread, thread % 2 ? "odd" : "even",
                          -5000000000LL - thread);
            expected.push_back(line);
        }
    // CUDA gives no order between threads.
    std::sort(lines.begin(), lines.end());
    std::sort(expected.begin(), expected.end());
    return verdict(lines == expected, "device_printf");
}
