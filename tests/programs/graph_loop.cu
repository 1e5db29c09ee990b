// Captures a chain of kernels COUNT times, updates one executable graph with each capture, launches it,
// and looks at the sum: `graph_loop COUNT`. What frameworks do for every step of a model.
#include "check.h"

__global__ void add(unsigned *sum, unsigned value) { *sum += value; }

int main(int argc, char **argv) {
    unsigned count = argc > 1 ? (unsigned)std::strtoul(argv[1], nullptr, 10) : 20, seen = 0, wanted = 0, *sum;
    CUDA_CHECK(cudaMalloc(&sum, sizeof *sum));
    CUDA_CHECK(cudaMemset(sum, 0, sizeof *sum));
    cudaStream_t stream;
    CUDA_CHECK(cudaStreamCreate(&stream));
    cudaGraphExec_t executable = nullptr;
    for (unsigned i = 0; i < count; i++) {
        cudaGraph_t graph;
        CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
        for (unsigned value = i; value < i + 10; value++) {
            add<<<1, 1, 0, stream>>>(sum, value);
            wanted += value;
        }
        CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
        if (executable) {
            cudaGraphExecUpdateResultInfo info;
            CUDA_CHECK(cudaGraphExecUpdate(executable, graph, &info));
        } else {
            CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
        }
        CUDA_CHECK(cudaGraphLaunch(executable, stream));
        CUDA_CHECK(cudaGraphDestroy(graph));
    }
    CUDA_CHECK(cudaMemcpyAsync(&seen, sum, sizeof seen, cudaMemcpyDeviceToHost, stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
    CUDA_CHECK(cudaGraphExecDestroy(executable));
    std::printf("graph_loop: %u launches, sum %u (expected %u)\n", count, seen, wanted);
    return verdict(seen == wanted, "graph_loop");
}
