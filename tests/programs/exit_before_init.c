// Loads libcuda, resolves a function and exits without cuInit: no thread, no
// file descriptor, no output.
#include "driver.h"
#include "process.h"

int main(void) {
    struct usage before = usage();
    driver_symbol(driver_library(), "cuInit");
    struct usage after = usage();
    return report("exit_before_init", before, after);
}
