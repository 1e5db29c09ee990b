// Every entry point of the API table with arguments that no caller should pass:
// before cuInit, null pointers, handles that are null, stale, of another kind or
// of a destroyed context, numbers that are 0 or huge, in a forked child, from
// many threads at once. Never a crash, never success. For our drivers only: a
// real driver takes more of its arguments at their word.
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>

typedef uintptr_t word;
enum { ARGS = 16, THREADS = 64, BAD = 5 };
typedef CUresult (*anything)(word, word, word, word, word, word, word, word, word, word, word, word, word, word, word,
                             word);

// Arguments by kind, as the table has them: n number, d device pointer, h handle
// and x one that ends (with their type), o pointer that is filled, q one that may
// be null, i pointer that is read, s string, b bytes, r raw pointer, c callback.
static const struct function {
    const char *name;
    int early; // works before cuInit
    const char *args[ARGS + 1];
} functions[] = {
#include "signatures.h"
};
enum { COUNT = sizeof functions / sizeof *functions };

// What changes the objects that all calls use.
static const char *const not_with_numbers[] = {"cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2",
                                               "cuStreamBeginCapture", "cuStreamBeginCapture_v2",
                                               "cuStreamBeginCaptureToGraph"};

struct objects {
    CUcontext context;
    CUmodule module;
    CUlibrary library;
    CUfunction function;
    CUkernel kernel;
    CUstream stream;
    CUevent event;
    CUlinkState link;
};

static struct objects valid, ended, orphans;
static __thread char scratch[ARGS][4096] __attribute__((aligned(64)));
static int quiet; // print nothing, count only
static int violations;

static int among(const char *name, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(name, list[i]))
            return 1;
    return 0;
}

static int CUDA_CB no_op(void) { return 0; }

static word object(const struct objects *objects, const char *type) {
    const struct {
        const char *type;
        void *handle;
    } known[] = {{"CUcontext", objects->context}, {"CUmodule", objects->module}, {"CUlibrary", objects->library},
                 {"CUfunction", objects->function}, {"CUkernel", objects->kernel}, {"CUstream", objects->stream},
                 {"CUevent", objects->event}, {"CUlinkState", objects->link}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(type, known[i].type))
            return (word)known[i].handle;
    return 0;
}

// A value that is in order, as far as there is one; numbers are 1, device pointers 0.
static word good(const char *arg, int index) {
    switch (arg[0]) {
    case 'n':
        return 1;
    case 'd':
        return 0;
    case 'h':
        return object(&valid, arg + 1);
    case 'x':
        return object(&ended, arg + 1);
    case 's':
        return (word) "fill";
    case 'c':
        return (word)no_op;
    default:
        memset(scratch[index], 0, sizeof scratch[index]);
        return (word)scratch[index];
    }
}

static word bad_handle(const char *type, int which) {
    switch (which) {
    case 0:
        return 0;
    case 1:
        return object(&ended, type);
    case 2:
        return object(&orphans, type);
    case 3: // of another kind
        return strcmp(type, "CUevent") ? (word)valid.event : (word)valid.module;
    default:
        return (word)0xdeadbeefcafe1235;
    }
}

static int count_args(const struct function *function) {
    int count = 0;
    while (function->args[count])
        count++;
    return count;
}

// Calls with `value` as argument number `changed` (-1: none).
static CUresult call(const struct function *function, int changed, word value) {
    anything address = (anything)dlsym(RTLD_DEFAULT, function->name);
    if (!address)
        return CUDA_ERROR_NOT_SUPPORTED;
    word w[ARGS] = {0};
    int count = count_args(function);
    for (int i = 0; i < count; i++)
        w[i] = i == changed ? value : good(function->args[i], i);
    CUresult result = address(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13],
                              w[14], w[15]);
    cuCtxSetCurrent(valid.context);
    return result;
}

static void verdict(const char *round, const struct function *function, int good_end, CUresult last, int argument) {
    if (!good_end)
        __atomic_add_fetch(&violations, 1, __ATOMIC_RELAXED);
    if (quiet)
        return;
    char name[128];
    snprintf(name, sizeof name, "%s_%s", round, function->name);
    if (good_end) {
        printf("ok %s\n", name);
        return;
    }
    check_failures_++;
    printf("fail %s: argument %d: %s\n", name, argument, check_error_name_(last));
    fflush(stdout);
}

static void not_initialized(const char *round) {
    for (int i = 0; i < COUNT; i++) {
        if (functions[i].early)
            continue;
        CUresult result = call(&functions[i], -1, 0);
        verdict(round, &functions[i], result == CUDA_ERROR_NOT_INITIALIZED || result == CUDA_ERROR_NOT_SUPPORTED, result, -1);
    }
}

static void null_pointers(const struct function *function) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    for (int i = 0; function->args[i]; i++) {
        char kind = function->args[i][0];
        if (kind == 'o' || kind == 'i' || kind == 's') {
            result = call(function, i, 0);
            if (result == CUDA_SUCCESS)
                return verdict("null", function, 0, result, i);
        } else if (kind == 'q' || kind == 'b' || kind == 'r' || kind == 'c') {
            call(function, i, 0);
        }
    }
    verdict("null", function, 1, result, -1);
}

static void bad_handles(const struct function *function) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    for (int i = 0; function->args[i]; i++) {
        char kind = function->args[i][0];
        const char *type = function->args[i] + 1;
        if (kind != 'h' && kind != 'x')
            continue;
        for (int which = 0; which < BAD; which++) {
            word value = bad_handle(type, which);
            result = call(function, i, value);
            // Null is a stream, and stands for the current context, or for none.
            int has_meaning = !value && (!strcmp(type, "CUstream") || !strcmp(type, "CUcontext"));
            // A kernel passes for a function; what the null stream waits for is another matter.
            if (!has_meaning && (result == CUDA_SUCCESS || result == CUDA_ERROR_UNKNOWN))
                return verdict("handle", function, 0, result, i);
        }
    }
    verdict("handle", function, 1, result, -1);
}

static void numbers(const struct function *function) {
    if (among(function->name, not_with_numbers, sizeof not_with_numbers / sizeof *not_with_numbers))
        return;
    int sized = 0;
    for (int i = 0; function->args[i]; i++)
        sized |= strchr("brisx", function->args[i][0]) != NULL;
    for (int i = 0; function->args[i]; i++) {
        if (function->args[i][0] != 'n' && function->args[i][0] != 'd')
            continue;
        call(function, i, 0);
        if (!sized && function->args[i][0] == 'n') {
            call(function, i, (word)-1);
            call(function, i, (word)1 << 31);
        }
    }
    verdict("numbers", function, 1, CUDA_SUCCESS, -1);
}

static struct objects make(void) {
    struct objects made;
    char *ptx = kernel_ptx("basic");
    NEED(cuCtxCreate(&made.context, NULL, 0, 0));
    NEED(cuModuleLoadData(&made.module, ptx));
    NEED(cuModuleGetFunction(&made.function, made.module, "fill"));
    NEED(cuLibraryLoadData(&made.library, ptx, NULL, NULL, 0, NULL, NULL, 0));
    NEED(cuLibraryGetKernel(&made.kernel, made.library, "fill"));
    NEED(cuStreamCreate(&made.stream, CU_STREAM_NON_BLOCKING));
    NEED(cuEventCreate(&made.event, 0));
    NEED(cuLinkCreate(0, NULL, NULL, &made.link));
    free(ptx);
    return made;
}

static void *work(void *start) {
    NEED(cuCtxSetCurrent(valid.context));
    for (int i = 0; i < COUNT; i++) {
        const struct function *function = &functions[((size_t)start + i) % COUNT];
        // 64 threads that wait for functions which the callback thread has yet to run are another matter.
        if (strstr(function->name, "HostFunc") || strstr(function->name, "AddCallback"))
            continue;
        null_pointers(function);
        bad_handles(function);
    }
    return NULL;
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int first = COUNT;
    CHECK("many_functions", first > 200);
    not_initialized("before_init");
    start();
    orphans = make();
    NEED(cuCtxDestroy(orphans.context));
    NEED(cuLibraryUnload(orphans.library));
    ended = make();
    NEED(cuModuleUnload(ended.module));
    NEED(cuLibraryUnload(ended.library));
    NEED(cuStreamDestroy(ended.stream));
    NEED(cuEventDestroy(ended.event));
    NEED(cuLinkDestroy(ended.link));
    NEED(cuCtxDestroy(ended.context));
    valid = make();

    for (int i = 0; i < COUNT; i++) {
        null_pointers(&functions[i]);
        bad_handles(&functions[i]);
        numbers(&functions[i]);
    }
    CHECK_CU("goes_on", cuCtxSynchronize());

    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        check_failures_ = 0;
        not_initialized("forked");
        fflush(NULL);
        _exit(check_failures_ != 0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK("child_ends", WIFEXITED(status) && WEXITSTATUS(status) == 0);

    quiet = 1;
    violations = 0;
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i * COUNT / THREADS));
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK("from_many_threads", violations == 0);
    CHECK_CU("still_goes_on", cuCtxSynchronize());
    return finish();
}
