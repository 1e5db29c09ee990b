// For a machine without the device: cuInit says CUDA_ERROR_NO_DEVICE, and what
// needs cuInit says that it did not happen.
#include "driver.h"

int main(void) {
    void *library = driver_library();
    CUresult (*init)(unsigned) = driver_symbol(library, "cuInit");
    CUresult (*count)(int *) = driver_symbol(library, "cuDeviceGetCount");
    CUresult (*version)(int *) = driver_symbol(library, "cuDriverGetVersion");

    int devices = -1, driver = 0;
    CUresult initialised = init(0);
    CUresult counted = count(&devices);
    CUresult versioned = version(&driver);
    printf("no_device: cuInit %d, cuDeviceGetCount %d, cuDriverGetVersion %d (%d)\n", initialised,
           counted, versioned, driver);
    return verdict(initialised == CUDA_ERROR_NO_DEVICE && counted == CUDA_ERROR_NOT_INITIALIZED &&
                       versioned == CUDA_SUCCESS && driver >= 13000,
                   "no_device");
}
