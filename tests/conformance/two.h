// Programs that need two devices.
#pragma once

#include "check.h"

// The primary contexts of devices 0 and 1, the first of them current. Ends the program where there is one device.
static inline void start_two(CUcontext contexts[2]) {
    int count = 0;
    NEED(cuInit(0));
    NEED(cuDeviceGetCount(&count));
    if (count < 2) {
        SKIP("two_devices", "there is one device");
        exit(finish());
    }
    for (int dev = 1; dev >= 0; dev--) {
        NEED(cuDevicePrimaryCtxRetain(&contexts[dev], dev));
        NEED(cuCtxSetCurrent(contexts[dev]));
    }
}

// As start_two; ends the program where device 0 cannot reach the memory of device 1, or the other way round.
static inline void start_peers(CUcontext contexts[2]) {
    int there = 0, back = 0;
    start_two(contexts);
    NEED(cuDeviceCanAccessPeer(&there, 0, 1));
    NEED(cuDeviceCanAccessPeer(&back, 1, 0));
    if (!there || !back) {
        SKIP("peers", "the devices do not reach each other's memory");
        exit(finish());
    }
}

// Launches basic.cu's fill or add in the current context.
static inline void launch_basic(CUfunction function, CUdeviceptr data, int value, int count, CUstream stream) {
    void *params[] = {&data, &value, &count};
    NEED(cuLaunchKernel(function, (count + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL));
}

// Whether `count` words of device memory are all `value`.
static inline int all_are(CUdeviceptr data, int value, int count) {
    int *words = malloc(count * sizeof *words), same = 1;
    NEED(cuMemcpyDtoH(words, data, count * sizeof *words));
    for (int i = 0; i < count; i++)
        same &= words[i] == value;
    free(words);
    return same;
}
