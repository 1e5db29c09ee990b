// Surface accesses: one thread a place.

extern "C" __global__ void write_1d(cudaSurfaceObject_t s, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        surf1Dwrite(i * 3 + 1, s, i * 4);
}

// {x, y} -> a texel of four bytes
extern "C" __global__ void write_2d(cudaSurfaceObject_t s, int width, int height) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height)
        surf2Dwrite(make_uchar4(x, y, x + y, 255 - x), s, x * 4, y);
}

// Turns an image by half.
extern "C" __global__ void turn_2d(cudaSurfaceObject_t to, cudaSurfaceObject_t from, int width, int height) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height)
        surf2Dwrite(surf2Dread<uchar4>(from, (width - 1 - x) * 4, height - 1 - y), to, x * 4, y);
}

extern "C" __global__ void write_3d(cudaSurfaceObject_t s, int width, int height, int depth) {
    int x = threadIdx.x, y = threadIdx.y, z = blockIdx.x;
    if (x < width && y < height && z < depth)
        surf3Dwrite(make_float2(x + y * 10, z), s, x * 8, y, z);
}

extern "C" __global__ void write_layered(cudaSurfaceObject_t s, int width, int height, int layers) {
    int x = threadIdx.x, y = threadIdx.y, layer = blockIdx.x;
    if (x < width && y < height && layer < layers)
        surf2DLayeredwrite((short)(x + y * 10 + layer * 100), s, x * 2, y, layer);
}

// Reads and writes outside with a boundary mode: out = {left, right, above, below}
extern "C" __global__ void outside_clamp(cudaSurfaceObject_t s, int *out, int width, int height) {
    out[0] = surf2Dread<int>(s, -8, 1, cudaBoundaryModeClamp);
    out[1] = surf2Dread<int>(s, width * 4 + 100, 1, cudaBoundaryModeClamp);
    out[2] = surf2Dread<int>(s, 4, -3, cudaBoundaryModeClamp);
    out[3] = surf2Dread<int>(s, 4, height + 5, cudaBoundaryModeClamp);
}

extern "C" __global__ void outside_zero(cudaSurfaceObject_t s, int *out, int width, int height) {
    out[0] = surf2Dread<int>(s, -8, 1, cudaBoundaryModeZero);
    out[1] = surf2Dread<int>(s, width * 4 + 100, 1, cudaBoundaryModeZero);
    out[2] = surf2Dread<int>(s, 4, -3, cudaBoundaryModeZero);
    out[3] = surf2Dread<int>(s, 4, height + 5, cudaBoundaryModeZero);
    surf2Dwrite(99, s, -8, 1, cudaBoundaryModeZero);
    surf2Dwrite(99, s, 4, height, cudaBoundaryModeZero);
}

extern "C" __global__ void outside_trap(cudaSurfaceObject_t s, int *out, int width, int height) {
    out[0] = surf2Dread<int>(s, 0, height, cudaBoundaryModeTrap);
}

// Adds to one word from all threads, and keeps the most in the next.
extern "C" __global__ void reduce(cudaSurfaceObject_t s) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    asm volatile("sured.b.add.2d.u32.trap [%0, {%1, %2}], %3;" ::"l"(s), "r"(0), "r"(1), "r"(i) : "memory");
    asm volatile("sured.b.max.2d.s32.trap [%0, {%1, %2}], %3;" ::"l"(s), "r"(4), "r"(1), "r"(i) : "memory");
}

// Formatted: texels, not bytes, and floats for a surface of normalized bytes.
extern "C" __global__ void query(cudaSurfaceObject_t s, int *out) {
    asm("suq.width.b32 %0, [%1];" : "=r"(out[0]) : "l"(s));
    asm("suq.height.b32 %0, [%1];" : "=r"(out[1]) : "l"(s));
}
