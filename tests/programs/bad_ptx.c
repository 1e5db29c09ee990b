// PTX with an error in its sixth line: CUDA_ERROR_INVALID_PTX, and a JIT log
// that says where. The context stays usable.
#include <string.h>

#include "driver.h"

static const char bad_ptx[] = ".version 8.0\n"
                              ".target sm_75\n"
                              ".address_size 64\n"
                              ".visible .entry broken()\n"
                              "{\n"
                              "    frobnicate.s32 %r1, %r2;\n"
                              "    ret;\n"
                              "}\n";

int main(void) {
    void *library = driver_library();
    CUresult (*init)(unsigned) = driver_symbol(library, "cuInit");
    CUresult (*retain)(CUcontext *, CUdevice) = driver_symbol(library, "cuDevicePrimaryCtxRetain");
    CUresult (*set_current)(CUcontext) = driver_symbol(library, "cuCtxSetCurrent");
    CUresult (*load)(CUmodule *, const void *, unsigned, CUjit_option *, void **) =
        driver_symbol(library, "cuModuleLoadDataEx");
    CUresult (*allocate)(CUdeviceptr *, size_t) = driver_symbol(library, "cuMemAlloc_v2");

    CUcontext context;
    CUmodule module;
    CUdeviceptr memory;
    char log[4096] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)sizeof log};
    if (init(0) || retain(&context, 0) || set_current(context))
        return verdict(0, "bad_ptx: no context");
    CUresult loaded = load(&module, bad_ptx, 2, options, values);
    CUresult after = allocate(&memory, 4096);
    printf("bad_ptx: load returned %d, the log says: %s\n", loaded, log);
    return verdict(loaded == CUDA_ERROR_INVALID_PTX && strstr(log, "line 6") && after == CUDA_SUCCESS,
                   "bad_ptx");
}
