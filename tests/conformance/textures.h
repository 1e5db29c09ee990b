// Making arrays and texture objects, and fetching through them.
#pragma once

#include "check.h"

static CUmodule textures_;

// Texture parameters with defaults: point filter, clamped, elements as they are.
static inline CUDA_TEXTURE_DESC sampler(CUfilter_mode filter, CUaddress_mode address, unsigned flags) {
    CUDA_TEXTURE_DESC t = {.filterMode = filter, .flags = flags, .maxMipmapLevelClamp = 100};
    for (int i = 0; i < 3; i++)
        t.addressMode[i] = address;
    return t;
}

static inline CUarray array_of(CUDA_ARRAY3D_DESCRIPTOR shape, const void *texels, size_t texel) {
    CUarray array;
    NEED(cuArray3DCreate(&array, &shape));
    CUDA_MEMCPY3D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .dstMemoryType = CU_MEMORYTYPE_ARRAY};
    c.srcHost = texels;
    c.dstArray = array;
    c.srcPitch = c.WidthInBytes = shape.Width * texel;
    c.srcHeight = c.Height = shape.Height ? shape.Height : 1;
    c.Depth = shape.Depth ? shape.Depth : 1;
    NEED(cuMemcpy3D(&c));
    return array;
}

static inline CUtexObject texture_of(CUarray array, CUDA_TEXTURE_DESC t) {
    CUtexObject object = 0;
    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = array};
    NEED(cuTexObjectCreate(&object, &r, &t, NULL));
    return object;
}

// Runs a kernel of n threads on places of `place` bytes, for results of `result` bytes.
static inline void fetch(const char *name, CUtexObject object, const void *at, size_t place, void *out, size_t result,
                         int n) {
    CUdeviceptr places, results;
    NEED(cuMemAlloc(&places, place * n));
    NEED(cuMemAlloc(&results, result * n));
    NEED(cuMemcpyHtoD(places, at, place * n));
    if (!textures_)
        textures_ = load("texture");
    void *parameters[] = {&object, &results, &places, &n};
    NEED(cuLaunchKernel(kernel(textures_, name), (n + 63) / 64, 1, 1, 64, 1, 1, 0, NULL, parameters, NULL));
    NEED(cuMemcpyDtoH(out, results, result * n));
    NEED(cuMemFree(places));
    NEED(cuMemFree(results));
}

static inline int near(float a, float b) {
    float d = a - b;
    return d < 0.002f && d > -0.002f;
}
