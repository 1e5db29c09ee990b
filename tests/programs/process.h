// Threads and file descriptors of this process, and a check that loading a
// library left none behind.
#pragma once

#include <dirent.h>
#include <stdio.h>

#include "driver.h"

struct usage {
    int threads, descriptors;
};

static inline int entries(const char *directory) {
    DIR *dir = opendir(directory);
    int count = 0;
    if (!dir) return -1;
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

static inline struct usage usage(void) {
    struct usage now = {entries("/proc/self/task"), entries("/proc/self/fd")};
    return now;
}

// Prints the verdict and returns the program's exit code.
static inline int report(const char *name, struct usage before, struct usage after) {
    printf("%s: threads %+d, descriptors %+d\n", name, after.threads - before.threads,
           after.descriptors - before.descriptors);
    return verdict(after.threads == before.threads && after.descriptors == before.descriptors, name);
}
