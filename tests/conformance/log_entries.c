// The driver's log: errors are entries that can be read and listened to.
#include "check.h"

static int calls;
static char last[1024];

static void CUDA_CB listen(void *data, CUlogLevel level, char *message, size_t length) {
    (void)level;
    ++*(int *)data;
    snprintf(last, sizeof last, "%.*s", (int)length, message);
}

int main(void) {
    if (!driver_has("cuLogsCurrent")) {
        SKIP("log", "newer than this driver");
        return finish();
    }
    start();
    CUlogIterator from = 0, end = 0;
    if (!CHECK_CU("current", cuLogsCurrent(&from, 0)))
        return finish();
    CUlogsCallbackHandle handle = NULL;
    CHECK_CU("register", cuLogsRegisterCallback(listen, &calls, &handle));
    CHECK_ERR("register_null", cuLogsRegisterCallback(NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    calls = 0;

    // Something that fails for a reason that the driver explains.
    CUmodule module;
    CUfunction fill;
    NEED(cuModuleLoadData(&module, kernel_ptx("basic")));
    NEED(cuModuleGetFunction(&fill, module, "fill"));
    CHECK_ERR("failing_call", cuLaunchKernel(fill, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK("told", calls >= 1 && last[0]);

    char buffer[4096];
    size_t size = sizeof buffer;
    end = from;
    CHECK_CU("dump", cuLogsDumpToMemory(&end, buffer, &size, 0));
    CHECK("dumped", size > 0 && size < sizeof buffer && buffer[size] == 0 && buffer[size - 1] == '\n');
    size = sizeof buffer;
    CHECK_CU("dump_rest", cuLogsDumpToMemory(&end, buffer, &size, 0));
    CHECK("nothing_left", size == 0);
    size = 2;
    CHECK_ERR("buffer_too_small", cuLogsDumpToMemory(NULL, buffer, &size, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK("too_small_size", size == 0);

    char path[] = "/tmp/log_entries_XXXXXX";
    int file = mkstemp(path);
    CHECK_CU("dump_file", cuLogsDumpToFile(NULL, path, 0));
    CHECK("file_written", lseek(file, 0, SEEK_END) > 0);
    unlink(path);
    CHECK_CU("unregister", cuLogsUnregisterCallback(handle));
    int before = calls;
    cuLaunchKernel(fill, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CHECK("not_told_any_more", calls == before);
    return finish();
}
