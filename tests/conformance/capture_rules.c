// What is not allowed while a stream captures, and what comes of it.
#include "graph.h"

#include <pthread.h>

static CUstream stream, blocking, plain;
static CUgraph graph;

static CUstreamCaptureStatus status_of(CUstream of) {
    CUstreamCaptureStatus status = 99;
    NEED(cuStreamIsCapturing(of, &status));
    return status;
}

// A call that breaks the rules: its error, and an invalid capture.
#define BREAKS(name, of, call, error)                                                                                  \
    do {                                                                                                               \
        NEED(cuStreamBeginCapture(of, CU_STREAM_CAPTURE_MODE_GLOBAL));                                                 \
        NEED(graph_launch(graph_add, graph_data, 1, of));                                                              \
        CHECK_ERR(name, call, error);                                                                                  \
        CHECK(name "_invalidates", status_of(of) == CU_STREAM_CAPTURE_STATUS_INVALIDATED);                             \
        CHECK_ERR(name "_work_after", graph_launch(graph_add, graph_data, 1, of),                                      \
                  CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);                                                              \
        graph = (CUgraph)1;                                                                                            \
        CHECK_ERR(name "_end", cuStreamEndCapture(of, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);                 \
        CHECK(name "_no_graph", graph == NULL);                                                                        \
        CHECK(name "_over", status_of(of) == CU_STREAM_CAPTURE_STATUS_NONE);                                           \
    } while (0)

struct ask {
    CUstreamCaptureMode mode;
    CUcontext context;
    CUresult allocated, ended;
};

static void *allocate_elsewhere(void *argument) {
    struct ask *ask = argument;
    cuCtxSetCurrent(ask->context);
    CUstreamCaptureMode mode = ask->mode;
    cuThreadExchangeStreamCaptureMode(&mode);
    CUdeviceptr memory;
    ask->allocated = cuMemAlloc(&memory, 64);
    if (ask->allocated == CUDA_SUCCESS)
        cuMemFree(memory);
    return NULL;
}

static void *end_elsewhere(void *argument) {
    struct ask *ask = argument;
    cuCtxSetCurrent(ask->context);
    ask->ended = cuStreamEndCapture(stream, &graph);
    return NULL;
}

static CUresult elsewhere(CUcontext context, CUstreamCaptureMode mode) {
    struct ask ask = {.context = context, .mode = mode};
    pthread_t thread;
    pthread_create(&thread, NULL, allocate_elsewhere, &ask);
    pthread_join(thread, NULL);
    return ask.allocated;
}

int main(void) {
    CUcontext context = graph_start();
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&plain, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    CUevent event;
    NEED(cuEventCreate(&event, 0));
    CUdeviceptr memory;
    int host[4];

    BREAKS("stream_synchronize", stream, cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    BREAKS("stream_query", stream, cuStreamQuery(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    BREAKS("context_synchronize", stream, cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    BREAKS("allocate", stream, cuMemAlloc(&memory, 64), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    BREAKS("legacy_copy", blocking, cuMemcpyDtoH(host, graph_data, sizeof host), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    BREAKS("legacy_launch", blocking, graph_launch(graph_add, graph_data, 1, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);

    // The state of an event that was last recorded in a capture cannot be asked for.
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    NEED(cuEventRecord(event, stream));
    CHECK_ERR("captured_event_query", cuEventQuery(event), CUDA_ERROR_CAPTURED_EVENT);
    cuStreamEndCapture(stream, &graph);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    NEED(cuEventRecord(event, stream));
    CHECK_ERR("captured_event_synchronize", cuEventSynchronize(event), CUDA_ERROR_CAPTURED_EVENT);
    cuStreamEndCapture(stream, &graph);
    CHECK_CU("event_recorded_again", cuEventRecord(event, stream));
    CHECK_CU("event_is_free_again", cuEventSynchronize(event));

    // Asking about the legacy stream breaks nothing.
    NEED(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CUstreamCaptureStatus status;
    CHECK_ERR("legacy_status", cuStreamIsCapturing(CU_STREAM_LEGACY, &status), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    CHECK("legacy_status_breaks_nothing", status_of(blocking) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK_CU("legacy_status_end", cuStreamEndCapture(blocking, &graph));
    NEED(cuGraphDestroy(graph));

    // Work in streams that do not take part is done meanwhile.
    NEED(cuMemsetD32(graph_data, 0, GRAPH_N));
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK_CU("other_stream", graph_launch(graph_add, graph_data, 8, plain));
    CHECK_CU("other_stream_synchronize", cuStreamSynchronize(plain));
    CHECK_CU("other_stream_end", cuStreamEndCapture(stream, &graph));
    CHECK("other_stream_result", graph_all_are(graph_data, 8));
    NEED(cuGraphDestroy(graph));

    // Modes: who may allocate while this thread captures.
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CHECK_CU("exchange", cuThreadExchangeStreamCaptureMode(&mode));
    CHECK("exchange_before", mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK_CU("relaxed_thread_allocates", cuMemAlloc(&memory, 64));
    CHECK_CU("relaxed_thread_frees", cuMemFree(memory));
    CHECK("relaxed_thread_breaks_nothing", status_of(stream) == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CHECK_CU("exchange_back", cuThreadExchangeStreamCaptureMode(&mode));
    CHECK("exchange_back_before", mode == CU_STREAM_CAPTURE_MODE_RELAXED);
    CHECK_CU("relaxed_thread_end", cuStreamEndCapture(stream, &graph));
    NEED(cuGraphDestroy(graph));

    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CHECK("global_other_thread_local", elsewhere(context, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == CUDA_SUCCESS);
    CHECK("global_other_thread",
          elsewhere(context, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    cuStreamEndCapture(stream, &graph);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CHECK("thread_local_other_thread", elsewhere(context, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
    CHECK_ERR("thread_local_own_thread", cuMemAlloc(&memory, 64), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    cuStreamEndCapture(stream, &graph);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK_CU("relaxed_capture_allocates", cuMemAlloc(&memory, 64));
    CHECK_CU("relaxed_capture_frees", cuMemFree(memory));
    CHECK_CU("relaxed_capture_end", cuStreamEndCapture(stream, &graph));
    NEED(cuGraphDestroy(graph));

    // Who may end a capture.
    struct ask ask = {.context = context};
    pthread_t thread;
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    pthread_create(&thread, NULL, end_elsewhere, &ask);
    pthread_join(thread, NULL);
    CHECK("end_in_another_thread", ask.ended == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    cuStreamEndCapture(stream, &graph);
    NEED(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    pthread_create(&thread, NULL, end_elsewhere, &ask);
    pthread_join(thread, NULL);
    CHECK("relaxed_end_in_another_thread", ask.ended == CUDA_SUCCESS);
    return finish();
}
