// Names and descriptions of error codes, before cuInit too.
#include "check.h"

static int name_is(CUresult result, const char *expected) {
    const char *name = NULL;
    return cuGetErrorName(result, &name) == CUDA_SUCCESS && name && strcmp(name, expected) == 0;
}

static int has_description(CUresult result) {
    const char *text = NULL;
    return cuGetErrorString(result, &text) == CUDA_SUCCESS && text && *text;
}

int main(void) {
    CHECK("success", name_is(CUDA_SUCCESS, "CUDA_SUCCESS"));
    CHECK("invalid_value", name_is(CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"));
    CHECK("out_of_memory", name_is(CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"));
    CHECK("illegal_address", name_is(CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"));
    CHECK("not_ready", name_is(CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY"));
    CHECK("not_supported", name_is(CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED"));
    CHECK("unknown", name_is(CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN"));
    CHECK("descriptions", has_description(CUDA_SUCCESS) && has_description(CUDA_ERROR_INVALID_VALUE) &&
                              has_description(CUDA_ERROR_LAUNCH_FAILED));

    const char *text = "unchanged";
    CHECK_ERR("no_such_error_name", cuGetErrorName((CUresult)-1, &text), CUDA_ERROR_INVALID_VALUE);
    CHECK("no_such_error_name_is_null", text == NULL);
    text = "unchanged";
    CHECK_ERR("no_such_error_string", cuGetErrorString((CUresult)12345, &text), CUDA_ERROR_INVALID_VALUE);
    CHECK("no_such_error_string_is_null", text == NULL);
    return finish();
}
