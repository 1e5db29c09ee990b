// Every entry point that the API table refuses is exported and returns
// CUDA_ERROR_NOT_SUPPORTED, whatever its arguments. For our drivers only: a
// driver that has the functions would take the arguments at their word.
#include "check.h"

static const char *const names[] = {
#include "refused.h"
};

typedef CUresult (*anything)(void *, void *, void *, void *, void *, void *, void *, void *);

int main(void) {
    start();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        anything function = (anything)dlsym(RTLD_DEFAULT, names[i]);
        if (!function) {
            CHECK(names[i], !"exported");
            continue;
        }
        CUresult result = function(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        if (result == CUDA_ERROR_NOT_SUPPORTED)
            printf("refused %s: %s\n", names[i], names[i]);
        else
            CHECK(names[i], result == CUDA_ERROR_NOT_SUPPORTED);
    }
    return finish();
}
