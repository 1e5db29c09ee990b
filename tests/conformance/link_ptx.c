// Linking two PTX inputs into one image; what is missing is an error with a log.
#include "check.h"

int main(void) {
    start();
    char *caller = kernel_ptx("link_main"), *part = kernel_ptx("link_part");
    char info[2048] = "", error[2048] = "";
    CUjit_option options[] = {CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_ERROR_LOG_BUFFER,
                              CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {info, (void *)sizeof info, error, (void *)sizeof error};
    CUlinkState link;
    CHECK_CU("create", cuLinkCreate(4, options, values, &link));
    CHECK_CU("add_first", cuLinkAddData(link, CU_JIT_INPUT_PTX, caller, strlen(caller) + 1, "link_main.ptx", 0, NULL, NULL));
    CHECK_CU("add_second", cuLinkAddData(link, CU_JIT_INPUT_PTX, part, strlen(part) + 1, "link_part.ptx", 0, NULL, NULL));
    void *image = NULL;
    size_t size = 0;
    CHECK_CU("complete", cuLinkComplete(link, &image, &size));
    CHECK("image", image && size > 0);
    CUmodule module;
    NEED(cuModuleLoadData(&module, image));
    CHECK_CU("destroy", cuLinkDestroy(link)); // the image goes with it
    CUdeviceptr out;
    int x = 21, number = 0;
    NEED(cuMemAlloc(&out, sizeof number));
    void *params[] = {&out, &x};
    CHECK_CU("launch", cuLaunchKernel(kernel(module, "call_twice"), 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    NEED(cuMemcpyDtoH(&number, out, sizeof number));
    CHECK("result", number == 42);

    void *again[] = {info, (void *)sizeof info, error, (void *)sizeof error};
    NEED(cuLinkCreate(4, options, again, &link));
    CUresult added = cuLinkAddData(link, CU_JIT_INPUT_PTX, caller, strlen(caller) + 1, "alone.ptx", 0, NULL, NULL);
    CUresult completed = cuLinkComplete(link, &image, &size);
    CHECK("missing_function", added != CUDA_SUCCESS || completed != CUDA_SUCCESS);
    CHECK("missing_function_is_named", strstr(error, "twice") != NULL);
    CHECK_CU("destroy_failed", cuLinkDestroy(link));

    NEED(cuLinkCreate(0, NULL, NULL, &link));
    CHECK_NO_IMAGE("not_ptx", cuLinkAddData(link, CU_JIT_INPUT_PTX, "no code", 8, "bad.ptx", 0, NULL, NULL));
    CHECK_CU("destroy_empty", cuLinkDestroy(link));
    free(caller), free(part);
    return finish();
}
