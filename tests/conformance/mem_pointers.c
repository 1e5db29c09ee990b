// What is told of pointers: of device, pinned, managed, pool and foreign memory.
#include "check.h"

enum { SIZE = 4096 };

static unsigned long long wide(CUpointer_attribute attribute, CUdeviceptr pointer) {
    unsigned long long value = ~0ull;
    NEED(cuPointerGetAttribute(&value, attribute, pointer));
    return value;
}

static int narrow(CUpointer_attribute attribute, CUdeviceptr pointer) {
    int value = 0;
    NEED(cuPointerGetAttribute(&value, attribute, pointer));
    return value;
}

int main(void) {
    CUcontext context = start();
    CUdeviceptr device = 0, managed = 0, other = 0;
    void *pinned = NULL;
    NEED(cuMemAlloc(&device, SIZE));
    NEED(cuMemAlloc(&other, SIZE));
    NEED(cuMemHostAlloc(&pinned, SIZE, CU_MEMHOSTALLOC_PORTABLE));
    NEED(cuMemAllocManaged(&managed, SIZE, CU_MEM_ATTACH_GLOBAL));
    CUdeviceptr host = (CUdeviceptr)(uintptr_t)pinned;

    CHECK("context", wide(CU_POINTER_ATTRIBUTE_CONTEXT, device) == (uintptr_t)context);
    CHECK("type_of_device", narrow(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device + 5) == CU_MEMORYTYPE_DEVICE);
    CHECK("type_of_pinned", narrow(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, host + 5) == CU_MEMORYTYPE_HOST);
    CHECK("device_pointer", wide(CU_POINTER_ATTRIBUTE_DEVICE_POINTER, device + 5) == device + 5);
    CHECK("host_pointer", wide(CU_POINTER_ATTRIBUTE_HOST_POINTER, host + 5) == host + 5);
    unsigned long long nothing = 0;
    CHECK_ERR("no_host_pointer", cuPointerGetAttribute(&nothing, CU_POINTER_ATTRIBUTE_HOST_POINTER, device),
              CUDA_ERROR_INVALID_VALUE);
    CHECK("start", wide(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, device + 9) == device);
    CHECK("size", wide(CU_POINTER_ATTRIBUTE_RANGE_SIZE, device + 9) == SIZE);
    CHECK("ids_differ", wide(CU_POINTER_ATTRIBUTE_BUFFER_ID, device) != wide(CU_POINTER_ATTRIBUTE_BUFFER_ID, other));
    CHECK("id_is_the_range's", wide(CU_POINTER_ATTRIBUTE_BUFFER_ID, device) ==
                                   wide(CU_POINTER_ATTRIBUTE_BUFFER_ID, device + SIZE - 1));
    CHECK("ordinal", narrow(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, device) == 0);
    CHECK("managed", (narrow(CU_POINTER_ATTRIBUTE_IS_MANAGED, managed) & 0xff) == 1);
    CHECK("device_is_not_managed", (narrow(CU_POINTER_ATTRIBUTE_IS_MANAGED, device) & 0xff) == 0);
    CHECK("mapped", (narrow(CU_POINTER_ATTRIBUTE_MAPPED, device) & 0xff) == 1);
    CHECK("access", narrow(CU_POINTER_ATTRIBUTE_ACCESS_FLAGS, device) == CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
    CHECK("no_pool", wide(CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, device) == 0);

    int local = 0;
    CUdeviceptr foreign = (CUdeviceptr)(uintptr_t)&local;
    CHECK_ERR("foreign", cuPointerGetAttribute(&nothing, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, foreign),
              CUDA_ERROR_INVALID_VALUE);
    CUpointer_attribute wanted[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
                                    CU_POINTER_ATTRIBUTE_HOST_POINTER};
    unsigned type = 9;
    unsigned long long on_device = 9, on_host = 9;
    void *places[] = {&type, &on_device, &on_host};
    CHECK_CU("several_of_foreign", cuPointerGetAttributes(3, wanted, places, foreign));
    int pageable = 0;
    NEED(cuDeviceGetAttribute(&pageable, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0));
    if (pageable)
        SKIP("foreign_has_none", "this device reaches all memory of the host");
    else
        CHECK("foreign_has_none", type == 0 && on_device == 0 && on_host == 0);
    CHECK_CU("several_of_device", cuPointerGetAttributes(3, wanted, places, device + 1));
    CHECK("device_has_no_host_pointer", type == CU_MEMORYTYPE_DEVICE && on_device == device + 1 && on_host == 0);
    CHECK_ERR("to_nowhere", cuPointerGetAttribute(NULL, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("unknown", cuPointerGetAttribute(&nothing, (CUpointer_attribute)999, device), CUDA_ERROR_INVALID_VALUE);

    unsigned synchronous = 1;
    CHECK_CU("set_synchronous", cuPointerSetAttribute(&synchronous, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, device));
    CHECK("is_synchronous", (narrow(CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, device + 8) & 0xff) == 1);
    CHECK("other_is_not", (narrow(CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, other) & 0xff) == 0);
    CHECK_CU("set", cuMemsetD8(device, 1, SIZE));
    CHECK_CU("set_done", cuStreamQuery(0));
    CHECK_ERR("set_read_only", cuPointerSetAttribute(&synchronous, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("set_foreign", cuPointerSetAttribute(&synchronous, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, foreign),
              CUDA_ERROR_INVALID_VALUE);

    NEED(cuMemFree(device));
    CHECK("freed", cuPointerGetAttribute(&nothing, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device) != CUDA_SUCCESS);
    NEED(cuMemFree(other));
    NEED(cuMemFree(managed));
    NEED(cuMemFreeHost(pinned));
    CHECK_ERR("free_pinned_twice", cuMemFreeHost(pinned), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("free_foreign", cuMemFree(foreign), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
