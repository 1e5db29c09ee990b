// cuMemcpy2D between all kinds of memory: offsets, pitches, and what lies
// around the rows.
#include "boxes.h"

static CUstream stream;

// How a copy is asked for.
static const char *const forms[] = {"", "_unaligned", "_async"};

static CUresult copy(int form, const CUDA_MEMCPY2D *c) {
    CUresult result = CUDA_SUCCESS;
    switch (form) {
    case 0:
        result = cuMemcpy2D(c);
        break;
    case 1:
        result = cuMemcpy2DUnaligned(c);
        break;
    default:
        result = cuMemcpy2DAsync(c, stream);
        if (result == CUDA_SUCCESS)
            result = cuStreamSynchronize(stream);
    }
    return result;
}

static void pair(Kind to_kind, Kind from_kind, int form, size_t scale) {
    char name[96];
    snprintf(name, sizeof name, "%s_to_%s%s%s", kind_names[from_kind], kind_names[to_kind], forms[form],
             scale > 1 ? "_large" : "");
    Buffer src = buffer_new(from_kind, 512 * scale, 20 * scale, 1);
    Buffer dst = buffer_new(to_kind, 1024 * scale, 18 * scale, 1);
    buffer_fill(&src, 1);
    buffer_fill(&dst, 2);
    // The stream does not wait for what fills device memory.
    NEED(cuCtxSynchronize());
    Point from = {12, 3, 0}, to = {36, 1, 0}, extent = {400 * scale, 16 * scale, 1};
    CUDA_MEMCPY2D c = rows_copy(&dst, to, &src, from, extent);
    CUresult result = copy(form, &c);
    if (CHECK_CU(name, result)) {
        // A synchronous copy on the device may still be under way.
        NEED(cuCtxSynchronize());
        strcat(name, "_arrived");
        CHECK(name, box_arrived(&dst, 2, to, &src, 1, from, extent));
    }
    buffer_free(&src);
    buffer_free(&dst);
}

static void errors(void) {
    Buffer host = buffer_new(PAGEABLE, 256, 8, 1), device = buffer_new(DEVICE, 256, 8, 1);
    Buffer array = buffer_new(ARRAY, 256, 8, 1);
    Point zero = {0, 0, 0};
    CUDA_MEMCPY2D good = rows_copy(&device, zero, &host, zero, (Point){64, 4, 1}), c;
    buffer_fill(&device, 3);

    c = good, c.WidthInBytes = 0;
    CHECK_CU("no_width", cuMemcpy2D(&c));
    c = good, c.Height = 0;
    CHECK_CU("no_height", cuMemcpy2D(&c));
    CHECK("nothing_copied", box_arrived(&device, 3, zero, &host, 0, zero, zero));

    c = good, c.srcPitch = 63;
    CHECK_ERR("source_pitch_below_width", cuMemcpy2D(&c), CUDA_ERROR_INVALID_VALUE);
    c = good, c.dstXInBytes = 193;
    CHECK_ERR("pitch_below_offset_and_width", cuMemcpy2D(&c), CUDA_ERROR_INVALID_VALUE);
    c = good, c.srcMemoryType = 0;
    CHECK_ERR("no_memory_type", cuMemcpy2D(&c), CUDA_ERROR_INVALID_VALUE);
    c = good, c.dstDevice = 0;
    CHECK_ERR("null_device_pointer", cuMemcpy2D(&c), CUDA_ERROR_INVALID_VALUE);
    c = rows_copy(&array, (Point){196, 0, 0}, &host, zero, (Point){64, 4, 1});
    CHECK_ERR("beyond_array_width", cuMemcpy2D(&c), CUDA_ERROR_INVALID_VALUE);
    c = rows_copy(&array, (Point){0, 5, 0}, &host, zero, (Point){64, 4, 1});
    CHECK_ERR("beyond_array_height", cuMemcpy2D(&c), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_parameters", cuMemcpy2D(NULL), CUDA_ERROR_INVALID_VALUE);
    buffer_free(&host);
    buffer_free(&device);
    buffer_free(&array);
}

int main(void) {
    start();
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (int to = 0; to < KINDS; to++)
        for (int from = 0; from < KINDS; from++)
            pair(to, from, (to + from) % 3, 1);
    for (int form = 0; form < 3; form++) {
        pair(ARRAY, PAGEABLE, form, 3);
        pair(PAGEABLE, ARRAY, form, 3);
        pair(DEVICE, PAGEABLE, form, 3);
        pair(PAGEABLE, DEVICE, form, 3);
    }
    errors();
    NEED(cuStreamDestroy(stream));
    return finish();
}
