// What a device says about itself agrees with itself.
#include "check.h"

int main(void) {
    start();
    char name[256] = "", cut[6];
    CHECK_CU("name", cuDeviceGetName(name, sizeof name, 0));
    CHECK("name_is_text", name[0] != 0 && strlen(name) < sizeof name);
    memset(cut, 'x', sizeof cut);
    CHECK_CU("name_cut", cuDeviceGetName(cut, sizeof cut, 0));
    CHECK("name_cut_is_a_prefix", memchr(cut, 0, sizeof cut) && strncmp(name, cut, strlen(cut)) == 0);

    CHECK("warp_size", device_attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE) == 32);
    CHECK("threads_per_block", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK) == 1024);
    CHECK("block_x", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X) == 1024);
    CHECK("block_z", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z) == 64);
    CHECK("grid_x", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X) == 2147483647);
    CHECK("grid_y", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y) == 65535);
    CHECK("shared_memory", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK) == 49152);
    CHECK("shared_memory_optin", device_attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) >= 49152);
    CHECK("multiprocessors", device_attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) >= 1);
    CHECK("unified_addressing", device_attribute(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING) == 1);
    CHECK("constant_memory", device_attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY) == 65536);

    int major = device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), minor = -1, other = -1;
    CHECK("capability", major * 10 + device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) >= 75);
    CHECK_CU("compute_capability", cuDeviceComputeCapability(&other, &minor, 0));
    CHECK("capability_agrees", other == major && minor == device_attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));

    CUdevprop properties;
    memset(&properties, 0, sizeof properties);
    if (CHECK_CU("properties", cuDeviceGetProperties(&properties, 0))) {
        CHECK("properties_agree", properties.maxThreadsPerBlock == 1024 && properties.SIMDWidth == 32 &&
                                      properties.sharedMemPerBlock == 49152 &&
                                      properties.maxThreadsDim[2] == 64 &&
                                      properties.clockRate == device_attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE));
    }

    size_t total = 0, free_bytes = 0, all = 0;
    CHECK_CU("total_memory", cuDeviceTotalMem(&total, 0));
    CHECK_CU("memory_info", cuMemGetInfo(&free_bytes, &all));
    CHECK("memory_info_agrees", total > 0 && free_bytes > 0 && free_bytes <= all && all <= total);

    CUuuid id, again;
    CHECK_CU("uuid", cuDeviceGetUuid(&id, 0));
    CHECK_CU("uuid_again", cuDeviceGetUuid(&again, 0));
    CHECK("uuid_is_stable", memcmp(&id, &again, sizeof id) == 0);

    char location[32] = "";
    CUdevice device = -1;
    CHECK_CU("pci_bus_id", cuDeviceGetPCIBusId(location, sizeof location, 0));
    unsigned domain, bus, slot, function;
    CHECK("pci_bus_id_format", sscanf(location, "%x:%x:%x.%x", &domain, &bus, &slot, &function) == 4);
    CHECK("pci_bus_id_agrees", (int)bus == device_attribute(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) &&
                                   (int)slot == device_attribute(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID));
    CHECK_CU("by_pci_bus_id", cuDeviceGetByPCIBusId(&device, location));
    CHECK("by_pci_bus_id_agrees", device == 0);
    CHECK_ERR("by_unknown_pci_bus_id", cuDeviceGetByPCIBusId(&device, "00ff:1f:1f.0"), CUDA_ERROR_INVALID_DEVICE);

    int value;
    CHECK_ERR("no_such_attribute", cuDeviceGetAttribute(&value, (CUdevice_attribute)100000, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("attribute_null", cuDeviceGetAttribute(NULL, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("attribute_no_device", cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 99), CUDA_ERROR_INVALID_DEVICE);
    CHECK_ERR("name_no_device", cuDeviceGetName(name, sizeof name, 99), CUDA_ERROR_INVALID_DEVICE);
    return finish();
}
