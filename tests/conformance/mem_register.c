// Registered host memory: copies in stream order both ways, flags, addresses, errors.
#include "check.h"

enum { SIZE = 1 << 20, N = SIZE / sizeof(int) };

static int *memory;

static void produce(void *user) {
    (void)user;
    for (int i = 0; i < N; i++)
        memory[i] = i * 3;
}

int main(void) {
    start();
    CUstream stream;
    CUdeviceptr device = 0;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemAlloc(&device, SIZE));
    memory = aligned_alloc(4096, SIZE);
    memset(memory, 0, SIZE);
    if (!CHECK_CU("register", cuMemHostRegister(memory, SIZE, CU_MEMHOSTREGISTER_PORTABLE)))
        return finish();
    unsigned type = 0;
    CUdeviceptr address = (CUdeviceptr)(uintptr_t)memory;
    CHECK_CU("type", cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address + 8));
    CHECK("type_is_host", type == CU_MEMORYTYPE_HOST);

    // The source is read when the stream gets there, after a host function has written it.
    NEED(cuLaunchHostFunc(stream, produce, NULL));
    CHECK_CU("to_device", cuMemcpyHtoDAsync(device, memory, SIZE, stream));
    NEED(cuStreamSynchronize(stream));
    memset(memory, 0, SIZE);
    CHECK_CU("to_host", cuMemcpyDtoHAsync(memory, device, SIZE, stream));
    NEED(cuStreamSynchronize(stream));
    int right = 1;
    for (int i = 0; i < N; i++)
        right &= memory[i] == i * 3;
    CHECK("in_stream_order", right);
    CHECK_CU("unified", cuMemcpyAsync(device, address, SIZE, stream));
    NEED(cuStreamSynchronize(stream));

    CUdeviceptr mapped = 0;
    if (CHECK_CU("device_pointer", cuMemHostGetDevicePointer(&mapped, memory, 0))) {
        NEED(cuMemsetD32(mapped, 5, N));
        NEED(cuCtxSynchronize());
        CHECK("device_reaches_it", memory[0] == 5 && memory[N - 1] == 5);
    }

    CHECK_ERR("register_twice", cuMemHostRegister(memory, SIZE, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    CHECK_ERR("register_nothing", cuMemHostRegister(memory, 0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("register_nowhere", cuMemHostRegister(NULL, SIZE, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("unregister", cuMemHostUnregister(memory));
    CHECK_ERR("unregister_twice", cuMemHostUnregister(memory), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    CHECK_ERR("unregister_nowhere", cuMemHostUnregister(NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("register_again", cuMemHostRegister(memory, SIZE, 0));
    CHECK_CU("unregister_again", cuMemHostUnregister(memory));
    free(memory);
    return finish();
}
