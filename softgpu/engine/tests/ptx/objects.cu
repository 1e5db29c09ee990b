#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>

#include <cstdio>
namespace cg = cooperative_groups;
struct V {
    virtual __device__ float f(float) = 0;
};
struct A : V {
    float k;
    __device__ A(float k) : k(k) {
    }
    __device__ float f(float x) override {
        return k * x;
    }
};
struct B : V {
    __device__ float f(float x) override {
        return x + 1;
    }
};
__global__ void virt(float* o, int n) {
    V* v = n & 1 ? (V*)new A(2.f) : (V*)new B();
    o[0] = v->f(o[1]);
    delete v;
}
__global__ void scan(int* o) {
    auto b = cg::this_thread_block();
    auto w = cg::tiled_partition<32>(b);
    o[threadIdx.x] = cg::inclusive_scan(w, o[threadIdx.x]);
    o[0] += cg::reduce(w, o[1], cg::greater<int>());
    auto g = cg::labeled_partition(w, o[2]);
    o[3] = g.size();
    auto c = cg::binary_partition(w, o[4] > 3);
    o[5] = c.thread_rank();
    if (o[6]) {
        auto q = cg::coalesced_threads();
        o[7] = q.shfl_down(o[8], 1);
    }
}
__managed__ int mg = 5;
__device__ int dg = 4;
__device__ const char* names[3] = {"a", "bb", "ccc"};
struct P {
    char c;
    int* p;
    short s;
} __device__ pk[2] = {{1, &dg, 2}, {3, nullptr, 4}};
__constant__ double cd[4] = {1, 2, 3.5, -1e300};
__device__ float4 f4[2] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
__global__ void data(double* o, int i) {
    o[0] = cd[i] + f4[i].x + mg + pk[i].c + *pk[i].p;
    printf("%s %d\n", names[i], i);
}
template <int N>
__global__ void shm(float* o) {
    __shared__ float a[N];
    __shared__ double d[3];
    extern __shared__ double dyn[];
    a[threadIdx.x] = o[0];
    d[0] = o[1];
    dyn[threadIdx.x] = 3;
    __syncthreads();
    o[2] = a[N - 1 - threadIdx.x] + d[0] + dyn[2];
}
template __global__ void shm<33>(float*);
template __global__ void shm<100>(float*);
__device__ __noinline__ float usesh(int i) {
    __shared__ float q[8];
    q[i] = i;
    __syncthreads();
    return q[7 - i];
}
__global__ void shdev(float* o) {
    __shared__ int z[5];
    z[threadIdx.x] = o[1];
    o[0] = usesh(threadIdx.x) + z[2];
}
__global__ void rec(int* o) {
    int local[64];
    for (int i = 0; i < 64; i++) local[i] = o[i];
    for (int i = 0; i < o[64]; i++) local[local[i] & 63] += i;
    o[0] = local[o[65] & 63];
}
__global__ void ldst(volatile int* a, const int4* __restrict__ b, int4* c, unsigned char* d,
                     short2* e, long long* f) {
    a[0] = a[1];
    c[0] = __ldg(&b[1]);
    c[1] = __ldcs(&c[2]);
    __stcg(&c[3], c[4]);
    d[0] = d[1] + d[2];
    e[0] = e[1];
    f[0] = __ldcv(f + 1);
    __stwt(f + 2, f[3]);
    asm volatile("prefetch.global.L2 [%0];" ::"l"(f));
    asm volatile("ld.global.L1::no_allocate.L2::128B.v2.u64 {%0,%1}, [%2];"
                 : "=l"(f[5]), "=l"(f[6])
                 : "l"(f + 8));
    int x;
    asm("{.reg .pred p; setp.eq.s32 p,%1,3; selp.s32 %0,1,2,p;}" : "=r"(x) : "r"(a[3]));
    a[4] = x;
    asm volatile(
        "{ .reg .pred P1; LAB_WAIT: ld.volatile.global.s32 %0,[%1]; setp.eq.s32 P1,%0,0; @P1 bra "
        "DONE; bra LAB_WAIT; DONE: }"
        : "=r"(x)
        : "l"(a));
    a[5] = x;
}
