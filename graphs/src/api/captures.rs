//! Stream capture.

use vgpu_protocol::cuda::{CUgraph, CUgraphEdgeData, CUgraphNode, CUresult, CUstream};

use super::raw::{check, edges, get, graph, no_meaning, put, put_optional};
use crate::capture::{exchange_mode, Mode, Status};
use crate::node::Edge;
use crate::{Backend, Graphs, Result};

/// `CU_STREAM_SET_CAPTURE_DEPENDENCIES`.
const REPLACE: u32 = 1;

impl<B: Backend> Graphs<B> {
    fn begin(&self, stream: CUstream, mode: Mode, existing: Option<(u64, Vec<Edge>)>) -> Result {
        let stream = self.backend.stream(stream as u64)?;
        let mut guard = self.state();
        let state = &mut *guard;
        let is_new = existing.is_none();
        let (graph, dependencies) = match existing {
            None => (state.store.create(), None),
            Some((graph, dependencies)) => {
                if state.store.graphs.get(graph)?.capturing {
                    return Err(CUresult::INVALID_VALUE);
                }
                for edge in &dependencies {
                    if state.store.nodes.get(edge.node)?.graph != graph {
                        return Err(CUresult::INVALID_VALUE);
                    }
                }
                (graph, Some(dependencies))
            }
        };
        if let Err(error) = state.captures.begin(stream, mode, graph, dependencies) {
            if is_new {
                state.store.remove(graph)?;
            }
            return Err(error);
        }
        state.store.graphs.get_mut(graph)?.capturing = true;
        self.note(state);
        Ok(())
    }

    pub unsafe fn cuStreamBeginCapture(&self, hStream: CUstream) -> Result {
        self.begin(hStream, Mode::Global, None)
    }

    pub unsafe fn cuStreamBeginCapture_v2(&self, hStream: CUstream, mode: i32) -> Result {
        self.begin(hStream, Mode::try_from(mode)?, None)
    }

    pub unsafe fn cuStreamBeginCaptureToGraph(
        &self,
        hStream: CUstream,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        dependencyData: *const CUgraphEdgeData,
        numDependencies: usize,
        mode: i32,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        let dependencies = unsafe { edges(dependencies, dependencyData, numDependencies)? };
        self.begin(hStream, Mode::try_from(mode)?, Some((hGraph as u64, dependencies)))
    }

    pub unsafe fn cuStreamEndCapture(&self, hStream: CUstream, phGraph: *mut CUgraph) -> Result {
        let stream = self.backend.stream(hStream as u64)?;
        check(phGraph)?;
        let mut guard = self.state();
        let state = &mut *guard;
        let ended = match state.captures.end(stream, &state.store) {
            Ok(ended) => ended,
            Err(error) => {
                // SAFETY: the caller vouches for the pointer.
                unsafe { put(phGraph, graph(0))? };
                return Err(error);
            }
        };
        state.store.graphs.get_mut(ended.graph)?.capturing = false;
        let unused = match ended.outcome {
            Err(_) if !ended.into_existing => state.remove_graph(ended.graph)?,
            _ => Vec::new(),
        };
        self.note(state);
        drop(guard);
        self.release_memory(unused);
        let captured = if ended.outcome.is_ok() { ended.graph } else { 0 };
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(phGraph, graph(captured))? };
        ended.outcome
    }

    pub unsafe fn cuStreamIsCapturing(&self, hStream: CUstream, captureStatus: *mut i32) -> Result {
        let stream = self.backend.stream(hStream as u64)?;
        check(captureStatus)?;
        let status = if self.is_quiet() { Status::None } else { self.state().captures.status(stream)? };
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(captureStatus, status as i32) }
    }

    pub unsafe fn cuStreamGetCaptureInfo(
        &self,
        hStream: CUstream,
        captureStatus_out: *mut i32,
        id_out: *mut u64,
    ) -> Result {
        let none = std::ptr::null_mut();
        // SAFETY: as for the caller.
        unsafe { self.cuStreamGetCaptureInfo_v2(hStream, captureStatus_out, id_out, none, none.cast(), none.cast()) }
    }

    pub unsafe fn cuStreamGetCaptureInfo_v2(
        &self,
        hStream: CUstream,
        captureStatus_out: *mut i32,
        id_out: *mut u64,
        graph_out: *mut CUgraph,
        dependencies_out: *mut *const CUgraphNode,
        numDependencies_out: *mut usize,
    ) -> Result {
        let data = std::ptr::null_mut();
        // SAFETY: as for the caller.
        unsafe {
            self.cuStreamGetCaptureInfo_v3(
                hStream,
                captureStatus_out,
                id_out,
                graph_out,
                dependencies_out,
                data,
                numDependencies_out,
            )
        }
    }

    pub unsafe fn cuStreamGetCaptureInfo_v3(
        &self,
        hStream: CUstream,
        captureStatus_out: *mut i32,
        id_out: *mut u64,
        graph_out: *mut CUgraph,
        dependencies_out: *mut *const CUgraphNode,
        edgeData_out: *mut *const CUgraphEdgeData,
        numDependencies_out: *mut usize,
    ) -> Result {
        let stream = self.backend.stream(hStream as u64)?;
        check(captureStatus_out)?;
        if !edgeData_out.is_null() && dependencies_out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let mut state = self.state();
        let status = state.captures.status(stream)?;
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            put(captureStatus_out, status as i32)?;
            if status != Status::Active {
                return Ok(());
            }
            let info = state.captures.info(stream)?;
            if !dependencies_out.is_null() && edgeData_out.is_null() {
                no_meaning(info.dependencies.data().iter().copied())?;
            }
            put_optional(id_out, info.id);
            put_optional(graph_out, graph(info.graph));
            put_optional(dependencies_out, info.dependencies.nodes().as_ptr().cast());
            put_optional(edgeData_out, info.dependencies.data().as_ptr());
            put_optional(numDependencies_out, info.dependencies.nodes().len());
        }
        Ok(())
    }

    pub unsafe fn cuStreamUpdateCaptureDependencies(
        &self,
        hStream: CUstream,
        dependencies: *mut CUgraphNode,
        numDependencies: usize,
        flags: u32,
    ) -> Result {
        let data = std::ptr::null();
        // SAFETY: as for the caller.
        unsafe { self.cuStreamUpdateCaptureDependencies_v2(hStream, dependencies, data, numDependencies, flags) }
    }

    pub unsafe fn cuStreamUpdateCaptureDependencies_v2(
        &self,
        hStream: CUstream,
        dependencies: *mut CUgraphNode,
        dependencyData: *const CUgraphEdgeData,
        numDependencies: usize,
        flags: u32,
    ) -> Result {
        let stream = self.backend.stream(hStream as u64)?;
        if flags & !REPLACE != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller vouches for the pointers.
        let edges = unsafe { edges(dependencies, dependencyData, numDependencies)? };
        let mut guard = self.state();
        let state = &mut *guard;
        state.captures.update(stream, edges, flags & REPLACE != 0, &state.store)
    }

    pub unsafe fn cuThreadExchangeStreamCaptureMode(&self, mode: *mut i32) -> Result {
        // SAFETY: the caller vouches for the pointer.
        unsafe {
            let wanted = Mode::try_from(get(mode)?)?;
            put(mode, exchange_mode(wanted) as i32)
        }
    }
}
