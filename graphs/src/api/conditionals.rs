//! Conditions and conditional nodes.

use std::sync::Arc;

use vgpu_protocol::cuda::{Branch, CUcontext, CUgraph, CUgraphNode, CUresult, CUDA_CONDITIONAL_NODE_PARAMS};

use super::raw::{check, node, put};
use crate::graph::Condition;
use crate::node::{Conditional, Edge, Params};
use crate::{Backend, Graphs, Result};

/// `CU_GRAPH_COND_ASSIGN_DEFAULT`.
const ASSIGN_DEFAULT: u32 = 1;
/// Graphs that one node may choose between, and that anybody needs.
const MAX_BODIES: u32 = 1 << 16;

impl<B: Backend> Graphs<B> {
    pub unsafe fn cuGraphConditionalHandleCreate(
        &self,
        pHandle_out: *mut u64,
        hGraph: CUgraph,
        ctx: CUcontext,
        defaultLaunchValue: u32,
        flags: u32,
    ) -> Result {
        check(pHandle_out)?;
        if flags & !ASSIGN_DEFAULT != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let context = self.context(ctx)?;
        let (graph, conditions) = {
            let mut state = self.state();
            let graph = state.store.root(hGraph as u64)?;
            let conditions = match state.conditions.get(&graph) {
                Some(known) => known.clone(),
                None => {
                    let made = Arc::new(self.backend.conditions(context)?);
                    state.conditions.insert(graph, made.clone());
                    made
                }
            };
            (graph, conditions)
        };
        let default = (flags & ASSIGN_DEFAULT != 0).then_some(defaultLaunchValue);
        let handle = self.backend.add_condition(&conditions, default)?;
        let mut state = self.state();
        state.store.graphs.get(graph)?;
        state.store.conditions.insert(handle, Condition { graph, node: None, context });
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(pHandle_out, handle) }
    }

    /// Adds a node with the graphs that it chooses between, which `params` then tell.
    ///
    /// # Safety
    /// `out` is null or valid for a write.
    pub(super) unsafe fn add_conditional(
        &self,
        out: *mut CUgraphNode,
        graph: u64,
        before: &[Edge],
        params: &mut CUDA_CONDITIONAL_NODE_PARAMS,
    ) -> Result {
        check(out)?;
        let branch = Branch::new(params.kind, params.size).ok_or(CUresult::INVALID_VALUE)?;
        if params.size > MAX_BODIES {
            return Err(CUresult::OUT_OF_MEMORY);
        }
        let context = self.context(params.ctx)?;
        let mut guard = self.state();
        let store = &mut guard.store;
        let condition = store.conditions.get(&params.handle).ok_or(CUresult::INVALID_VALUE)?;
        let (owner, is_used, of) = (condition.graph, condition.node.is_some(), condition.context);
        if is_used || of != context || store.root(graph)? != owner {
            return Err(CUresult::INVALID_VALUE);
        }
        let bodies: Arc<[u64]> = (0..params.size).map(|_| store.create()).collect();
        let node_params = Conditional { condition: params.handle, branch, bodies: bodies.clone(), context };
        let added = store.add(graph, before, Params::Conditional(node_params));
        if added.is_err() {
            bodies.iter().try_for_each(|body| store.remove(*body))?;
        }
        let added = added?;
        params.phGraph_out = bodies.as_ptr().cast_mut().cast();
        // SAFETY: as the caller says.
        unsafe { put(out, node(added)) }
    }
}

/// A conditional node as it was asked for; the list of bodies belongs to the node.
pub(super) fn describe(conditional: &Conditional) -> CUDA_CONDITIONAL_NODE_PARAMS {
    CUDA_CONDITIONAL_NODE_PARAMS {
        handle: conditional.condition,
        kind: conditional.branch as i32,
        size: conditional.bodies.len() as u32,
        phGraph_out: conditional.bodies.as_ptr().cast_mut().cast(),
        ctx: conditional.context as _,
    }
}
