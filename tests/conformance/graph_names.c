// Graphs and nodes tell where they belong and who they are.
#include "check.h"

int main(void) {
    start();
    if (!driver_has("cuGraphGetId")) {
        SKIP("all", "this driver is older than CUDA 13.1");
        return finish();
    }
    CUgraph outer, inner, found, clone;
    CUgraphNode first, second, child, nodes[2];
    CUgraphExec executable;
    unsigned outer_id = 0, inner_id = 0, clone_id = 0, executable_id = 0, first_id = 0, second_id = 0, again = 0;
    unsigned long long first_tool = 0, second_tool = 0;
    size_t count = 2;
    NEED(cuGraphCreate(&outer, 0));
    NEED(cuGraphCreate(&inner, 0));
    NEED(cuGraphAddEmptyNode(&first, inner, NULL, 0));
    NEED(cuGraphAddEmptyNode(&second, inner, &first, 1));
    CHECK_CU("local_id", cuGraphNodeGetLocalId(first, &first_id));
    CHECK_CU("local_id_second", cuGraphNodeGetLocalId(second, &second_id));
    CHECK_CU("local_id_again", cuGraphNodeGetLocalId(first, &again));
    CHECK("local_ids", first_id != second_id && again == first_id);
    CHECK_CU("tools_id", cuGraphNodeGetToolsId(first, &first_tool));
    CHECK_CU("tools_id_second", cuGraphNodeGetToolsId(second, &second_tool));
    CHECK("tools_ids", first_tool != second_tool);
    CHECK_CU("containing", cuGraphNodeGetContainingGraph(second, &found));
    CHECK("contained", found == inner);
    CHECK_CU("graph_id", cuGraphGetId(inner, &inner_id));
    CHECK_CU("graph_id_outer", cuGraphGetId(outer, &outer_id));
    NEED(cuGraphClone(&clone, inner));
    CHECK_CU("graph_id_clone", cuGraphGetId(clone, &clone_id));
    CHECK("graph_ids", inner_id != outer_id && clone_id != inner_id && clone_id != outer_id);

    // A node of a child graph is in that, not in the graph around it.
    NEED(cuGraphAddChildGraphNode(&child, outer, NULL, 0, inner));
    CHECK_CU("containing_child_node", cuGraphNodeGetContainingGraph(child, &found));
    CHECK("child_node_is_in_outer", found == outer);
    NEED(cuGraphChildGraphNodeGetGraph(child, &inner));
    NEED(cuGraphGetNodes(inner, nodes, &count));
    CHECK_CU("containing_embedded", cuGraphNodeGetContainingGraph(nodes[0], &found));
    CHECK("embedded_is_in_child", count == 2 && found == inner);

    NEED(cuGraphInstantiate(&executable, outer, 0));
    CHECK_CU("executable_id", cuGraphExecGetId(executable, &executable_id));
    CHECK_CU("executable_id_again", cuGraphExecGetId(executable, &again));
    CHECK("executable_ids", executable_id == again);
    CHECK_ERR("no_graph", cuGraphGetId(NULL, &again), CUDA_ERROR_INVALID_VALUE);
    CHECK_ERR("no_place", cuGraphGetId(outer, NULL), CUDA_ERROR_INVALID_VALUE);
    NEED(cuGraphExecDestroy(executable));
    NEED(cuGraphDestroy(clone));
    NEED(cuGraphDestroy(outer));
    return finish();
}
