// Options of the compiler that are numbers, and those that it answers in their place.
#include "check.h"
#include <math.h>

enum { INPUTS = 5 };
static const CUjit_option names[INPUTS] = {CU_JIT_MAX_REGISTERS, CU_JIT_OPTIMIZATION_LEVEL, CU_JIT_GENERATE_LINE_INFO,
                                           CU_JIT_WALL_TIME, CU_JIT_THREADS_PER_BLOCK};

static void settings(void **values) {
    values[0] = (void *)64;
    values[1] = (void *)3;
    values[2] = (void *)1;
    values[3] = (void *)(uintptr_t)0xffffffffu; // no time: not a number
    values[4] = (void *)128;
}

static float wall_time(void *const *values) {
    float time;
    memcpy(&time, &values[3], sizeof time);
    return time;
}

static int threads(void *const *values) { return (int)(uintptr_t)values[4]; }

int main(void) {
    start();
    char *ptx = kernel_ptx("basic");
    void *values[INPUTS];
    CUjit_option options[INPUTS];
    memcpy(options, names, sizeof options);
    CUmodule module;
    settings(values);
    CHECK_CU("module", cuModuleLoadDataEx(&module, ptx, INPUTS, options, values));
    CHECK("module_time", wall_time(values) >= 0 && !isinf(wall_time(values)));
    CHECK("module_threads", threads(values) > 0 && threads(values) <= 1024);
    CHECK("module_inputs", values[0] == (void *)64 && values[1] == (void *)3);
    CHECK_CU("module_function", cuModuleGetFunction(&(CUfunction){0}, module, "add"));
    NEED(cuModuleUnload(module));

    CUlibrary library;
    settings(values);
    CHECK_CU("library", cuLibraryLoadData(&library, ptx, options, values, INPUTS, NULL, NULL, 0));
    CHECK("library_time", wall_time(values) >= 0 && !isinf(wall_time(values)));
    CHECK_CU("library_kernel", cuLibraryGetKernel(&(CUkernel){0}, library, "add"));
    NEED(cuLibraryUnload(library));

    CUlinkState link;
    void *image;
    size_t size;
    settings(values);
    CHECK_CU("link", cuLinkCreate(INPUTS, options, values, &link));
    NEED(cuLinkAddData(link, CU_JIT_INPUT_PTX, ptx, strlen(ptx) + 1, "basic.ptx", 0, NULL, NULL));
    NEED(cuLinkComplete(link, &image, &size));
    CHECK("link_time", wall_time(values) >= 0 && !isinf(wall_time(values)));
    CHECK_CU("linked_module", cuModuleLoadData(&module, image));
    NEED(cuModuleUnload(module));
    NEED(cuLinkDestroy(link));

    // The time comes with a failure too.
    CUjit_option time = CU_JIT_WALL_TIME, unknown = (CUjit_option)1000;
    settings(values);
    CHECK_NO_IMAGE("no_image", cuModuleLoadDataEx(&module, "no image at all", 1, &time, &values[3]));
    CHECK_ERR("unknown", cuModuleLoadDataEx(&module, ptx, 1, &unknown, values), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("unknown_to_libraries", cuLibraryLoadData(&library, ptx, &unknown, values, 1, NULL, NULL, 0),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("unknown_to_links", cuLinkCreate(1, &unknown, values, &link), CUDA_ERROR_INVALID_VALUE);
    CUjit_option both[] = {CU_JIT_TARGET, CU_JIT_THREADS_PER_BLOCK};
    void *target_and_threads[] = {(void *)CU_TARGET_COMPUTE_75, (void *)128};
    CHECK("target_and_threads", cuModuleLoadDataEx(&module, ptx, 2, both, target_and_threads) != CUDA_SUCCESS);
    free(ptx);
    return finish();
}
