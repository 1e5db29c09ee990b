// Tensor maps, which describe tensors to a device of compute capability 9.0 and later.
#include "check.h"

enum { ROWS = 64, COLUMNS = 128 };

static CUtensorMap *new_map(void) {
    static CUtensorMap maps[4];
    static int next;
    return &maps[next++ % 4];
}

// A matrix of floats with boxes of 16 x 8.
static CUresult encode(CUtensorMap *map, CUdeviceptr at, unsigned rank, cuuint32_t box, CUtensorMapSwizzle swizzle) {
    cuuint64_t sizes[] = {COLUMNS, ROWS}, strides[] = {COLUMNS * sizeof(float)};
    cuuint32_t boxes[] = {box, 8}, steps[] = {1, 1};
    return cuTensorMapEncodeTiled(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, rank, (void *)at, sizes, strides, boxes, steps,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

static void images(CUdeviceptr at) {
    CUtensorMap *map = new_map();
    cuuint64_t sizes[] = {16, 8, 8, 2}, strides[] = {16 * 4, 16 * 8 * 4, 16 * 64 * 4};
    int lower[] = {-1, -1}, upper[] = {-1, -1};
    cuuint32_t steps[] = {1, 1, 1, 1};
    CHECK_CU("im2col", cuTensorMapEncodeIm2col(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, (void *)at, sizes, strides,
                                               lower, upper, 16, 32, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                               CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
    CHECK_ERR("im2col_of_rank_2", cuTensorMapEncodeIm2col(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, (void *)at, sizes,
                                                          strides, lower, upper, 16, 32, steps,
                                                          CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                                                          CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                                          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              CUDA_ERROR_INVALID_VALUE);
}

int main(void) {
    start();
    if (device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) < 9 ||
        !device_attribute(CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED)) {
        SKIP("tensor_maps", "this device has none");
        return finish();
    }
    CUdeviceptr memory, other;
    NEED(cuMemAlloc(&memory, ROWS * COLUMNS * sizeof(float)));
    NEED(cuMemAlloc(&other, ROWS * COLUMNS * sizeof(float)));
    CUtensorMap *map = new_map(), *same = new_map(), *moved = new_map();
    memset(map, 0, sizeof *map);
    CHECK_CU("encode", encode(map, memory, 2, 16, CU_TENSOR_MAP_SWIZZLE_NONE));
    CUtensorMap none;
    memset(&none, 0, sizeof none);
    CHECK("is_encoded", memcmp(map, &none, sizeof none) != 0);
    CHECK_CU("encode_again", encode(same, memory, 2, 16, CU_TENSOR_MAP_SWIZZLE_NONE));
    CHECK("is_the_same", memcmp(map, same, sizeof *map) == 0);
    CHECK_CU("encode_elsewhere", encode(moved, other, 2, 16, CU_TENSOR_MAP_SWIZZLE_NONE));
    CHECK("differs_elsewhere", memcmp(map, moved, sizeof *map) != 0);
    CHECK_CU("replace_address", cuTensorMapReplaceAddress(map, (void *)other));
    CHECK("is_moved", memcmp(map, moved, sizeof *map) == 0);
    CHECK_ERR("misaligned", encode(map, memory + 4, 2, 16, CU_TENSOR_MAP_SWIZZLE_NONE), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("rank_0", encode(map, memory, 0, 16, CU_TENSOR_MAP_SWIZZLE_NONE), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("box_too_large", encode(map, memory, 2, 257, CU_TENSOR_MAP_SWIZZLE_NONE), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("box_wider_than_swizzle", encode(map, memory, 2, 16, CU_TENSOR_MAP_SWIZZLE_32B), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null", encode(NULL, memory, 2, 16, CU_TENSOR_MAP_SWIZZLE_NONE), CUDA_ERROR_INVALID_VALUE);
    images(memory);
    return finish();
}
