// A stream waits for values in memory, and writes them.
#include "wait.h"

// What is at `address`, once the stream has got there.
static unsigned long long number(CUdeviceptr address, CUstream stream, size_t size) {
    unsigned long long value = 0;
    NEED(cuMemcpyDtoHAsync(&value, address, size, stream));
    NEED(cuStreamSynchronize(stream));
    return value;
}

int main(void) {
    start();
    CUstream stream, other;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    CUdeviceptr memory;
    NEED(cuMemAlloc(&memory, 64));
    NEED(cuMemsetD8(memory, 0, 64));
    volatile unsigned *pinned;
    CUdeviceptr mapped;
    NEED(cuMemHostAlloc((void **)&pinned, 64, CU_MEMHOSTALLOC_DEVICEMAP));
    NEED(cuMemHostGetDevicePointer(&mapped, (void *)pinned, 0));
    memset((void *)pinned, 0, 64);

    if (cuStreamWriteValue32(stream, memory, 7, 0) == CUDA_ERROR_NOT_SUPPORTED) {
        SKIP("stream_memory_operations", "not supported by this driver");
        return finish();
    }
    CHECK("write_32", number(memory, stream, 4) == 7);
    CHECK_CU("write_pinned", cuStreamWriteValue32(stream, mapped, 8, CU_STREAM_WRITE_VALUE_DEFAULT));
    NEED(cuStreamSynchronize(stream));
    CHECK("written_pinned", pinned[0] == 8);

    // The host lets the stream go on.
    pinned[1] = 0;
    CHECK_CU("wait_pinned", cuStreamWaitValue32(stream, mapped + 4, 5, CU_STREAM_WAIT_VALUE_EQ));
    CHECK_CU("write_after_wait", cuStreamWriteValue32(stream, memory, 9, 0));
    CHECK_ERR("held_up", cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    CHECK("not_written_yet", number(memory, other, 4) == 7);
    pinned[1] = 5;
    CHECK("written_after_wait", number(memory, stream, 4) == 9);

    // Another stream lets it go on; the comparison is cyclic.
    CHECK_CU("wait_geq", cuStreamWaitValue32(stream, memory + 8, 2, CU_STREAM_WAIT_VALUE_GEQ));
    CHECK_ERR("held_up_by_geq", cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    CHECK_CU("write_other", cuStreamWriteValue32(other, memory + 8, 3, 0));
    CHECK_CU("geq_holds", cuStreamSynchronize(stream));
    NEED(cuStreamWriteValue32(stream, memory + 8, 1, 0));
    CHECK_CU("wait_geq_cyclic", cuStreamWaitValue32(stream, memory + 8, 0xfffffff0u, CU_STREAM_WAIT_VALUE_GEQ));
    CHECK_CU("geq_is_cyclic", cuStreamSynchronize(stream));
    NEED(cuStreamWriteValue32(stream, memory + 8, 6, 0));
    CHECK_CU("wait_and", cuStreamWaitValue32(stream, memory + 8, 2, CU_STREAM_WAIT_VALUE_AND));
    CHECK_CU("and_holds", cuStreamSynchronize(stream));
    if (device_attribute(CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR)) {
        CHECK_CU("wait_nor", cuStreamWaitValue32(stream, memory + 8, 1, CU_STREAM_WAIT_VALUE_NOR));
        CHECK_CU("nor_holds", cuStreamSynchronize(stream));
    } else {
        SKIP("wait_nor", "not on this device");
    }
    if (device_attribute(CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS)) {
        CHECK_CU("write_64", cuStreamWriteValue64(stream, memory + 16, 0x100000002ull, 0));
        CHECK("written_64", number(memory + 16, stream, 8) == 0x100000002ull);
        CHECK_CU("wait_64", cuStreamWaitValue64(stream, memory + 16, 0x100000000ull, CU_STREAM_WAIT_VALUE_GEQ));
        CHECK_CU("wait_64_holds", cuStreamSynchronize(stream));
    } else {
        SKIP("write_64", "not on this device");
    }

    CUstreamBatchMemOpParams batch[3] = {0};
    batch[0].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    batch[0].writeValue.address = memory + 24;
    batch[0].writeValue.value = 11;
    batch[1].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
    batch[1].waitValue.address = memory + 24;
    batch[1].waitValue.value = 11;
    batch[1].waitValue.flags = CU_STREAM_WAIT_VALUE_EQ;
    batch[2].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    batch[2].writeValue.address = memory + 28;
    batch[2].writeValue.value = 12;
    CHECK_CU("batch", cuStreamBatchMemOp(stream, 3, batch, 0));
    CHECK("batch_in_order", number(memory + 24, stream, 8) == (12ull << 32 | 11));
    CHECK_CU("empty_batch", cuStreamBatchMemOp(stream, 0, batch, 0));
    CHECK_ERR("batch_too_long", cuStreamBatchMemOp(stream, 256, batch, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("batch_flags", cuStreamBatchMemOp(stream, 3, batch, 1), CUDA_ERROR_INVALID_VALUE);
    batch[1].operation = (CUstreamBatchMemOpType)77;
    CHECK_ERR("batch_no_such_operation", cuStreamBatchMemOp(stream, 3, batch, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("misaligned", cuStreamWriteValue32(stream, memory + 2, 1, 0), CUDA_ERROR_INVALID_VALUE);
    return finish();
}
