// The algorithms of kernels.cu as a C++ programmer writes them, for the same cores.
#include <cmath>
#include <cstring>
#include <utility>

extern "C" {

void saxpy(const float *x, float *y, float a, int n) {
#pragma omp parallel for simd
    for (int i = 0; i < n; i++) y[i] = a * x[i] + y[i];
}

void matmul(const float *a, const float *b, float *c, int n) {
#pragma omp parallel for collapse(2)
    for (int by = 0; by < n / 16; by++)
        for (int bx = 0; bx < n / 16; bx++) {
            float sum[16][16] = {}, as[16][16], bs[16][16];
            for (int t = 0; t < n / 16; t++) {
                for (int y = 0; y < 16; y++)
                    for (int x = 0; x < 16; x++) {
                        as[y][x] = a[(by * 16 + y) * n + t * 16 + x];
                        bs[y][x] = b[(t * 16 + y) * n + bx * 16 + x];
                    }
                for (int y = 0; y < 16; y++)
                    for (int k = 0; k < 16; k++)
                        for (int x = 0; x < 16; x++) sum[y][x] += as[y][k] * bs[k][x];
            }
            for (int y = 0; y < 16; y++) std::memcpy(&c[(by * 16 + y) * n + bx * 16], sum[y], 64);
        }
}

void reduce(const float *x, float *partial, int n) {
    float sum = 0;
#pragma omp parallel for simd reduction(+ : sum)
    for (int i = 0; i < n; i++) sum += x[i];
    partial[0] = sum;
}

void scan(const float *x, float *y, int n) {
#pragma omp parallel for
    for (int b = 0; b < n; b += 256) {
        float sum = 0;
        for (int i = b; i < b + 256 && i < n; i++) y[i] = sum += x[i];
    }
}

void stencil(const float *in, float *out, int n) {
#pragma omp parallel for
    for (int y = 1; y < n - 1; y++)
        for (int x = 1; x < n - 1; x++) {
            int i = y * n + x;
            out[i] = 0.5f * in[i] + 0.125f * (in[i - 1] + in[i + 1] + in[i - n] + in[i + n]);
        }
}

void transpose(const float *in, float *out, int n) {
#pragma omp parallel for collapse(2)
    for (int by = 0; by < n; by += 32)
        for (int bx = 0; bx < n; bx += 32)
            for (int y = 0; y < 32; y++)
                for (int x = 0; x < 32; x++) out[(bx + y) * n + by + x] = in[(by + x) * n + bx + y];
}

void histogram(const unsigned *x, unsigned *bins, int n) {
#pragma omp parallel
    {
        unsigned local[256] = {};
#pragma omp for
        for (int i = 0; i < n; i++) local[x[i] & 255]++;
#pragma omp critical
        for (int i = 0; i < 256; i++) bins[i] += local[i];
    }
}

void mandelbrot(int *out, int n, int limit) {
#pragma omp parallel for schedule(dynamic)
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
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
}

struct float4 { float x, y, z, w; };

void nbody(const float4 *p, float4 *a, int n) {
#pragma omp parallel for
    for (int i = 0; i < n; i++) {
        float ax = 0, ay = 0, az = 0;
        for (int j = 0; j < n; j++) {
            float dx = p[j].x - p[i].x, dy = p[j].y - p[i].y, dz = p[j].z - p[i].z;
            float d = dx * dx + dy * dy + dz * dz + 0.01f;
            float r = 1.0f / sqrtf(d), f = p[j].w * r * r * r;
            ax += dx * f, ay += dy * f, az += dz * f;
        }
        a[i] = {ax, ay, az, 0};
    }
}

static float cnd(float d) {
    float k = 1.0f / (1.0f + 0.2316419f * fabsf(d));
    float c = 0.39894228f * expf(-0.5f * d * d) *
              (k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f)))));
    return d > 0 ? 1.0f - c : c;
}

void black_scholes(const float *s, const float *x, const float *t, float *call, int n) {
#pragma omp parallel for
    for (int i = 0; i < n; i++) {
        const float r = 0.02f, v = 0.3f;
        float root = sqrtf(t[i]), d1 = (logf(s[i] / x[i]) + (r + 0.5f * v * v) * t[i]) / (v * root), d2 = d1 - v * root;
        call[i] = s[i] * cnd(d1) - x[i] * expf(-r * t[i]) * cnd(d2);
    }
}

void matmul_blocked(const float *a, const float *b, float *c, int n) {
#pragma omp parallel for collapse(2)
    for (int row = 0; row < n; row += 64)
        for (int col = 0; col < n; col += 64) {
            static thread_local float sum[64][64], as[64][64], bs[64][64];
            std::memset(sum, 0, sizeof sum);
            for (int k0 = 0; k0 < n; k0 += 64) {
                for (int i = 0; i < 64; i++) {
                    std::memcpy(as[i], &a[(row + i) * n + k0], 256);
                    std::memcpy(bs[i], &b[(k0 + i) * n + col], 256);
                }
                for (int i = 0; i < 64; i += 4)
                    for (int j = 0; j < 64; j += 16) {
                        float part[4][16] = {};
                        for (int k = 0; k < 64; k++)
                            for (int ii = 0; ii < 4; ii++)
                                for (int jj = 0; jj < 16; jj++) part[ii][jj] += as[i + ii][k] * bs[k][j + jj];
                        for (int ii = 0; ii < 4; ii++)
                            for (int jj = 0; jj < 16; jj++) sum[i + ii][j + jj] += part[ii][jj];
                    }
            }
            for (int i = 0; i < 64; i++) std::memcpy(&c[(row + i) * n + col], sum[i], 256);
        }
}

void bitonic(const unsigned *x, unsigned *y, int n) {
#pragma omp parallel for
    for (int base = 0; base < n; base += 512) {
        unsigned s[512];
        std::memcpy(s, x + base, sizeof s);
        for (int size = 2; size <= 512; size *= 2)
            for (int d = size / 2; d > 0; d /= 2)
                for (int start = 0; start < 512; start += 2 * d)
                    for (int i = start; i < start + d; i++) {
                        unsigned a = s[i], b = s[i + d], low = a < b ? a : b, high = a < b ? b : a;
                        bool up = (i & size) == 0;
                        s[i] = up ? low : high, s[i + d] = up ? high : low;
                    }
        std::memcpy(y + base, s, sizeof s);
    }
}

void radix_sort(const unsigned *x, unsigned *y, int n) {
#pragma omp parallel for
    for (int base = 0; base < n; base += 1024) {
        unsigned s[1024];
        const unsigned *from = x + base;
        unsigned *to = s;
        for (int bit = 0; bit < 16; bit++) {
            unsigned zero = 0, one = 0;
            for (int i = 0; i < 1024; i++) one += ~from[i] >> bit & 1;
            for (int i = 0; i < 1024; i++) to[from[i] >> bit & 1 ? one++ : zero++] = from[i];
            from = to, to = bit % 2 ? s : y + base;
        }
    }
}

void spmv(const int *starts, const int *columns, const float *values, const float *x, float *y, int rows) {
#pragma omp parallel for
    for (int row = 0; row < rows; row++) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = starts[row]; i < starts[row + 1]; i++) sum += values[i] * x[columns[i]];
        y[row] = sum;
    }
}

struct float2 { float x, y; };

void fft(const float2 *x, float2 *y, const float2 *roots, int n) {
#pragma omp parallel for
    for (int base = 0; base < n; base += 512) {
        float2 s[512];
        for (unsigned i = 0; i < 512; i++) s[__builtin_bitreverse32(i) >> 23] = x[base + i];
        for (int half = 1; half < 512; half *= 2)
            for (int start = 0; start < 512; start += 2 * half)
                for (int k = 0; k < half; k++) {
                    float2 w = roots[k * (256 / half)], a = s[start + k], b = s[start + k + half];
                    float re = b.x * w.x - b.y * w.y, im = b.x * w.y + b.y * w.x;
                    s[start + k] = {a.x + re, a.y + im};
                    s[start + k + half] = {a.x - re, a.y - im};
                }
        std::memcpy(y + base, s, sizeof s);
    }
}

void conv2d(const float *in, const float *weights, float *out, int n) {
#pragma omp parallel for
    for (int y = 2; y < n - 2; y++)
        for (int x = 2; x < n - 2; x++) {
            float sum = 0;
            for (int dy = 0; dy < 5; dy++)
                for (int dx = 0; dx < 5; dx++) sum += weights[dy * 5 + dx] * in[(y + dy - 2) * n + x + dx - 2];
            out[y * n + x] = sum;
        }
}

void matmul_tensor(const _Float16 *a, const _Float16 *b, float *c, int n) {
#pragma omp parallel for
    for (int row = 0; row < n; row += 4)
        for (int col = 0; col < n; col += 16) {
            float sum[4][16] = {};
            for (int k = 0; k < n; k++)
                for (int i = 0; i < 4; i++)
                    for (int j = 0; j < 16; j++) sum[i][j] += (float)a[(row + i) * n + k] * (float)b[k * n + col + j];
            for (int i = 0; i < 4; i++) std::memcpy(&c[(row + i) * n + col], sum[i], 64);
        }
}
}
