// Kernels that exercise the execution engine; compiled with
// nvcc -ptx -arch=compute_80 engine.cu
#include <cstdio>
#include <cassert>

typedef unsigned int u32;
typedef unsigned long long u64;

extern "C" __global__ void nested_loops(u32 *out) {
    u32 t = threadIdx.x, sum = 0;
    for (u32 i = 0; i < t % 7 + 1; i++) {
        for (u32 j = 0; j < 20; j++) {
            if ((i + j) % (t % 5 + 2) == 0) continue;
            if (j > t % 11) break;
            sum += i * 31 + j;
        }
        if (sum > 400) break;
    }
    out[t] = sum;
}

extern "C" __global__ void barrier_in_loop(u32 *out) {
    __shared__ u32 buffer[256];
    u32 t = threadIdx.x;
    buffer[t] = t;
    __syncthreads();
    for (u32 step = 1; step < 256; step *= 2) {
        u32 value = t >= step ? buffer[t - step] : 0;
        __syncthreads();
        buffer[t] += value;
        __syncthreads();
    }
    out[t] = buffer[t];
}

extern "C" __global__ void divergent_shuffle(u32 *out) {
    u32 t = threadIdx.x, v = t;
    if (t & 1) {
        v = __shfl_xor_sync(0xaaaaaaaa, v, 2);
    } else {
        v = __shfl_xor_sync(0x55555555, v * 100, 4);
    }
    out[t] = v + __popc(__ballot_sync(0xffffffff, t < 10)) * 1000;
}

__device__ u32 lock_word = 0;
__device__ u32 counter = 0;

extern "C" __global__ void lane_spin_lock(u32 *out) {
    bool done = false;
    while (!done) {
        if (atomicCAS(&lock_word, 0, 1) == 0) {
            u32 c = *(volatile u32 *)&counter;
            *(volatile u32 *)&counter = c + 1;
            __threadfence();
            atomicExch(&lock_word, 0);
            done = true;
        }
    }
    __syncthreads();
    out[0] = *(volatile u32 *)&counter;
}

extern "C" __global__ void naive_spin_lock(u32 *out) {
    while (atomicCAS(&out[0], 0, 1) != 0) {}
    u32 c = *(volatile u32 *)&out[1];
    *(volatile u32 *)&out[1] = c + 1;
    __threadfence();
    atomicExch(&out[0], 0);
}

extern "C" __global__ void warp_hand_over(u32 *out) {
    // Each warp waits for the one before it through shared memory.
    __shared__ volatile u32 turn;
    if (threadIdx.x == 0) turn = 0;
    __syncthreads();
    u32 warp = threadIdx.x / 32;
    while (turn != warp) {}
    __syncwarp();
    if (threadIdx.x % 32 == 0) { out[warp] = turn * 10; __threadfence_block(); turn = warp + 1; }
}

extern "C" __global__ void block_hand_over(u32 *out) {
    // Block i waits for block i + 1, which is started after it.
    volatile u32 *flags = out;
    if (threadIdx.x == 0) {
        if (blockIdx.x + 1 < gridDim.x) while (flags[blockIdx.x + 1] == 0) {}
        flags[blockIdx.x] = blockIdx.x + 1;
    }
}

extern "C" __global__ void grid_barrier(u32 *out, u32 rounds) {
    // out[0]: arrivals, out[1]: errors, out[2..]: one word per block.
    for (u32 r = 1; r <= rounds; r++) {
        if (threadIdx.x == 0) {
            ((volatile u32 *)out)[2 + blockIdx.x] = r;
            __threadfence();
            atomicAdd(&out[0], 1);
            while (*(volatile u32 *)&out[0] < r * gridDim.x) {}
            for (u32 b = 0; b < gridDim.x; b++)
                if (((volatile u32 *)out)[2 + b] < r) atomicAdd(&out[1], 1);
        }
        __syncthreads();
    }
}

extern "C" __global__ void reduce(const u32 *in, u32 *out, u32 n) {
    u32 sum = 0;
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
    for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffff, sum, d);
    __shared__ u32 partial[32];
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
        for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffff, sum, d);
        if (threadIdx.x == 0) atomicAdd(out, sum);
    }
}

extern "C" __global__ void histogram(const u32 *in, u32 *out, u32 n) {
    __shared__ u32 bins[64];
    if (threadIdx.x < 64) bins[threadIdx.x] = 0;
    __syncthreads();
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&bins[in[i] % 64], 1);
    __syncthreads();
    if (threadIdx.x < 64) atomicAdd(&out[threadIdx.x], bins[threadIdx.x]);
}

extern "C" __global__ void float_atomics(float *f, double *d) {
    atomicAdd(f, 1.0f);
    atomicAdd(d, 0.5);
}

__device__ __noinline__ u32 fibonacci(u32 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
extern "C" __global__ void recursion(u32 *out) { out[threadIdx.x] = fibonacci(threadIdx.x % 12); }

__device__ __noinline__ u32 endless_recursion(u32 n) { return n == 0xffffffff ? 0 : endless_recursion(n + 1) * 3 + n; }
extern "C" __global__ void stack_overflow(u32 *out) { out[0] = endless_recursion(out[1]); }

__device__ __noinline__ u32 twice(u32 x) { return 2 * x; }
__device__ __noinline__ u32 square(u32 x) { return x * x; }
__device__ __noinline__ u32 negate(u32 x) { return 0u - x; }
typedef u32 (*function)(u32);
__device__ function table[3] = {twice, square, negate};
extern "C" __global__ void function_pointers(u32 *out) { out[threadIdx.x] = table[threadIdx.x % 3](threadIdx.x); }
extern "C" __global__ void bad_function_pointer(u32 *out) {
    function f = (function)(u64)out;
    out[0] = f(1);
}

struct Big { u32 v[20]; };
__device__ __noinline__ Big shift(Big b, u32 by) { Big r; for (int i = 0; i < 20; i++) r.v[i] = b.v[(i + by) % 20]; return r; }
extern "C" __global__ void structs_by_value(u32 *out) {
    Big b;
    for (int i = 0; i < 20; i++) b.v[i] = i + threadIdx.x;
    Big r = shift(b, threadIdx.x);
    out[threadIdx.x] = r.v[3];
}

extern "C" __global__ void local_array(u32 *out) {
    u32 a[64];
    for (u32 i = 0; i < 64; i++) a[i] = i * threadIdx.x;
    u32 sum = 0;
    for (u32 i = 0; i < 64; i++) sum += a[(i * 7 + threadIdx.x) % 64] * (i + 1);
    out[threadIdx.x] = sum;
}

extern "C" __global__ void print(u32 *out) {
    if (threadIdx.x < 3) printf("thread %d of %u: %5.2f %s %c %llx\n", threadIdx.x, blockDim.x, threadIdx.x * 1.5, "text", 'A' + threadIdx.x, 0x123456789abcull);
}

extern "C" __global__ void assertion(u32 *out) { assert(threadIdx.x != 5); }

extern "C" __global__ void heap(u32 *out) {
    u32 *p = (u32 *)malloc(64);
    for (int i = 0; i < 16; i++) p[i] = threadIdx.x + i;
    u32 s = 0;
    for (int i = 0; i < 16; i++) s += p[i];
    free(p);
    out[threadIdx.x] = s;
}

extern "C" __global__ void wild_store(u32 *out, u64 address) { *(u32 *)address = 1; }
extern "C" __global__ void wild_load(u32 *out, u64 address) { out[0] = *(u32 *)address; }
extern "C" __global__ void wild_atomic(u32 *out, u64 address) { atomicAdd((u32 *)address, 1); }
extern "C" __global__ void wild_vector(u32 *out, u64 address) { *(uint4 *)out = *(uint4 *)address; }
extern "C" __global__ void wild_shared(u32 *out, u64 index) { __shared__ u32 s[4]; s[index] = 1; out[0] = s[index + 1]; }
extern "C" __global__ void wild_local(u32 *out, u64 index) { u32 s[4] = {1, 2, 3, 4}; s[index] = 7; out[0] = s[threadIdx.x] + s[index + 1]; }

extern "C" __global__ void endless(u32 *out) { while (*(volatile u32 *)out == 0) {} }
extern "C" __global__ void trap(u32 *out) { if (threadIdx.x == 3) __trap(); }

extern __shared__ u32 dynamic[];
extern "C" __global__ void dynamic_shared(u32 *out) {
    dynamic[threadIdx.x] = threadIdx.x * 3;
    __syncthreads();
    out[threadIdx.x] = dynamic[blockDim.x - 1 - threadIdx.x];
}

__constant__ u32 lookup[4] = {10, 20, 30, 40};
__device__ u32 *indirect = &counter;
extern "C" __global__ void constants(u32 *out) { out[threadIdx.x] = lookup[threadIdx.x % 4] + (indirect == &counter); }

extern "C" __global__ void votes(u32 *out) {
    u32 t = threadIdx.x;
    u32 r = 0;
    r |= __all_sync(0xffffffff, t < 32) << 0;
    r |= __all_sync(0xffffffff, t < 31) << 1;
    r |= __any_sync(0xffffffff, t == 31) << 2;
    r |= (__match_any_sync(0xffffffff, t / 4) == (0xfu << (t / 4 * 4))) << 3;
    r |= (__reduce_add_sync(0xffffffff, t) == 496) << 4;
    r |= (__reduce_max_sync(0xffffffff, t) == 31) << 5;
    int all; __match_all_sync(0xffffffff, 5, &all);
    r |= all << 6;
    out[t] = r;
}

extern "C" __global__ void tiles(u32 *out) {
    // Groups of eight lanes, each with its own mask.
    u32 t = threadIdx.x, mask = 0xffu << (t / 8 * 8), v = t;
    for (int d = 4; d > 0; d /= 2) v += __shfl_xor_sync(mask, v, d, 8);
    out[t] = v;
}

extern "C" __global__ void counted_barrier(u32 *out) {
    // Named barriers: warps 0 and 1 meet, warps 2 and 3 meet.
    __shared__ u32 s[4];
    u32 w = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) s[w] = w + 1;
    asm volatile("bar.sync %0, 64;" :: "r"(w / 2 + 1) : "memory");
    out[threadIdx.x] = s[w ^ 1] + 10 * __syncthreads_count(threadIdx.x % 2);
}

extern "C" __global__ void lost_barrier(u32 *out) { if (threadIdx.x < 32) asm volatile("bar.sync 1, 64;"); }
extern "C" __global__ void early_exit(u32 *out) {
    if (threadIdx.x % 3 == 0) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
