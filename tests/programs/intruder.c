// A hostile client: it opens a session the ordinary way, then writes over the
// descriptors and the avail ring of its own virtqueue with addresses all over
// the machine's memory (other sessions' homes among them), and floods the
// device with calls from four threads. Whatever becomes of its own session,
// it exits with 0 after the given number of seconds.
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

typedef CUresult init_function(unsigned);
typedef CUresult retain_function(CUcontext *, CUdevice);
typedef CUresult set_function(CUcontext);
typedef CUresult info_function(size_t *, size_t *);

static void *library;
static CUcontext context;
static volatile int done;

static void *flood(void *nothing) {
    set_function *set = driver_symbol(library, "cuCtxSetCurrent");
    info_function *info = driver_symbol(library, "cuMemGetInfo_v2");
    set(context);
    while (!done) {
        size_t bytes, total;
        info(&bytes, &total);
    }
    return nothing;
}

// The session's home: the lowest shared mapping of the broker's memory.
static volatile uint8_t *find_home(void) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start = 0;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "rw-s") && strstr(line, "vgpu") && sscanf(line, "%lx-", &start) == 1) break;
    if (maps) fclose(maps);
    return (volatile uint8_t *)start;
}

// A descriptor (virtio 1.3, 2.7.5) that points anywhere.
static void forge(volatile uint8_t *descriptor) {
    uint64_t address = ((uint64_t)(rand() % 512) << 21) + (uint64_t)(rand() % 16) * 4096;
    uint32_t length = rand() % 65536;
    uint16_t flags = rand() % 8, next = rand() % 128;
    memcpy((void *)descriptor, &address, 8);
    memcpy((void *)(descriptor + 8), &length, 4);
    memcpy((void *)(descriptor + 12), &flags, 2);
    memcpy((void *)(descriptor + 14), &next, 2);
}

int main(int argc, char **argv) {
    library = driver_library();
    init_function *init = driver_symbol(library, "cuInit");
    retain_function *retain = driver_symbol(library, "cuDevicePrimaryCtxRetain");
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 2);
    if (init(0) != CUDA_SUCCESS || retain(&context, 0) != CUDA_SUCCESS) return 1;
    volatile uint8_t *home = find_home();
    if (!home) return 2;
    srand(getpid());
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, flood, NULL);
    printf("INTRUDING\n");
    fflush(stdout);
    usleep(100000);
    while (time(NULL) < end) {
        for (int i = 0; i < 128; i++) forge(home + 0x1000 + i * 16);
        for (int i = 0; i < 128; i++) *(volatile uint16_t *)(home + 0x2004 + 2 * i) = rand() % 140;
        *(volatile uint16_t *)(home + 0x2002) += rand() % 100;
        usleep(1000);
    }
    done = 1;
    // Its threads may wait for a session that does not answer any more.
    _exit(0);
}
