// cuMemcpy3D, cuMemcpy3DPeer and batches between all kinds of memory: offsets,
// pitches, slice heights, and what lies around the box.
#include "boxes.h"

static CUstream stream;
static CUcontext context;

static const char *const forms[] = {"", "_async", "_peer", "_peer_async"};

static CUresult copy(int form, const CUDA_MEMCPY3D *c) {
    CUDA_MEMCPY3D_PEER peer;
    memcpy(&peer, c, sizeof peer);
    peer.srcContext = peer.dstContext = context;
    CUresult result = CUDA_SUCCESS;
    switch (form) {
    case 0:
        return cuMemcpy3D(c);
    case 1:
        result = cuMemcpy3DAsync(c, stream);
        break;
    case 2:
        return cuMemcpy3DPeer(&peer);
    default:
        result = cuMemcpy3DPeerAsync(&peer, stream);
    }
    return result == CUDA_SUCCESS ? cuStreamSynchronize(stream) : result;
}

static void pair(Kind to_kind, Kind from_kind, int form, size_t scale) {
    char name[96];
    snprintf(name, sizeof name, "%s_to_%s%s%s", kind_names[from_kind], kind_names[to_kind], forms[form],
             scale > 1 ? "_large" : "");
    Buffer src = buffer_new(from_kind, 128 * scale, 12 * scale, 6);
    Buffer dst = buffer_new(to_kind, 256 * scale, 10 * scale, 5);
    buffer_fill(&src, 1);
    buffer_fill(&dst, 2);
    // The stream does not wait for what fills device memory.
    NEED(cuCtxSynchronize());
    Point from = {4, 2, 1}, to = {16, 1, 1}, extent = {100 * scale, 7 * scale, 4};
    CUDA_MEMCPY3D c = box_copy(&dst, to, &src, from, extent);
    CUresult result = copy(form, &c);
    if (CHECK_CU(name, result)) {
        NEED(cuCtxSynchronize());
        strcat(name, "_arrived");
        CHECK(name, box_arrived(&dst, 2, to, &src, 1, from, extent));
    }
    buffer_free(&src);
    buffer_free(&dst);
}

static void errors(void) {
    Buffer host = buffer_new(PAGEABLE, 256, 8, 4), device = buffer_new(DEVICE, 256, 8, 4);
    Buffer array = buffer_new(ARRAY, 256, 8, 4);
    Point zero = {0, 0, 0};
    CUDA_MEMCPY3D good = box_copy(&device, zero, &host, zero, (Point){64, 4, 2}), c;
    buffer_fill(&device, 3);

    c = good, c.Depth = 0;
    CHECK_CU("no_depth", cuMemcpy3D(&c));
    CHECK("nothing_copied", box_arrived(&device, 3, zero, &host, 0, zero, zero));
    c = good, c.srcHeight = 3;
    CHECK_ERR("source_height_below_height", cuMemcpy3D(&c), CUDA_ERROR_INVALID_VALUE);
    c = good, c.dstPitch = 60;
    CHECK_ERR("pitch_below_width", cuMemcpy3D(&c), CUDA_ERROR_INVALID_VALUE);
    c = good, c.Depth = 1, c.srcHeight = 0, c.dstHeight = 0;
    CHECK_CU("one_slice_needs_no_height", cuMemcpy3D(&c));
    c = box_copy(&array, (Point){0, 0, 3}, &host, zero, (Point){64, 4, 2});
    CHECK_ERR("beyond_array_depth", cuMemcpy3D(&c), CUDA_ERROR_INVALID_VALUE);
    buffer_free(&host);
    buffer_free(&device);
    buffer_free(&array);
}

#if CUDA_VERSION >= 13000
// A packed host image into an array, and the array into device memory, by one call.
static void batch(void) {
    if (!driver_has("cuMemcpy3DBatchAsync_v2")) {
        SKIP("batch", "the driver is older than CUDA 13.0");
        return;
    }
    Buffer host = buffer_new(PINNED, 64, 8, 3), device = buffer_new(DEVICE, 128, 9, 3);
    Buffer array = buffer_new(ARRAY, 64, 8, 3);
    buffer_fill(&host, 1);
    buffer_fill(&device, 2);
    CUDA_MEMCPY3D_BATCH_OP ops[2] = {0};
    ops[0].src.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
    ops[0].src.op.ptr.ptr = (CUdeviceptr)(uintptr_t)host.host;
    ops[0].dst.type = CU_MEMCPY_OPERAND_TYPE_ARRAY;
    ops[0].dst.op.array.array = array.array;
    ops[0].extent = (CUextent3D){16, 8, 3};
    ops[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    ops[1].src = ops[0].dst;
    ops[1].src.op.array.offset = (CUoffset3D){2, 1, 0};
    ops[1].dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
    ops[1].dst.op.ptr.ptr = device.device;
    ops[1].dst.op.ptr.rowLength = 32;
    ops[1].dst.op.ptr.layerHeight = 9;
    ops[1].extent = (CUextent3D){10, 5, 3};
    ops[1].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    CHECK_CU("batch", cuMemcpy3DBatchAsync(2, ops, 0, stream));
    NEED(cuStreamSynchronize(stream));
    CHECK("batch_arrived", box_arrived(&device, 2, (Point){0, 0, 0}, &host, 1, (Point){8, 1, 0}, (Point){40, 5, 3}));
    ops[0].srcAccessOrder = 0;
    CHECK_ERR("batch_without_access_order", cuMemcpy3DBatchAsync(1, ops, 0, stream), CUDA_ERROR_INVALID_VALUE);
    buffer_free(&host);
    buffer_free(&device);
    buffer_free(&array);
}
#else
static void batch(void) { SKIP("batch", "the header is older than CUDA 13.0"); }
#endif

int main(void) {
    context = start();
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (int to = 0; to < KINDS; to++)
        for (int from = 0; from < KINDS; from++)
            pair(to, from, (to + from) % 2, 1);
    static const Kind peers[] = {DEVICE, ARRAY, DEVICE};
    for (int i = 0; i < 2; i++)
        for (int form = 2; form < 4; form++)
            pair(peers[i], peers[i + 1], form, 1);
    for (int form = 0; form < 2; form++) {
        pair(ARRAY, PAGEABLE, form, 6);
        pair(PAGEABLE, ARRAY, form, 6);
        pair(DEVICE, PAGEABLE, form, 6);
        pair(PAGEABLE, DEVICE, form, 6);
    }
    errors();
    batch();
    NEED(cuStreamDestroy(stream));
    return finish();
}
