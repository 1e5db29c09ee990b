// What a stream says about itself: flags, priority, context, numbers, attributes.
#include "check.h"

int main(void) {
    CUcontext context = start();
    int least = -99, greatest = -99;
    CHECK_CU("priority_range", cuCtxGetStreamPriorityRange(&least, &greatest));
    CHECK("range_is_ordered", least >= greatest && least == 0);
    CHECK_CU("range_null", cuCtxGetStreamPriorityRange(NULL, NULL));

    CUstream plain, apart, high, low;
    NEED(cuStreamCreate(&plain, CU_STREAM_DEFAULT));
    NEED(cuStreamCreate(&apart, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreateWithPriority(&high, CU_STREAM_NON_BLOCKING, -1000));
    NEED(cuStreamCreateWithPriority(&low, CU_STREAM_DEFAULT, 1000));
    CHECK_ERR("create_bad_flags", cuStreamCreate(&plain, 8), CUDA_ERROR_INVALID_VALUE);

    int priority = 99;
    CHECK_CU("get_priority", cuStreamGetPriority(plain, &priority));
    CHECK("default_priority", priority == 0);
    NEED(cuStreamGetPriority(high, &priority));
    CHECK("clamped_to_greatest", priority == greatest);
    NEED(cuStreamGetPriority(low, &priority));
    CHECK("clamped_to_least", priority == least);
    CHECK_ERR("get_priority_null", cuStreamGetPriority(plain, NULL), CUDA_ERROR_INVALID_VALUE);

    unsigned flags = 99;
    CHECK_CU("get_flags", cuStreamGetFlags(plain, &flags));
    CHECK("flags_default", flags == CU_STREAM_DEFAULT);
    NEED(cuStreamGetFlags(apart, &flags));
    CHECK("flags_non_blocking", flags == CU_STREAM_NON_BLOCKING);
    NEED(cuStreamGetFlags(NULL, &flags));
    CHECK("flags_null_stream", flags == CU_STREAM_DEFAULT);

    unsigned long long a = 0, b = 0;
    CHECK_CU("get_id", cuStreamGetId(plain, &a));
    NEED(cuStreamGetId(apart, &b));
    CHECK("ids_differ", a != b);
    NEED(cuStreamGetId(CU_STREAM_LEGACY, &a));
    NEED(cuStreamGetId(NULL, &b));
    CHECK("null_is_legacy", a == b);

    CUcontext found = NULL;
    CHECK_CU("get_context", cuStreamGetCtx(plain, &found));
    CHECK("context", found == context);
    if (driver_has("cuStreamGetCtx_v2")) {
        CUgreenCtx green = (CUgreenCtx)&green;
        found = NULL;
        CHECK_CU("get_context_v2", cuStreamGetCtx_v2(plain, &found, &green));
        CHECK("context_v2", found == context && green == NULL);
    } else {
        SKIP("get_context_v2", "newer than this driver");
    }

    CUstreamAttrValue value;
    CHECK_CU("get_sync_policy", cuStreamGetAttribute(plain, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
    value.syncPolicy = CU_SYNC_POLICY_YIELD;
    CHECK_CU("set_sync_policy", cuStreamSetAttribute(plain, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
    memset(&value, 0, sizeof value);
    NEED(cuStreamGetAttribute(plain, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
    CHECK("sync_policy_set", value.syncPolicy == CU_SYNC_POLICY_YIELD);
    CHECK_CU("copy_attributes", cuStreamCopyAttributes(apart, plain));
    memset(&value, 0, sizeof value);
    NEED(cuStreamGetAttribute(apart, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
    CHECK("sync_policy_copied", value.syncPolicy == CU_SYNC_POLICY_YIELD);
    NEED(cuStreamGetAttribute(high, CU_STREAM_ATTRIBUTE_PRIORITY, &value));
    CHECK("priority_attribute", value.priority == greatest);
    CHECK_ERR("no_such_attribute", cuStreamGetAttribute(plain, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value), CUDA_ERROR_INVALID_VALUE);

    CHECK_CU("destroy", cuStreamDestroy(high));
    NEED(cuStreamDestroy(low));
    NEED(cuStreamDestroy(plain));
    NEED(cuStreamDestroy(apart));
    return finish();
}
