// A loop in a graph: a kernel decides by the runtime's cudaGraphSetConditional whether the captured body of a
// conditional node runs once more. Compiled without relocatable code, so that PTX is all it needs.
#include "check.h"

__global__ void step(cudaGraphConditionalHandle again, int *left, int *sum) {
    *sum += 7;
    cudaGraphSetConditional(again, --*left > 0);
}

int main() {
    int numbers[2] = {6, 0}, *left;
    CUDA_CHECK(cudaMalloc(&left, sizeof numbers));
    cudaGraph_t graph, body;
    CUDA_CHECK(cudaGraphCreate(&graph, 0));
    cudaGraphNodeParams params = {cudaGraphNodeTypeConditional};
    CUDA_CHECK(cudaGraphConditionalHandleCreate(&params.conditional.handle, graph, 1, cudaGraphCondAssignDefault));
    params.conditional.type = cudaGraphCondTypeWhile;
    params.conditional.size = 1;
    cudaGraphNode_t node;
    CUDA_CHECK(cudaGraphAddNode(&node, graph, nullptr, nullptr, 0, &params));
    cudaStream_t stream;
    CUDA_CHECK(cudaStreamCreate(&stream));
    body = params.conditional.phGraph_out[0];
    CUDA_CHECK(cudaStreamBeginCaptureToGraph(stream, body, nullptr, nullptr, 0, cudaStreamCaptureModeRelaxed));
    step<<<1, 1, 0, stream>>>(params.conditional.handle, left, left + 1);
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaStreamEndCapture(stream, &body));
    cudaGraphExec_t executable;
    CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    bool right = true;
    for (int launch = 0; launch < 2; launch++) {
        numbers[0] = 6, numbers[1] = 0;
        CUDA_CHECK(cudaMemcpy(left, numbers, sizeof numbers, cudaMemcpyHostToDevice));
        CUDA_CHECK(cudaGraphLaunch(executable, stream));
        CUDA_CHECK(cudaStreamSynchronize(stream));
        CUDA_CHECK(cudaMemcpy(numbers, left, sizeof numbers, cudaMemcpyDeviceToHost));
        std::printf("graph_condition: %d left, sum %d (expected 0, 42)\n", numbers[0], numbers[1]);
        right &= numbers[0] == 0 && numbers[1] == 42;
    }
    CUDA_CHECK(cudaGraphExecDestroy(executable));
    CUDA_CHECK(cudaGraphDestroy(graph));
    return verdict(right, "graph_condition");
}
