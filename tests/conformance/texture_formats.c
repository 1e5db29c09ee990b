// What elements of every format read as: integers, normalized and plain floats,
// halves, sRGB, another view; and which texture objects are refused.
#include "textures.h"

// Four texels of four channels, as bytes of the format.
static void expect(const char *name, CUarray_format format, const void *texels, size_t channel, unsigned flags,
                   const float expected[4]) {
    char check[96];
    CUDA_ARRAY3D_DESCRIPTOR shape = {.Width = 4, .Height = 1, .Format = format, .NumChannels = 4};
    CUarray array = array_of(shape, texels, channel * 4);
    CUtexObject object = texture_of(array, sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, flags));
    float at[4][2] = {{0.5f, 0.5f}, {1.5f, 0.5f}, {2.5f, 0.5f}, {3.5f, 0.5f}}, out[4][4];
    int right = 1;
    if (flags & CU_TRSF_READ_AS_INTEGER && format != CU_AD_FORMAT_HALF && format != CU_AD_FORMAT_FLOAT) {
        int numbers[4][4];
        fetch("fetch_2d_int", object, at, sizeof *at, numbers, sizeof *numbers, 4);
        for (int i = 0; i < 4; i++)
            right &= numbers[1][i] == (int)expected[i];
    } else {
        fetch("fetch_2d", object, at, sizeof *at, out, sizeof *out, 4);
        for (int i = 0; i < 4; i++)
            right &= near(out[1][i], expected[i]);
    }
    snprintf(check, sizeof check, "%s", name);
    CHECK(check, right);
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));
}

static void formats(void) {
    const unsigned as_integer = CU_TRSF_READ_AS_INTEGER;
    unsigned char u8[16] = {0, 0, 0, 0, 0, 51, 128, 255};
    signed char s8[16] = {0, 0, 0, 0, 0, -64, 127, -128};
    unsigned short u16[16] = {0, 0, 0, 0, 0, 1000, 32768, 65535};
    short s16[16] = {0, 0, 0, 0, 0, -16384, 32767, -32768};
    unsigned u32[16] = {0, 0, 0, 0, 1, 70000, 12345678, 5};
    int s32[16] = {0, 0, 0, 0, 1, -70000, 1234567, -5};
    unsigned short half[16] = {0, 0, 0, 0, 0x3c00, 0xc000, 0x3555, 0x7bff};
    float f32[16] = {0, 0, 0, 0, 1.5f, -2.25f, 1e-3f, 1e10f};
    expect("u8_integer", CU_AD_FORMAT_UNSIGNED_INT8, u8, 1, as_integer, (float[]){0, 51, 128, 255});
    expect("s8_integer", CU_AD_FORMAT_SIGNED_INT8, s8, 1, as_integer, (float[]){0, -64, 127, -128});
    expect("u16_integer", CU_AD_FORMAT_UNSIGNED_INT16, u16, 2, as_integer, (float[]){0, 1000, 32768, 65535});
    expect("s16_integer", CU_AD_FORMAT_SIGNED_INT16, s16, 2, as_integer, (float[]){0, -16384, 32767, -32768});
    expect("u32_integer", CU_AD_FORMAT_UNSIGNED_INT32, u32, 4, as_integer, (float[]){1, 70000, 12345678, 5});
    expect("s32_integer", CU_AD_FORMAT_SIGNED_INT32, s32, 4, as_integer, (float[]){1, -70000, 1234567, -5});
    expect("u8_normalized", CU_AD_FORMAT_UNSIGNED_INT8, u8, 1, 0, (float[]){0, 0.2f, 128 / 255.0f, 1});
    expect("s8_normalized", CU_AD_FORMAT_SIGNED_INT8, s8, 1, 0, (float[]){0, -64 / 127.0f, 1, -1});
    expect("u16_normalized", CU_AD_FORMAT_UNSIGNED_INT16, u16, 2, 0, (float[]){0, 1000 / 65535.0f, 0.5f, 1});
    expect("s16_normalized", CU_AD_FORMAT_SIGNED_INT16, s16, 2, 0, (float[]){0, -0.5f, 1, -1});
    expect("half", CU_AD_FORMAT_HALF, half, 2, 0, (float[]){1, -2, 0.333252f, 65504});
    expect("float", CU_AD_FORMAT_FLOAT, f32, 4, 0, (float[]){1.5f, -2.25f, 1e-3f, 1e10f});
    // sRGB: three channels are made linear, the fourth is not.
    expect("srgb", CU_AD_FORMAT_UNSIGNED_INT8, u8, 1, CU_TRSF_SRGB, (float[]){0, 0.0331f, 0.21586f, 1});
}

static void view(void) {
    unsigned texels[4] = {0, 0x01020304, 0, 0};
    CUDA_ARRAY3D_DESCRIPTOR shape = {.Width = 4, .Height = 1, .Format = CU_AD_FORMAT_UNSIGNED_INT32, .NumChannels = 1};
    CUarray array = array_of(shape, texels, 4);
    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = array};
    CUDA_TEXTURE_DESC t = sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, CU_TRSF_READ_AS_INTEGER);
    CUDA_RESOURCE_VIEW_DESC v = {.format = CU_RES_VIEW_FORMAT_UINT_4X8, .width = 4, .height = 1}, back;
    CUtexObject object;
    if (CHECK_CU("view", cuTexObjectCreate(&object, &r, &t, &v))) {
        float at[1][2] = {{1.5f, 0.5f}};
        int out[1][4];
        fetch("fetch_2d_int", object, at, sizeof *at, out, sizeof *out, 1);
        CHECK("view_values", out[0][0] == 4 && out[0][1] == 3 && out[0][2] == 2 && out[0][3] == 1);
        CHECK_CU("get_view", cuTexObjectGetResourceViewDesc(&back, object));
        CHECK("get_view_values", back.format == v.format && back.width == 4);
        NEED(cuTexObjectDestroy(object));
    }
    CUDA_TEXTURE_DESC sampled = {0};
    NEED(cuTexObjectCreate(&object, &r, &t, NULL));
    CHECK_CU("get_texture", cuTexObjectGetTextureDesc(&sampled, object));
    CHECK("get_texture_values", sampled.flags == CU_TRSF_READ_AS_INTEGER &&
                                    sampled.addressMode[0] == CU_TR_ADDRESS_MODE_CLAMP);
    NEED(cuTexObjectDestroy(object));
    CHECK_ERR("no_resource", cuTexObjectCreate(&object, NULL, &t, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_sampler", cuTexObjectCreate(&object, &r, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_output", cuTexObjectCreate(NULL, &r, &t, NULL), CUDA_ERROR_INVALID_VALUE);
    NEED(cuArrayDestroy(array));
}

int main(void) {
    start();
    formats();
    view();
    return finish();
}
