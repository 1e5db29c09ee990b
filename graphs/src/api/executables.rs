//! Executable graphs.

use std::ffi::c_char;
use std::sync::Arc;

use vgpu_protocol::cuda::{
    CUgraph, CUgraphExec, CUgraphExecUpdateResultInfo, CUgraphNode, CUresult, CUstream, CUDA_GRAPH_INSTANTIATE_PARAMS,
};

use super::raw::{check, get, node, put, put_optional};
use crate::executable::{plan, Executable, Held, Plan, Unplanned};
use crate::node::Params;
use crate::update::{compare, Change, Mismatch, Reason};
use crate::{Backend, Graphs, Result};

/// `CUDA_GRAPH_INSTANTIATE_FLAG_*`.
const AUTO_FREE: u64 = 1;
const UPLOAD: u64 = 2;
const DEVICE_LAUNCH: u64 = 4;
const NODE_PRIORITY: u64 = 8;
/// `CUgraphInstantiateResult`.
const INSTANTIATED: i32 = 0;
const ERROR: i32 = 1;
const INVALID_STRUCTURE: i32 = 2;
const CONDITION_UNUSED: i32 = 5;

impl<B: Backend> Graphs<B> {
    fn instantiate(&self, graph: u64, flags: u64) -> std::result::Result<u64, Unplanned> {
        if flags & !(AUTO_FREE | UPLOAD | DEVICE_LAUNCH | NODE_PRIORITY) != 0 {
            return Err(CUresult::INVALID_VALUE.into());
        }
        if flags & DEVICE_LAUNCH != 0 {
            let error = if flags & AUTO_FREE != 0 { CUresult::INVALID_VALUE } else { CUresult::NOT_SUPPORTED };
            return Err(error.into());
        }
        let (plan, objects, conditions) = {
            let mut state = self.state();
            let known = state.store.graphs.get(graph)?;
            if known.capturing || known.moved {
                return Err(CUresult::INVALID_VALUE.into());
            }
            if known.executables > 0 && state.store.is_unique(graph)? {
                return Err(CUresult::NOT_SUPPORTED.into());
            }
            let conditions = state.conditions.get(&graph).cloned();
            let planned = (plan(&state.store, graph)?, state.store.objects(graph)?, conditions);
            state.store.graphs.get_mut(graph)?.executables += 1;
            state.memory.hold(&planned.0.allocated);
            planned
        };
        let Plan { snapshot, operations, allocated, freed } = plan;
        let made = self.backend.instantiate(&operations, conditions.as_ref(), flags & NODE_PRIORITY);
        let mut state = self.state();
        let executable = match made {
            Ok(executable) => executable,
            Err(error) => {
                state.forget_executable(graph);
                let unused = state.memory.drop_holder(&allocated);
                drop(state);
                self.release_memory(unused);
                return Err(error.into());
            }
        };
        state.last_executable += 1;
        let (id, flags) = (state.last_executable, flags & !UPLOAD);
        let held = Arc::new(Held { executable, objects });
        let (streams, operations) = (Vec::new(), if conditions.is_some() { operations } else { Vec::new() });
        let made = Executable { id, graph, flags, snapshot, held, operations, streams, allocated, freed };
        Ok(state.executables.insert(made))
    }

    pub unsafe fn cuGraphInstantiateWithFlags(
        &self,
        phGraphExec: *mut CUgraphExec,
        hGraph: CUgraph,
        flags: u64,
    ) -> Result {
        check(phGraphExec)?;
        if flags & UPLOAD != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let made = self.instantiate(hGraph as u64, flags).map_err(|failed| failed.error)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(phGraphExec, made as CUgraphExec) }
    }

    pub unsafe fn cuGraphInstantiate(
        &self,
        phGraphExec: *mut CUgraphExec,
        hGraph: CUgraph,
        phErrorNode: *mut CUgraphNode,
        logBuffer: *mut c_char,
        bufferSize: usize,
    ) -> Result {
        check(phGraphExec)?;
        let made = self.instantiate(hGraph as u64, 0);
        let failed = made.as_ref().err().and_then(|failed| failed.node);
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            put_optional(phErrorNode, node(failed.unwrap_or(0)));
            if bufferSize > 0 {
                put_optional(logBuffer, 0);
            }
            put(phGraphExec, made.map_err(|failed| failed.error)? as CUgraphExec)
        }
    }

    pub unsafe fn cuGraphInstantiate_v2(
        &self,
        phGraphExec: *mut CUgraphExec,
        hGraph: CUgraph,
        phErrorNode: *mut CUgraphNode,
        logBuffer: *mut c_char,
        bufferSize: usize,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphInstantiate(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize) }
    }

    pub unsafe fn cuGraphInstantiateWithParams(
        &self,
        phGraphExec: *mut CUgraphExec,
        hGraph: CUgraph,
        instantiateParams: *mut CUDA_GRAPH_INSTANTIATE_PARAMS,
    ) -> Result {
        check(phGraphExec)?;
        // SAFETY: the caller vouches for the pointer.
        let mut params = unsafe { get(instantiateParams)? };
        let made = self.instantiate(hGraph as u64, params.flags);
        let (result, failed) = match &made {
            Ok(_) => (INSTANTIATED, None),
            Err(Unplanned { node: Some(node), .. }) => (INVALID_STRUCTURE, Some(*node)),
            Err(Unplanned { unused_condition: true, .. }) => (CONDITION_UNUSED, None),
            Err(_) => (ERROR, None),
        };
        (params.result_out, params.hErrNode_out) = (result, node(failed.unwrap_or(0)));
        // SAFETY: as above.
        unsafe { put(instantiateParams, params)? };
        let made = made.map_err(|failed| failed.error)?;
        if params.flags & UPLOAD != 0 {
            self.upload(made, params.hUploadStream)?;
        }
        // SAFETY: as above.
        unsafe { put(phGraphExec, made as CUgraphExec) }
    }

    pub unsafe fn cuGraphExecGetFlags(&self, hGraphExec: CUgraphExec, flags: *mut u64) -> Result {
        let known = self.state().executables.get(hGraphExec as u64)?.flags;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(flags, known) }
    }

    pub unsafe fn cuGraphExecGetId(&self, hGraphExec: CUgraphExec, graphId: *mut u32) -> Result {
        let id = self.state().executables.get(hGraphExec as u64)?.id;
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(graphId, id) }
    }

    fn upload(&self, executable: u64, stream: CUstream) -> Result {
        self.refuse_captured(stream as u64)?;
        let held = self.state().executables.get(executable)?.held.clone();
        self.backend.upload(&held.executable, stream as u64)
    }

    pub unsafe fn cuGraphUpload(&self, hGraphExec: CUgraphExec, hStream: CUstream) -> Result {
        self.upload(hGraphExec as u64, hStream)
    }

    /// Runs the graph. NVIDIA's driver does not capture launches of graphs.
    pub unsafe fn cuGraphLaunch(&self, hGraphExec: CUgraphExec, hStream: CUstream) -> Result {
        let (executable, stream) = (hGraphExec as u64, hStream as u64);
        self.refuse_captured(stream)?;
        let mut state = self.state();
        let known = state.executables.get_mut(executable)?;
        let held = known.held.clone();
        let has_objects = !held.objects.is_empty() || self.backend.is_used_by_launches(&held.executable);
        if has_objects && !known.streams.contains(&stream) {
            known.streams.push(stream);
        }
        if known.allocated.is_empty() && known.freed.is_empty() {
            drop(state);
            return self.backend.launch(&held.executable, stream);
        }
        let auto_free = known.flags & AUTO_FREE != 0;
        let (allocated, freed) = (known.allocated.clone(), known.freed.clone());
        let unused = state.memory.launch(&allocated, &freed, auto_free)?;
        self.note(&state);
        drop(state);
        let launched = self.backend.launch(&held.executable, stream);
        self.release_memory(unused);
        launched
    }

    pub unsafe fn cuGraphExecDestroy(&self, hGraphExec: CUgraphExec) -> Result {
        let mut state = self.state();
        let gone = state.executables.remove(hGraphExec as u64)?;
        state.forget_executable(gone.graph);
        let unused = state.memory.drop_holder(&gone.allocated);
        self.note(&state);
        drop(state);
        self.release_memory(unused);
        self.drop_behind(gone.streams, &gone.held);
        Ok(())
    }

    /// Keeps what launches use until the streams in which it is used have got so far.
    fn drop_behind(&self, streams: Vec<u64>, held: &Arc<Held<B>>) {
        for stream in streams {
            let held = held.clone();
            // A stream that is gone has nothing left to do.
            let _ = self.backend.after(stream, Box::new(move || drop(held)));
        }
    }

    pub unsafe fn cuGraphNodeSetEnabled(&self, hGraphExec: CUgraphExec, hNode: CUgraphNode, isEnabled: u32) -> Result {
        let mut state = self.state();
        state.store.nodes.get(hNode as u64)?;
        let known = state.executables.get_mut(hGraphExec as u64)?;
        let held = known.held.clone();
        let snapped = known.snapshot.find(hNode as u64).ok_or(CUresult::INVALID_VALUE)?;
        if !snapped.params.can_be_disabled() {
            return Err(CUresult::INVALID_VALUE);
        }
        snapped.enabled = isEnabled != 0;
        let operation = snapped.operation;
        drop(state);
        self.backend.enable(&held.executable, operation, isEnabled != 0)
    }

    pub unsafe fn cuGraphNodeGetEnabled(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        isEnabled: *mut u32,
    ) -> Result {
        let mut state = self.state();
        state.store.nodes.get(hNode as u64)?;
        let known = state.executables.get_mut(hGraphExec as u64)?;
        let snapped = known.snapshot.find(hNode as u64).ok_or(CUresult::INVALID_VALUE)?;
        if !snapped.params.can_be_disabled() {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(isEnabled, u32::from(snapped.enabled)) }
    }

    /// Changes the executable graph to what is in `graph`, below the child graph node `within` if given.
    fn update(&self, executable: u64, within: Option<u64>, graph: u64) -> std::result::Result<(), Mismatch> {
        let (held, changes) = {
            let mut guard = self.state();
            let state = &mut *guard;
            let known = state.executables.get_mut(executable)?;
            let snapshot = match within {
                None => &known.snapshot,
                Some(node) => {
                    state.store.nodes.get(node)?;
                    let snapped = known.snapshot.find(node).ok_or(CUresult::INVALID_VALUE)?;
                    match (&snapped.params, &snapped.graphs[..]) {
                        (Params::Child(_), [child]) => child,
                        _ => return Err(CUresult::INVALID_VALUE.into()),
                    }
                }
            };
            if state.store.graphs.get(graph)?.moved {
                return Err(CUresult::INVALID_VALUE.into());
            }
            let changes = compare(snapshot, &state.store, graph)?;
            (state.executables.get(executable)?.held.clone(), changes)
        };
        if changes.iter().any(|(_, params)| matches!(params, Params::Conditional(_))) {
            return self.remake(executable, graph, changes);
        }
        let update = |(operation, params): &Change| self.backend.update(&held.executable, *operation, params);
        let failed = changes.iter().map(update).enumerate().find_map(|(i, done)| done.err().map(|error| (i, error)));
        let done = failed.map_or(changes.len(), |(i, _)| i);
        let done = changes.into_iter().take(done).collect();
        self.state().executables.get_mut(executable)?.apply(done);
        failed.map_or(Ok(()), |(_, error)| Err(error.into()))
    }

    /// Makes what launches use anew, with changes that put the conditions of `graph` in the place of its own.
    fn remake(&self, executable: u64, graph: u64, changes: Vec<Change>) -> std::result::Result<(), Mismatch> {
        let (mut operations, disabled, conditions, flags) = {
            let state = self.state();
            let known = state.executables.get(executable)?;
            let conditions = state.conditions.get(&graph).cloned();
            (known.operations.clone(), known.snapshot.disabled(), conditions, known.flags)
        };
        for (i, params) in &changes {
            operations.get_mut(*i).ok_or(CUresult::INVALID_VALUE)?.params = params.clone();
        }
        let made = self.backend.instantiate(&operations, conditions.as_ref(), flags & NODE_PRIORITY)?;
        disabled.into_iter().try_for_each(|operation| self.backend.enable(&made, operation, false))?;
        let mut state = self.state();
        let known = state.executables.get_mut(executable)?;
        let held = Arc::new(Held { executable: made, objects: known.held.objects.clone() });
        let before = std::mem::replace(&mut known.held, held);
        let streams = std::mem::take(&mut known.streams);
        known.apply(changes);
        drop(state);
        self.drop_behind(streams, &before);
        Ok(())
    }

    pub unsafe fn cuGraphExecUpdate_v2(
        &self,
        hGraphExec: CUgraphExec,
        hGraph: CUgraph,
        resultInfo: *mut CUgraphExecUpdateResultInfo,
    ) -> Result {
        check(resultInfo)?;
        let outcome = self.update(hGraphExec as u64, None, hGraph as u64);
        let told = outcome.err().unwrap_or(Mismatch { reason: Reason::Success, node: 0, from: 0 });
        let info = CUgraphExecUpdateResultInfo {
            result: told.reason as i32,
            errorNode: node(told.node),
            errorFromNode: node(told.from),
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(resultInfo, info)? };
        failure(outcome)
    }

    pub unsafe fn cuGraphExecUpdate(
        &self,
        hGraphExec: CUgraphExec,
        hGraph: CUgraph,
        hErrorNode_out: *mut CUgraphNode,
        updateResult_out: *mut i32,
    ) -> Result {
        check(updateResult_out)?;
        let outcome = self.update(hGraphExec as u64, None, hGraph as u64);
        let told = outcome.err().unwrap_or(Mismatch { reason: Reason::Success, node: 0, from: 0 });
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            put_optional(hErrorNode_out, node(told.node));
            put(updateResult_out, told.reason as i32)?;
        }
        failure(outcome)
    }

    pub unsafe fn cuGraphExecChildGraphNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        childGraph: CUgraph,
    ) -> Result {
        let outcome = self.update(hGraphExec as u64, Some(hNode as u64), childGraph as u64);
        outcome.map_err(|_| CUresult::INVALID_VALUE)
    }
}

fn failure(outcome: std::result::Result<(), Mismatch>) -> Result {
    match outcome.map_err(|mismatch| mismatch.reason) {
        Ok(()) => Ok(()),
        Err(Reason::Error) => Err(CUresult::INVALID_VALUE),
        Err(_) => Err(CUresult::GRAPH_EXEC_UPDATE_FAILURE),
    }
}

impl<B: Backend> crate::State<B> {
    /// An executable graph made from `graph`, which may be gone, does not exist any more.
    fn forget_executable(&mut self, graph: u64) {
        if let Ok(graph) = self.store.graphs.get_mut(graph) {
            graph.executables = graph.executables.saturating_sub(1);
        }
    }
}
