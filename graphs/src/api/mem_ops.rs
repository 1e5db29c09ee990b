//! Nodes that wait for and write values in memory.

use vgpu_protocol::cuda::{
    CUgraph, CUgraphExec, CUgraphNode, CUresult, CUstreamBatchMemOpParams, CUDA_BATCH_MEM_OP_NODE_PARAMS,
};

use super::raw::{get, list, put};
use crate::node::{MemOps, Params};
use crate::{Backend, Graphs, Result};

/// Operations of one node, by the driver API.
const MAX_OPERATIONS: u32 = 255;

impl<B: Backend> Graphs<B> {
    /// # Safety
    /// `params` is as the driver API defines it.
    pub(super) unsafe fn mem_ops(&self, params: &CUDA_BATCH_MEM_OP_NODE_PARAMS) -> Result<Params> {
        if !(1..=MAX_OPERATIONS).contains(&params.count) || params.flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: as the caller says.
        let operations = unsafe { list(params.paramArray.cast_const(), params.count as usize)? };
        self.mem_ops_in(self.context(params.ctx)?, &operations)
    }

    fn mem_ops_in(&self, context: u64, operations: &[CUstreamBatchMemOpParams]) -> Result<Params> {
        self.backend.check_mem_ops(operations)?;
        Ok(Params::MemOps(MemOps { operations: operations.into(), context }))
    }

    /// Captures operations on memory; `false` means that they are to be run.
    pub fn capture_mem_ops(&self, stream: u64, operations: &[CUstreamBatchMemOpParams]) -> Result<bool> {
        self.capture(stream, || self.mem_ops_in(self.backend.context()?, operations))
    }

    pub unsafe fn cuGraphAddBatchMemOpNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        nodeParams: *const CUDA_BATCH_MEM_OP_NODE_PARAMS,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe {
            let params = self.mem_ops(&get(nodeParams)?)?;
            self.add(phGraphNode, hGraph, dependencies, numDependencies, params)
        }
    }

    pub unsafe fn cuGraphBatchMemOpNodeGetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams_out: *mut CUDA_BATCH_MEM_OP_NODE_PARAMS,
    ) -> Result {
        match &self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::MemOps(batch) => unsafe { put(nodeParams_out, describe(batch)) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphBatchMemOpNodeSetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_BATCH_MEM_OP_NODE_PARAMS,
    ) -> Result {
        // SAFETY: as for the caller.
        self.set(hNode as u64, unsafe { self.mem_ops(&get(nodeParams)?)? })
    }

    pub unsafe fn cuGraphExecBatchMemOpNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_BATCH_MEM_OP_NODE_PARAMS,
    ) -> Result {
        // SAFETY: as for the caller.
        self.set_executable(hGraphExec as u64, hNode as u64, unsafe { self.mem_ops(&get(nodeParams)?)? })
    }
}

/// Operations as they were given; the list belongs to the node.
pub(super) fn describe(batch: &MemOps) -> CUDA_BATCH_MEM_OP_NODE_PARAMS {
    CUDA_BATCH_MEM_OP_NODE_PARAMS {
        ctx: batch.context as _,
        count: batch.operations.len() as u32,
        paramArray: batch.operations.as_ptr().cast_mut(),
        flags: 0,
    }
}
