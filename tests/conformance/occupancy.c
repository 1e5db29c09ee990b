// Occupancy: how many blocks a multiprocessor holds, and which block fills it.
#include "check.h"

static size_t CUDA_CB two_words_a_thread(int threads) { return (size_t)threads * 8; }

int main(void) {
    start();
    CUmodule module = load("resources");
    CUfunction shared = kernel(module, "static_shared"), small = kernel(module, "small_blocks");
    CUfunction dynamic = kernel(module, "dynamic_shared");
    int threads = device_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
    int memory = device_attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
    int reserved = device_attribute(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK);
    int blocks = -1, grid = -1, block = -1;

    CHECK_CU("full_blocks", cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, small, 128, 0));
    CHECK("full_blocks_value", blocks >= 1 && blocks <= threads / 128);
    CHECK_CU("limited_by_threads", cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, shared, 1024, 0));
    CHECK("limited_by_threads_value", blocks == threads / 1024);
    CHECK_CU("limited_by_memory", cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, dynamic, 32, 40000));
    CHECK("limited_by_memory_value", blocks >= 1 && blocks <= memory / (40000 + reserved));
    CHECK_CU("flags", cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, shared, 1024, 0, CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE));
    CHECK("flags_value", blocks == threads / 1024);
    CHECK_CU("too_many_threads", cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, small, 256, 0));
    printf("# %d blocks of more threads than the kernel may have\n", blocks);
    CHECK_ERR("no_threads", cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, small, 0, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null", cuOccupancyMaxActiveBlocksPerMultiprocessor(NULL, small, 32, 0), CUDA_ERROR_INVALID_VALUE);

    CHECK_CU("best_block", cuOccupancyMaxPotentialBlockSize(&grid, &block, shared, NULL, 0, 0));
    CHECK("best_block_value", block > 0 && block % 32 == 0 && block <= 1024 && grid >= device_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
    CHECK_CU("best_small_block", cuOccupancyMaxPotentialBlockSize(&grid, &block, small, NULL, 0, 0));
    CHECK("best_small_block_value", block > 0 && block <= 128);
    CHECK_CU("best_limited_block", cuOccupancyMaxPotentialBlockSize(&grid, &block, shared, NULL, 0, 64));
    CHECK("best_limited_block_value", block > 0 && block <= 64);
    CHECK_CU("best_block_with_memory", cuOccupancyMaxPotentialBlockSize(&grid, &block, dynamic, two_words_a_thread, 0, 0));
    CHECK("best_block_with_memory_value", block > 0 && block <= 1024);
    CHECK_CU("best_block_flags", cuOccupancyMaxPotentialBlockSizeWithFlags(&grid, &block, shared, NULL, 0, 0, CU_OCCUPANCY_DEFAULT));

    size_t available = 0;
    CHECK_CU("available_memory", cuOccupancyAvailableDynamicSMemPerBlock(&available, dynamic, 2, 32));
    CHECK("available_memory_value", available > 0 && available <= (size_t)memory / 2);
    return finish();
}
