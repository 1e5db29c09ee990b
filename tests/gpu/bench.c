// What calls cost on the CUDA driver at hand, one JSON object a line. `bench quick` leaves out what is large;
// `bench processes N` measures launches of N processes at a time.
#include <cuda.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define NEED(call) need(call, #call)

static CUfunction empty, spin;
static CUstream stream;

static void need(CUresult result, const char *call) {
    const char *name = NULL;
    if (result == CUDA_SUCCESS)
        return;
    cuGetErrorName(result, &name);
    printf("fail %s: %s\n", call, name ? name : "unknown error");
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

static void report(const char *name, double value, const char *unit) {
    printf("{\"bench\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name, value, unit);
    fflush(stdout);
}

static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                          ".visible .entry empty() { ret; }\n"
                          // Runs for as many nanoseconds as asked for.
                          ".visible .entry spin(.param .u64 ns) {\n"
                          "  .reg .u64 %rd<5>; .reg .pred %p;\n"
                          "  ld.param.u64 %rd1, [ns];\n  mov.u64 %rd2, %globaltimer;\n"
                          "L: mov.u64 %rd3, %globaltimer;\n  sub.u64 %rd4, %rd3, %rd2;\n"
                          "  setp.lt.u64 %p, %rd4, %rd1;\n  @%p bra L;\n  ret;\n}\n";

static void launch(CUfunction function, uint64_t ns) {
    void *params[] = {&ns};
    NEED(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, function == empty ? NULL : params, NULL));
}

// What one launch costs its caller while the GPU keeps up.
static void launch_cost(void) {
    enum { BURSTS = 300, BURST = 16 };
    static double times[BURSTS * BURST];
    for (int i = 0; i < BURSTS; i++) {
        for (int j = 0; j < BURST; j++) {
            double start = now();
            launch(empty, 0);
            times[i * BURST + j] = now() - start;
        }
        NEED(cuStreamSynchronize(stream));
    }
    report("launch_cost", 1e6 * median(times, BURSTS * BURST), "us");
}

static void launch_throughput(void) {
    enum { LAUNCHES = 200000 };
    launch(empty, 0);
    NEED(cuStreamSynchronize(stream));
    double start = now();
    for (int i = 0; i < LAUNCHES; i++)
        launch(empty, 0);
    NEED(cuStreamSynchronize(stream));
    report("launch_throughput", LAUNCHES / (now() - start) / 1e6, "M/s");
}

// Medians of calls one by one; `call` gets a number that grows.
static void latency(const char *name, int count, void (*call)(int)) {
    double *times = malloc((size_t)count * sizeof *times);
    for (int i = 0; i < count / 10; i++)
        call(i);
    for (int i = 0; i < count; i++) {
        double start = now();
        call(i);
        times[i] = now() - start;
    }
    report(name, 1e6 * median(times, count), "us");
    free(times);
}

static CUevent event;
static CUdeviceptr device;
static void *pinned, *pageable;
static size_t size, largest = 1 << 30;

static void launch_and_synchronize(int i) {
    (void)i;
    launch(empty, 0);
    NEED(cuStreamSynchronize(stream));
}
static void synchronize_idle(int i) {
    (void)i;
    NEED(cuStreamSynchronize(stream));
}
static void synchronize_context(int i) {
    (void)i;
    NEED(cuCtxSynchronize());
}
static void query_event(int i) {
    (void)i;
    NEED(cuEventQuery(event));
}
static void record_event(int i) {
    NEED(cuEventRecord(event, stream));
    if (i % 64 == 63)
        NEED(cuStreamSynchronize(stream));
}
static void memory_info(int i) {
    size_t available, total;
    (void)i;
    NEED(cuMemGetInfo(&available, &total));
}
static void allocate_and_free(int i) {
    CUdeviceptr memory;
    (void)i;
    NEED(cuMemAlloc(&memory, 4 << 20));
    NEED(cuMemFree(memory));
}
static void launch_of_100_us(int i) {
    (void)i;
    launch(spin, 100000);
    NEED(cuStreamSynchronize(stream));
}

static void htod(void *host) { NEED(cuMemcpyHtoDAsync(device, host, size, stream)); }
static void dtoh(void *host) { NEED(cuMemcpyDtoHAsync(host, device, size, stream)); }

enum { MOST = 200 };
#define COPY_SECONDS 0.2 // for all of one size

// Copies one after the other, each awaited.
static void copies(const char *name, void (*copy)(void *), void *host) {
    static const size_t sizes[] = {4, 4096, 65536, 256 << 10, 1 << 20, 16 << 20, 256 << 20, 1 << 30};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && sizes[i] <= largest; i++) {
        char label[64];
        double times[MOST], begin = now();
        int count = -2; // the first two are not counted
        size = sizes[i];
        while (count < MOST && (count < 3 || now() - begin < COPY_SECONDS)) {
            double start = now();
            copy(host);
            NEED(cuStreamSynchronize(stream));
            if (count++ >= 0)
                times[count - 1] = now() - start;
        }
        double middle = median(times, count);
        snprintf(label, sizeof label, "%s_%zu", name, size);
        if (size >= 256 << 10)
            report(label, (double)size / middle / 1e9, "GB/s");
        else
            report(label, 1e6 * middle, "us");
    }
}

enum { PIECE = 256 << 10, PIECES = 4 };

static void stream_copy(void *to, const void *from, size_t length) {
#ifdef __SSE2__
    for (size_t at = 0; at < length; at += 16)
        _mm_stream_si128((__m128i *)((char *)to + at), _mm_loadu_si128((const __m128i *)((const char *)from + at)));
    _mm_sfence();
#else
    memcpy(to, from, length);
#endif
}

static void cached_copy(void *to, const void *from, size_t length) { memcpy(to, from, length); }

// What limits copies of pageable memory: a memcpy into fresh memory, into a warm ring of a few pieces
// past the cache or through it, and the same with the GPU fetching (or filling) the pieces.
static void rings(void) {
    static const size_t total = 16 << 20;
    static const char *names[] = {"cached", "streaming"};
    void (*ways[])(void *, const void *, size_t) = {cached_copy, stream_copy};
    CUevent events[PIECES];
    char *ring = NULL, label[64];
    NEED(cuMemHostAlloc((void **)&ring, PIECES * PIECE, 0));
    memset(ring, 1, PIECES * PIECE);
    for (int i = 0; i < PIECES; i++)
        NEED(cuEventCreate(&events[i], CU_EVENT_DISABLE_TIMING));
    char *fresh = malloc(total);
    double start = now();
    memcpy(fresh, pageable, total);
    report("memcpy_to_fresh_memory", (double)total / (now() - start) / 1e9, "GB/s");
    start = now();
    memcpy(fresh, pageable, total);
    report("memcpy_to_warm_memory", (double)total / (now() - start) / 1e9, "GB/s");
    free(fresh);
    for (int way = 0; way < 2; way++) {
        double copied[9], fetched[9], filled[9];
        for (int round = 0; round < 9; round++) {
            start = now();
            for (size_t at = 0; at < total; at += PIECE)
                ways[way](ring + at % (PIECES * PIECE), (char *)pageable + at, PIECE);
            copied[round] = now() - start;
            start = now();
            for (size_t at = 0; at < total; at += PIECE) {
                int i = (int)(at / PIECE % PIECES);
                if (at >= PIECES * PIECE)
                    NEED(cuEventSynchronize(events[i]));
                ways[way](ring + i * PIECE, (char *)pageable + at, PIECE);
                NEED(cuMemcpyHtoDAsync(device + at, ring + i * PIECE, PIECE, stream));
                NEED(cuEventRecord(events[i], stream));
            }
            NEED(cuStreamSynchronize(stream));
            fetched[round] = now() - start;
            start = now();
            for (size_t at = 0; at < total + PIECE; at += PIECE) {
                if (at < total) {
                    int i = (int)(at / PIECE % PIECES);
                    NEED(cuMemcpyDtoHAsync(ring + i * PIECE, device + at, PIECE, stream));
                    NEED(cuEventRecord(events[i], stream));
                }
                if (at >= PIECE) {
                    int i = (int)((at / PIECE - 1) % PIECES);
                    NEED(cuEventSynchronize(events[i]));
                    ways[way]((char *)pageable + at - PIECE, ring + i * PIECE, PIECE);
                }
            }
            filled[round] = now() - start;
        }
        snprintf(label, sizeof label, "memcpy_to_ring_%s", names[way]);
        report(label, (double)total / median(copied, 9) / 1e9, "GB/s");
        snprintf(label, sizeof label, "htod_through_ring_%s", names[way]);
        report(label, (double)total / median(fetched, 9) / 1e9, "GB/s");
        snprintf(label, sizeof label, "dtoh_through_ring_%s", names[way]);
        report(label, (double)total / median(filled, 9) / 1e9, "GB/s");
    }
    for (int i = 0; i < PIECES; i++)
        NEED(cuEventDestroy(events[i]));
    NEED(cuMemFreeHost(ring));
}

// A kernel of 5 ms beside a pinned copy: 1 if they overlap wholly, 0 if not at all.
static void overlap(void) {
    CUstream side;
    size = largest / 8;
    NEED(cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
    double start = now();
    htod(pinned);
    NEED(cuStreamSynchronize(stream));
    double copy = now() - start;
    start = now();
    launch(spin, 5000000);
    NEED(cuStreamSynchronize(stream));
    double kernel = now() - start;
    start = now();
    launch(spin, 5000000);
    NEED(cuMemcpyHtoDAsync(device, pinned, size, side));
    NEED(cuStreamSynchronize(side));
    NEED(cuStreamSynchronize(stream));
    double together = now() - start, shorter = copy < kernel ? copy : kernel;
    report("kernel_copy_overlap", (copy + kernel - together) / shorter, "part/s");
    NEED(cuStreamDestroy(side));
}

// The context, and what all measurements need; says how long the context took.
static double set_up(void) {
    CUcontext context;
    CUmodule module;
    double start = now();
    NEED(cuInit(0));
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    double seconds = now() - start;
    NEED(cuModuleLoadData(&module, ptx));
    NEED(cuModuleGetFunction(&empty, module, "empty"));
    NEED(cuModuleGetFunction(&spin, module, "spin"));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    return seconds;
}

// One of several processes: launches for a second from the moment that it is told to; its launches a second.
static double launches_together(int ready, int go) {
    enum { BETWEEN_LOOKS = 256 };
    char byte = 0;
    set_up();
    launch(empty, 0);
    NEED(cuStreamSynchronize(stream));
    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
        exit(1);
    double start = now(), count = 0;
    while (now() - start < 1) {
        for (int i = 0; i < BETWEEN_LOOKS; i++)
            launch(empty, 0);
        count += BETWEEN_LOOKS;
    }
    NEED(cuStreamSynchronize(stream));
    return count / (now() - start);
}

// Launches of an empty kernel by processes that begin together, a second, in all.
static int processes(int count) {
    enum { SOME = 64 };
    int ready[2], go[2], results[2];
    char bytes[SOME] = {0}, label[64];
    double total = 0;
    if (count < 1 || count > SOME || pipe(ready) || pipe(go) || pipe(results))
        return 2;
    for (int i = 0; i < count; i++) {
        if (fork() == 0) {
            // Those that end early are to be seen by the others.
            close(go[1]);
            close(ready[0]);
            double speed = launches_together(ready[1], go[0]);
            return write(results[1], &speed, sizeof speed) != sizeof speed;
        }
    }
    close(ready[1]);
    close(results[1]);
    for (int i = 0; i < count; i++) {
        if (read(ready[0], bytes, 1) != 1)
            return printf("fail processes: one did not start\n"), 1;
    }
    if (write(go[1], bytes, (size_t)count) != count)
        return 1;
    for (int i = 0; i < count; i++) {
        double speed;
        if (read(results[0], &speed, sizeof speed) != sizeof speed)
            return printf("fail processes: one did not end well\n"), 1;
        total += speed;
    }
    while (wait(NULL) > 0) {
    }
    snprintf(label, sizeof label, "launches_of_%d_processes", count);
    report(label, total / 1e6, "M/s");
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2)
        return processes(atoi(argv[2]));
    if (argc > 1)
        largest = 16 << 20;
    report("start_to_context", set_up(), "s");
    launch_cost();
    launch_throughput();
    latency("launch_and_synchronize", 5000, launch_and_synchronize);
    latency("kernel_of_100_us_and_synchronize", 500, launch_of_100_us);
    latency("synchronize_idle_stream", 5000, synchronize_idle);
    latency("synchronize_idle_context", 5000, synchronize_context);
    latency("event_query", 5000, query_event);
    latency("event_record", 5000, record_event);
    latency("memory_info", 2000, memory_info);
    latency("allocate_and_free_4_MiB", 200, allocate_and_free);
    NEED(cuMemAlloc(&device, largest));
    NEED(cuMemHostAlloc(&pinned, largest, 0));
    pageable = malloc(largest);
    memset(pageable, 1, largest);
    memset(pinned, 1, largest);
    copies("htod_pinned", htod, pinned);
    copies("dtoh_pinned", dtoh, pinned);
    copies("htod_pageable", htod, pageable);
    copies("dtoh_pageable", dtoh, pageable);
    rings();
    overlap();
    NEED(cuMemFreeHost(pinned));
    return 0;
}
