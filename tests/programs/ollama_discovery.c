// What Ollama does before it takes a GPU, with the calls in its order: its own probe of the driver (discover/ in its
// source), that of ggml's CUDA backend, and the ways in which both ask NVML for memory. Values that make it drop a
// device, or take it for an integrated one, are failures.
#include "driver.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_MEMORY (457ull << 20) // less is taken for an integrated GPU
#define LEAST_DRIVER 570            // of the driver that older GPUs need

typedef struct {
    unsigned long long total, free, used;
} memory_info;

static CUresult (*device_attribute)(int *, int, int);

static int attribute(int number, int device) {
    int value = -1;
    return device_attribute(&value, number, device) == CUDA_SUCCESS ? value : -1;
}

static int is(int condition, const char *what) {
    if (!condition)
        printf("ollama_discovery: %s\n", what);
    return condition;
}

int main(void) {
    void *cuda = driver_library();
    CUresult (*init)(unsigned) = driver_symbol(cuda, "cuInit");
    CUresult (*driver_version)(int *) = driver_symbol(cuda, "cuDriverGetVersion");
    CUresult (*count_devices)(int *) = driver_symbol(cuda, "cuDeviceGetCount");
    CUresult (*get_device)(int *, int) = driver_symbol(cuda, "cuDeviceGet");
    device_attribute = driver_symbol(cuda, "cuDeviceGetAttribute");
    CUresult (*get_name)(char *, int, int) = driver_symbol(cuda, "cuDeviceGetName");
    CUresult (*total_memory)(size_t *, int) = driver_symbol(cuda, "cuDeviceTotalMem_v2");
    CUresult (*pci_bus_id)(char *, int, int) = driver_symbol(cuda, "cuDeviceGetPCIBusId");
    CUresult (*get_uuid)(unsigned char *, int) = driver_symbol(cuda, "cuDeviceGetUuid");
    CUresult (*create)(CUcontext *, void *, int, unsigned, int) = driver_symbol(cuda, "cuCtxCreate_v3");
    CUresult (*get_memory)(size_t *, size_t *) = driver_symbol(cuda, "cuMemGetInfo_v2");
    CUresult (*destroy)(CUcontext) = driver_symbol(cuda, "cuCtxDestroy");

    int version = 0, devices = 0, device = -1, good = 1;
    good &= is(init(0) == CUDA_SUCCESS, "cuInit failed");
    good &= is(driver_version(&version) == CUDA_SUCCESS && version >= 12000, "the CUDA version is too low");
    good &= is(count_devices(&devices) == CUDA_SUCCESS && devices > 0, "there is no device");
    good &= is(get_device(&device, 0) == CUDA_SUCCESS, "cuDeviceGet failed");

    int major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    int minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    good &= is(major >= 5 && minor >= 0, "the compute capability is too low");
    good &= is(attribute(CU_DEVICE_ATTRIBUTE_INTEGRATED, device) == 0, "the device is an integrated one");
    char name[128] = "", pci[32] = "", uuid[64];
    unsigned char bytes[16] = {0}, none[16] = {0};
    size_t total = 0, context_free = 0, context_total = 0;
    good &= is(get_name(name, sizeof name, device) == CUDA_SUCCESS && *name, "there is no name");
    good &= is(total_memory(&total, device) == CUDA_SUCCESS && total >= LEAST_MEMORY, "there is too little memory");
    good &= is(pci_bus_id(pci, sizeof pci, device) == CUDA_SUCCESS && strlen(pci) == 12, "there is no PCI address");
    good &= is(get_uuid(bytes, device) == CUDA_SUCCESS && memcmp(bytes, none, 16), "there is no UUID");
    char *end = uuid + sprintf(uuid, "GPU-");
    for (int i = 0; i < 16; i++)
        end += sprintf(end, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);

    CUcontext context = NULL;
    good &= is(create(&context, NULL, 0, 0, device) == CUDA_SUCCESS, "cuCtxCreate_v3 failed");
    good &= is(get_memory(&context_free, &context_total) == CUDA_SUCCESS, "cuMemGetInfo_v2 failed");
    good &= is(context_free >= LEAST_MEMORY && context_free <= context_total, "too little memory is free");
    good &= is(destroy(context) == CUDA_SUCCESS, "cuCtxDestroy failed");

    void *nvml = dlopen("libnvidia-ml.so.1", RTLD_LAZY);
    if (!nvml) {
        printf("ollama_discovery: %s\n", dlerror());
        return verdict(0, "ollama_discovery");
    }
    int (*start)(void) = driver_symbol(nvml, "nvmlInit_v2");
    int (*stop)(void) = driver_symbol(nvml, "nvmlShutdown");
    int (*nvidia_driver)(char *, unsigned) = driver_symbol(nvml, "nvmlSystemGetDriverVersion");
    int (*by_address)(const char *, void **) = driver_symbol(nvml, "nvmlDeviceGetHandleByPciBusId_v2");
    int (*by_uuid)(const char *, void **) = driver_symbol(nvml, "nvmlDeviceGetHandleByUUID");
    int (*memory)(void *, memory_info *) = driver_symbol(nvml, "nvmlDeviceGetMemoryInfo");
    int (*nvml_name)(void *, char *, unsigned) = driver_symbol(nvml, "nvmlDeviceGetName");
    const char *(*error_text)(int) = driver_symbol(nvml, "nvmlErrorString");

    char driver[80] = "";
    good &= is(start() == 0, "nvmlInit_v2 failed");
    good &= is(nvidia_driver(driver, sizeof driver) == 0 && atoi(driver) >= LEAST_DRIVER, "the driver is too old");
    good &= is(stop() == 0, "nvmlShutdown failed");

    // Both ways of asking for the memory: by the address in lower case, and by the UUID as ggml writes it.
    for (char *c = pci; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    for (int way = 0; way < 2; way++) {
        void *handle = NULL;
        memory_info info = {0};
        char same[128] = "";
        good &= is(start() == 0, "nvmlInit_v2 failed again");
        int found = way ? by_uuid(uuid, &handle) : by_address(pci, &handle);
        good &= is(found == 0, error_text(found));
        good &= is(memory(handle, &info) == 0 && info.total >= total && info.free >= LEAST_MEMORY &&
                       info.free + info.used <= info.total,
                   "NVML tells another memory");
        good &= is(nvml_name(handle, same, sizeof same) == 0 && !strcmp(same, name), "NVML tells another name");
        good &= is(stop() == 0, "nvmlShutdown failed again");
    }
    dlclose(nvml);
    printf("ollama_discovery: %s, %s, %s, %d.%d, driver %s, %zu of %zu MiB free\n", name, uuid, pci, major, minor, driver,
           context_free >> 20, context_total >> 20);
    return verdict(good, "ollama_discovery");
}
