// A stream that is held up until the host lets it go.
#pragma once

#include "check.h"

struct gate {
    CUfunction wait_for, increment;
    volatile int *flag; // in pinned memory
    CUdeviceptr numbers; // two numbers
};

static inline void gate_increment(struct gate *gate, int to, int from, CUstream stream) {
    CUdeviceptr target = gate->numbers + to * sizeof(int), source = gate->numbers + from * sizeof(int);
    void *params[] = {&target, &source};
    NEED(cuLaunchKernel(gate->increment, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
}

// Work that is queued in `stream` after this waits for gate_open().
static inline void gate_close(struct gate *gate, CUstream stream) {
    *gate->flag = 0;
    void *params[] = {&gate->flag};
    NEED(cuLaunchKernel(gate->wait_for, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
}

static inline void gate_open(struct gate *gate) { *gate->flag = 1; }

static inline int gate_number(struct gate *gate, int index) {
    int number = -1;
    NEED(cuMemcpyDtoH(&number, gate->numbers + index * sizeof(int), sizeof number));
    return number;
}

// Both kernels have run once, so that nothing has to be loaded while one waits.
static inline struct gate gate_start(void) {
    struct gate gate;
    CUmodule module = load("wait");
    gate.wait_for = kernel(module, "wait_for");
    gate.increment = kernel(module, "increment");
    NEED(cuMemHostAlloc((void **)&gate.flag, sizeof(int), CU_MEMHOSTALLOC_DEVICEMAP));
    NEED(cuMemAlloc(&gate.numbers, 2 * sizeof(int)));
    NEED(cuMemsetD32(gate.numbers, 0, 2));
    gate_increment(&gate, 0, 1, NULL);
    gate_open(&gate);
    void *params[] = {&gate.flag};
    NEED(cuLaunchKernel(gate.wait_for, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuCtxSynchronize());
    NEED(cuMemsetD32(gate.numbers, 0, 2));
    NEED(cuCtxSynchronize());
    return gate;
}
