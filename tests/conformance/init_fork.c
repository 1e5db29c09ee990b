// A child that forked from a process with a context cannot use it.
#include "check.h"

#include <sys/wait.h>

static CUresult in_child[4];

int main(void) {
    start();
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, 64));
    int channel[2];
    if (pipe(channel))
        return 1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        CUdeviceptr other;
        in_child[0] = cuMemAlloc(&other, 64);
        in_child[1] = cuCtxSynchronize();
        in_child[2] = cuMemsetD8(memory, 1, 64);
        in_child[3] = cuStreamSynchronize(NULL);
        if (write(channel[1], in_child, sizeof in_child) != sizeof in_child)
            _exit(1);
        _exit(0);
    }
    int status = -1;
    CHECK("read", read(channel[0], in_child, sizeof in_child) == sizeof in_child);
    waitpid(child, &status, 0);
    CHECK("child_ends", WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_ERR("child_allocates", in_child[0], CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_synchronizes", in_child[1], CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_fills", in_child[2], CUDA_ERROR_NOT_INITIALIZED);
    CHECK_ERR("child_waits", in_child[3], CUDA_ERROR_NOT_INITIALIZED);
    CHECK_CU("parent_goes_on", cuMemsetD8(memory, 2, 64));
    CHECK_CU("parent_synchronizes", cuCtxSynchronize());
    return finish();
}
