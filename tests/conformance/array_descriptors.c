// Making arrays of every shape and format, what their descriptors say, and what
// is refused.
#include "check.h"

static void shape(const char *name, size_t width, size_t height, size_t depth, unsigned flags) {
    char check[96];
    CUDA_ARRAY3D_DESCRIPTOR in = {width, height, depth, CU_AD_FORMAT_FLOAT, 2, flags}, out = {0};
    CUarray array;
    if (!CHECK_CU(name, cuArray3DCreate(&array, &in)))
        return;
    NEED(cuArray3DGetDescriptor(&out, array));
    snprintf(check, sizeof check, "%s_descriptor", name);
    CHECK(check, out.Width == width && out.Height == height && out.Depth == depth && out.Format == in.Format &&
                     out.NumChannels == 2 && (out.Flags & flags) == flags);
    NEED(cuArrayDestroy(array));
}

static void formats(void) {
    static const struct {
        CUarray_format format;
        const char *name;
    } list[] = {{CU_AD_FORMAT_UNSIGNED_INT8, "u8"},   {CU_AD_FORMAT_UNSIGNED_INT16, "u16"},
                {CU_AD_FORMAT_UNSIGNED_INT32, "u32"}, {CU_AD_FORMAT_SIGNED_INT8, "s8"},
                {CU_AD_FORMAT_SIGNED_INT16, "s16"},   {CU_AD_FORMAT_SIGNED_INT32, "s32"},
                {CU_AD_FORMAT_HALF, "half"},          {CU_AD_FORMAT_FLOAT, "float"}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (unsigned channels = 1; channels <= 4; channels *= 2) {
            char name[64];
            CUarray array;
            CUDA_ARRAY_DESCRIPTOR in = {37, 5, list[i].format, channels}, out;
            snprintf(name, sizeof name, "format_%s_x%u", list[i].name, channels);
            if (!CHECK_CU(name, cuArrayCreate(&array, &in)))
                continue;
            NEED(cuArrayGetDescriptor(&out, array));
            strcat(name, "_descriptor");
            CHECK(name, out.Width == 37 && out.Height == 5 && out.Format == in.Format && out.NumChannels == channels);
            NEED(cuArrayDestroy(array));
        }
}

static void refusals(void) {
    CUarray array = NULL;
    CUDA_ARRAY3D_DESCRIPTOR good = {16, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0}, bad;
    bad = good, bad.Width = 0;
    CHECK_ERR("no_width", cuArray3DCreate(&array, &bad), CUDA_ERROR_INVALID_VALUE);
    bad = good, bad.NumChannels = 3;
    CHECK_ERR("three_channels", cuArray3DCreate(&array, &bad), CUDA_ERROR_INVALID_VALUE);
    bad = good, bad.Depth = 5, bad.Flags = CUDA_ARRAY3D_CUBEMAP;
    CHECK_ERR("cubemap_without_six_faces", cuArray3DCreate(&array, &bad), CUDA_ERROR_INVALID_VALUE);
    bad = good, bad.Height = 8, bad.Depth = 6, bad.Flags = CUDA_ARRAY3D_CUBEMAP;
    CHECK_ERR("cubemap_not_square", cuArray3DCreate(&array, &bad), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_descriptor", cuArray3DCreate(&array, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_output", cuArray3DCreate(NULL, &good), CUDA_ERROR_INVALID_VALUE);

    NEED(cuArray3DCreate(&array, &good));
    CUDA_ARRAY_SPARSE_PROPERTIES sparse;
    CHECK_ERR("not_sparse", cuArrayGetSparseProperties(&sparse, array), CUDA_ERROR_INVALID_VALUE);
    CUDA_ARRAY_MEMORY_REQUIREMENTS need;
    CHECK_ERR("not_deferred", cuArrayGetMemoryRequirements(&need, array, 0), CUDA_ERROR_INVALID_VALUE);
    CUarray plane;
    CHECK_ERR("no_planes", cuArrayGetPlane(&plane, array, 0), CUDA_ERROR_INVALID_VALUE);
    NEED(cuArrayDestroy(array));
}

static void mipmapped(void) {
    CUDA_ARRAY3D_DESCRIPTOR in = {64, 20, 0, CU_AD_FORMAT_UNSIGNED_INT16, 4, 0}, out;
    CUmipmappedArray mipmapped;
    if (!CHECK_CU("mipmapped", cuMipmappedArrayCreate(&mipmapped, &in, 4)))
        return;
    static const size_t sizes[4][2] = {{64, 20}, {32, 10}, {16, 5}, {8, 2}};
    for (unsigned level = 0; level < 4; level++) {
        CUarray array;
        char name[64];
        snprintf(name, sizeof name, "level_%u", level);
        if (!CHECK_CU(name, cuMipmappedArrayGetLevel(&array, mipmapped, level)))
            continue;
        NEED(cuArray3DGetDescriptor(&out, array));
        strcat(name, "_descriptor");
        CHECK(name, out.Width == sizes[level][0] && out.Height == sizes[level][1] && out.NumChannels == 4);
        // Levels have memory of their own.
        unsigned short texel[4] = {(unsigned short)level, 7, 8, 9}, back[4];
        CUDA_MEMCPY2D c = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = texel, .srcPitch = 8,
                           .dstMemoryType = CU_MEMORYTYPE_ARRAY, .dstArray = array, .WidthInBytes = 8, .Height = 1};
        NEED(cuMemcpy2D(&c));
        CUDA_MEMCPY2D d = {.srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = array, .dstMemoryType = CU_MEMORYTYPE_HOST,
                           .dstHost = back, .dstPitch = 8, .WidthInBytes = 8, .Height = 1};
        CUarray first;
        NEED(cuMipmappedArrayGetLevel(&first, mipmapped, 0));
        d.srcArray = level ? first : array;
        NEED(cuMemcpy2D(&d));
        snprintf(name, sizeof name, "level_%u_is_separate", level);
        CHECK(name, back[0] == 0 && back[1] == 7);
    }
    CUarray array;
    CUDA_ARRAY_SPARSE_PROPERTIES sparse;
    CUDA_ARRAY_MEMORY_REQUIREMENTS need;
    CHECK_ERR("mipmapped_not_sparse", cuMipmappedArrayGetSparseProperties(&sparse, mipmapped), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("mipmapped_not_deferred", cuMipmappedArrayGetMemoryRequirements(&need, mipmapped, 0),
              CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("level_beyond_the_last", cuMipmappedArrayGetLevel(&array, mipmapped, 4), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("mipmapped_destroy", cuMipmappedArrayDestroy(mipmapped));
}

int main(void) {
    start();
    shape("line", 1000, 0, 0, 0);
    shape("plane", 100, 50, 0, 0);
    shape("box", 20, 30, 40, 0);
    shape("layered_line", 64, 0, 5, CUDA_ARRAY3D_LAYERED);
    shape("layered_plane", 64, 32, 5, CUDA_ARRAY3D_LAYERED);
    shape("cubemap", 32, 32, 6, CUDA_ARRAY3D_CUBEMAP);
    shape("layered_cubemap", 16, 16, 12, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED);
    shape("surface", 64, 64, 0, CUDA_ARRAY3D_SURFACE_LDST);
    shape("gather", 64, 64, 0, CUDA_ARRAY3D_TEXTURE_GATHER);
    formats();
    refusals();
    mipmapped();
    return finish();
}
