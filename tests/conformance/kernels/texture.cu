// Texture fetches: one thread a place, results as they come.

extern "C" __global__ void fetch_linear(cudaTextureObject_t t, float *out, const int *x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex1Dfetch<float>(t, x[i]);
}

extern "C" __global__ void fetch_1d(cudaTextureObject_t t, float *out, const float *x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex1D<float>(t, x[i]);
}

// at: {x, y} pairs; results are float4
extern "C" __global__ void fetch_2d(cudaTextureObject_t t, float4 *out, const float2 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex2D<float4>(t, at[i].x, at[i].y);
}

extern "C" __global__ void fetch_2d_int(cudaTextureObject_t t, int4 *out, const float2 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex2D<int4>(t, at[i].x, at[i].y);
}

extern "C" __global__ void fetch_3d(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex3D<float>(t, at[i].x, at[i].y, at[i].z);
}

extern "C" __global__ void fetch_layered(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex2DLayered<float>(t, at[i].x, at[i].y, (int)at[i].z);
}

extern "C" __global__ void fetch_layered_1d(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex1DLayered<float>(t, at[i].x, (int)at[i].z);
}

extern "C" __global__ void fetch_cube(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = texCubemap<float>(t, at[i].x, at[i].y, at[i].z);
}

extern "C" __global__ void fetch_cube_layered(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = texCubemapLayered<float>(t, at[i].x, at[i].y, at[i].z, (int)at[i].w);
}

// at: {x, y, level}
extern "C" __global__ void fetch_level(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex2DLod<float>(t, at[i].x, at[i].y, at[i].z);
}

// at: {x, y, derivative}, the same in both directions
extern "C" __global__ void fetch_gradient(cudaTextureObject_t t, float *out, const float4 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex2DGrad<float>(t, at[i].x, at[i].y, make_float2(at[i].z, 0), make_float2(0, at[i].z));
}

extern "C" __global__ void gather(cudaTextureObject_t t, float4 *out, const float2 *at, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        out[i] = tex2Dgather<float4>(t, at[i].x, at[i].y, 0);
}

// {width, height, whether a texture, whether a surface}
extern "C" __global__ void query(cudaTextureObject_t t, int *out) {
    asm("txq.width.b32 %0, [%1];" : "=r"(out[0]) : "l"(t));
    asm("txq.height.b32 %0, [%1];" : "=r"(out[1]) : "l"(t));
}
