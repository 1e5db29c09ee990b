// Variables of a module: addresses, sizes, initial values, and that each load
// of a module has its own.
#include "check.h"

int main(void) {
    start();
    CUmodule module = load("globals"), again = load("globals");
    CUdeviceptr counter, table, factors, other, scratch;
    size_t size = 0;
    CHECK_CU("variable", cuModuleGetGlobal(&counter, &size, module, "counter"));
    CHECK("variable_size", size == sizeof(int));
    CHECK_CU("array", cuModuleGetGlobal(&table, &size, module, "table"));
    CHECK("array_size", size == 4 * sizeof(int));
    CHECK_CU("constant", cuModuleGetGlobal(&factors, &size, module, "factors"));
    CHECK("constant_size", size == 3 * sizeof(float));
    CHECK_CU("address_only", cuModuleGetGlobal(&other, NULL, module, "counter"));
    CHECK("same_address", other == counter);
    CHECK_CU("size_only", cuModuleGetGlobal(NULL, &size, module, "table"));
    CHECK_ERR("no_such_variable", cuModuleGetGlobal(&other, &size, module, "nothing"), CUDA_ERROR_NOT_FOUND);
    CHECK_ERR("kernel_is_no_variable", cuModuleGetGlobal(&other, &size, module, "use"), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("null_name", cuModuleGetGlobal(&other, &size, module, NULL), CUDA_ERROR_INVALID_VALUE);

    int number = 0, numbers[4];
    float values[4];
    NEED(cuMemcpyDtoH(&number, counter, sizeof number));
    CHECK("initial_value", number == 5);
    NEED(cuMemcpyDtoH(numbers, table, sizeof numbers));
    CHECK("initial_array", numbers[0] == 1 && numbers[3] == 4);
    NEED(cuMemcpyDtoH(values, factors, 3 * sizeof(float)));
    CHECK("initial_constants", values[0] == 0.5f && values[2] == 2.5f);

    CUfunction use = kernel(module, "use");
    NEED(cuMemAlloc(&scratch, sizeof values));
    void *params[] = {&scratch};
    NEED(cuLaunchKernel(use, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(values, scratch, sizeof values));
    CHECK("kernel_reads", values[0] == 0.5f && values[1] == 3.0f && values[2] == 7.5f && values[3] == 5.0f);
    NEED(cuMemcpyDtoH(&number, counter, sizeof number));
    CHECK("kernel_writes", number == 6);

    // What the host writes, the next kernel reads, constants too.
    float changed[3] = {10, 20, 30};
    NEED(cuMemcpyHtoD(factors, changed, sizeof changed));
    number = 100;
    NEED(cuMemcpyHtoD(counter, &number, sizeof number));
    NEED(cuLaunchKernel(use, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(values, scratch, sizeof values));
    CHECK("host_writes", values[0] == 10 && values[1] == 40 && values[2] == 90 && values[3] == 100);

    CHECK_CU("other_module", cuModuleGetGlobal(&other, NULL, again, "counter"));
    CHECK("other_module_has_its_own", other != counter);
    NEED(cuMemcpyDtoH(&number, other, sizeof number));
    CHECK("other_module_is_untouched", number == 5);
    CHECK_CU("unload", cuModuleUnload(again));
    CHECK_CU("unload_first", cuModuleUnload(module));
    return finish();
}
