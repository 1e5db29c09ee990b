// Launches a kernel again and again for the given number of rounds and checks
// the sum after each: something to interrupt. Prints STARTED after the first
// round, so that a test knows when it may begin.
#include "check.h"

__global__ void addOne(unsigned long long *sum) { atomicAdd(sum, 1ull); }

int main(int argc, char **argv) {
    int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
    unsigned long long *sum, seen = 0;
    CUDA_CHECK(cudaMalloc(&sum, sizeof *sum));
    CUDA_CHECK(cudaMemset(sum, 0, sizeof *sum));
    for (int round = 1; round <= rounds; round++) {
        addOne<<<8, 128>>>(sum);
        CUDA_CHECK(cudaGetLastError());
        CUDA_CHECK(cudaMemcpy(&seen, sum, sizeof seen, cudaMemcpyDeviceToHost));
        if (seen != 1024ull * round) {
            std::printf("counter: %llu after round %d, expected %llu\n", seen, round,
                        1024ull * round);
            return verdict(false, "counter");
        }
        if (round == 1) {
            std::printf("STARTED\n");
            std::fflush(stdout);
        }
    }
    CUDA_CHECK(cudaFree(sum));
    std::printf("counter: %d rounds\n", rounds);
    return verdict(true, "counter");
}
