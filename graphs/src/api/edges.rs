//! Edges between nodes.

use vgpu_protocol::cuda::{CUgraph, CUgraphEdgeData, CUgraphNode};

use super::raw::{fill, fill_edges, get, list, meanings, no_meaning, node};
use crate::node::Edge;
use crate::{Backend, Graphs, Result};

type Ends = (CUgraphNode, CUgraphNode, CUgraphEdgeData);

impl<B: Backend> Graphs<B> {
    pub unsafe fn cuGraphGetEdges(
        &self,
        hGraph: CUgraph,
        from: *mut CUgraphNode,
        to: *mut CUgraphNode,
        numEdges: *mut usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphGetEdges_v2(hGraph, from, to, std::ptr::null_mut(), numEdges) }
    }

    pub unsafe fn cuGraphGetEdges_v2(
        &self,
        hGraph: CUgraph,
        from: *mut CUgraphNode,
        to: *mut CUgraphNode,
        edgeData: *mut CUgraphEdgeData,
        numEdges: *mut usize,
    ) -> Result {
        let edges = self.edges(hGraph as u64)?;
        if from.is_null() != to.is_null() || (from.is_null() && !edgeData.is_null()) {
            return Err(vgpu_protocol::cuda::CUresult::INVALID_VALUE);
        }
        if !from.is_null() && edgeData.is_null() {
            no_meaning(edges.iter().map(|edge| edge.2))?;
        }
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let room = get(numEdges)?;
            let mut counts = [room, room];
            let ends = |pick: fn(&Ends) -> CUgraphNode| edges.iter().map(pick).collect::<Vec<_>>();
            fill(from, numEdges, &ends(|edge| edge.0), std::ptr::null_mut())?;
            if !to.is_null() {
                fill(to, &mut counts[0], &ends(|edge| edge.1), std::ptr::null_mut())?;
            }
            if !edgeData.is_null() {
                let data: Vec<_> = edges.iter().map(|edge| edge.2).collect();
                fill(edgeData, &mut counts[1], &data, CUgraphEdgeData::default())?;
            }
        }
        Ok(())
    }

    fn edges(&self, graph: u64) -> Result<Vec<Ends>> {
        let state = self.state();
        let mut edges = Vec::new();
        for to in &state.store.graphs.get(graph)?.nodes {
            let before = &state.store.nodes.get(*to)?.dependencies;
            edges.extend(before.iter().map(|edge| (node(edge.node), node(*to), edge.data)));
        }
        Ok(edges)
    }

    pub unsafe fn cuGraphNodeGetDependencies(
        &self,
        hNode: CUgraphNode,
        dependencies: *mut CUgraphNode,
        numDependencies: *mut usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphNodeGetDependencies_v2(hNode, dependencies, std::ptr::null_mut(), numDependencies) }
    }

    pub unsafe fn cuGraphNodeGetDependencies_v2(
        &self,
        hNode: CUgraphNode,
        dependencies: *mut CUgraphNode,
        edgeData: *mut CUgraphEdgeData,
        numDependencies: *mut usize,
    ) -> Result {
        let before = self.state().store.nodes.get(hNode as u64)?.dependencies.clone();
        // SAFETY: the caller vouches for the pointers.
        unsafe { fill_edges(dependencies, edgeData, numDependencies, &before) }
    }

    pub unsafe fn cuGraphNodeGetDependentNodes(
        &self,
        hNode: CUgraphNode,
        dependentNodes: *mut CUgraphNode,
        numDependentNodes: *mut usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphNodeGetDependentNodes_v2(hNode, dependentNodes, std::ptr::null_mut(), numDependentNodes) }
    }

    pub unsafe fn cuGraphNodeGetDependentNodes_v2(
        &self,
        hNode: CUgraphNode,
        dependentNodes: *mut CUgraphNode,
        edgeData: *mut CUgraphEdgeData,
        numDependentNodes: *mut usize,
    ) -> Result {
        let state = self.state();
        let mut after = Vec::new();
        for dependent in &state.store.nodes.get(hNode as u64)?.dependents {
            let edges = &state.store.nodes.get(*dependent)?.dependencies;
            let data = edges.iter().find(|edge| edge.node == hNode as u64).map(|edge| edge.data);
            after.push(Edge { node: *dependent, data: data.unwrap_or_default() });
        }
        drop(state);
        // SAFETY: the caller vouches for the pointers.
        unsafe { fill_edges(dependentNodes, edgeData, numDependentNodes, &after) }
    }

    pub unsafe fn cuGraphAddDependencies(
        &self,
        hGraph: CUgraph,
        from: *const CUgraphNode,
        to: *const CUgraphNode,
        numDependencies: usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphAddDependencies_v2(hGraph, from, to, std::ptr::null(), numDependencies) }
    }

    pub unsafe fn cuGraphAddDependencies_v2(
        &self,
        hGraph: CUgraph,
        from: *const CUgraphNode,
        to: *const CUgraphNode,
        edgeData: *const CUgraphEdgeData,
        numDependencies: usize,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        let edges = unsafe { pairs(from, to, edgeData, numDependencies)? };
        self.state().store.connect(hGraph as u64, &edges)
    }

    pub unsafe fn cuGraphRemoveDependencies(
        &self,
        hGraph: CUgraph,
        from: *const CUgraphNode,
        to: *const CUgraphNode,
        numDependencies: usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphRemoveDependencies_v2(hGraph, from, to, std::ptr::null(), numDependencies) }
    }

    pub unsafe fn cuGraphRemoveDependencies_v2(
        &self,
        hGraph: CUgraph,
        from: *const CUgraphNode,
        to: *const CUgraphNode,
        edgeData: *const CUgraphEdgeData,
        numDependencies: usize,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        let edges = unsafe { pairs(from, to, edgeData, numDependencies)? };
        self.state().store.disconnect(hGraph as u64, &edges)
    }
}

/// # Safety
/// Pointers are null or lead to `count` values.
unsafe fn pairs(
    from: *const CUgraphNode,
    to: *const CUgraphNode,
    data: *const CUgraphEdgeData,
    count: usize,
) -> Result<Vec<(u64, u64, CUgraphEdgeData)>> {
    // SAFETY: as the caller says.
    let (from, to, data) = unsafe { (list(from, count)?, list(to, count)?, meanings(data, count)?) };
    Ok(from.into_iter().zip(to).zip(data).map(|((from, to), data)| (from as u64, to as u64, data)).collect())
}
