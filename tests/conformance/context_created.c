// Created contexts: the thread's stack, what a context says about itself, and
// that threads and contexts are apart from each other.
#include "check.h"

#include <pthread.h>

// cuda.h names the newest form only.
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device);

static CUcontext current(void) {
    CUcontext context = NULL;
    NEED(cuCtxGetCurrent(&context));
    return context;
}

static void *other_thread(void *argument) {
    CHECK("thread_starts_without", current() == NULL);
    CHECK_CU("thread_set_current", cuCtxSetCurrent(argument));
    CHECK("thread_current", current() == argument);
    return NULL;
}

int main(void) {
    NEED(cuInit(0));
    CUcontext first = NULL, second = NULL, popped = NULL;
    CHECK_ERR("pop_nothing", cuCtxPopCurrent(&popped), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_CU("create", cuCtxCreate_v2(&first, CU_CTX_SCHED_BLOCKING_SYNC, 0));
    CHECK("create_makes_current", first && current() == first);
    CHECK_CU("create_second", cuCtxCreate_v2(&second, 0, 0));
    CHECK("second_is_on_top", second && second != first && current() == second);

    CHECK_CU("pop", cuCtxPopCurrent(&popped));
    CHECK("popped_second", popped == second && current() == first);
    CHECK_CU("push", cuCtxPushCurrent(second));
    CHECK("pushed", current() == second);
    CHECK_CU("pop_without_result", cuCtxPopCurrent(NULL));
    CHECK("popped_again", current() == first);
    CHECK_CU("set", cuCtxSetCurrent(second));
    CHECK("set_replaces", current() == second);
    CHECK_CU("pop_last", cuCtxPopCurrent(&popped));
    CHECK("stack_is_empty", current() == NULL);
    CHECK_CU("set_first", cuCtxSetCurrent(first));
    CHECK_CU("set_null", cuCtxSetCurrent(NULL));
    CHECK("set_null_leaves_none", current() == NULL);
    NEED(cuCtxSetCurrent(first));

    CUdevice device = -1;
    unsigned flags = 0, version = 0;
    unsigned long long id = 0, other_id = 0;
    CHECK_CU("device", cuCtxGetDevice(&device));
    CHECK("device_value", device == 0);
    CHECK_CU("flags", cuCtxGetFlags(&flags));
    CHECK("flags_value", (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC);
    CHECK_CU("version", cuCtxGetApiVersion(first, &version));
    CHECK("version_value", version >= 3010);
    if (driver_has("cuCtxGetId")) {
        CHECK_CU("id", cuCtxGetId(first, &id));
        CHECK_CU("other_id", cuCtxGetId(second, &other_id));
        CHECK("ids_differ", id != other_id);
    } else
        SKIP("id", "newer than the driver");
    int least = 99, greatest = 99;
    CHECK_CU("priorities", cuCtxGetStreamPriorityRange(&least, &greatest));
    CHECK("priorities_order", greatest <= least);

    size_t size = 0;
    CHECK_CU("stack_limit", cuCtxGetLimit(&size, CU_LIMIT_STACK_SIZE));
    CHECK("stack_limit_value", size > 0);
    CHECK_CU("set_heap", cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 16 << 20));
    CHECK_CU("heap", cuCtxGetLimit(&size, CU_LIMIT_MALLOC_HEAP_SIZE));
    CHECK("heap_value", size >= 16 << 20);
    CHECK_ERR("limit_null", cuCtxGetLimit(NULL, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_VALUE);
    CUfunc_cache cache;
    CHECK_CU("cache", cuCtxGetCacheConfig(&cache));
    CHECK_CU("set_cache", cuCtxSetCacheConfig(CU_FUNC_CACHE_PREFER_L1));

    // Each has its own memory and modules; memory is reachable from both.
    CUdeviceptr memory;
    CUmodule module, other;
    int number = 0;
    char *ptx = kernel_ptx("globals");
    NEED(cuMemAlloc(&memory, sizeof number));
    NEED(cuModuleLoadData(&module, ptx));
    CUdeviceptr counter, other_counter;
    NEED(cuModuleGetGlobal(&counter, NULL, module, "counter"));
    NEED(cuCtxPushCurrent(second));
    NEED(cuModuleLoadData(&other, ptx));
    NEED(cuModuleGetGlobal(&other_counter, NULL, other, "counter"));
    CHECK("own_variables", counter != other_counter);
    NEED(cuMemcpyDtoH(&number, other_counter, sizeof number));
    CHECK("own_values", number == 5);
    CHECK_CU("synchronize_second", cuCtxSynchronize());
    CHECK_CU("destroy_current", cuCtxDestroy(second));
    CHECK("destroyed_is_popped", current() == first);
    free(ptx);

    pthread_t thread;
    pthread_create(&thread, NULL, other_thread, first);
    pthread_join(thread, NULL);
    CHECK("this_thread_is_unchanged", current() == first);
    CHECK_CU("still_usable", cuMemFree(memory));
    CHECK_CU("destroy", cuCtxDestroy(first));
    CHECK("none_left", current() == NULL);
    CHECK_ERR("create_no_device", cuCtxCreate_v2(&first, 0, 99), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("create_null", cuCtxCreate_v2(NULL, 0, 0), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
