// Copies between devices, which need no peer access.
#include "two.h"

enum { WIDTH = 100, HEIGHT = 20, DEPTH = 3, COUNT = WIDTH * HEIGHT * DEPTH, BYTES = COUNT * sizeof(int) };

int main(void) {
    CUcontext contexts[2];
    CUdeviceptr data[2];
    CUstream stream;
    start_two(contexts);
    for (int dev = 0; dev < 2; dev++) {
        NEED(cuCtxSetCurrent(contexts[dev]));
        NEED(cuMemAlloc(&data[dev], BYTES));
        NEED(cuMemsetD32(data[dev], dev + 1, COUNT));
        NEED(cuCtxSynchronize());
    }
    NEED(cuCtxSetCurrent(contexts[0]));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));

    CHECK_CU("peer", cuMemcpyPeer(data[0], contexts[0], data[1], contexts[1], BYTES));
    CHECK("peer_copied", all_are(data[0], 2, COUNT));
    NEED(cuMemsetD32Async(data[0], 5, COUNT, stream));
    CHECK_CU("peer_async", cuMemcpyPeerAsync(data[1], contexts[1], data[0], contexts[0], BYTES / 2, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("peer_async_copied", all_are(data[1], 5, COUNT / 2));
    CHECK("peer_async_no_more", all_are(data[1] + BYTES / 2, 2, COUNT / 2));
    CHECK_ERR("peer_no_context", cuMemcpyPeer(data[0], NULL, data[1], contexts[1], BYTES), CUDA_ERROR_INVALID_CONTEXT);

    // Addresses say by themselves where they are.
    NEED(cuMemsetD32(data[1], 6, COUNT));
    CHECK_CU("unified", cuMemcpy(data[0], data[1], BYTES));
    NEED(cuCtxSynchronize());
    CHECK("unified_copied", all_are(data[0], 6, COUNT));
    NEED(cuMemsetD32(data[0], 7, COUNT));
    CHECK_CU("dtod", cuMemcpyDtoD(data[1], data[0], BYTES));
    NEED(cuCtxSynchronize());
    CHECK("dtod_copied", all_are(data[1], 7, COUNT));
    // A stream of one device copies what lies on the other.
    int word = 8, read = 0;
    CHECK_CU("htod_other", cuMemcpyHtoDAsync(data[1], &word, sizeof word, stream));
    CHECK_CU("dtoh_other", cuMemcpyDtoHAsync(&read, data[1], sizeof read, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("host_round_trip", read == 8);

    CUDA_MEMCPY3D_PEER box;
    memset(&box, 0, sizeof box);
    box.srcMemoryType = box.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    box.srcContext = contexts[0], box.dstContext = contexts[1];
    box.srcDevice = data[0], box.dstDevice = data[1];
    box.srcPitch = box.dstPitch = WIDTH * sizeof(int);
    box.srcHeight = box.dstHeight = HEIGHT;
    box.WidthInBytes = WIDTH * sizeof(int), box.Height = HEIGHT, box.Depth = DEPTH;
    NEED(cuMemsetD32(data[0], 9, COUNT));
    CHECK_CU("box", cuMemcpy3DPeer(&box));
    NEED(cuCtxSynchronize());
    CHECK("box_copied", all_are(data[1], 9, COUNT));
    NEED(cuMemsetD32Async(data[0], 10, COUNT, stream));
    CHECK_CU("box_async", cuMemcpy3DPeerAsync(&box, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("box_async_copied", all_are(data[1], 10, COUNT));
    return finish();
}
