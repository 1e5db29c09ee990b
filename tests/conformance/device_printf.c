// What kernels print is on standard output after a synchronisation, in order.
#include "check.h"

static int saved;
static FILE *file;

static void capture(void) {
    fflush(stdout);
    saved = dup(1);
    file = tmpfile();
    if (!file || dup2(fileno(file), 1) < 0)
        exit(1);
}

static const char *captured(void) {
    static char text[65536];
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

int main(void) {
    start();
    CUmodule module = load("print");
    CUfunction print = kernel(module, "print"), own = kernel(module, "print_own");
    CUdeviceptr message;
    int x = 7;
    double y = 3.14159;
    NEED(cuModuleGetGlobal(&message, NULL, module, "message"));
    void *params[] = {&x, &y, &message};

    capture();
    NEED(cuLaunchKernel(print, 1, 1, 1, 2, 1, 1, 0, NULL, params, NULL));
    NEED(cuCtxSynchronize());
    const char *text = captured();
    CHECK("first_thread", strstr(text, "7  3.14 device text a ff 1234567890123%\n") != NULL);
    CHECK("second_thread", strstr(text, "8  3.14 device text b ff 1234567890123%\n") != NULL);
    CHECK("nothing_else", strlen(text) == 2 * strlen("7  3.14 device text a ff 1234567890123%\n"));

    // Launches print one after the other, and a stream's synchronisation is enough.
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    capture();
    for (x = 100; x < 103; x++)
        NEED(cuLaunchKernel(print, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL));
    NEED(cuLaunchKernel(own, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
    NEED(cuStreamSynchronize(stream));
    text = captured();
    const char *first = strstr(text, "100 "), *second = strstr(text, "101 "), *last = strstr(text, "\ndevice text\n");
    CHECK("in_order", first && second && last && first < second && second < last);

    size_t size = 0;
    CHECK_CU("buffer_size", cuCtxGetLimit(&size, CU_LIMIT_PRINTF_FIFO_SIZE));
    CHECK("buffer_size_value", size >= 1024);
    return finish();
}
