// A child of fork() has no driver: every call says so, none hangs, and the
// parent goes on undisturbed.
#include "check.h"

#include <sys/wait.h>

static int in_child(CUdeviceptr memory, CUcontext context) {
    int count, number;
    CUdeviceptr other;
    CHECK_ERR("child_init", cuInit(0), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_count", cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_current", cuCtxSetCurrent(context), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_allocate", cuMemAlloc(&other, 256), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_copy", cuMemcpyDtoH(&number, memory, sizeof number), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_synchronize", cuCtxSynchronize(), CUDA_ERROR_NOT_INITIALIZED);
    return finish();
}

int main(void) {
    CUcontext context = start();
    CUdeviceptr memory;
    CUstream stream;
    int number = 0;
    NEED(cuStreamCreate(&stream, 0));
    NEED(cuMemAlloc(&memory, sizeof number));
    NEED(cuMemsetD32Async(memory, 42, 1, stream));
    NEED(cuStreamSynchronize(stream));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(in_child(memory, context));
    int status = -1;
    waitpid(child, &status, 0);
    CHECK("child_ended", WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_CU("parent_goes_on", cuMemcpyDtoH(&number, memory, sizeof number));
    CHECK("parent_has_its_memory", number == 42);
    CHECK_CU("parent_allocates", cuMemAlloc(&memory, 1 << 20));
    return finish();
}
