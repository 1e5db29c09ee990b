// The kernels of kernels.cu that have barriers, in OpenCL C, with the same parameters. Where CUDA sums within a warp,
// these use local memory.

kernel void matmul(global const float *a, global const float *b, global float *c, int n) {
    local float as[16][16], bs[16][16];
    int tx = get_local_id(0), ty = get_local_id(1), row = get_global_id(1), col = get_global_id(0);
    float sum = 0;
    for (int t = 0; t < n / 16; t++) {
        as[ty][tx] = a[row * n + t * 16 + tx];
        bs[ty][tx] = b[(t * 16 + ty) * n + col];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < 16; k++) sum += as[ty][k] * bs[k][tx];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    c[row * n + col] = sum;
}

kernel void reduce(global const float *x, global float *partial, int n) {
    local float sums[256];
    int t = get_local_id(0);
    float sum = 0;
    for (int i = get_global_id(0); i < n; i += get_global_size(0)) sum += x[i];
    sums[t] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_ = 128; half_ > 0; half_ >>= 1) {
        if (t < half_) sums[t] += sums[t + half_];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (t == 0) partial[get_group_id(0)] = sums[0];
}

kernel void scan(global const float *x, global float *y, int n) {
    local float s[256];
    int i = get_global_id(0), t = get_local_id(0);
    s[t] = i < n ? x[i] : 0;
    for (int d = 1; d < 256; d *= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        float other = t >= d ? s[t - d] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        s[t] += other;
    }
    if (i < n) y[i] = s[t];
}

kernel void transpose(global const float *in, global float *out, int n) {
    local float tile[32][33];
    int tx = get_local_id(0), ty = get_local_id(1), bx = get_group_id(0) * 32, by = get_group_id(1) * 32;
    for (int j = 0; j < 32; j += 8) tile[ty + j][tx] = in[(by + ty + j) * n + bx + tx];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j = 0; j < 32; j += 8) out[(bx + ty + j) * n + by + tx] = tile[tx][ty + j];
}

kernel void histogram(global const uint *x, global uint *bins, int n) {
    local uint counts[256];
    int t = get_local_id(0);
    counts[t] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = get_global_id(0); i < n; i += get_global_size(0)) atomic_inc(&counts[x[i] & 255]);
    barrier(CLK_LOCAL_MEM_FENCE);
    atomic_add(&bins[t], counts[t]);
}

kernel void matmul_blocked(global const float *a, global const float *b, global float *c, int n) {
    local float as[16][64], bs[16][64];
    int tx = get_local_id(0), ty = get_local_id(1), t = ty * 16 + tx;
    int row = get_group_id(1) * 64, col = get_group_id(0) * 64;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < n; k0 += 16) {
        for (int i = t; i < 1024; i += 256) {
            as[i % 16][i / 16] = a[(row + i / 16) * n + k0 + i % 16];
            bs[i / 64][i % 64] = b[(k0 + i / 64) * n + col + i % 64];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < 16; k++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) sum[i][j] += as[k][ty * 4 + i] * bs[k][tx + 16 * j];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) c[(row + ty * 4 + i) * n + col + tx + 16 * j] = sum[i][j];
}

kernel void bitonic(global const uint *x, global uint *y, int n) {
    local uint s[512];
    int base = get_group_id(0) * 512, t = get_local_id(0);
    s[t] = x[base + t], s[t + 256] = x[base + t + 256];
    for (int size = 2; size <= 512; size *= 2)
        for (int d = size / 2; d > 0; d /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            int i = 2 * t - (t & (d - 1));
            uint a = s[i], b = s[i + d];
            bool up = (i & size) == 0;
            if ((a > b) == up) s[i] = b, s[i + d] = a;
        }
    barrier(CLK_LOCAL_MEM_FENCE);
    y[base + t] = s[t], y[base + t + 256] = s[t + 256];
}

kernel void radix_sort(global const uint *x, global uint *y, int n) {
    local uint s[1024], sums[256];
    int base = get_group_id(0) * 1024, t = get_local_id(0);
    uint key[4];
    for (int i = 0; i < 4; i++) key[i] = x[base + 4 * t + i];
    for (int bit = 0; bit < 16; bit++) {
        uint zeros = 0;
        for (int i = 0; i < 4; i++) zeros += ~key[i] >> bit & 1;
        sums[t] = zeros;
        for (int d = 1; d < 256; d *= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            uint other = t >= d ? sums[t - d] : 0;
            barrier(CLK_LOCAL_MEM_FENCE);
            sums[t] += other;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        uint before = sums[t] - zeros, one = sums[255] + 4 * t - before;
        for (int i = 0; i < 4; i++) s[key[i] >> bit & 1 ? one++ : before++] = key[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < 4; i++) key[i] = s[4 * t + i];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = 0; i < 4; i++) y[base + 4 * t + i] = key[i];
}

kernel void fft(global const float2 *x, global float2 *y, global const float2 *roots) {
    local float2 s[512];
    int base = get_group_id(0) * 512, t = get_local_id(0);
    for (int i = t; i < 512; i += 256) {
        int reversed = 0;
        for (int bit = 0; bit < 9; bit++) reversed |= (i >> bit & 1) << (8 - bit);
        s[reversed] = x[base + i];
    }
    for (int half_ = 1; half_ < 512; half_ *= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        int k = t & (half_ - 1), i = 2 * t - k;
        float2 w = roots[k * (256 / half_)], a = s[i], b = s[i + half_];
        float2 c = (float2)(b.x * w.x - b.y * w.y, b.x * w.y + b.y * w.x);
        s[i] = a + c;
        s[i + half_] = a - c;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = t; i < 512; i += 256) y[base + i] = s[i];
}
