// What the driver API programs here share: libcuda loaded as a plain shared
// library, the way Python and Rust clients do.
#pragma once

#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static inline void *driver_library(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        printf("FAIL cannot open libcuda.so.1: %s\n", dlerror());
        exit(1);
    }
    return library;
}

static inline void *driver_symbol(void *library, const char *name) {
    void *symbol = dlsym(library, name);
    if (!symbol) {
        printf("FAIL libcuda.so.1 has no %s\n", name);
        exit(1);
    }
    return symbol;
}

// Prints the verdict and returns the program's exit code.
static inline int verdict(int passed, const char *what) {
    printf("%s %s\n", passed ? "PASS" : "FAIL", what);
    return passed ? 0 : 1;
}
