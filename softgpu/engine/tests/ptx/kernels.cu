#include <cooperative_groups.h>

#include <cassert>
#include <cstdio>
namespace cg = cooperative_groups;
__constant__ float coef[16];
__device__ int counter;
__device__ int* ptr = &counter;
extern __shared__ float dyn[];
extern "C" __global__ void vadd(const float* a, const float* b, float* c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + b[i];
}
extern "C" __global__ void hello(int n) {
    printf("hello %d from %d %f\n", n, threadIdx.x, 1.5 * n);
    assert(n > 0);
}
extern "C" __global__ void matmul(const float* A, const float* B, float* C, int n) {
    __shared__ float As[16][16], Bs[16][16];
    int tx = threadIdx.x, ty = threadIdx.y;
    float s = 0;
    for (int t = 0; t < n / 16; t++) {
        As[ty][tx] = A[(blockIdx.y * 16 + ty) * n + t * 16 + tx];
        Bs[ty][tx] = B[(t * 16 + ty) * n + blockIdx.x * 16 + tx];
        __syncthreads();
        for (int k = 0; k < 16; k++) s += As[ty][k] * Bs[k][tx];
        __syncthreads();
    }
    C[(blockIdx.y * 16 + ty) * n + blockIdx.x * 16 + tx] = s * coef[n & 15];
}
extern "C" __global__ void reduce(const int* a, int* o, int n) {
    int s = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        s += a[i];
    for (int d = 16; d; d /= 2) s += __shfl_down_sync(~0u, s, d);
    if ((threadIdx.x & 31) == 0) atomicAdd(o, s);
}
extern "C" __global__ void hist(const unsigned char* a, unsigned* h, int n) {
    __shared__ unsigned l[256];
    l[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&l[a[i]], 1u);
    __syncthreads();
    atomicAdd(&h[threadIdx.x], l[threadIdx.x]);
}
extern "C" __global__ void coop(int* x) {
    cg::grid_group g = cg::this_grid();
    x[g.thread_rank()]++;
    g.sync();
    auto t = cg::tiled_partition<8>(cg::this_thread_block());
    x[0] += t.shfl(x[1], 2);
    auto c = cg::coalesced_threads();
    c.sync();
    x[2] = c.size();
    dyn[threadIdx.x] = x[3];
    cg::this_thread_block().sync();
    x[4] = dyn[0];
}
__device__ __noinline__ int fib(int n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
struct S {
    int a[6];
    double d;
};
__device__ __noinline__ S mk(S s, int i) {
    s.a[i & 3] += i;
    s.d *= 2;
    return s;
}
typedef int (*fp)(int);
__device__ __noinline__ int f1(int x) {
    return x + 1;
}
__device__ __noinline__ int f2(int x) {
    return x * 3;
}
__device__ fp table[2] = {f1, f2};
extern "C" __global__ void calls(int* o, S s, fp dynf) {
    o[0] = fib(o[0]);
    S r = mk(s, o[1]);
    o[1] = r.a[2] + (int)r.d;
    o[2] = table[o[2] & 1](o[3]);
    o[3] = dynf(4);
    int* m = (int*)malloc(o[4]);
    if (m) {
        m[0] = 1;
        o[4] = m[0];
        free(m);
    }
}
extern "C" __global__ void ints(long long* a, unsigned long long* u, int* i, unsigned* w, short* s,
                                unsigned char* c) {
    a[0] = a[1] / a[2] + a[3] % a[4];
    u[0] = u[1] / u[2] * u[3];
    i[0] = __popc(i[1]) + __clz(i[2]) + __ffs(i[3]) + __brev(w[0]) + abs(i[4]) + min(i[5], i[6]) +
           max(w[1], w[2]);
    i[7] = __mulhi(i[8], i[9]) + __byte_perm(w[3], w[4], w[5]) + __funnelshift_l(w[6], w[7], w[8]) +
           __sad(i[9], i[10], w[9]);
    s[0] = s[1] * s[2] + c[0];
    i[11] = __dp4a(i[1], i[2], i[3]);
    a[5] = __mul64hi(a[6], a[7]);
    i[12] = __popcll(u[5]) + __clzll(u[6]) + __ffsll(u[7]);
    w[10] = __vadd2(w[11], w[12]) + __vmaxs4(w[13], w[14]) + __umul24(w[2], w[3]);
    switch (i[13]) {
        case 0:
            i[14] = 3;
            break;
        case 1:
            i[14] = 7 * i[1];
            break;
        case 2:
            i[14] = i[3] / i[4];
            break;
        case 3:
            i[14] = i[5] << i[6];
            break;
        case 4:
            i[14] = i[5] >> 3;
            break;
        case 5:
            i[1] = 3;
            break;
        case 6:
            i[2] = i[3];
        default:
            i[14] = -1;
    }
    __int128 q = (__int128)a[1] * a[2];
    a[8] = (long long)(q >> 37);
}
extern "C" __global__ void atoms(int* i, unsigned* u, unsigned long long* l, float* f, double* d) {
    atomicAdd(i, 1);
    i[9] = atomicSub(i + 1, 2);
    i[10] = atomicExch(i + 2, 3);
    i[11] = atomicMin(i + 3, 4);
    atomicMax(u + 4, 5u);
    u[9] = atomicInc(u + 5, 6);
    u[10] = atomicDec(u + 6, 7);
    u[11] = atomicCAS(u + 7, 8u, 9u);
    atomicAnd(u, 1u);
    atomicOr(u + 1, 2u);
    atomicXor(u + 2, 3u);
    l[3] = atomicAdd(l, 1ull);
    l[4] = atomicCAS(l + 1, 2ull, 3ull);
    f[1] = atomicAdd(f, 1.f);
    d[1] = atomicAdd(d, 1.);
    atomicAdd_block(i, 1);
    atomicAdd_system(i, 2);
    __threadfence();
    __threadfence_block();
    __threadfence_system();
}
extern "C" __global__ void warps(unsigned* o) {
    unsigned l = threadIdx.x;
    o[l] = __ballot_sync(~0u, l & 1) + __any_sync(~0u, l > 3) + __all_sync(~0u, l > 3) +
           __activemask() + __match_any_sync(~0u, l / 3) + __shfl_xor_sync(~0u, l, 3) +
           __shfl_up_sync(~0u, l, 1) + __shfl_sync(~0u, l, 5, 8);
    int p;
    o[l] += __match_all_sync(~0u, l / 32, &p) + p;
#if __CUDA_ARCH__ >= 800
    o[l] += __reduce_add_sync(~0u, l) + __reduce_max_sync(~0u, l);
#endif
    __syncwarp();
    o[l] += __syncthreads_count(l) + __syncthreads_and(l) + __syncthreads_or(l);
}
extern "C" __global__ void __launch_bounds__(128, 2) clocks(long long* c) {
    c[0] = clock64();
    c[1] = clock();
    __nanosleep(10);
    c[2] = threadIdx.x + warpSize;
    if (c[3] == 5) __trap();
    asm volatile("{.reg .u32 t; mov.u32 t, %%smid; cvt.u64.u32 %0, t;}" : "=l"(c[4]));
}
