// Created contexts, the calling thread's stack of them, and their flags.
#include "check.h"

#include <pthread.h>

static CUcontext seen = (CUcontext)-1;

static void *look(void *unused) {
    cuCtxGetCurrent(&seen);
    return unused;
}

int main(void) {
    CUcontext primary = start(), found = NULL, popped = NULL, a, b;
    int device = -1;
    CHECK_CU("get_current", cuCtxGetCurrent(&found));
    CHECK("current_is_primary", found == primary);
    CHECK_CU("get_device", cuCtxGetDevice(&device));
    CHECK("device", device == 0);

    CHECK_CU("create", cuCtxCreate(&a, NULL, CU_CTX_SCHED_YIELD, 0));
    NEED(cuCtxGetCurrent(&found));
    CHECK("created_is_current", found == a && a != primary);
    unsigned flags = 0;
    CHECK_CU("get_flags", cuCtxGetFlags(&flags));
    CHECK("flags", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_YIELD);
    if (driver_has("cuCtxSetFlags")) {
        CHECK_CU("set_flags", cuCtxSetFlags(CU_CTX_SCHED_BLOCKING_SYNC));
        NEED(cuCtxGetFlags(&flags));
        CHECK("flags_set", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC);
        CHECK_ERR("set_bad_flags", cuCtxSetFlags(0x1000), CUDA_ERROR_INVALID_VALUE);
    } else {
        SKIP("set_flags", "newer than this driver");
    }
    CHECK_CU("pop", cuCtxPopCurrent(&popped));
    NEED(cuCtxGetCurrent(&found));
    CHECK("popped", popped == a && found == primary);
    CHECK_CU("push", cuCtxPushCurrent(a));
    CHECK_CU("push_again", cuCtxPushCurrent(a));
    NEED(cuCtxPopCurrent(NULL));
    NEED(cuCtxGetCurrent(&found));
    CHECK("pushed_twice", found == a);
    CHECK_CU("set_current", cuCtxSetCurrent(primary));
    NEED(cuCtxGetCurrent(&found));
    CHECK("set_replaces_the_top", found == primary);

    unsigned long long id_a = 0, id_primary = 0;
    if (driver_has("cuCtxGetId")) {
        CHECK_CU("get_id", cuCtxGetId(a, &id_a));
        NEED(cuCtxGetId(NULL, &id_primary));
        CHECK("ids_differ", id_a != id_primary);
    }
    unsigned version = 0;
    CHECK_CU("api_version", cuCtxGetApiVersion(a, &version));
    CHECK("api_version_value", version >= 3010);

    // What belongs to another context cannot be used in this one.
    NEED(cuCtxCreate(&b, NULL, 0, 0));
    CUevent event;
    CUstream stream;
    NEED(cuEventCreate(&event, 0));
    NEED(cuCtxSetCurrent(a));
    NEED(cuStreamCreate(&stream, 0));
    CHECK_ERR("event_of_another_context", cuEventRecord(event, stream), CUDA_ERROR_INVALID_HANDLE);
    NEED(cuStreamGetCtx(stream, &found));
    CHECK("stream_context", found == a);

    // Threads start without a context.
    pthread_t thread;
    pthread_create(&thread, NULL, look, NULL);
    pthread_join(thread, NULL);
    CHECK("threads_start_without", seen == NULL);

    CHECK_CU("destroy_other", cuCtxDestroy(b));
    CHECK_CU("destroy_current", cuCtxDestroy(a));
    CHECK_ERR("destroy_twice", cuCtxDestroy(a), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    CHECK_ERR("destroy_null", cuCtxDestroy(NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("push_null", cuCtxPushCurrent(NULL), CUDA_ERROR_INVALID_VALUE);
    // Null pops the stack, on which the primary context is twice.
    CHECK_CU("set_null", cuCtxSetCurrent(NULL));
    NEED(cuCtxGetCurrent(&found));
    CHECK("null_pops", found == primary);
    NEED(cuCtxSetCurrent(NULL));
    NEED(cuCtxGetCurrent(&found));
    CHECK("none_current", found == NULL);
    CHECK_CU("set_null_on_empty_stack", cuCtxSetCurrent(NULL));
    CHECK_ERR("device_without_context", cuCtxGetDevice(&device), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_ERR("synchronize_without_context", cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
    CUdeviceptr memory;
    CHECK_ERR("allocate_without_context", cuMemAlloc(&memory, 4), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_ERR("create_bad_device", cuCtxCreate(&a, NULL, 0, 99), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("create_bad_flags", cuCtxCreate(&a, NULL, 0x8000, 0), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
