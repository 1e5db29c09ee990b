// Copies between contexts, in batches, and with attributes.
#include "check.h"

enum { N = 64 << 10 };

static int same(const unsigned char *data, int value) {
    for (int i = 0; i < N; i++)
        if (data[i] != value)
            return 0;
    return 1;
}

static unsigned char back[N];

static int holds(CUdeviceptr data, int value) {
    NEED(cuMemcpyDtoH(back, data, N));
    return same(back, value);
}

static void peers(CUcontext first, CUdeviceptr a, CUdeviceptr b) {
    CUcontext second = NULL;
    CUdeviceptr c = 0;
    NEED(cuMemsetD8(a, 1, N));
    CHECK_CU("peer", cuMemcpyPeer(b, first, a, first, N));
    CHECK("peer_result", holds(b, 1));
    NEED(cuCtxCreate(&second, NULL, 0, 0));
    NEED(cuMemAlloc(&c, N));
    NEED(cuMemsetD8(c, 2, N));
    CHECK_CU("peer_across", cuMemcpyPeer(b, first, c, second, N));
    NEED(cuCtxSynchronize());
    NEED(cuCtxPopCurrent(&second));
    CHECK("peer_across_result", holds(b, 2));
    CHECK_CU("peer_async", cuMemcpyPeerAsync(a, first, c, second, N, 0));
    CHECK("peer_async_result", holds(a, 2));
    NEED(cuCtxDestroy(second));
}

static void batches(CUdeviceptr a, CUdeviceptr b, CUstream stream) {
    if (!driver_has("cuMemcpyBatchAsync_v2_ptsz") && !driver_has("cuMemcpyBatchAsync_v2")) {
        SKIP("batch", "the driver is older than 13.0");
        return;
    }
    static unsigned char source[N];
    memset(source, 3, N);
    NEED(cuMemsetD8Async(a, 4, N, stream));
    CUdeviceptr host = (CUdeviceptr)(uintptr_t)source, result = (CUdeviceptr)(uintptr_t)back;
    CUdeviceptr dsts[] = {b, b + N / 2}, srcs[] = {a, host};
    size_t sizes[] = {N / 2, N / 2}, first[] = {0, 1};
    CUmemcpyAttributes attributes[2];
    memset(attributes, 0, sizeof attributes);
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    attributes[1].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL;
    CHECK_CU("batch", cuMemcpyBatchAsync(dsts, srcs, sizes, 2, attributes, first, 2, stream));
    memset(source, 9, N);
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemcpyDtoH(back, b, N));
    CHECK("batch_result", back[0] == 4 && back[N / 2 - 1] == 4 && back[N / 2] == 3 && back[N - 1] == 3);

    CUdeviceptr to_host[] = {result};
    size_t whole[] = {N};
    CHECK_CU("batch_to_host", cuMemcpyBatchAsync(to_host, &a, whole, 1, attributes, first, 1, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("batch_to_host_result", same(back, 4));

    CHECK_ERR("empty_batch", cuMemcpyBatchAsync(dsts, srcs, sizes, 0, attributes, first, 1, stream),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_attributes", cuMemcpyBatchAsync(dsts, srcs, sizes, 2, attributes, first, 0, stream),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("batch_in_null_stream", cuMemcpyBatchAsync(dsts, srcs, sizes, 2, attributes, first, 2, 0),
              CUDA_ERROR_INVALID_VALUE);
    first[0] = 1;
    CHECK_ERR("wrong_first_index", cuMemcpyBatchAsync(dsts, srcs, sizes, 2, attributes, first, 1, stream),
              CUDA_ERROR_INVALID_VALUE);
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
    first[0] = 0;
    CHECK_ERR("wrong_order", cuMemcpyBatchAsync(dsts, srcs, sizes, 2, attributes, first, 2, stream),
              CUDA_ERROR_INVALID_VALUE);
}

int main(void) {
    CUcontext context = start();
    CUdeviceptr a = 0, b = 0;
    CUstream stream;
    NEED(cuMemAlloc(&a, N));
    NEED(cuMemAlloc(&b, N));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    peers(context, a, b);
    batches(a, b, stream);
    CHECK_CU("end", cuCtxSynchronize());
    return finish();
}
