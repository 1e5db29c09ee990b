// Faults of kernels: the documented error, at the next call that waits, and
// at every call after it. Each in a process of its own, since none recovers.
#include "check.h"

#include <sys/wait.h>

static char name[64];

static const char *named(const char *prefix, const char *what) {
    snprintf(name, sizeof name, "%s_%s", prefix, what);
    return name;
}

static CUfunction function(const char *kernel_name) { return kernel(load("faults"), kernel_name); }

static void expect(const char *prefix, CUresult error) {
    CUdeviceptr memory;
    CUevent event;
    CHECK_ERR(named(prefix, "synchronize"), cuCtxSynchronize(), error);
    CHECK_ERR(named(prefix, "stays"), cuCtxSynchronize(), error);
    CHECK_ERR(named(prefix, "allocate"), cuMemAlloc(&memory, 256), error);
    CHECK_ERR(named(prefix, "event"), cuEventCreate(&event, 0), error);
    CHECK_ERR(named(prefix, "query"), cuStreamQuery(NULL), error);
}

static void assertion(void) {
    int x = 1;
    void *params[] = {&x};
    NEED(cuLaunchKernel(function("fails_assert"), 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    expect("assert", CUDA_ERROR_ASSERT);
}

static void trap(void) {
    NEED(cuLaunchKernel(function("traps"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    CUresult result = cuCtxSynchronize();
    CHECK("trap", result == CUDA_ERROR_LAUNCH_FAILED || result == CUDA_ERROR_ILLEGAL_INSTRUCTION);
    CHECK_ERR("trap_stays", cuCtxSynchronize(), result);
}

static void store(CUdeviceptr address, const char *prefix, CUresult error) {
    void *params[] = {&address};
    NEED(cuLaunchKernel(function("stores"), 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    expect(prefix, error);
}

static void illegal(void) { store(0x10, "illegal", CUDA_ERROR_ILLEGAL_ADDRESS); }

static void misaligned(void) {
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, 256));
    store(memory + 2, "misaligned", CUDA_ERROR_MISALIGNED_ADDRESS);
}

static void by_copy(void) {
    int number;
    CUdeviceptr memory, address = 0x10;
    void *params[] = {&address};
    NEED(cuMemAlloc(&memory, 256));
    NEED(cuLaunchKernel(function("stores"), 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    CHECK_ERR("copy_reports", cuMemcpyDtoH(&number, memory, sizeof number), CUDA_ERROR_ILLEGAL_ADDRESS);
}

int main(void) {
    void (*cases[])(void) = {assertion, trap, illegal, misaligned, by_copy};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            start();
            cases[i]();
            _exit(finish());
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (!WIFEXITED(status))
            CHECK("child_ended", WIFEXITED(status));
        else if (WEXITSTATUS(status))
            check_failures_++;
    }
    return finish();
}
