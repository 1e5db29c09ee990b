//! Nodes that copy, fill, call the host, and deal with events.

use vgpu_protocol::cuda::{
    CUcontext, CUevent, CUgraph, CUgraphExec, CUgraphNode, CUresult, CUDA_HOST_NODE_PARAMS, CUDA_MEMCPY3D,
    CUDA_MEMSET_NODE_PARAMS,
};

use super::raw::{check, edges, get, node, put};
use crate::node::{Copy, Fill, Host, Params};
use crate::update::forbidden;
use crate::{Backend, Graphs, Result};

impl<B: Backend> Graphs<B> {
    /// Adds a node after ordinary dependencies.
    ///
    /// # Safety
    /// The pointers are as the driver API defines them.
    pub(super) unsafe fn add(
        &self,
        out: *mut CUgraphNode,
        graph: CUgraph,
        dependencies: *const CUgraphNode,
        count: usize,
        params: Params,
    ) -> Result {
        check(out)?;
        // SAFETY: as the caller says.
        unsafe {
            let before = edges(dependencies, std::ptr::null(), count)?;
            put(out, node(self.state().store.add(graph as u64, &before, params)?))
        }
    }

    /// Gives a node other parameters of the same kind.
    pub(super) fn set(&self, node: u64, params: Params) -> Result {
        let mut state = self.state();
        let known = state.store.nodes.get_mut(node)?;
        if known.params.kind() != params.kind() {
            return Err(CUresult::INVALID_VALUE);
        }
        known.params.replace(params);
        Ok(())
    }

    /// Gives a node of an executable graph other parameters of the same kind.
    pub(super) fn set_executable(&self, executable: u64, node: u64, params: Params) -> Result {
        let mut state = self.state();
        state.store.nodes.get(node)?;
        let known = state.executables.get_mut(executable)?;
        let held = known.held.clone();
        let snapped = known.snapshot.find(node).ok_or(CUresult::INVALID_VALUE)?;
        if snapped.params.kind() != params.kind() || forbidden(&snapped.params, &params).is_some() {
            return Err(CUresult::INVALID_VALUE);
        }
        let operation = snapped.operation;
        drop(state);
        self.backend.update(&held.executable, operation, &params)?;
        self.state().executables.get_mut(executable)?.apply(vec![(operation, params)]);
        Ok(())
    }

    /// A context that was given, or the current one.
    pub(super) fn context(&self, given: CUcontext) -> Result<u64> {
        match given as u64 {
            0 => self.backend.context(),
            given => Ok(given),
        }
    }

    /// # Safety
    /// `params` is null or valid.
    pub(super) unsafe fn copy(&self, params: *const CUDA_MEMCPY3D, context: CUcontext) -> Result<Params> {
        // SAFETY: as the caller says.
        let params = unsafe { get(params)? };
        self.backend.check_copy(&params)?;
        Ok(Params::Copy(Box::new(Copy { params, context: self.context(context)? })))
    }

    pub unsafe fn cuGraphAddMemcpyNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        copyParams: *const CUDA_MEMCPY3D,
        ctx: CUcontext,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.add(phGraphNode, hGraph, dependencies, numDependencies, self.copy(copyParams, ctx)?) }
    }

    pub unsafe fn cuGraphMemcpyNodeGetParams(&self, hNode: CUgraphNode, nodeParams: *mut CUDA_MEMCPY3D) -> Result {
        match &self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::Copy(copy) => unsafe { put(nodeParams, copy.params) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphMemcpyNodeSetParams(&self, hNode: CUgraphNode, nodeParams: *const CUDA_MEMCPY3D) -> Result {
        let context = match &self.state().store.nodes.get(hNode as u64)?.params {
            Params::Copy(copy) => copy.context,
            _ => return Err(CUresult::INVALID_VALUE),
        };
        // SAFETY: as for the caller.
        let params = unsafe { self.copy(nodeParams, context as CUcontext)? };
        self.set(hNode as u64, params)
    }

    pub unsafe fn cuGraphExecMemcpyNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        copyParams: *const CUDA_MEMCPY3D,
        ctx: CUcontext,
    ) -> Result {
        // SAFETY: as for the caller.
        let params = unsafe { self.copy(copyParams, ctx)? };
        if let Params::Copy(copy) = &params {
            let CUDA_MEMCPY3D { WidthInBytes, Height, Depth, .. } = copy.params;
            if WidthInBytes == 0 || Height != 1 || Depth != 1 {
                return Err(CUresult::INVALID_VALUE);
            }
        }
        self.set_executable(hGraphExec as u64, hNode as u64, params)
    }

    /// # Safety
    /// `params` is null or valid.
    pub(super) unsafe fn fill(&self, params: *const CUDA_MEMSET_NODE_PARAMS, context: CUcontext) -> Result<Params> {
        // SAFETY: as the caller says.
        let params = unsafe { get(params)? };
        if !matches!(params.elementSize, 1 | 2 | 4) || params.width == 0 || params.height == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let fill = Fill { params, context: self.context(context)? };
        self.backend.check_fill(&fill)?;
        Ok(Params::Fill(fill))
    }

    pub unsafe fn cuGraphAddMemsetNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        memsetParams: *const CUDA_MEMSET_NODE_PARAMS,
        ctx: CUcontext,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.add(phGraphNode, hGraph, dependencies, numDependencies, self.fill(memsetParams, ctx)?) }
    }

    pub unsafe fn cuGraphMemsetNodeGetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *mut CUDA_MEMSET_NODE_PARAMS,
    ) -> Result {
        match &self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::Fill(fill) => unsafe { put(nodeParams, fill.params) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphMemsetNodeSetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_MEMSET_NODE_PARAMS,
    ) -> Result {
        let context = match &self.state().store.nodes.get(hNode as u64)?.params {
            Params::Fill(fill) => fill.context,
            _ => return Err(CUresult::INVALID_VALUE),
        };
        // SAFETY: as for the caller.
        let params = unsafe { self.fill(nodeParams, context as CUcontext)? };
        self.set(hNode as u64, params)
    }

    pub unsafe fn cuGraphExecMemsetNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        memsetParams: *const CUDA_MEMSET_NODE_PARAMS,
        ctx: CUcontext,
    ) -> Result {
        // SAFETY: as for the caller.
        let params = unsafe { self.fill(memsetParams, ctx)? };
        self.set_executable(hGraphExec as u64, hNode as u64, params)
    }

    pub unsafe fn cuGraphAddHostNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        nodeParams: *const CUDA_HOST_NODE_PARAMS,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.add(phGraphNode, hGraph, dependencies, numDependencies, host(nodeParams)?) }
    }

    pub unsafe fn cuGraphHostNodeGetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *mut CUDA_HOST_NODE_PARAMS,
    ) -> Result {
        match &self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::Host(host) => unsafe { put(nodeParams, describe(*host)) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphHostNodeSetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_HOST_NODE_PARAMS,
    ) -> Result {
        // SAFETY: as for the caller.
        self.set(hNode as u64, unsafe { host(nodeParams)? })
    }

    pub unsafe fn cuGraphExecHostNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_HOST_NODE_PARAMS,
    ) -> Result {
        // SAFETY: as for the caller.
        self.set_executable(hGraphExec as u64, hNode as u64, unsafe { host(nodeParams)? })
    }

    pub unsafe fn cuGraphAddEmptyNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.add(phGraphNode, hGraph, dependencies, numDependencies, Params::Empty) }
    }

    pub unsafe fn cuGraphAddEventRecordNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        event: CUevent,
    ) -> Result {
        self.backend.check_event(event as u64)?;
        let params = Params::EventRecord(event as u64);
        // SAFETY: as for the caller.
        unsafe { self.add(phGraphNode, hGraph, dependencies, numDependencies, params) }
    }

    pub unsafe fn cuGraphAddEventWaitNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        event: CUevent,
    ) -> Result {
        self.backend.check_event(event as u64)?;
        let params = Params::EventWait(event as u64);
        // SAFETY: as for the caller.
        unsafe { self.add(phGraphNode, hGraph, dependencies, numDependencies, params) }
    }

    pub unsafe fn cuGraphEventRecordNodeGetEvent(&self, hNode: CUgraphNode, event_out: *mut CUevent) -> Result {
        match self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::EventRecord(event) => unsafe { put(event_out, event as CUevent) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphEventWaitNodeGetEvent(&self, hNode: CUgraphNode, event_out: *mut CUevent) -> Result {
        match self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::EventWait(event) => unsafe { put(event_out, event as CUevent) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphEventRecordNodeSetEvent(&self, hNode: CUgraphNode, event: CUevent) -> Result {
        self.backend.check_event(event as u64)?;
        self.set(hNode as u64, Params::EventRecord(event as u64))
    }

    pub unsafe fn cuGraphEventWaitNodeSetEvent(&self, hNode: CUgraphNode, event: CUevent) -> Result {
        self.backend.check_event(event as u64)?;
        self.set(hNode as u64, Params::EventWait(event as u64))
    }

    pub unsafe fn cuGraphExecEventRecordNodeSetEvent(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        event: CUevent,
    ) -> Result {
        self.backend.check_event(event as u64)?;
        self.set_executable(hGraphExec as u64, hNode as u64, Params::EventRecord(event as u64))
    }

    pub unsafe fn cuGraphExecEventWaitNodeSetEvent(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        event: CUevent,
    ) -> Result {
        self.backend.check_event(event as u64)?;
        self.set_executable(hGraphExec as u64, hNode as u64, Params::EventWait(event as u64))
    }
}

/// # Safety
/// `params` is null or valid.
pub(super) unsafe fn host(params: *const CUDA_HOST_NODE_PARAMS) -> Result<Params> {
    // SAFETY: as the caller says.
    let params = unsafe { get(params)? };
    match params.function {
        Some(_) => Ok(Params::Host(Host { function: params.function, data: params.userData.expose_provenance() })),
        None => Err(CUresult::INVALID_VALUE),
    }
}

/// A host function as it was given.
pub(super) fn describe(host: Host) -> CUDA_HOST_NODE_PARAMS {
    CUDA_HOST_NODE_PARAMS { function: host.function, userData: std::ptr::with_exposed_provenance_mut(host.data) }
}
