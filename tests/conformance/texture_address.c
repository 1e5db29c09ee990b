// What texture objects read outside of the image: address modes, with normalized
// coordinates and without, with and without interpolation.
#include "textures.h"

enum { N = 8, PLACES = 96 };

static float texel(int i) { return (float)(i * 16 + 4); }

// The guide's formulas for one dimension; `border` is outside's value.
static float outside_of(CUaddress_mode mode, int i) {
    switch (mode) {
    case CU_TR_ADDRESS_MODE_WRAP:
        return texel(((i % N) + N) % N);
    case CU_TR_ADDRESS_MODE_MIRROR: {
        int twice = ((i % (2 * N)) + 2 * N) % (2 * N);
        return texel(twice < N ? twice : 2 * N - 1 - twice);
    }
    case CU_TR_ADDRESS_MODE_CLAMP:
        return texel(i < 0 ? 0 : i >= N ? N - 1 : i);
    default:
        return i < 0 || i >= N ? 0 : texel(i);
    }
}

static int floor_of(float x) {
    int i = (int)x;
    return i > x ? i - 1 : i;
}

static void mode(CUarray array, const char *name, CUaddress_mode address, CUfilter_mode filter, int normalized) {
    float at[PLACES], out[PLACES];
    for (int i = 0; i < PLACES; i++) {
        // From two images before to two images behind, off the texels' edges.
        float x = (i - 40) * 0.4375f + 0.15625f;
        at[i] = normalized ? x / N : x;
    }
    CUDA_TEXTURE_DESC t = sampler(filter, address, normalized ? CU_TRSF_NORMALIZED_COORDINATES : 0);
    // NVIDIA's hardware applies the other modes to the coordinates that a 1D texture has not.
    t.addressMode[1] = t.addressMode[2] = CU_TR_ADDRESS_MODE_CLAMP;
    CUtexObject object = texture_of(array, t);
    fetch("fetch_1d", object, at, sizeof *at, out, sizeof *out, PLACES);
    int right = 1;
    for (int i = 0; i < PLACES; i++) {
        float x = (i - 40) * 0.4375f + 0.15625f, expected;
        if (filter == CU_TR_FILTER_MODE_POINT) {
            expected = outside_of(address, floor_of(x));
        } else {
            // Multiples of 1/32: exact with 8 fractional bits.
            int first = floor_of(x - 0.5f);
            float weight = x - 0.5f - first;
            expected = (1 - weight) * outside_of(address, first) + weight * outside_of(address, first + 1);
        }
        if (!near(out[i], expected) && right) {
            right = 0;
            printf("# %s: at %g (texels) %g, expected %g\n", name, x, out[i], expected);
        }
    }
    CHECK(name, right);
    NEED(cuTexObjectDestroy(object));
}

int main(void) {
    start();
    float texels[N];
    for (int i = 0; i < N; i++)
        texels[i] = texel(i);
    CUDA_ARRAY3D_DESCRIPTOR shape = {.Width = N, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1};
    CUarray array = array_of(shape, texels, sizeof *texels);
    static const struct {
        const char *name;
        CUaddress_mode mode;
        int texels;
    } modes[] = {{"wrap", CU_TR_ADDRESS_MODE_WRAP, 0},
                 {"clamp", CU_TR_ADDRESS_MODE_CLAMP, 1},
                 {"mirror", CU_TR_ADDRESS_MODE_MIRROR, 0},
                 {"border", CU_TR_ADDRESS_MODE_BORDER, 1}};
    for (int i = 0; i < 4; i++)
        for (int linear = 0; linear < 2; linear++) {
            char name[64];
            CUfilter_mode filter = linear ? CU_TR_FILTER_MODE_LINEAR : CU_TR_FILTER_MODE_POINT;
            snprintf(name, sizeof name, "%s_%s_normalized", modes[i].name, linear ? "linear" : "point");
            mode(array, name, modes[i].mode, filter, 1);
            if (!modes[i].texels)
                continue;
            snprintf(name, sizeof name, "%s_%s", modes[i].name, linear ? "linear" : "point");
            mode(array, name, modes[i].mode, filter, 0);
        }

    // A border colour.
    CUDA_TEXTURE_DESC t = sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_BORDER, 0);
    t.borderColor[0] = 2.5f;
    CUtexObject object = texture_of(array, t);
    float at[2] = {-3, 3.5f}, out[2];
    fetch("fetch_1d", object, at, sizeof *at, out, sizeof *out, 2);
    CHECK("border_colour", out[0] == 2.5f && out[1] == texel(3));
    NEED(cuTexObjectDestroy(object));
    NEED(cuArrayDestroy(array));
    return finish();
}
