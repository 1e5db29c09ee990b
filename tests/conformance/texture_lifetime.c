// Texture objects and arrays that come and go, by themselves and with their context.
#include "textures.h"

int main(void) {
    start();
    enum { N = 256 };
    static float texels[N], at[N], out[N];
    for (int i = 0; i < N; i++) {
        texels[i] = i * 2.0f;
        at[i] = i + 0.5f;
    }
    CUDA_ARRAY3D_DESCRIPTOR shape = {.Width = N, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1};
    textures_ = load("texture");

    // Many objects, one after the other.
    int right = 1;
    for (int round = 0; round < 200; round++) {
        CUarray array = array_of(shape, texels, 4);
        CUtexObject object = texture_of(array, sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, 0));
        if (round % 50 == 0) {
            memset(out, 0, sizeof out);
            fetch("fetch_1d", object, at, sizeof *at, out, sizeof *out, N);
            right &= !memcmp(out, texels, sizeof out);
        }
        NEED(cuTexObjectDestroy(object));
        NEED(cuArrayDestroy(array));
    }
    CHECK("made_and_destroyed_often", right);

    // A context's objects are gone with it.
    CUcontext second, first;
    NEED(cuCtxGetCurrent(&first));
    NEED(cuCtxCreate(&second, NULL, 0, 0));
    CUarray array = array_of(shape, texels, 4);
    texture_of(array, sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, 0));
    CHECK_CU("context_with_objects", cuCtxDestroy(second));
    NEED(cuCtxSetCurrent(first));
    return finish();
}
