// What the conformance programs share. A program is plain C against the driver
// API of cuda.h. It says one line a check on stdout,
//
//   ok NAME                      the driver did what CUDA documents
//   fail NAME: detail            it did not
//   refused NAME: cuFunction     the call returned CUDA_ERROR_NOT_SUPPORTED
//   skip NAME: reason            this device or driver cannot be asked
//
// and exits with 0 iff no line is a `fail`. NAME is unique in the program. It
// must hold on every CUDA driver: assert what CUDA documents, and never time.
#pragma once

#include <cuda.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_failures_; // `fail` lines so far

// The program's exit code, to be returned by main().
static inline int finish(void) {
    fflush(NULL);
    return check_failures_ ? 1 : 0;
}

// "CUDA_ERROR_INVALID_VALUE", or the number of an error that the driver does not know.
static inline const char *check_error_name_(CUresult result) {
    static char number[32];
    const char *name = NULL;
    if (cuGetErrorName(result, &name) == CUDA_SUCCESS && name)
        return name;
    snprintf(number, sizeof number, "error %d", (int)result);
    return number;
}

static inline int check_(const char *name, int passed, const char *what, const char *file, int line) {
    if (passed) {
        printf("ok %s\n", name);
    } else {
        check_failures_++;
        printf("fail %s: %s:%d: not true: %s\n", name, file, line, what);
    }
    fflush(stdout);
    return passed;
}

static inline int check_result_(const char *name, CUresult result, CUresult expected, const char *call,
                                const char *file, int line) {
    int function = (int)strcspn(call, "( ");
    if (result == expected) {
        printf("ok %s\n", name);
    } else if (result == CUDA_ERROR_NOT_SUPPORTED) {
        printf("refused %s: %.*s\n", name, function, call);
    } else {
        check_failures_++;
        printf("fail %s: %s:%d: %.*s returned %s, ", name, file, line, function, call, check_error_name_(result));
        printf("expected %s\n", check_error_name_(expected));
    }
    fflush(stdout);
    return result == expected;
}

static inline void need_(CUresult result, const char *call, const char *file, int line) {
    if (result == CUDA_SUCCESS)
        return;
    check_result_("set-up", result, CUDA_SUCCESS, call, file, line);
    exit(finish());
}

// CHECK(name, condition): whether something that was read back is right.
// The value is whether the check passed, as of the next two.
#define CHECK(name, condition) check_(name, !!(condition), #condition, __FILE__, __LINE__)

// CHECK_CU(name, call): the call returns CUDA_SUCCESS.
#define CHECK_CU(name, call) check_result_(name, call, CUDA_SUCCESS, #call, __FILE__, __LINE__)

// For text that is no PTX: drivers tell it from PTX with errors, or do not.
static inline int check_no_image_(const char *name, CUresult result, const char *call, const char *file, int line) {
    CUresult expected = result == CUDA_ERROR_INVALID_IMAGE ? result : CUDA_ERROR_INVALID_PTX;
    return check_result_(name, result, expected, call, file, line);
}
#define CHECK_NO_IMAGE(name, call) check_no_image_(name, call, #call, __FILE__, __LINE__)

// CHECK_ERR(name, call, expected): the call returns this error.
#define CHECK_ERR(name, call, expected) check_result_(name, call, expected, #call, __FILE__, __LINE__)

// NEED(call): what the rest of the program cannot do without; ends the program
// with `fail` (or `refused`) if it does not return CUDA_SUCCESS.
#define NEED(call) need_(call, #call, __FILE__, __LINE__)

// SKIP(name, reason): a check that this device or driver rules out.
#define SKIP(name, reason) (printf("skip %s: %s\n", name, reason), fflush(stdout))

// Whether the driver exports a symbol (its real name, with `_v2`). To be asked
// before a call of what is newer than CUDA 12.0, since an older libcuda.so.1
// lacks it and the call would end the program.
static inline int driver_has(const char *symbol) { return dlsym(RTLD_DEFAULT, symbol) != NULL; }

// An attribute of device 0.
static inline int device_attribute(CUdevice_attribute attribute) {
    int value = 0;
    NEED(cuDeviceGetAttribute(&value, attribute, 0));
    return value;
}

// cuInit, and the primary context of device 0, current on this thread.
static inline CUcontext start(void) {
    CUcontext context = NULL;
    NEED(cuInit(0));
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    return context;
}

// Reads kernels/FILE beside the program: its bytes, a NUL behind them, and how
// many there are if `size` is not null. To be freed by the caller.
static inline char *kernel_file(const char *file, size_t *size) {
    char path[PATH_MAX] = "";
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    char *name = length > 0 ? strrchr(path, '/') : NULL;
    if (name)
        snprintf(name, sizeof path - (size_t)(name - path), "/kernels/%s", file);
    FILE *stream = fopen(path, "rb");
    long bytes = -1;
    if (stream && fseek(stream, 0, SEEK_END) == 0)
        bytes = ftell(stream);
    char *data = bytes >= 0 ? malloc((size_t)bytes + 1) : NULL;
    if (!data || fseek(stream, 0, SEEK_SET) || fread(data, 1, (size_t)bytes, stream) != (size_t)bytes) {
        printf("fail set-up: cannot read %s\n", path);
        exit(1);
    }
    fclose(stream);
    data[bytes] = 0;
    if (size)
        *size = (size_t)bytes;
    return data;
}

// The PTX of kernels/NAME.cu.
static inline char *kernel_ptx(const char *name) {
    char file[256];
    snprintf(file, sizeof file, "%s.ptx", name);
    return kernel_file(file, NULL);
}

// A module of kernels/NAME.cu in the current context.
static inline CUmodule load(const char *kernels_name) {
    CUmodule module = NULL;
    char *ptx = kernel_ptx(kernels_name);
    NEED(cuModuleLoadData(&module, ptx));
    free(ptx);
    return module;
}

// A kernel of a module.
static inline CUfunction kernel(CUmodule module, const char *name) {
    CUfunction function = NULL;
    NEED(cuModuleGetFunction(&function, module, name));
    return function;
}
