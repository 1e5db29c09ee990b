// cuGetProcAddress: by name, version and flags.
#include "check.h"

static void *find(const char *name, int version, cuuint64_t flags) {
    void *address = NULL;
    CUdriverProcAddressQueryResult status;
    return cuGetProcAddress(name, &address, version, flags, &status) == CUDA_SUCCESS ? address : NULL;
}

static int is_missing(const char *name, int version, CUdriverProcAddressQueryResult why) {
    void *address = (void *)1;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
    cuGetProcAddress(name, &address, version, 0, &status);
    return address == NULL && status == why;
}

int main(void) {
    start();
    const cuuint64_t legacy = CU_GET_PROC_ADDRESS_LEGACY_STREAM, per_thread = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    void *address = NULL;
    CHECK_CU("found", cuGetProcAddress("cuInit", &address, 12000, CU_GET_PROC_ADDRESS_DEFAULT, &status));
    CHECK("found_status", address && status == CU_GET_PROC_ADDRESS_SUCCESS);
    CHECK_CU("status_is_optional", cuGetProcAddress("cuInit", &address, 12000, 0, NULL));

    // The version decides about the signature.
    CHECK("old_and_new_differ", find("cuMemAlloc", 3000, 0) != find("cuMemAlloc", 3020, 0));
    CHECK("new_stays_new", find("cuMemAlloc", 12000, 0) == find("cuMemAlloc", 3020, 0));
    CUresult (*allocate)(CUdeviceptr *, size_t) = (CUresult(*)(CUdeviceptr *, size_t))find("cuMemAlloc", 12000, 0);
    CUresult (*release)(CUdeviceptr) = (CUresult(*)(CUdeviceptr))find("cuMemFree", 12000, 0);
    CUdeviceptr memory = 0;
    if (CHECK("allocate_found", allocate && release)) {
        CHECK_CU("allocate", allocate(&memory, 1000));
        CHECK_CU("free", release(memory));
    }
    CHECK("itself", find("cuGetProcAddress", 11030, 0) && find("cuGetProcAddress", 12000, 0) &&
                        find("cuGetProcAddress", 11030, 0) != find("cuGetProcAddress", 12000, 0));

    // Per-thread twins where there are some.
    CHECK("twin_differs", find("cuLaunchKernel", 12000, per_thread) != find("cuLaunchKernel", 12000, legacy));
    CHECK("twin_of_a_copy", find("cuMemcpyHtoD", 12000, per_thread) && find("cuMemcpyHtoD", 12000, legacy));
    CHECK("no_twin_is_the_same", find("cuCtxGetDevice", 12000, per_thread) == find("cuCtxGetDevice", 12000, legacy));

    CHECK("no_such_name", is_missing("cuNoSuchFunction", 12000, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND));
    CHECK("version_too_old", is_missing("cuLibraryLoadData", 11080, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT));
    CHECK_ERR("unknown_flags", cuGetProcAddress("cuInit", &address, 12000, 0x100, &status), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
