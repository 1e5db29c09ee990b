// An image through the runtime's textures and surfaces: a wrapped, interpolated
// shift of a 2D array, a box filter over a volume, and mipmaps that kernels make.
#include <cmath>
#include <vector>

#include "check.h"

constexpr int width = 96, height = 64;

__global__ void shift(cudaTextureObject_t image, cudaSurfaceObject_t out, float dx, float dy) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height)
        surf2Dwrite(tex2D<float>(image, (x + 0.5f + dx) / width, (y + 0.5f + dy) / height), out, x * 4, y);
}

__global__ void box_filter(cudaTextureObject_t volume, float *out, int size) {
    int x = threadIdx.x, y = threadIdx.y, z = blockIdx.x;
    float sum = 0;
    for (int k = -1; k <= 1; k++)
        for (int j = -1; j <= 1; j++)
            for (int i = -1; i <= 1; i++) sum += tex3D<float>(volume, x + i + 0.5f, y + j + 0.5f, z + k + 0.5f);
    out[(z * size + y) * size + x] = sum;
}

// Each texel is the mean of four of the level before.
__global__ void reduce_level(cudaTextureObject_t before, cudaSurfaceObject_t after, int size) {
    int x = threadIdx.x, y = threadIdx.y;
    if (x < size && y < size)
        surf2Dwrite(tex2D<float>(before, (x + 0.5f) / size, (y + 0.5f) / size), after, x * 4, y);
}

__global__ void read_level(cudaTextureObject_t image, float *out, float level) {
    out[0] = tex2DLod<float>(image, 0.5f, 0.5f, level);
}

static cudaResourceDesc resource_of(cudaArray_t array) {
    cudaResourceDesc resource = {};
    resource.resType = cudaResourceTypeArray;
    resource.res.array.array = array;
    return resource;
}

static cudaTextureDesc sampler(cudaTextureAddressMode mode, cudaTextureFilterMode filter, bool normalized) {
    cudaTextureDesc texture = {};
    for (auto &axis : texture.addressMode) axis = mode;
    texture.filterMode = filter;
    texture.readMode = cudaReadModeElementType;
    texture.normalizedCoords = normalized;
    texture.maxMipmapLevelClamp = 16;
    return texture;
}

static int shifted() {
    std::vector<float> image(width * height), out(width * height);
    for (int i = 0; i < width * height; i++) image[i] = (i * 37) % 101;
    auto channel = cudaCreateChannelDesc<float>();
    cudaArray_t from, to;
    CUDA_CHECK(cudaMallocArray(&from, &channel, width, height));
    CUDA_CHECK(cudaMallocArray(&to, &channel, width, height, cudaArraySurfaceLoadStore));
    CUDA_CHECK(cudaMemcpy2DToArray(from, 0, 0, image.data(), width * 4, width * 4, height, cudaMemcpyHostToDevice));
    cudaTextureObject_t texture;
    cudaSurfaceObject_t surface;
    auto source = resource_of(from), target = resource_of(to);
    auto wrapped = sampler(cudaAddressModeWrap, cudaFilterModeLinear, true);
    CUDA_CHECK(cudaCreateTextureObject(&texture, &source, &wrapped, nullptr));
    CUDA_CHECK(cudaCreateSurfaceObject(&surface, &target));
    shift<<<dim3(6, 4), dim3(16, 16)>>>(texture, surface, 0.25f, 2.0f);
    CUDA_CHECK(cudaMemcpy2DFromArray(out.data(), width * 4, to, 0, 0, width * 4, height, cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const float *row = &image[(y + 2) % height * width];
            wrong += std::fabs(out[y * width + x] - (0.75f * row[x] + 0.25f * row[(x + 1) % width])) > 0.4f;
        }
    CUDA_CHECK(cudaDestroyTextureObject(texture));
    CUDA_CHECK(cudaDestroySurfaceObject(surface));
    CUDA_CHECK(cudaFreeArray(from));
    CUDA_CHECK(cudaFreeArray(to));
    return wrong;
}

static int filtered() {
    constexpr int size = 16;
    std::vector<float> volume(size * size * size), out(volume.size());
    for (size_t i = 0; i < volume.size(); i++) volume[i] = (i * 7) % 13;
    auto channel = cudaCreateChannelDesc<float>();
    cudaArray_t array;
    auto extent = make_cudaExtent(size, size, size);
    CUDA_CHECK(cudaMalloc3DArray(&array, &channel, extent));
    cudaMemcpy3DParms copy = {};
    copy.srcPtr = make_cudaPitchedPtr(volume.data(), size * 4, size, size);
    copy.dstArray = array;
    copy.extent = extent;
    copy.kind = cudaMemcpyHostToDevice;
    CUDA_CHECK(cudaMemcpy3D(&copy));
    auto source = resource_of(array);
    auto clamped = sampler(cudaAddressModeClamp, cudaFilterModePoint, false);
    cudaTextureObject_t texture;
    CUDA_CHECK(cudaCreateTextureObject(&texture, &source, &clamped, nullptr));
    float *device;
    CUDA_CHECK(cudaMalloc(&device, out.size() * 4));
    box_filter<<<size, dim3(size, size)>>>(texture, device, size);
    CUDA_CHECK(cudaMemcpy(out.data(), device, out.size() * 4, cudaMemcpyDeviceToHost));
    auto clamp = [](int i) { return i < 0 ? 0 : i >= size ? size - 1 : i; };
    int wrong = 0;
    for (int z = 0; z < size; z++)
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++) {
                float sum = 0;
                for (int k = -1; k <= 1; k++)
                    for (int j = -1; j <= 1; j++)
                        for (int i = -1; i <= 1; i++)
                            sum += volume[(clamp(z + k) * size + clamp(y + j)) * size + clamp(x + i)];
                wrong += out[(z * size + y) * size + x] != sum;
            }
    CUDA_CHECK(cudaFree(device));
    CUDA_CHECK(cudaDestroyTextureObject(texture));
    CUDA_CHECK(cudaFreeArray(array));
    return wrong;
}

static int reduced() {
    constexpr int size = 32, levels = 6;
    std::vector<float> image(size * size);
    float mean = 0;
    for (int i = 0; i < size * size; i++) mean += (image[i] = i % 64) / (size * size);
    auto channel = cudaCreateChannelDesc<float>();
    cudaMipmappedArray_t mipmapped;
    CUDA_CHECK(cudaMallocMipmappedArray(&mipmapped, &channel, make_cudaExtent(size, size, 0), levels,
                                        cudaArraySurfaceLoadStore));
    cudaArray_t before, after;
    CUDA_CHECK(cudaGetMipmappedArrayLevel(&before, mipmapped, 0));
    CUDA_CHECK(cudaMemcpy2DToArray(before, 0, 0, image.data(), size * 4, size * 4, size, cudaMemcpyHostToDevice));
    for (int level = 1; level < levels; level++) {
        CUDA_CHECK(cudaGetMipmappedArrayLevel(&after, mipmapped, level));
        auto source = resource_of(before), target = resource_of(after);
        auto halfway = sampler(cudaAddressModeClamp, cudaFilterModeLinear, true);
        cudaTextureObject_t texture;
        cudaSurfaceObject_t surface;
        CUDA_CHECK(cudaCreateTextureObject(&texture, &source, &halfway, nullptr));
        CUDA_CHECK(cudaCreateSurfaceObject(&surface, &target));
        reduce_level<<<1, dim3(16, 16)>>>(texture, surface, size >> level);
        CUDA_CHECK(cudaDeviceSynchronize());
        CUDA_CHECK(cudaDestroyTextureObject(texture));
        CUDA_CHECK(cudaDestroySurfaceObject(surface));
        before = after;
    }
    cudaResourceDesc all = {};
    all.resType = cudaResourceTypeMipmappedArray;
    all.res.mipmap.mipmap = mipmapped;
    auto point = sampler(cudaAddressModeClamp, cudaFilterModePoint, true);
    cudaTextureObject_t texture;
    CUDA_CHECK(cudaCreateTextureObject(&texture, &all, &point, nullptr));
    float *device, out;
    CUDA_CHECK(cudaMalloc(&device, 4));
    read_level<<<1, 1>>>(texture, device, levels - 1);
    CUDA_CHECK(cudaMemcpy(&out, device, 4, cudaMemcpyDeviceToHost));
    CUDA_CHECK(cudaFree(device));
    CUDA_CHECK(cudaDestroyTextureObject(texture));
    CUDA_CHECK(cudaFreeMipmappedArray(mipmapped));
    return std::fabs(out - mean) > 0.01f;
}

int main() {
    int wrong[] = {shifted(), filtered(), reduced()};
    std::printf("textures: %d shifted, %d filtered, %d reduced texels wrong\n", wrong[0], wrong[1], wrong[2]);
    return verdict(!wrong[0] && !wrong[1] && !wrong[2], "textures");
}
