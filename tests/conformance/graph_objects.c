// User objects: destroyed with the last reference, be it a graph's or a launch's.
#include "graph.h"

#include <stdatomic.h>

static atomic_int destroyed;

static void destroy(void *count) { atomic_fetch_add(&destroyed, *(int *)count); }

// Destructors run on a thread of the driver.
static int become(int count) {
    for (int i = 0; i < 2000 && atomic_load(&destroyed) != count; i++)
        usleep(1000);
    return atomic_load(&destroyed) == count;
}

static void slow(void *unused) {
    (void)unused;
    usleep(50000);
}

int main(void) {
    graph_start();
    static int one = 1, hundred = 100;
    CUuserObject object;
    CHECK_CU("create", cuUserObjectCreate(&object, &one, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
    CHECK_ERR("create_without_flag", cuUserObjectCreate(&object, &one, destroy, 1, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("create_without_function",
              cuUserObjectCreate(&object, &one, NULL, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC), CUDA_ERROR_INVALID_VALUE);
    CHECK_CU("retain", cuUserObjectRetain(object, 2));
    CHECK_CU("release_some", cuUserObjectRelease(object, 2));
    CHECK("still_there", atomic_load(&destroyed) == 0);
    CHECK_CU("release_last", cuUserObjectRelease(object, 1));
    CHECK("destroyed", become(1));

    // A graph, its clone and an executable graph hold it.
    CUgraph graph, clone;
    NEED(cuUserObjectCreate(&object, &one, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
    NEED(cuGraphCreate(&graph, 0));
    CHECK_CU("graph_retain", cuGraphRetainUserObject(graph, object, 1, 0));
    CHECK_CU("graph_release", cuGraphReleaseUserObject(graph, object, 1));
    CHECK_CU("graph_takes", cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE));
    CUgraphNode node;
    CUDA_HOST_NODE_PARAMS call = {.fn = slow};
    NEED(cuGraphAddHostNode(&node, graph, NULL, 0, &call));
    NEED(cuGraphClone(&clone, graph));
    CUgraphExec exec;
    NEED(cuGraphInstantiate(&exec, graph, 0));
    NEED(cuGraphDestroy(graph));
    NEED(cuGraphDestroy(clone));
    usleep(20000);
    CHECK("held_by_exec", atomic_load(&destroyed) == 1);
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuGraphLaunch(exec, stream));
    CHECK_CU("destroy_launched", cuGraphExecDestroy(exec));
    NEED(cuStreamSynchronize(stream));
    CHECK("destroyed_after_launch", become(2));

    // A graph's references go with it.
    NEED(cuUserObjectCreate(&object, &hundred, destroy, 3, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC));
    NEED(cuGraphCreate(&graph, 0));
    NEED(cuGraphRetainUserObject(graph, object, 3, CU_GRAPH_USER_OBJECT_MOVE));
    NEED(cuGraphDestroy(graph));
    CHECK("destroyed_with_graph", become(102));
    return finish();
}
