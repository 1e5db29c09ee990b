// cuGetProcAddress answers by name, version and flags as cudaTypedefs.h says.
#include "check.h"

#include <cudaTypedefs.h>

static const struct entry {
    const char *name;
    int since, per_thread;
} entries[] = {
#include "typedefs.h"
};

enum { COUNT = sizeof entries / sizeof *entries };

static void *find(const char *name, int version, int per_thread, CUdriverProcAddressQueryResult *status) {
    void *function = NULL;
    *status = (CUdriverProcAddressQueryResult)-1;
    cuuint64_t flags = per_thread ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : CU_GET_PROC_ADDRESS_LEGACY_STREAM;
    CUresult result = cuGetProcAddress(name, &function, version, flags, status);
    return result == CUDA_SUCCESS ? function : NULL;
}

// The entry of the same kind that is next in time, or before in time (step -1).
static const struct entry *neighbour(const struct entry *of, int step) {
    const struct entry *best = NULL;
    for (const struct entry *other = entries; other < entries + COUNT; other++) {
        if (strcmp(other->name, of->name) || other->per_thread != of->per_thread)
            continue;
        if ((other->since - of->since) * step > 0 && (!best || (best->since - other->since) * step > 0))
            best = other;
    }
    return best;
}

int main(void) {
    int driver = 0;
    NEED(cuDriverGetVersion(&driver));
    CUdriverProcAddressQueryResult status;
    int found = 0, windows = 0, twins = 0, fresh = 0, asked = 0;
    for (const struct entry *entry = entries; entry < entries + COUNT; entry++) {
        if (entry->since > driver)
            continue;
        asked++;
        void *function = find(entry->name, entry->since, entry->per_thread, &status);
        if (!function || status != CU_GET_PROC_ADDRESS_SUCCESS)
            fprintf(stderr, "%s %d: not found\n", entry->name, entry->since);
        else
            found++;
        // The same function until the next version has another.
        const struct entry *next = neighbour(entry, 1);
        int last = next && next->since <= driver ? next->since - 10 : driver;
        if (find(entry->name, last, entry->per_thread, &status) != function)
            fprintf(stderr, "%s %d: another one in %d\n", entry->name, entry->since, last);
        else
            windows++;
        // What has no per-thread twin is found all the same.
        if (find(entry->name, driver, 1, &status))
            twins++;
        else
            fprintf(stderr, "%s %d: not found for per-thread streams\n", entry->name, entry->since);
        // What is new in CUDA 12 or later was not there before.
        if (entry->since >= 12010 && !neighbour(entry, -1) && !entry->per_thread &&
            (find(entry->name, entry->since - 10, 0, &status) || status != CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT))
            fprintf(stderr, "%s %d: there before\n", entry->name, entry->since);
        else
            fresh++;
    }
    CHECK("some_asked", asked > 300);
    CHECK("found", found == asked);
    CHECK("versions_are_windows", windows == asked);
    CHECK("per_thread_twins", twins == asked);
    CHECK("not_before_their_version", fresh == asked);

    void *function = &function;
    CHECK("unknown_symbol", !find("cuNoSuchFunction", driver, 0, &status) && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    CHECK("versioned_name_is_unknown", !find("cuMemAlloc_v2", driver, 0, &status) && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    CHECK_ERR("newer_than_the_driver", cuGetProcAddress("cuInit", &function, driver + 1000, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_function", cuGetProcAddress("cuInit", NULL, driver, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_symbol", cuGetProcAddress(NULL, &function, driver, 0, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("without_status", cuGetProcAddress("cuInit", &function, driver, 0, NULL));
    CHECK_CU("callable_before_init", ((CUresult(*)(unsigned))function)(0));
    return finish();
}
