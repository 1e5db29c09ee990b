//! Graphs and their nodes.

use std::ffi::{c_char, CStr};

use vgpu_protocol::cuda::{CUgraph, CUgraphNode, CUresult};

use super::raw::{check, fill, get, graph, node, put};
use crate::node::{Edge, Params};
use crate::{dot, Backend, Graphs, Result};

impl<B: Backend> Graphs<B> {
    pub unsafe fn cuGraphCreate(&self, phGraph: *mut CUgraph, flags: u32) -> Result {
        check(phGraph)?;
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(phGraph, graph(self.state().store.create())) }
    }

    pub unsafe fn cuGraphDestroy(&self, hGraph: CUgraph) -> Result {
        let mut state = self.state();
        let known = state.store.graphs.get(hGraph as u64)?;
        if known.owner.is_some() || known.capturing {
            return Err(CUresult::INVALID_VALUE);
        }
        let unused = state.remove_graph(hGraph as u64)?;
        self.note(&state);
        drop(state);
        self.release_memory(unused);
        Ok(())
    }

    pub unsafe fn cuGraphClone(&self, phGraphClone: *mut CUgraph, originalGraph: CUgraph) -> Result {
        check(phGraphClone)?;
        let mut state = self.state();
        if state.store.is_unique(originalGraph as u64)? {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let clone = state.store.clone_graph(originalGraph as u64)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(phGraphClone, graph(clone)) }
    }

    pub unsafe fn cuGraphNodeFindInClone(
        &self,
        phNode: *mut CUgraphNode,
        hOriginalNode: CUgraphNode,
        hClonedGraph: CUgraph,
    ) -> Result {
        check(phNode)?;
        let state = self.state();
        let clone = state.find_clone(hOriginalNode as u64, hClonedGraph as u64)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(phNode, node(clone)) }
    }

    pub unsafe fn cuGraphGetId(&self, hGraph: CUgraph, graphId: *mut u32) -> Result {
        let id = self.state().store.graphs.get(hGraph as u64)?.id;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(graphId, id) }
    }

    pub unsafe fn cuGraphGetNodes(&self, hGraph: CUgraph, nodes: *mut CUgraphNode, numNodes: *mut usize) -> Result {
        let all: Vec<_> = self.state().store.graphs.get(hGraph as u64)?.nodes.iter().copied().map(node).collect();
        // SAFETY: the caller vouches for the pointers.
        unsafe { fill(nodes, numNodes, &all, std::ptr::null_mut()) }
    }

    pub unsafe fn cuGraphGetRootNodes(
        &self,
        hGraph: CUgraph,
        rootNodes: *mut CUgraphNode,
        numRootNodes: *mut usize,
    ) -> Result {
        let state = self.state();
        let is_root = |n: &&u64| state.store.nodes.get(**n).is_ok_and(|n| n.dependencies.is_empty());
        let nodes = &state.store.graphs.get(hGraph as u64)?.nodes;
        let roots: Vec<_> = nodes.iter().filter(is_root).copied().map(node).collect();
        // SAFETY: the caller vouches for the pointers.
        unsafe { fill(rootNodes, numRootNodes, &roots, std::ptr::null_mut()) }
    }

    pub unsafe fn cuGraphNodeGetType(&self, hNode: CUgraphNode, kind: *mut i32) -> Result {
        let found = self.state().store.nodes.get(hNode as u64)?.params.kind();
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(kind, found) }
    }

    pub unsafe fn cuGraphNodeGetContainingGraph(&self, hNode: CUgraphNode, phGraph: *mut CUgraph) -> Result {
        let containing = self.state().store.nodes.get(hNode as u64)?.graph;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(phGraph, graph(containing)) }
    }

    pub unsafe fn cuGraphNodeGetLocalId(&self, hNode: CUgraphNode, nodeId: *mut u32) -> Result {
        let id = self.state().store.nodes.get(hNode as u64)?.local_id;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(nodeId, id) }
    }

    /// Graph and node, as tools that trace executions combine them.
    pub unsafe fn cuGraphNodeGetToolsId(&self, hNode: CUgraphNode, toolsNodeId: *mut u64) -> Result {
        let state = self.state();
        let known = state.store.nodes.get(hNode as u64)?;
        let id = u64::from(state.store.graphs.get(known.graph)?.id) << 32 | u64::from(known.local_id);
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(toolsNodeId, id) }
    }

    pub unsafe fn cuGraphDestroyNode(&self, hNode: CUgraphNode) -> Result {
        self.state().store.destroy_node(hNode as u64)
    }

    pub unsafe fn cuGraphAddChildGraphNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        childGraph: CUgraph,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let before = super::raw::edges(dependencies, std::ptr::null(), numDependencies)?;
            self.add_child(phGraphNode, hGraph as u64, &before, childGraph as u64, false)
        }
    }

    /// # Safety
    /// `out` is null or valid for a write.
    pub(super) unsafe fn add_child(
        &self,
        out: *mut CUgraphNode,
        to: u64,
        before: &[Edge],
        child: u64,
        moves: bool,
    ) -> Result {
        check(out)?;
        let mut state = self.state();
        let known = state.store.graphs.get(child)?;
        if child == to || (moves && (known.owner.is_some() || known.capturing || known.executables > 0)) {
            return Err(CUresult::INVALID_VALUE);
        }
        state.store.graphs.get(to)?;
        let added = match moves {
            true if state.store.has_conditional(child)? => return Err(CUresult::NOT_SUPPORTED),
            true => state.store.add(to, before, Params::Child(child))?,
            false if state.store.is_unique(child)? => return Err(CUresult::NOT_SUPPORTED),
            false => {
                let clone = state.store.clone_graph(child)?;
                let added = state.store.add(to, before, Params::Child(clone));
                if added.is_err() {
                    state.store.remove(clone)?;
                }
                added?
            }
        };
        if moves {
            state.store.graphs.get_mut(child)?.moved = true;
        }
        // SAFETY: as the caller says.
        unsafe { put(out, node(added)) }
    }

    pub unsafe fn cuGraphChildGraphNodeGetGraph(&self, hNode: CUgraphNode, phGraph: *mut CUgraph) -> Result {
        match self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::Child(child) => unsafe { put(phGraph, graph(child)) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphDebugDotPrint(&self, hGraph: CUgraph, path: *const c_char, flags: u32) -> Result {
        // SAFETY: a path is a string, whose first byte is there.
        unsafe { get(path)? };
        if flags & !dot::FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller vouches for the string.
        let path = unsafe { CStr::from_ptr(path) }.to_str().map_err(|_| CUresult::INVALID_VALUE)?;
        let text = dot::write(&self.state().store, hGraph as u64, flags, &|function| self.backend.name(function))?;
        std::fs::write(path, text).map_err(|_| CUresult::OPERATING_SYSTEM)
    }
}

impl<B: Backend> crate::State<B> {
    /// Removes a graph; memory that nobody needs any more.
    pub(super) fn remove_graph(&mut self, graph: u64) -> Result<Vec<u64>> {
        let allocated = self.allocations(graph)?;
        self.store.remove(graph)?;
        self.conditions.remove(&graph);
        Ok(self.memory.drop_holder(&allocated))
    }

    /// Addresses of all allocation nodes of a graph and the graphs within.
    fn allocations(&self, graph: u64) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        for node in &self.store.graphs.get(graph)?.nodes {
            match &self.store.nodes.get(*node)?.params {
                Params::Allocate(allocation) => found.push(allocation.address),
                params => {
                    for graph in params.graphs() {
                        found.extend(self.allocations(*graph)?);
                    }
                }
            }
        }
        Ok(found)
    }

    /// A node's clone in a cloned graph, or in a child graph of it.
    fn find_clone(&self, original: u64, clone: u64) -> Result<u64> {
        let graph = self.store.graphs.get(clone)?;
        if let Some(found) = graph.clones.get(&original) {
            return self.store.nodes.get(*found).map(|_| *found);
        }
        let children = graph.nodes.iter().filter_map(|node| match self.store.nodes.get(*node).ok()?.params {
            Params::Child(child) => self.find_clone(original, child).ok(),
            _ => None,
        });
        children.into_iter().next().ok_or(CUresult::INVALID_VALUE)
    }
}
