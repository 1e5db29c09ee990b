// dlopen and dlclose of libcuda.so.1, 1,000 times: no thread, no file
// descriptor, no output.
#include "driver.h"
#include "process.h"

int main(void) {
    struct usage before = usage();
    for (int round = 0; round < 1000; round++)
        if (dlclose(driver_library()) != 0) return verdict(0, "dlopen_loop: dlclose");
    struct usage after = usage();
    return report("dlopen_loop", before, after);
}
