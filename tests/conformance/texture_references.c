// Texture and surface references: variables of a module that the host binds.
// Deprecated, and gone from CUDA C++; PTX and the driver still have them.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include "textures.h"

static const char ptx[] = ".version 7.0\n"
                          ".target sm_75\n"
                          ".address_size 64\n"
                          ".visible .global .texref line;\n"
                          ".visible .global .texref plane;\n"
                          ".visible .global .surfref target;\n"
                          ".visible .entry read_line(.param .u64 out) {\n"
                          " .reg .b64 %rd<4>; .reg .b32 %r<4>; .reg .f32 %f<5>;\n"
                          " ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4;\n"
                          " add.s64 %rd3, %rd1, %rd2;\n"
                          " tex.1d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [line, {%r1}];\n"
                          " st.global.f32 [%rd3], %f1; ret;\n}\n"
                          ".visible .entry read_plane(.param .u64 out) {\n"
                          " .reg .b64 %rd<4>; .reg .b32 %r<4>; .reg .f32 %f<8>;\n"
                          " ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4;\n"
                          " add.s64 %rd3, %rd1, %rd2; cvt.rn.f32.u32 %f5, %r1; mov.f32 %f6, 0f3FC00000;\n"
                          " tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [plane, {%f5, %f6}];\n"
                          " st.global.f32 [%rd3], %f1; ret;\n}\n"
                          ".visible .entry write_target() {\n"
                          " .reg .b32 %r<4>; mov.u32 %r1, %tid.x; mul.lo.u32 %r2, %r1, 4; mul.lo.u32 %r3, %r1, 7;\n"
                          " sust.b.1d.b32.trap [target, {%r2}], {%r3}; ret;\n}\n";

enum { N = 16 };

static CUmodule module;

static void run(const char *name, float out[N]) {
    CUdeviceptr results;
    NEED(cuMemAlloc(&results, N * 4));
    void *parameters[] = {&results};
    NEED(cuLaunchKernel(kernel(module, name), 1, 1, 1, N, 1, 1, 0, NULL, parameters, NULL));
    NEED(cuMemcpyDtoH(out, results, N * 4));
    NEED(cuMemFree(results));
}

static void line(void) {
    float values[2 * N], out[N];
    int right = 1;
    for (int i = 0; i < 2 * N; i++)
        values[i] = i * 1.5f;
    CUdeviceptr memory, back;
    NEED(cuMemAlloc(&memory, sizeof values));
    NEED(cuMemcpyHtoD(memory, values, sizeof values));
    CUtexref reference;
    if (!CHECK_CU("get", cuModuleGetTexRef(&reference, module, "line")))
        return;
    CHECK_CU("set_format", cuTexRefSetFormat(reference, CU_AD_FORMAT_FLOAT, 1));
    size_t offset = 99;
    CHECK_CU("set_address", cuTexRefSetAddress(&offset, reference, memory, sizeof values));
    CHECK("set_address_offset", offset == 0);
    run("read_line", out);
    for (int i = 0; i < N; i++)
        right &= out[i] == values[i];
    CHECK("line", right);
    CHECK_CU("get_address", cuTexRefGetAddress(&back, reference));
    CHECK("get_address_value", back == memory);
    CUarray_format format;
    int channels;
    CHECK_CU("get_format", cuTexRefGetFormat(&format, &channels, reference));
    CHECK("get_format_value", format == CU_AD_FORMAT_FLOAT && channels == 1);
    CHECK_ERR("no_such_reference", cuModuleGetTexRef(&reference, module, "lines"), CUDA_ERROR_NOT_FOUND);
    NEED(cuMemFree(memory));
}

static void pitched_plane(void) {
    float out[N], texels[4][N];
    for (int i = 0; i < 4 * N; i++)
        texels[i / N][i % N] = 100 + (float)i;
    CUdeviceptr memory;
    size_t pitch;
    NEED(cuMemAllocPitch(&memory, &pitch, sizeof texels[0], 4, sizeof(float)));
    CUDA_MEMCPY2D copy = {.srcMemoryType = CU_MEMORYTYPE_HOST, .srcHost = texels, .srcPitch = sizeof texels[0],
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = memory, .dstPitch = pitch,
                          .WidthInBytes = sizeof texels[0], .Height = 4};
    NEED(cuMemcpy2D(&copy));
    CUDA_ARRAY_DESCRIPTOR shape = {N, 4, CU_AD_FORMAT_FLOAT, 1};
    CUtexref reference;
    NEED(cuModuleGetTexRef(&reference, module, "plane"));
    NEED(cuTexRefSetFormat(reference, CU_AD_FORMAT_FLOAT, 1));
    CHECK_CU("set_address_2d", cuTexRefSetAddress2D(reference, &shape, memory, pitch));
    run("read_plane", out);
    int right = 1;
    for (int i = 0; i < N; i++)
        right &= out[i] == texels[1][i];
    CHECK("pitched_plane", right);
    CHECK_ERR("set_address_2d_misaligned", cuTexRefSetAddress2D(reference, &shape, memory + 4, pitch),
              CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemFree(memory));
}

static void plane(void) {
    float texels[4][N], out[N];
    for (int i = 0; i < 4 * N; i++)
        texels[i / N][i % N] = (float)i;
    CUDA_ARRAY3D_DESCRIPTOR shape = {N, 4, 0, CU_AD_FORMAT_FLOAT, 1, 0};
    CUarray array = array_of(shape, texels, 4), back;
    CUtexref reference;
    NEED(cuModuleGetTexRef(&reference, module, "plane"));
    CHECK_CU("set_address_mode", cuTexRefSetAddressMode(reference, 0, CU_TR_ADDRESS_MODE_CLAMP));
    NEED(cuTexRefSetAddressMode(reference, 1, CU_TR_ADDRESS_MODE_CLAMP));
    CHECK_CU("set_filter_mode", cuTexRefSetFilterMode(reference, CU_TR_FILTER_MODE_LINEAR));
    CHECK_CU("set_array", cuTexRefSetArray(reference, array, CU_TRSA_OVERRIDE_FORMAT));
    run("read_plane", out);
    // Halfway between texels along x: the first is clamped.
    int right = near(out[0], N);
    for (int i = 1; i < N; i++)
        right &= near(out[i], N + i - 0.5f);
    CHECK("plane_linear", right);
    CHECK_CU("set_filter_mode_again", cuTexRefSetFilterMode(reference, CU_TR_FILTER_MODE_POINT));
    run("read_plane", out);
    right = 1;
    for (int i = 0; i < N; i++)
        right &= out[i] == N + i;
    CHECK("plane_point", right);

    CHECK_CU("get_array", cuTexRefGetArray(&back, reference));
    CHECK("get_array_value", back == array);
    CUaddress_mode mode;
    CUfilter_mode filter;
    CHECK_CU("get_address_mode", cuTexRefGetAddressMode(&mode, reference, 1));
    CHECK_CU("get_filter_mode", cuTexRefGetFilterMode(&filter, reference));
    CHECK("get_mode_values", mode == CU_TR_ADDRESS_MODE_CLAMP && filter == CU_TR_FILTER_MODE_POINT);
    unsigned flags = 99;
    CHECK_CU("set_flags", cuTexRefSetFlags(reference, CU_TRSF_NORMALIZED_COORDINATES));
    CHECK_CU("get_flags", cuTexRefGetFlags(&flags, reference));
    CHECK("get_flags_value", flags == CU_TRSF_NORMALIZED_COORDINATES);
    float border[4] = {1, 2, 3, 4}, border_back[4] = {0};
    CHECK_CU("set_border_colour", cuTexRefSetBorderColor(reference, border));
    CHECK_CU("get_border_colour", cuTexRefGetBorderColor(border_back, reference));
    CHECK("get_border_colour_value", !memcmp(border, border_back, sizeof border));
    NEED(cuArrayDestroy(array));
}

static void mipmaps(void) {
    CUDA_ARRAY3D_DESCRIPTOR shape = {N, N, 0, CU_AD_FORMAT_FLOAT, 1, 0};
    CUmipmappedArray array, back;
    CUfilter_mode filter;
    float bias = 0, low = 0, high = 0;
    int anisotropy = 0;
    CUtexref reference;
    NEED(cuMipmappedArrayCreate(&array, &shape, 3));
    NEED(cuModuleGetTexRef(&reference, module, "plane"));
    CHECK_CU("set_mipmap_filter", cuTexRefSetMipmapFilterMode(reference, CU_TR_FILTER_MODE_LINEAR));
    CHECK_CU("get_mipmap_filter", cuTexRefGetMipmapFilterMode(&filter, reference));
    CHECK("get_mipmap_filter_value", filter == CU_TR_FILTER_MODE_LINEAR);
    CHECK_CU("set_mipmap_bias", cuTexRefSetMipmapLevelBias(reference, 0.5f));
    CHECK_CU("get_mipmap_bias", cuTexRefGetMipmapLevelBias(&bias, reference));
    CHECK("get_mipmap_bias_value", bias == 0.5f);
    CHECK_CU("set_mipmap_clamp", cuTexRefSetMipmapLevelClamp(reference, 1, 2));
    CHECK_CU("get_mipmap_clamp", cuTexRefGetMipmapLevelClamp(&low, &high, reference));
    CHECK("get_mipmap_clamp_values", low == 1 && high == 2);
    CHECK_CU("set_anisotropy", cuTexRefSetMaxAnisotropy(reference, 4));
    CHECK_CU("get_anisotropy", cuTexRefGetMaxAnisotropy(&anisotropy, reference));
    CHECK("get_anisotropy_value", anisotropy == 4);
    CHECK_CU("set_mipmapped_array", cuTexRefSetMipmappedArray(reference, array, CU_TRSA_OVERRIDE_FORMAT));
    CHECK_CU("get_mipmapped_array", cuTexRefGetMipmappedArray(&back, reference));
    CHECK("get_mipmapped_array_value", back == array);
    NEED(cuMipmappedArrayDestroy(array));
}

static void target(void) {
    int back[N], right = 1;
    CUDA_ARRAY3D_DESCRIPTOR shape = {N, 0, 0, CU_AD_FORMAT_SIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST};
    CUarray array, bound;
    NEED(cuArray3DCreate(&array, &shape));
    CUsurfref reference;
    if (!CHECK_CU("get_surface", cuModuleGetSurfRef(&reference, module, "target")))
        return;
    CHECK_CU("set_surface_array", cuSurfRefSetArray(reference, array, 0));
    CHECK_CU("get_surface_array", cuSurfRefGetArray(&bound, reference));
    CHECK("get_surface_array_value", bound == array);
    NEED(cuLaunchKernel(kernel(module, "write_target"), 1, 1, 1, N, 1, 1, 0, NULL, NULL, NULL));
    NEED(cuMemcpyAtoH(back, array, 0, sizeof back));
    for (int i = 0; i < N; i++)
        right &= back[i] == i * 7;
    CHECK("surface", right);
    NEED(cuArrayDestroy(array));
}

static void of_its_own(void) {
    CUtexref reference;
    if (!CHECK_CU("create", cuTexRefCreate(&reference)))
        return;
    CHECK_CU("created_set_filter_mode", cuTexRefSetFilterMode(reference, CU_TR_FILTER_MODE_LINEAR));
    CHECK_CU("created_destroy", cuTexRefDestroy(reference));
}

int main(void) {
    start();
    if (cuModuleLoadData(&module, ptx) != CUDA_SUCCESS) {
        SKIP("all", "the driver does not take references in PTX any more");
        return finish();
    }
    line();
    pitched_plane();
    plane();
    target();
    mipmaps();
    of_its_own();
    return finish();
}
