// fork: a child of an initialised process must not use its parent's session.
// It sees CUDA_ERROR_NOT_INITIALIZED, and the parent goes on undisturbed. A
// child forked before cuInit has a session of its own.
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"

typedef CUresult init_function(unsigned);
typedef CUresult count_function(int *);

// child_exit_code: wait for the child; 255 if it did not exit by itself.
static int child_exit_code(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 255;
    return WEXITSTATUS(status);
}

int main(void) {
    void *library = driver_library();
    init_function *init = driver_symbol(library, "cuInit");
    count_function *count = driver_symbol(library, "cuDeviceGetCount");
    int devices = 0;

    pid_t child = fork();
    if (child == 0) _exit(init(0) == CUDA_SUCCESS && count(&devices) == CUDA_SUCCESS ? 0 : 1);
    int before = child_exit_code(child);

    if (init(0) != CUDA_SUCCESS) return verdict(0, "fork_test: cuInit");
    child = fork();
    if (child == 0) _exit(count(&devices));
    int after = child_exit_code(child);

    CUresult parent = count(&devices);
    printf("fork_test: child before cuInit %d, child after cuInit %d, parent %d\n", before, after,
           parent);
    return verdict(before == 0 && after == CUDA_ERROR_NOT_INITIALIZED && parent == CUDA_SUCCESS,
                   "fork_test");
}
