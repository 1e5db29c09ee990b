// What was launched runs, also if the program never calls the driver again.
#include <time.h>

#include "check.h"

enum { LAUNCHES = 20000 };

int main(void) {
    start();
    CUfunction add = kernel(load("basic"), "add");
    volatile int *count;
    int one = 1;
    NEED(cuMemAllocHost((void **)&count, sizeof *count));
    *count = 0;
    void *params[] = {&count, &one, &one};
    // Many, so that they are sent faster than they run.
    for (int i = 0; i < LAUNCHES; i++)
        NEED(cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    // Whoever runs this ends it when it takes too long.
    while (*count < LAUNCHES)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    CHECK("all_have_run", *count == LAUNCHES);
    return finish();
}
