#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void h(__half* a, __half2* b, __nv_bfloat16* c, __nv_bfloat162* d, float* f,
                             int* i) {
    a[0] = __hadd(a[1], a[2]) * a[3] / a[4];
    b[0] = __hfma2(b[1], b[2], b[3]);
    c[0] = c[1] + c[2];
    d[0] = __hfma2(d[1], d[2], d[3]);
    f[0] = __half2float(a[0]) + __bfloat162float(c[0]);
    a[1] = __float2half(f[1]);
    c[1] = __float2bfloat16(f[2]);
    b[4] = __floats2half2_rn(f[3], f[4]);
    d[4] = __floats2bfloat162_rn(f[3], f[4]);
    i[0] = __half2int_rz(a[2]);
    a[5] = __int2half_rn(i[1]);
    i[1] = __hlt(a[1], a[2]) + __hbeq2(b[1], b[2]);
    a[6] = hsqrt(a[1]) + hexp(a[2]) + hlog(a[3]) + hsin(a[4]);
    b[5] = __hmax2(b[1], b[2]);
    a[7] = __hmax(a[1], a[2]);
    atomicAdd(b, b[1]);
    atomicAdd(a, a[1]);
    atomicAdd(c, c[2]);
    atomicAdd(d, d[2]);
    b[6] = __hgt2(b[1], b[2]);
    b[7] = h2rcp(b[1]);
    a[8] = __habs(a[1]);
    a[9] = -a[8];
    c[3] = hrsqrt(c[4]);
    b[8] = __hmin2_nan(b[2], b[3]);
    a[9] = __hfma_relu(a[1], a[2], a[3]);
}
