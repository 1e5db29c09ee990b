// The algorithms of kernels.cu as a C++ programmer writes them, for the same cores.
#include <cmath>
#include <cstring>
#include <vector>

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
}
