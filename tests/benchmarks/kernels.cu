// The suite of `scripts/bench softgpu`. Each kernel has the same algorithm in twins.cpp, those with barriers also in
// kernels.cl.
#include <cuda_fp16.h>
#include <mma.h>

extern "C" __global__ void saxpy(const float *x, float *y, float a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void matmul(const float *a, const float *b, float *c, int n) {
    __shared__ float as[16][16], bs[16][16];
    int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 16 + ty, col = blockIdx.x * 16 + tx;
    float sum = 0;
    for (int t = 0; t < n / 16; t++) {
        as[ty][tx] = a[row * n + t * 16 + tx];
        bs[ty][tx] = b[(t * 16 + ty) * n + col];
        __syncthreads();
        for (int k = 0; k < 16; k++) sum += as[ty][k] * bs[k][tx];
        __syncthreads();
    }
    c[row * n + col] = sum;
}

extern "C" __global__ void reduce(const float *x, float *partial, int n) {
    __shared__ float sums[256];
    float sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half > 0; half >>= 1) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}

extern "C" __global__ void scan(const float *x, float *y, int n) {
    // Inclusive sums within each block of 256.
    __shared__ float warps[8];
    int i = blockIdx.x * 256 + threadIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float v = i < n ? x[i] : 0;
    for (int d = 1; d < 32; d *= 2) {
        float other = __shfl_up_sync(0xffffffff, v, d);
        if (lane >= d) v += other;
    }
    if (lane == 31) warps[warp] = v;
    __syncthreads();
    float before = 0;
    for (int w = 0; w < warp; w++) before += warps[w];
    if (i < n) y[i] = v + before;
}

extern "C" __global__ void stencil(const float *in, float *out, int n) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < 1 || y < 1 || x >= n - 1 || y >= n - 1) return;
    int i = y * n + x;
    out[i] = 0.5f * in[i] + 0.125f * (in[i - 1] + in[i + 1] + in[i - n] + in[i + n]);
}

extern "C" __global__ void transpose(const float *in, float *out, int n) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * n + x];
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8) out[(y + j) * n + x] = tile[threadIdx.x][threadIdx.y + j];
}

extern "C" __global__ void histogram(const unsigned *x, unsigned *bins, int n) {
    __shared__ unsigned local[256];
    local[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&local[x[i] & 255], 1);
    __syncthreads();
    atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}

extern "C" __global__ void mandelbrot(int *out, int n, int limit) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    float cr = -2.0f + 3.0f * x / n, ci = -1.5f + 3.0f * y / n, zr = 0, zi = 0;
    int i = 0;
    while (i < limit && zr * zr + zi * zi < 4.0f) {
        float t = zr * zr - zi * zi + cr;
        zi = 2.0f * zr * zi + ci;
        zr = t;
        i++;
    }
    out[y * n + x] = i;
}

extern "C" __global__ void nbody(const float4 *p, float4 *a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float4 me = p[i];
    float ax = 0, ay = 0, az = 0;
    for (int j = 0; j < n; j++) {
        float4 o = p[j];
        float dx = o.x - me.x, dy = o.y - me.y, dz = o.z - me.z;
        float d = dx * dx + dy * dy + dz * dz + 0.01f;
        float r = 1.0f / sqrtf(d), f = o.w * r * r * r;
        ax += dx * f, ay += dy * f, az += dz * f;
    }
    a[i] = make_float4(ax, ay, az, 0);
}

static __device__ float cnd(float d) {
    float k = 1.0f / (1.0f + 0.2316419f * fabsf(d));
    float c = 0.39894228f * expf(-0.5f * d * d) *
              (k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f)))));
    return d > 0 ? 1.0f - c : c;
}

extern "C" __global__ void black_scholes(const float *s, const float *x, const float *t, float *call, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float r = 0.02f, v = 0.3f;
    float root = sqrtf(t[i]), d1 = (logf(s[i] / x[i]) + (r + 0.5f * v * v) * t[i]) / (v * root), d2 = d1 - v * root;
    call[i] = s[i] * cnd(d1) - x[i] * expf(-r * t[i]) * cnd(d2);
}

// Tiles of 64 x 64, of which each thread computes 4 x 4.
extern "C" __global__ void matmul_blocked(const float *a, const float *b, float *c, int n) {
    __shared__ float as[16][64], bs[16][64];
    int tx = threadIdx.x, ty = threadIdx.y, t = ty * 16 + tx, row = blockIdx.y * 64, col = blockIdx.x * 64;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < n; k0 += 16) {
        for (int i = t; i < 1024; i += 256) {
            as[i % 16][i / 16] = a[(row + i / 16) * n + k0 + i % 16];
            bs[i / 64][i % 64] = b[(k0 + i / 64) * n + col + i % 64];
        }
        __syncthreads();
        for (int k = 0; k < 16; k++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) sum[i][j] += as[k][ty * 4 + i] * bs[k][tx + 16 * j];
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) c[(row + ty * 4 + i) * n + col + tx + 16 * j] = sum[i][j];
}

// Sorts each 512 values.
extern "C" __global__ void bitonic(const unsigned *x, unsigned *y, int n) {
    __shared__ unsigned s[512];
    int base = blockIdx.x * 512, t = threadIdx.x;
    s[t] = x[base + t], s[t + 256] = x[base + t + 256];
    for (int size = 2; size <= 512; size *= 2)
        for (int d = size / 2; d > 0; d /= 2) {
            __syncthreads();
            int i = 2 * t - (t & (d - 1));
            unsigned a = s[i], b = s[i + d];
            bool up = (i & size) == 0;
            if ((a > b) == up) s[i] = b, s[i + d] = a;
        }
    __syncthreads();
    y[base + t] = s[t], y[base + t + 256] = s[t + 256];
}

// Sorts each 1024 values by their low 16 bits, one bit after the other.
extern "C" __global__ void radix_sort(const unsigned *x, unsigned *y, int n) {
    __shared__ unsigned s[1024], warps[8];
    int base = blockIdx.x * 1024, t = threadIdx.x, lane = t & 31;
    unsigned key[4];
    for (int i = 0; i < 4; i++) key[i] = x[base + 4 * t + i];
    for (int bit = 0; bit < 16; bit++) {
        unsigned zeros = 0;
        for (int i = 0; i < 4; i++) zeros += ~key[i] >> bit & 1;
        unsigned before = zeros;
        for (int d = 1; d < 32; d *= 2) {
            unsigned other = __shfl_up_sync(0xffffffff, before, d);
            if (lane >= d) before += other;
        }
        if (lane == 31) warps[t / 32] = before;
        __syncthreads();
        unsigned total = 0;
        before -= zeros;
        for (int w = 0; w < 8; w++) {
            if (w < t / 32) before += warps[w];
            total += warps[w];
        }
        unsigned one = total + 4 * t - before;
        for (int i = 0; i < 4; i++) s[key[i] >> bit & 1 ? one++ : before++] = key[i];
        __syncthreads();
        for (int i = 0; i < 4; i++) key[i] = s[4 * t + i];
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) y[base + 4 * t + i] = key[i];
}

// Rows of compressed numbers of elements; a warp for each row.
extern "C" __global__ void spmv(const int *starts, const int *columns, const float *values, const float *x, float *y,
                                int rows) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x & 31;
    if (row >= rows) return;
    float sum = 0;
    for (int i = starts[row] + lane; i < starts[row + 1]; i += 32) sum += values[i] * x[columns[i]];
    for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffff, sum, d);
    if (lane == 0) y[row] = sum;
}

// Transforms of 512 complex numbers each; `roots` holds the first 256 of the 512 roots of one.
extern "C" __global__ void fft(const float2 *x, float2 *y, const float2 *roots) {
    __shared__ float2 s[512];
    int base = blockIdx.x * 512, t = threadIdx.x;
    for (int i = t; i < 512; i += 256) s[__brev(i) >> 23] = x[base + i];
    for (int half = 1; half < 512; half *= 2) {
        __syncthreads();
        int k = t & (half - 1), i = 2 * t - k;
        float2 w = roots[k * (256 / half)], a = s[i], b = s[i + half];
        float re = b.x * w.x - b.y * w.y, im = b.x * w.y + b.y * w.x;
        s[i] = make_float2(a.x + re, a.y + im);
        s[i + half] = make_float2(a.x - re, a.y - im);
    }
    __syncthreads();
    for (int i = t; i < 512; i += 256) y[base + i] = s[i];
}

extern "C" __global__ void conv2d(const float *in, const float *weights, float *out, int n) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < 2 || y < 2 || x >= n - 2 || y >= n - 2) return;
    float sum = 0;
    for (int dy = 0; dy < 5; dy++)
        for (int dx = 0; dx < 5; dx++) sum += weights[dy * 5 + dx] * in[(y + dy - 2) * n + x + dx - 2];
    out[y * n + x] = sum;
}

// A warp computes 16 x 16 of the product of matrices of 16-bit floats.
extern "C" __global__ void matmul_tensor(const half *a, const half *b, float *c, int n) {
    using namespace nvcuda::wmma;
    int row = blockIdx.y * 16, col = (blockIdx.x * blockDim.y + threadIdx.y) * 16;
    fragment<matrix_a, 16, 16, 16, half, row_major> fa;
    fragment<matrix_b, 16, 16, 16, half, row_major> fb;
    fragment<accumulator, 16, 16, 16, float> fc;
    fill_fragment(fc, 0.0f);
    for (int k = 0; k < n; k += 16) {
        load_matrix_sync(fa, a + row * n + k, n);
        load_matrix_sync(fb, b + k * n + col, n);
        mma_sync(fc, fa, fb, fc);
    }
    store_matrix_sync(c + row * n + col, fc, n, mem_row_major);
}
