// A memory pool of two processes: what one allocates from it, the other can
// have, and frees it first.
#include "peer.h"

enum { COUNT = 100000 };
static const CUmemPoolProps props = {
    .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
    .handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};

static int importer(struct peer parent) {
    start();
    CUmemoryPool pool, other;
    CUmemPoolPtrExportData data, nothing;
    CUdeviceptr memory, none;
    CUstream stream;
    int fd = peer_receive_fd(parent), unrelated = open("/dev/null", 2);
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CHECK_FAILS("import_of_other_file", cuMemPoolImportFromShareableHandle(&other, (void *)(uintptr_t)unrelated, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    NEED(cuMemPoolImportFromShareableHandle(&pool, (void *)(uintptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    close(fd);
    CHECK_FAILS("allocate_from_imported", cuMemAllocFromPoolAsync(&none, 4096, pool, stream));
    CHECK_FAILS("current_pool_imported", cuDeviceSetMemPool(0, pool));
    peer_receive(parent, &data, sizeof data);
    NEED(cuMemPoolImportPointer(&memory, pool, &data));
    CHECK("import_sees_the_bytes", device_holds(memory, COUNT, 4, 1));
    device_fill(memory, COUNT, 8, 2);
    memset(&nothing, 0, sizeof nothing);
    CHECK_FAILS("import_nothing", cuMemPoolImportPointer(&none, pool, &nothing));
    CHECK_CU("free_imported", cuMemFreeAsync(memory, stream));
    CHECK_CU("synchronize", cuStreamSynchronize(stream));
    peer_signal(parent);

    peer_receive(parent, &data, sizeof data);
    NEED(cuMemPoolImportPointer(&memory, pool, &data));
    CHECK("second_allocation", device_holds(memory, 16, 1, 1));
    CHECK_CU("free_second", cuMemFree(memory));
    CHECK_CU("destroy_imported", cuMemPoolDestroy(pool));
    peer_signal(parent);
    return finish();
}

int main(int argc, char **argv) {
    struct peer parent;
    if (peer_is(argc, argv, "importer", &parent))
        return importer(parent);
    struct peer child = peer_start("importer");
    start();
    if (!(device_attribute(CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES) & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR))
        return peer_skip(child, "this device exports no pools");
    CUmemoryPool pool, plain, standard;
    CUmemPoolProps plain_props = props;
    CUmemPoolPtrExportData data;
    CUdeviceptr memory, second, other;
    CUstream stream;
    int fd = -1;
    plain_props.handleTypes = CU_MEM_HANDLE_TYPE_NONE;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemPoolCreate(&pool, &props));
    NEED(cuMemPoolCreate(&plain, &plain_props));
    NEED(cuDeviceGetDefaultMemPool(&standard, 0));
    CHECK_FAILS("export_of_plain_pool", cuMemPoolExportToShareableHandle(&fd, plain, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    CHECK_FAILS("export_of_default_pool", cuMemPoolExportToShareableHandle(&fd, standard, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    NEED(cuMemPoolExportToShareableHandle(&fd, pool, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    peer_send_fd(child, fd);
    close(fd);
    NEED(cuMemAllocFromPoolAsync(&memory, COUNT * sizeof(unsigned), pool, stream));
    NEED(cuMemAllocFromPoolAsync(&other, 4096, plain, stream));
    NEED(cuStreamSynchronize(stream));
    device_fill(memory, COUNT, 4, 1);
    CHECK_FAILS("export_pointer_of_plain_pool", cuMemPoolExportPointer(&data, other));
    NEED(cuMemPoolExportPointer(&data, memory));
    peer_send(child, &data, sizeof data);
    peer_wait(child);
    CHECK("exporter_sees_the_bytes", device_holds(memory, COUNT, 8, 2));
    CHECK_CU("free", cuMemFreeAsync(memory, stream));
    CHECK_CU("synchronize", cuStreamSynchronize(stream));

    // Memory that the pool may use again.
    NEED(cuMemAllocFromPoolAsync(&second, COUNT * sizeof(unsigned), pool, stream));
    NEED(cuStreamSynchronize(stream));
    device_fill(second, 16, 1, 1);
    NEED(cuMemPoolExportPointer(&data, second));
    peer_send(child, &data, sizeof data);
    peer_wait(child);
    CHECK("importer_ended", peer_end(child) == 0);
    CHECK("memory_outlives_importer", device_holds(second, 16, 1, 1));
    CHECK_CU("free_second", cuMemFreeAsync(second, stream));
    CHECK_CU("free_other", cuMemFreeAsync(other, stream));
    CHECK_CU("destroy", cuMemPoolDestroy(pool));
    CHECK_CU("destroy_plain", cuMemPoolDestroy(plain));
    CHECK_CU("synchronize_at_end", cuStreamSynchronize(stream));
    return finish();
}
