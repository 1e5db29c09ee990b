// Buffers of rows and slices in every kind of memory, and what a copy between
// two of them must do.
#pragma once

#include "check.h"

typedef enum { PAGEABLE, PINNED, DEVICE, MANAGED, UNIFIED_DEVICE, UNIFIED_PINNED, ARRAY, KINDS } Kind;

static const char *const kind_names[KINDS] = {"pageable", "pinned",         "device", "managed",
                                              "unified_device", "unified_pinned", "array"};

// `pitch` bytes a row, `height` rows a slice, `depth` slices. An array has elements of 4 bytes.
typedef struct {
    Kind kind;
    size_t pitch, height, depth;
    unsigned char *host;
    CUdeviceptr device;
    CUarray array;
} Buffer;

typedef struct {
    size_t x, y, z;
} Point;

static inline size_t buffer_size(const Buffer *b) { return b->pitch * b->height * b->depth; }

static inline Buffer buffer_new(Kind kind, size_t pitch, size_t height, size_t depth) {
    Buffer b = {.kind = kind, .pitch = pitch, .height = height, .depth = depth};
    size_t size = buffer_size(&b);
    switch (kind) {
    case PAGEABLE:
        b.host = malloc(size);
        break;
    case PINNED:
    case UNIFIED_PINNED:
        NEED(cuMemHostAlloc((void **)&b.host, size, 0));
        b.device = (CUdeviceptr)(uintptr_t)b.host;
        break;
    case MANAGED:
        NEED(cuMemAllocManaged(&b.device, size, CU_MEM_ATTACH_GLOBAL));
        break;
    case ARRAY: {
        CUDA_ARRAY3D_DESCRIPTOR shape = {.Width = pitch / 4,
                                         .Height = height,
                                         .Depth = depth > 1 ? depth : 0,
                                         .Format = CU_AD_FORMAT_UNSIGNED_INT32,
                                         .NumChannels = 1};
        NEED(cuArray3DCreate(&b.array, &shape));
        break;
    }
    default:
        NEED(cuMemAlloc(&b.device, size));
    }
    return b;
}

static inline void buffer_free(Buffer *b) {
    switch (b->kind) {
    case PAGEABLE:
        free(b->host);
        break;
    case PINNED:
    case UNIFIED_PINNED:
        NEED(cuMemFreeHost(b->host));
        break;
    case ARRAY:
        NEED(cuArrayDestroy(b->array));
        break;
    default:
        NEED(cuMemFree(b->device));
    }
}

// The parameters of a copy between two places of this extent (bytes, rows, slices).
static inline CUDA_MEMCPY3D box_copy(const Buffer *dst, Point to, const Buffer *src, Point from, Point extent) {
    static const CUmemorytype types[KINDS] = {CU_MEMORYTYPE_HOST,    CU_MEMORYTYPE_HOST,    CU_MEMORYTYPE_DEVICE,
                                              CU_MEMORYTYPE_UNIFIED, CU_MEMORYTYPE_UNIFIED, CU_MEMORYTYPE_UNIFIED,
                                              CU_MEMORYTYPE_ARRAY};
    CUDA_MEMCPY3D c = {.srcXInBytes = from.x, .srcY = from.y, .srcZ = from.z};
    c.srcMemoryType = types[src->kind];
    c.srcHost = src->host;
    c.srcDevice = src->device;
    c.srcArray = src->array;
    c.srcPitch = src->pitch;
    c.srcHeight = src->height;
    c.dstXInBytes = to.x;
    c.dstY = to.y;
    c.dstZ = to.z;
    c.dstMemoryType = types[dst->kind];
    c.dstHost = dst->host;
    c.dstDevice = dst->device;
    c.dstArray = dst->array;
    c.dstPitch = dst->pitch;
    c.dstHeight = dst->height;
    c.WidthInBytes = extent.x;
    c.Height = extent.y;
    c.Depth = extent.z;
    return c;
}

// The same for two dimensions.
static inline CUDA_MEMCPY2D rows_copy(const Buffer *dst, Point to, const Buffer *src, Point from, Point extent) {
    CUDA_MEMCPY3D box = box_copy(dst, to, src, from, extent);
    CUDA_MEMCPY2D c = {.srcXInBytes = from.x, .srcY = from.y};
    c.srcMemoryType = box.srcMemoryType;
    c.srcHost = box.srcHost;
    c.srcDevice = box.srcDevice;
    c.srcArray = box.srcArray;
    c.srcPitch = box.srcPitch;
    c.dstXInBytes = to.x;
    c.dstY = to.y;
    c.dstMemoryType = box.dstMemoryType;
    c.dstHost = box.dstHost;
    c.dstDevice = box.dstDevice;
    c.dstArray = box.dstArray;
    c.dstPitch = box.dstPitch;
    c.WidthInBytes = extent.x;
    c.Height = extent.y;
    return c;
}

static inline unsigned char pattern(size_t i, unsigned seed) { return (unsigned char)((i * 2654435761u >> 7) + seed); }

// Makes the whole buffer a pattern, for all streams.
static inline void buffer_fill(Buffer *b, unsigned seed) {
    size_t size = buffer_size(b);
    unsigned char *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(i, seed);
    if (b->kind == ARRAY) {
        Buffer host = {.kind = PAGEABLE, .pitch = b->pitch, .height = b->height, .depth = b->depth, .host = bytes};
        CUDA_MEMCPY3D c = box_copy(b, (Point){0, 0, 0}, &host, (Point){0, 0, 0}, (Point){b->pitch, b->height, b->depth});
        NEED(cuMemcpy3D(&c));
    } else if (b->host) {
        memcpy(b->host, bytes, size);
    } else {
        NEED(cuMemcpyHtoD(b->device, bytes, size));
    }
    // A copy from pageable memory returns when that may change; a non-blocking stream would not wait for the rest.
    NEED(cuCtxSynchronize());
    free(bytes);
}

// The buffer's bytes, to be freed.
static inline unsigned char *buffer_read(Buffer *b) {
    size_t size = buffer_size(b);
    unsigned char *bytes = malloc(size);
    if (b->kind == ARRAY) {
        Buffer host = {.kind = PAGEABLE, .pitch = b->pitch, .height = b->height, .depth = b->depth, .host = bytes};
        CUDA_MEMCPY3D c = box_copy(&host, (Point){0, 0, 0}, b, (Point){0, 0, 0}, (Point){b->pitch, b->height, b->depth});
        NEED(cuMemcpy3D(&c));
    } else if (b->host) {
        memcpy(bytes, b->host, size);
    } else {
        NEED(cuMemcpyDtoH(bytes, b->device, size));
    }
    return bytes;
}

// Whether `dst`, filled with one pattern, has the box of `src`, filled with another, and is as it was elsewhere.
static inline int box_arrived(Buffer *dst, unsigned dst_seed, Point to, const Buffer *src, unsigned src_seed, Point from,
                              Point extent) {
    unsigned char *bytes = buffer_read(dst);
    int right = 1;
    size_t i = 0;
    for (size_t z = 0; z < dst->depth; z++)
        for (size_t y = 0; y < dst->height; y++)
            for (size_t x = 0; x < dst->pitch; x++, i++) {
                int inside = x - to.x < extent.x && y - to.y < extent.y && z - to.z < extent.z;
                size_t s = ((z - to.z + from.z) * src->height + y - to.y + from.y) * src->pitch + x - to.x + from.x;
                right &= bytes[i] == (inside ? pattern(s, src_seed) : pattern(i, dst_seed));
            }
    free(bytes);
    return right;
}
