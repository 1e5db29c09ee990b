// Surface objects: reads and writes of kernels in every shape, boundary modes,
// reductions, and what a texture sees of it.
#include "textures.h"

static CUmodule module;

static CUarray surface_array(size_t w, size_t h, size_t d, CUarray_format format, unsigned channels, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR shape = {w, h, d, format, channels, flags | CUDA_ARRAY3D_SURFACE_LDST};
    CUarray array;
    NEED(cuArray3DCreate(&array, &shape));
    return array;
}

static CUsurfObject surface_of(CUarray array) {
    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_ARRAY, .res.array.hArray = array};
    CUsurfObject surface = 0;
    NEED(cuSurfObjectCreate(&surface, &r));
    return surface;
}

static void read_back(CUarray array, void *to, size_t row, size_t height, size_t depth) {
    CUDA_MEMCPY3D c = {.srcMemoryType = CU_MEMORYTYPE_ARRAY, .srcArray = array, .dstMemoryType = CU_MEMORYTYPE_HOST};
    c.dstHost = to;
    c.dstPitch = c.WidthInBytes = row;
    c.dstHeight = c.Height = height;
    c.Depth = depth;
    NEED(cuMemcpy3D(&c));
}

static void launch(const char *name, unsigned blocks, unsigned rows, void **parameters) {
    NEED(cuLaunchKernel(kernel(module, name), blocks, rows, 1, 16, 16, 1, 0, NULL, parameters, NULL));
}

static void line(void) {
    enum { N = 100 };
    int back[N], n = N, right = 1;
    CUarray array = surface_array(N, 0, 0, CU_AD_FORMAT_SIGNED_INT32, 1, 0);
    CUsurfObject surface = surface_of(array);
    void *parameters[] = {&surface, &n};
    NEED(cuLaunchKernel(kernel(module, "write_1d"), 2, 1, 1, 64, 1, 1, 0, NULL, parameters, NULL));
    read_back(array, back, sizeof back, 1, 1);
    for (int i = 0; i < N; i++)
        right &= back[i] == i * 3 + 1;
    CHECK("line", right);
    CUDA_RESOURCE_DESC r;
    CHECK_CU("get_resource", cuSurfObjectGetResourceDesc(&r, surface));
    CHECK("get_resource_values", r.resType == CU_RESOURCE_TYPE_ARRAY && r.res.array.hArray == array);
    CHECK_CU("destroy", cuSurfObjectDestroy(surface));
    NEED(cuArrayDestroy(array));
}

static void plane(void) {
    enum { W = 40, H = 20 };
    unsigned char back[H][W][4];
    int w = W, h = H, right = 1;
    CUarray a = surface_array(W, H, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, 0);
    CUarray b = surface_array(W, H, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, 0);
    CUsurfObject from = surface_of(a), to = surface_of(b);
    void *write[] = {&from, &w, &h}, *turn[] = {&to, &from, &w, &h};
    launch("write_2d", 3, 2, write);
    launch("turn_2d", 3, 2, turn);
    read_back(b, back, W * 4, H, 1);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int u = W - 1 - x, v = H - 1 - y;
            right &= back[y][x][0] == u && back[y][x][1] == v && back[y][x][2] == u + v && back[y][x][3] == 255 - u;
        }
    CHECK("plane", right);

    // A later kernel's texture sees what was written.
    CUtexObject texture = texture_of(b, sampler(CU_TR_FILTER_MODE_POINT, CU_TR_ADDRESS_MODE_CLAMP, CU_TRSF_READ_AS_INTEGER));
    float at[1][2] = {{3.5f, 2.5f}};
    int out[1][4];
    fetch("fetch_2d_int", texture, at, sizeof *at, out, sizeof *out, 1);
    CHECK("texture_sees_it", out[0][0] == W - 4 && out[0][1] == H - 3);
    NEED(cuTexObjectDestroy(texture));

    int size[2] = {0};
    CUdeviceptr results;
    NEED(cuMemAlloc(&results, 16));
    void *query[] = {&to, &results};
    NEED(cuLaunchKernel(kernel(module, "query"), 1, 1, 1, 1, 1, 1, 0, NULL, query, NULL));
    NEED(cuMemcpyDtoH(size, results, sizeof size));
    CHECK("query", size[0] == W && size[1] == H);
    NEED(cuMemFree(results));
    NEED(cuSurfObjectDestroy(from));
    NEED(cuSurfObjectDestroy(to));
    NEED(cuArrayDestroy(a));
    NEED(cuArrayDestroy(b));
}

static void boxes(void) {
    enum { W = 12, H = 10, D = 5 };
    static float back[D][H][W][2];
    int w = W, h = H, d = D, right = 1;
    CUarray array = surface_array(W, H, D, CU_AD_FORMAT_FLOAT, 2, 0);
    CUsurfObject surface = surface_of(array);
    void *parameters[] = {&surface, &w, &h, &d};
    launch("write_3d", D, 1, parameters);
    read_back(array, back, W * 8, H, D);
    for (int z = 0; z < D; z++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                right &= back[z][y][x][0] == x + y * 10 && back[z][y][x][1] == z;
    CHECK("box", right);
    NEED(cuSurfObjectDestroy(surface));
    NEED(cuArrayDestroy(array));

    static short layers[D][H][W];
    array = surface_array(W, H, D, CU_AD_FORMAT_SIGNED_INT16, 1, CUDA_ARRAY3D_LAYERED);
    surface = surface_of(array);
    launch("write_layered", D, 1, parameters);
    read_back(array, layers, W * 2, H, D);
    right = 1;
    for (int z = 0; z < D; z++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                right &= layers[z][y][x] == x + y * 10 + z * 100;
    CHECK("layers", right);
    NEED(cuSurfObjectDestroy(surface));
    NEED(cuArrayDestroy(array));
}

static void edges(void) {
    enum { W = 6, H = 4 };
    int texels[H][W], back[H][W], out[4], w = W, h = H;
    for (int i = 0; i < W * H; i++)
        texels[i / W][i % W] = i + 1;
    CUDA_ARRAY3D_DESCRIPTOR shape = {W, H, 0, CU_AD_FORMAT_SIGNED_INT32, 1, CUDA_ARRAY3D_SURFACE_LDST};
    CUarray array = array_of(shape, texels, 4);
    CUsurfObject surface = surface_of(array);
    CUdeviceptr results;
    NEED(cuMemAlloc(&results, sizeof out));
    void *parameters[] = {&surface, &results, &w, &h}, *one[] = {&surface};
    NEED(cuLaunchKernel(kernel(module, "outside_clamp"), 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
    NEED(cuMemcpyDtoH(out, results, sizeof out));
    CHECK("clamp", out[0] == texels[1][0] && out[1] == texels[1][W - 1] && out[2] == texels[0][1] &&
                       out[3] == texels[H - 1][1]);
    NEED(cuLaunchKernel(kernel(module, "outside_zero"), 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
    NEED(cuMemcpyDtoH(out, results, sizeof out));
    read_back(array, back, W * 4, H, 1);
    CHECK("zero", !out[0] && !out[1] && !out[2] && !out[3]);
    CHECK("zero_drops_writes", !memcmp(back, texels, sizeof texels));
    texels[1][0] += 127 * 128 / 2;
    texels[1][1] = 127;
    NEED(cuLaunchKernel(kernel(module, "reduce"), 2, 1, 1, 64, 1, 1, 0, NULL, one, NULL));
    read_back(array, back, W * 4, H, 1);
    CHECK("reduce", !memcmp(back, texels, sizeof texels));

    CUDA_RESOURCE_DESC r = {.resType = CU_RESOURCE_TYPE_LINEAR};
    CHECK_ERR("surface_of_linear_memory", cuSurfObjectCreate(&surface, &r), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_resource", cuSurfObjectCreate(&surface, NULL), CUDA_ERROR_INVALID_VALUE);

    // Last: it ends the context.
    NEED(cuLaunchKernel(kernel(module, "outside_trap"), 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
    CHECK("trap", cuCtxSynchronize() != CUDA_SUCCESS);
}

int main(void) {
    start();
    module = load("surface");
    line();
    plane();
    boxes();
    edges();
    return finish();
}
