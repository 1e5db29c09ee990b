// Prints the device's properties, as deviceQuery does, and checks that they
// are consistent with each other.
#include <cstring>

#include "check.h"

static bool sane = true;

static void expect(bool condition, const char *what) {
    if (condition) return;
    std::printf("not sane: %s\n", what);
    sane = false;
}

static void query(int device) {
    cudaDeviceProp prop;
    size_t available, total;
    char busId[32];
    int clock;
    CUDA_CHECK(cudaSetDevice(device));
    CUDA_CHECK(cudaGetDeviceProperties(&prop, device));
    CUDA_CHECK(cudaMemGetInfo(&available, &total));
    CUDA_CHECK(cudaDeviceGetPCIBusId(busId, sizeof busId, device));
    CUDA_CHECK(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, device));

    std::printf("Device %d: \"%s\"\n", device, prop.name);
    std::printf("  Compute capability:        %d.%d\n", prop.major, prop.minor);
    std::printf("  Global memory:             %zu MiB (%zu MiB free)\n", total >> 20,
                available >> 20);
    std::printf("  Multiprocessors:           %d\n", prop.multiProcessorCount);
    std::printf("  Clock:                     %d MHz\n", clock / 1000);
    std::printf("  Shared memory per block:   %zu bytes\n", prop.sharedMemPerBlock);
    std::printf("  Registers per block:       %d\n", prop.regsPerBlock);
    std::printf("  Warp size:                 %d\n", prop.warpSize);
    std::printf("  Threads per block:         %d\n", prop.maxThreadsPerBlock);
    std::printf("  Block dimensions:          %d x %d x %d\n", prop.maxThreadsDim[0],
                prop.maxThreadsDim[1], prop.maxThreadsDim[2]);
    std::printf("  Grid dimensions:           %d x %d x %d\n", prop.maxGridSize[0],
                prop.maxGridSize[1], prop.maxGridSize[2]);
    std::printf("  Unified addressing:        %s\n", prop.unifiedAddressing ? "yes" : "no");
    std::printf("  PCI bus id:                %s\n", busId);

    expect(std::strlen(prop.name) > 0, "the name is empty");
    expect(prop.major >= 5 && prop.minor >= 0, "compute capability");
    expect(total == prop.totalGlobalMem, "two different sizes of the memory");
    expect(available > 0 && available <= total, "free memory");
    expect(prop.multiProcessorCount > 0, "no multiprocessors");
    expect(prop.warpSize == 32, "warp size");
    expect(prop.maxThreadsPerBlock >= 1024, "threads per block");
    expect(prop.maxThreadsDim[0] >= 1024 && prop.maxThreadsDim[2] >= 64, "block dimensions");
    expect(prop.maxGridSize[0] == 2147483647 && prop.maxGridSize[1] >= 65535, "grid dimensions");
    expect(prop.sharedMemPerBlock >= 48 << 10, "shared memory per block");
    expect(prop.regsPerBlock >= 32768, "registers per block");

    int byBusId = -1;
    CUDA_CHECK(cudaDeviceGetByPCIBusId(&byBusId, busId));
    expect(byBusId == device, "the PCI bus id names another device");
}

int main() {
    int driver, runtime, count;
    CUDA_CHECK(cudaDriverGetVersion(&driver));
    CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
    CUDA_CHECK(cudaGetDeviceCount(&count));
    std::printf("CUDA driver %d.%d, runtime %d.%d, %d device(s)\n", driver / 1000,
                driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, count);
    expect(driver / 1000 >= runtime / 1000, "the driver is older than the runtime");
    expect(count >= 1, "no device");
    for (int device = 0; device < count; device++) query(device);
    return verdict(sane, "device_query");
}
