#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cooperative_groups/reduce.h>
#include <cuda_pipeline.h>

#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/pipeline>
namespace cg = cooperative_groups;
extern "C" __global__ void pipe(const float4* a, float4* b) {
    __shared__ float4 s[128];
    __pipeline_memcpy_async(&s[threadIdx.x], &a[threadIdx.x], 16);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
    b[threadIdx.x] = s[127 - threadIdx.x];
}
extern "C" __global__ void bar(const float* a, float* b) {
    __shared__ cuda::barrier<cuda::thread_scope_block> x;
    if (threadIdx.x == 0) init(&x, blockDim.x);
    __syncthreads();
    __shared__ float s[128];
    cuda::memcpy_async(&s[threadIdx.x], &a[threadIdx.x], 4, x);
    x.arrive_and_wait();
    b[threadIdx.x] = s[127 - threadIdx.x];
}
extern "C" __global__ void at(int* p) {
    cuda::atomic_ref<int, cuda::thread_scope_device> r(*p);
    r.fetch_add(1, cuda::memory_order_relaxed);
    r.store(3, cuda::memory_order_release);
    p[1] = r.load(cuda::memory_order_acquire);
    int e = 4;
    r.compare_exchange_strong(e, 5);
    auto w = cg::tiled_partition<32>(cg::this_thread_block());
    p[2] = cg::reduce(w, p[3], cg::plus<int>());
}
