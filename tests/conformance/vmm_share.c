// Physical memory of two processes: exported as a file descriptor, which goes
// to the other process by a socket, and mapped by both.
#include "peer.h"

static const CUmemAllocationProp prop = {
    .type = CU_MEM_ALLOCATION_TYPE_PINNED,
    .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
};
static const CUmemAccessDesc access_desc = {
    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0},
    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
};
enum { COUNT = 4096 };

static CUdeviceptr map(CUmemGenericAllocationHandle physical, size_t size) {
    CUdeviceptr address;
    NEED(cuMemAddressReserve(&address, size, 0, 0, 0));
    NEED(cuMemMap(address, size, 0, physical, 0));
    NEED(cuMemSetAccess(address, size, &access_desc, 1));
    return address;
}

static void unmap(CUdeviceptr address, size_t size) {
    NEED(cuMemUnmap(address, size));
    NEED(cuMemAddressFree(address, size));
}

static void *as_handle(int fd) { return (void *)(uintptr_t)fd; }

static int importer(struct peer parent) {
    start();
    size_t size;
    CUmemGenericAllocationHandle physical, other;
    CUmemAllocationProp found;
    peer_receive(parent, &size, sizeof size);
    int fd = peer_receive_fd(parent), unrelated = open("/dev/null", 2);
    CHECK_FAILS("import_of_other_file", cuMemImportFromShareableHandle(&other, as_handle(unrelated), CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    NEED(cuMemImportFromShareableHandle(&physical, as_handle(fd), CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    CHECK("descriptor_stays_open", close(fd) == 0);
    CHECK_CU("properties", cuMemGetAllocationPropertiesFromHandle(&found, physical));
    CHECK("properties_type", found.type == CU_MEM_ALLOCATION_TYPE_PINNED);
    CUdeviceptr address = map(physical, size);
    CHECK("import_sees_the_bytes", device_holds(address, COUNT, 5, 2));
    device_fill(address + size / 2, COUNT, 9, 1);
    CHECK_CU("release_while_mapped", cuMemRelease(physical));
    peer_signal(parent);
    peer_wait(parent);
    // The other process has given it up by now.
    CHECK("memory_stays", device_holds(address, COUNT, 5, 2) && device_holds(address + size / 2, COUNT, 9, 1));
    unmap(address, size);
    return finish();
}

int main(int argc, char **argv) {
    struct peer parent;
    if (peer_is(argc, argv, "importer", &parent))
        return importer(parent);
    struct peer child = peer_start("importer");
    start();
    if (!device_attribute(CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED))
        return peer_skip(child, "this device exports no file descriptors");
    size_t size = 0;
    int fd = -1, second = -1;
    CUmemGenericAllocationHandle physical, private_memory, again;
    CUmemAllocationProp plain = prop, found;
    plain.requestedHandleTypes = CU_MEM_HANDLE_TYPE_NONE;
    NEED(cuMemGetAllocationGranularity(&size, &prop, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED));
    NEED(cuMemCreate(&physical, size, &prop, 0));
    NEED(cuMemCreate(&private_memory, size, &plain, 0));
    CHECK_CU("properties_of_own", cuMemGetAllocationPropertiesFromHandle(&found, physical));
    CHECK("properties_name_the_type", found.requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    CHECK_FAILS("export_of_private_memory", cuMemExportToShareableHandle(&fd, private_memory, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    CHECK_ERR("export_with_flags", cuMemExportToShareableHandle(&fd, physical, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 1), CUDA_ERROR_INVALID_VALUE);
    NEED(cuMemExportToShareableHandle(&fd, physical, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    CHECK_CU("export_again", cuMemExportToShareableHandle(&second, physical, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    CHECK("descriptors", fd >= 0 && second >= 0 && fd != second);
    CUdeviceptr address = map(physical, size);
    device_fill(address, COUNT, 5, 2);

    // The process that exports may import, too.
    NEED(cuMemImportFromShareableHandle(&again, as_handle(second), CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
    close(second);
    CUdeviceptr alias = map(again, size);
    CHECK("alias_sees_the_bytes", device_holds(alias, COUNT, 5, 2));
    unmap(alias, size);
    CHECK_CU("release_alias", cuMemRelease(again));

    peer_send(child, &size, sizeof size);
    peer_send_fd(child, fd);
    close(fd);
    peer_wait(child);
    CHECK("exporter_sees_the_bytes", device_holds(address + size / 2, COUNT, 9, 1));
    unmap(address, size);
    CHECK_CU("release", cuMemRelease(physical));
    CHECK_CU("release_private", cuMemRelease(private_memory));
    peer_signal(child);
    CHECK("importer_ended", peer_end(child) == 0);
    return finish();
}
