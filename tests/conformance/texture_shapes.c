// Textures of every shape: linear memory, pitched memory, planes, boxes, layers,
// cubes and mipmaps; fetches, interpolation, levels, gathers.
#include "textures.h"
#include <math.h>

typedef struct {
    float x, y, z, w;
} Place;

static void linear_memory(void) {
    enum { N = 1000 };
    float values[N], out[6];
    for (int i = 0; i < N; i++)
        values[i] = i * 0.5f;
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, sizeof values));
    NEED(cuMemcpyHtoD(memory, values, sizeof values));
    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_LINEAR};
    r.res.linear.devPtr = memory;
    r.res.linear.format = CU_AD_FORMAT_FLOAT;
    r.res.linear.numChannels = 1;
    r.res.linear.sizeInBytes = sizeof values;
    CUDA_TEXTURE_DESC t = sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, 0);
    CUtexObject object;
    if (!CHECK_CU("linear_memory", cuTexObjectCreate(&object, &r, &t, NULL)))
        return;
    int at[6] = {0, 1, 517, N - 1, N, -1};
    fetch("fetch_linear", object, at, sizeof *at, out, sizeof *out, 6);
    CHECK("linear_memory_values", out[0] == 0 && out[1] == 0.5f && out[2] == 258.5f && out[3] == (N - 1) * 0.5f);
    CHECK("linear_memory_outside_is_zero", out[4] == 0 && out[5] == 0);
    CUDA_RESOURCE_DESC back = {0};
    CHECK_CU("get_resource", cuTexObjectGetResourceDesc(&back, object));
    CHECK("get_resource_values", back.resType == CU_RESOURCE_TYPE_LINEAR && back.res.linear.devPtr == memory &&
                                     back.res.linear.sizeInBytes == sizeof values);
    NEED(cuTexObjectDestroy(object));
    NEED(cuMemFree(memory));
}

static void pitched_memory(void) {
    enum { W = 30, H = 6 };
    CUdeviceptr memory;
    size_t pitch;
    unsigned char values[W * H * 4];
    for (int i = 0; i < W * H * 4; i++)
        values[i] = (unsigned char)(i * 5);
    NEED(cuMemAllocPitch(&memory, &pitch, W * 4, H, 4));
    CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = values, .srcPitch = W * 4,
                       .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = memory, .dstPitch = pitch,
                       .WidthInBytes = W * 4, .Height = H};
    NEED(cuMemcpy2D(&c));
    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_PITCH2D};
    r.res.pitch2D.devPtr = memory;
    r.res.pitch2D.format = CU_AD_FORMAT_UNSIGNED_INT8;
    r.res.pitch2D.numChannels = 4;
    r.res.pitch2D.width = W;
    r.res.pitch2D.height = H;
    r.res.pitch2D.pitchInBytes = pitch;
    CUDA_TEXTURE_DESC t = sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, 0);
    CUtexObject object;
    if (!CHECK_CU("pitched_memory", cuTexObjectCreate(&object, &r, &t, NULL)))
        return;
    float at[3][2] = {{0.5f, 0.5f}, {17.5f, 4.5f}, {29.5f, 5.5f}}, out[3][4];
    fetch("fetch_2d", object, at, sizeof *at, out, sizeof *out, 3);
    int right = 1;
    for (int i = 0; i < 3; i++)
        for (int channel = 0; channel < 4; channel++)
            right &= near(out[i][channel], values[((int)at[i][1] * W + (int)at[i][0]) * 4 + channel] / 255.0f);
    CHECK("pitched_memory_normalized_values", right);
    NEED(cuTexObjectDestroy(object));
    NEED(cuMemFree(memory));
}

static float box_value(int x, int y, int z) { return x + y * 10.0f + z * 100.0f; }

// An array of W x H x D floats, each box_value of its place.
static CUarray box_array(size_t w, size_t h, size_t d, unsigned flags, float scale) {
    size_t rows = h ? h : 1, slices = d ? d : 1;
    float *values = malloc(w * rows * slices * sizeof *values);
    size_t i = 0;
    for (size_t z = 0; z < slices; z++)
        for (size_t y = 0; y < rows; y++)
            for (size_t x = 0; x < w; x++)
                values[i++] = box_value((int)x, (int)y, (int)z) * scale;
    CUDA_ARRAY3D_DESCRIPTOR shape = {w, h, d, CU_AD_FORMAT_FLOAT, 1, flags};
    CUarray array = array_of(shape, values, sizeof *values);
    free(values);
    return array;
}

static void box(void) {
    CUarray array = box_array(8, 6, 5, 0, 1);
    Place at[4] = {{2.5f, 3.5f, 1.5f, 0}, {3, 3.25f, 2.75f, 0}, {-4, 100, 2.5f, 0}, {7.9f, 5.9f, 4.9f, 0}};
    float out[4];
    CUtexObject object = texture_of(array, sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, 0));
    fetch("fetch_3d", object, at, sizeof *at, out, sizeof *out, 4);
    CHECK("box_point", out[0] == box_value(2, 3, 1) && out[1] == box_value(3, 3, 2) && out[2] == box_value(0, 5, 2) &&
                           out[3] == box_value(7, 5, 4));
    NEED(cuTexObjectDestroy(object));
    object = texture_of(array, sampler(CU_TR_FILTER_MODE_LINEAR, CU_TR_ADDRESS_MODE_CLAMP, 0));
    fetch("fetch_3d", object, at, sizeof *at, out, sizeof *out, 4);
    CHECK("box_linear", near(out[0], box_value(2, 3, 1)) && near(out[1], 2.5f + 27.5f + 225) &&
                            near(out[2], box_value(0, 5, 2)) && near(out[3], box_value(7, 5, 4)));
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));
}

static void plane(void) {
    CUarray array = box_array(16, 12, 0, CUDA_ARRAY3D_TEXTURE_GATHER, 1);
    float at[2][2] = {{4, 7}, {9.25f, 2.75f}}, out[2][4];
    CUtexObject object = texture_of(array, sampler(CU_TR_FILTER_MODE_LINEAR, CU_TR_ADDRESS_MODE_CLAMP, 0));
    fetch("fetch_2d", object, at, sizeof *at, out, sizeof *out, 2);
    CHECK("plane_linear", near(out[0][0], 3.5f + 65) && near(out[1][0], 8.75f + 22.5f));
    int size[2] = {0};
    CUdeviceptr results;
    NEED(cuMemAlloc(&results, sizeof size));
    void *parameters[] = {&object, &results};
    NEED(cuLaunchKernel(kernel(textures_, "query"), 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
    NEED(cuMemcpyDtoH(size, results, sizeof size));
    CHECK("query", size[0] == 16 && size[1] == 12);
    NEED(cuMemFree(results));
    NEED(cuTexObjectDestroy(object));

    object = texture_of(array, sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, 0));
    fetch("gather", object, at, sizeof *at, out, sizeof *out, 2);
    CHECK("gather", out[0][0] == box_value(3, 7, 0) && out[0][1] == box_value(4, 7, 0) &&
                        out[0][2] == box_value(4, 6, 0) && out[0][3] == box_value(3, 6, 0));
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));
}

static void layers(void) {
    CUarray array = box_array(8, 4, 3, CUDA_ARRAY3D_LAYERED, 1);
    Place at[4] = {{2.5f, 1.5f, 0, 0}, {2.5f, 1.5f, 2, 0}, {3, 2, 1, 0}, {0, 0, 9, 0}};
    float out[4];
    CUtexObject object = texture_of(array, sampler(CU_TR_FILTER_MODE_LINEAR, CU_TR_ADDRESS_MODE_CLAMP, 0));
    fetch("fetch_layered", object, at, sizeof *at, out, sizeof *out, 4);
    CHECK("layers", near(out[0], box_value(2, 1, 0)) && near(out[1], box_value(2, 1, 2)) &&
                        near(out[2], 2.5f + 15 + 100));
    CHECK("layer_is_clamped", near(out[3], box_value(0, 0, 2)));
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));

    array = box_array(8, 0, 3, CUDA_ARRAY3D_LAYERED, 1);
    object = texture_of(array, sampler(CU_TR_FILTER_MODE_LINEAR, CU_TR_ADDRESS_MODE_CLAMP, 0));
    fetch("fetch_layered_1d", object, at, sizeof *at, out, sizeof *out, 3);
    CHECK("layers_1d", near(out[0], box_value(2, 0, 0)) && near(out[1], box_value(2, 0, 2)) && near(out[2], 102.5f));
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));
}

static void cubes(void) {
    // In the middle of each face, and off it: face, s and t by the guide's table.
    Place at[8] = {{1, 0.1f, 0.1f, 0}, {-1, 0.1f, 0.1f, 0}, {0.1f, 1, 0.1f, 0},     {0.1f, -1, 0.1f, 0},
                   {0.1f, 0.1f, 1, 0}, {0.1f, 0.1f, -1, 0}, {2, -1.5f, -0.5f, 0}, {-1.5f, -0.5f, -2, 0}};
    int expected[8][3] = {{0, 1, 1}, {1, 2, 1}, {2, 2, 2}, {3, 2, 1}, {4, 2, 1}, {5, 1, 1}, {0, 2, 3}, {5, 3, 2}};
    float out[8];
    CUarray array = box_array(4, 4, 6, CUDA_ARRAY3D_CUBEMAP, 1);
    CUDA_TEXTURE_DESC t = sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, CU_TRSF_NORMALIZED_COORDINATES);
    CUtexObject object = texture_of(array, t);
    fetch("fetch_cube", object, at, sizeof *at, out, sizeof *out, 8);
    int right = 1;
    for (int i = 0; i < 8; i++)
        right &= out[i] == box_value(expected[i][1], expected[i][2], expected[i][0]);
    CHECK("cube", right);
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));

    array = box_array(4, 4, 12, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED, 1);
    object = texture_of(array, t);
    for (int i = 0; i < 8; i++)
        at[i].w = 1;
    fetch("fetch_cube_layered", object, at, sizeof *at, out, sizeof *out, 8);
    right = 1;
    for (int i = 0; i < 8; i++)
        right &= out[i] == box_value(expected[i][1], expected[i][2], 6 + expected[i][0]);
    CHECK("layered_cube", right);
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));
}

static void mipmaps(void) {
    CUDA_ARRAY3D_DESCRIPTOR shape = {16, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0};
    CUmipmappedArray mipmapped;
    NEED(cuMipmappedArrayCreate(&mipmapped, &shape, 4));
    for (unsigned level = 0; level < 4; level++) {
        // A level is all the same.
        float values[256];
        size_t size = 16 >> level;
        for (size_t i = 0; i < size * size; i++)
            values[i] = level * 10.0f;
        CUarray array;
        NEED(cuMipmappedArrayGetLevel(&array, mipmapped, level));
        CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = values, .srcPitch = size * 4,
                           .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = array, .WidthInBytes = size * 4,
                           .Height = size};
        NEED(cuMemcpy2D(&c));
    }
    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY, .res.mipmap.hMipmappedArray = mipmapped};
    CUDA_TEXTURE_DESC t = sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, CU_TRSF_NORMALIZED_COORDINATES);
    CUtexObject object;
    if (!CHECK_CU("mipmapped", cuTexObjectCreate(&object, &r, &t, NULL)))
        return;
    Place at[6] = {{0.3f, 0.6f, 0, 0},    {0.3f, 0.6f, 1, 0},  {0.3f, 0.6f, 2.25f, 0},
                   {0.3f, 0.6f, 1.75f, 0}, {0.3f, 0.6f, 50, 0}, {0.3f, 0.6f, -1, 0}};
    float out[6];
    fetch("fetch_level", object, at, sizeof *at, out, sizeof *out, 6);
    CHECK("level_point", out[0] == 0 && out[1] == 10 && out[2] == 20 && out[3] == 20);
    CHECK("level_is_clamped_to_what_there_is", out[4] == 30 && out[5] == 0);
    NEED(cuTexObjectDestroy(object));

    t.mipmapFilterMode = CU_TR_FILTER_MODE_LINEAR;
    NEED(cuTexObjectCreate(&object, &r, &t, NULL));
    fetch("fetch_level", object, at, sizeof *at, out, sizeof *out, 4);
    CHECK("level_linear", near(out[0], 0) && near(out[1], 10) && near(out[2], 22.5f) && near(out[3], 17.5f));
    // A derivative of two texels a step is level 1, of four texels level 2.
    Place steps[3] = {{0.3f, 0.6f, 1 / 16.0f, 0}, {0.3f, 0.6f, 2 / 16.0f, 0}, {0.3f, 0.6f, 4 / 16.0f, 0}};
    fetch("fetch_gradient", object, steps, sizeof *steps, out, sizeof *out, 3);
    // How exactly a level follows from derivatives is the device's choice.
    CHECK("gradient", fabsf(out[0]) < 0.5f && fabsf(out[1] - 10) < 0.5f && fabsf(out[2] - 20) < 0.5f);
    NEED(cuTexObjectDestroy(object));

    t.minMipmapLevelClamp = 1;
    t.maxMipmapLevelClamp = 2;
    t.mipmapLevelBias = 0;
    NEED(cuTexObjectCreate(&object, &r, &t, NULL));
    fetch("fetch_level", object, at, sizeof *at, out, sizeof *out, 5);
    CHECK("level_clamp", near(out[0], 10) && near(out[1], 10) && near(out[4], 20));
    NEED(cuTexObjectDestroy(object));
    NEED(cuMipmappedArrayDestroy(mipmapped));
}

int main(void) {
    start();
    linear_memory();
    pitched_memory();
    plane();
    box();
    layers();
    cubes();
    mipmaps();
    return finish();
}
