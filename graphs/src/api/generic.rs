//! Nodes of any type (`cuGraphAddNode` and its like).

use vgpu_protocol::cuda::{
    CUDA_HOST_NODE_PARAMS_v2, CUDA_MEMSET_NODE_PARAMS_v2, CUgraph, CUgraphEdgeData, CUgraphExec, CUgraphNode,
    CUgraphNodeParams, CUresult, CUDA_BATCH_MEM_OP_NODE_PARAMS, CUDA_CHILD_GRAPH_NODE_PARAMS,
    CUDA_CONDITIONAL_NODE_PARAMS, CUDA_EVENT_RECORD_NODE_PARAMS, CUDA_EVENT_WAIT_NODE_PARAMS, CUDA_KERNEL_NODE_PARAMS,
    CUDA_MEMCPY_NODE_PARAMS, CUDA_MEM_ALLOC_NODE_PARAMS, CUDA_MEM_FREE_NODE_PARAMS,
};

use super::raw::{check, edges, get, node, put};
use super::{conditionals, kernels, mem_ops, memory, nodes};
use crate::node::{Attributes, Params};
use crate::{Backend, Graphs, Result};

/// `CUgraphNodeType`.
const KERNEL: i32 = 0;
const COPY: i32 = 1;
const FILL: i32 = 2;
const HOST: i32 = 3;
const CHILD: i32 = 4;
const EMPTY: i32 = 5;
const EVENT_WAIT: i32 = 6;
const EVENT_RECORD: i32 = 7;
const ALLOCATE: i32 = 10;
const FREE: i32 = 11;
const MEM_OPS: i32 = 12;
const CONDITIONAL: i32 = 13;
/// External semaphores, and what came after conditionals.
const UNSUPPORTED: [i32; 7] = [8, 9, 14, 15, 16, 17, 18];
/// `CU_GRAPH_CHILD_GRAPH_OWNERSHIP_*`.
const CLONE: i32 = 0;
const MOVE: i32 = 1;
const INVALID: i32 = -1;

/// The member of the union that the type names. Every one is smaller than the body.
fn member<T: Copy>(params: &CUgraphNodeParams) -> T {
    const { assert!(size_of::<T>() <= size_of::<[u64; 29]>() && align_of::<T>() <= align_of::<u64>()) };
    // SAFETY: the body is large enough, and the structures are plain: any bits are a value, host
    // functions being optional pointers.
    unsafe { params.body.as_ptr().cast::<T>().read() }
}

fn with_member<T: Copy>(kind: i32, member: T) -> CUgraphNodeParams {
    const { assert!(size_of::<T>() <= size_of::<[u64; 29]>() && align_of::<T>() <= align_of::<u64>()) };
    let mut params = CUgraphNodeParams { kind, reserved0: [0; 3], body: [0; 29], reserved2: 0 };
    // SAFETY: the body is large enough and aligned.
    unsafe { params.body.as_mut_ptr().cast::<T>().write(member) };
    params
}

fn check_reserved(params: &CUgraphNodeParams) -> Result {
    match params.reserved0 == [0; 3] && params.reserved2 == 0 {
        true => Ok(()),
        false => Err(CUresult::INVALID_VALUE),
    }
}

impl<B: Backend> Graphs<B> {
    /// Parameters of nodes that need nothing else.
    ///
    /// # Safety
    /// The parameters are as the driver API defines them.
    unsafe fn parse(&self, params: &CUgraphNodeParams, attributes: Attributes) -> Result<Params> {
        check_reserved(params)?;
        // SAFETY: as the caller says.
        unsafe {
            match params.kind {
                KERNEL => self.kernel(&member::<CUDA_KERNEL_NODE_PARAMS>(params), attributes),
                COPY => {
                    let copy: CUDA_MEMCPY_NODE_PARAMS = member(params);
                    if copy.flags != 0 || copy.reserved != 0 {
                        return Err(CUresult::INVALID_VALUE);
                    }
                    self.copy(&copy.copyParams, copy.copyCtx)
                }
                FILL => {
                    let fill: CUDA_MEMSET_NODE_PARAMS_v2 = member(params);
                    self.fill(&fill.fill, fill.ctx)
                }
                HOST => nodes::host(&member::<CUDA_HOST_NODE_PARAMS_v2>(params).host),
                EMPTY => Ok(Params::Empty),
                EVENT_WAIT => {
                    let event = member::<CUDA_EVENT_WAIT_NODE_PARAMS>(params).event as u64;
                    self.backend.check_event(event).map(|()| Params::EventWait(event))
                }
                EVENT_RECORD => {
                    let event = member::<CUDA_EVENT_RECORD_NODE_PARAMS>(params).event as u64;
                    self.backend.check_event(event).map(|()| Params::EventRecord(event))
                }
                MEM_OPS => self.mem_ops(&member::<CUDA_BATCH_MEM_OP_NODE_PARAMS>(params)),
                CHILD | ALLOCATE | FREE | CONDITIONAL => Err(CUresult::NOT_SUPPORTED),
                kind if UNSUPPORTED.contains(&kind) => Err(CUresult::NOT_SUPPORTED),
                _ => Err(CUresult::INVALID_VALUE),
            }
        }
    }

    pub unsafe fn cuGraphAddNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        nodeParams: *mut CUgraphNodeParams,
    ) -> Result {
        let data = std::ptr::null();
        // SAFETY: as for the caller.
        unsafe { self.cuGraphAddNode_v2(phGraphNode, hGraph, dependencies, data, numDependencies, nodeParams) }
    }

    pub unsafe fn cuGraphAddNode_v2(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        dependencyData: *const CUgraphEdgeData,
        numDependencies: usize,
        nodeParams: *mut CUgraphNodeParams,
    ) -> Result {
        check(phGraphNode)?;
        let graph = hGraph as u64;
        self.state().store.graphs.get(graph)?;
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let before = edges(dependencies, dependencyData, numDependencies)?;
            let mut params = get(nodeParams)?;
            check_reserved(&params)?;
            match params.kind {
                CHILD => {
                    let child: CUDA_CHILD_GRAPH_NODE_PARAMS = member(&params);
                    if !matches!(child.ownership, CLONE | MOVE) {
                        return Err(CUresult::INVALID_VALUE);
                    }
                    self.add_child(phGraphNode, graph, &before, child.graph as u64, child.ownership == MOVE)
                }
                ALLOCATE => {
                    let mut allocation: CUDA_MEM_ALLOC_NODE_PARAMS = member(&params);
                    self.add_allocation(phGraphNode, graph, &before, &mut allocation)?;
                    params = with_member(ALLOCATE, allocation);
                    put(nodeParams, params)
                }
                FREE => {
                    let free: CUDA_MEM_FREE_NODE_PARAMS = member(&params);
                    self.add_free(phGraphNode, graph, &before, free.dptr)
                }
                CONDITIONAL => {
                    let mut conditional: CUDA_CONDITIONAL_NODE_PARAMS = member(&params);
                    self.add_conditional(phGraphNode, graph, &before, &mut conditional)?;
                    params = with_member(CONDITIONAL, conditional);
                    put(nodeParams, params)
                }
                _ => {
                    let params = self.parse(&params, Attributes::default())?;
                    put(phGraphNode, node(self.state().store.add(graph, &before, params)?))
                }
            }
        }
    }

    pub unsafe fn cuGraphAddNode_v3(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        dependencyData: *const CUgraphEdgeData,
        numDependencies: usize,
        nodeParams: *mut CUgraphNodeParams,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe {
            self.cuGraphAddNode_v2(phGraphNode, hGraph, dependencies, dependencyData, numDependencies, nodeParams)
        }
    }

    /// Attributes that a kernel node keeps when it gets other parameters.
    fn kept_attributes(&self, node: CUgraphNode) -> Result<Attributes> {
        let state = self.state();
        let known = &state.store.nodes.get(node as u64)?.params;
        Ok(known.kernel().map(|kernel| kernel.attributes.clone()).unwrap_or_default())
    }

    pub unsafe fn cuGraphNodeSetParams(&self, hNode: CUgraphNode, nodeParams: *mut CUgraphNodeParams) -> Result {
        // SAFETY: the caller vouches for the pointers.
        let params = unsafe { self.parse(&get(nodeParams)?, self.kept_attributes(hNode)?)? };
        self.set(hNode as u64, params)
    }

    pub unsafe fn cuGraphNodeSetParams_v2(&self, hNode: CUgraphNode, nodeParams: *mut CUgraphNodeParams) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphNodeSetParams(hNode, nodeParams) }
    }

    pub unsafe fn cuGraphExecNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        nodeParams: *mut CUgraphNodeParams,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let given = get(nodeParams)?;
            if given.kind == CHILD {
                let child: CUDA_CHILD_GRAPH_NODE_PARAMS = member(&given);
                return self.cuGraphExecChildGraphNodeSetParams(hGraphExec, hNode, child.graph);
            }
            let params = self.parse(&given, self.kept_attributes(hNode)?)?;
            self.set_executable(hGraphExec as u64, hNode as u64, params)
        }
    }

    pub unsafe fn cuGraphNodeGetParams(&self, hNode: CUgraphNode, nodeParams: *mut CUgraphNodeParams) -> Result {
        check(nodeParams)?;
        let state = self.state();
        let none = std::ptr::null_mut();
        let params = match &state.store.nodes.get(hNode as u64)?.params {
            Params::Kernel(kernel) => with_member(KERNEL, kernels::describe(kernel)),
            Params::Copy(copy) => {
                let (copyCtx, copyParams) = (copy.context as _, copy.params);
                with_member(COPY, CUDA_MEMCPY_NODE_PARAMS { flags: 0, reserved: 0, copyCtx, copyParams })
            }
            Params::Fill(fill) => {
                with_member(FILL, CUDA_MEMSET_NODE_PARAMS_v2 { fill: fill.params, ctx: fill.context as _ })
            }
            Params::Host(host) => {
                let host = nodes::describe(*host);
                with_member(HOST, CUDA_HOST_NODE_PARAMS_v2 { host, syncMode: 0, ctx: none })
            }
            Params::Child(child) => {
                with_member(CHILD, CUDA_CHILD_GRAPH_NODE_PARAMS { graph: *child as _, ownership: INVALID })
            }
            Params::Empty => with_member(EMPTY, 0u64),
            Params::EventWait(event) => with_member(EVENT_WAIT, CUDA_EVENT_WAIT_NODE_PARAMS { event: *event as _ }),
            Params::EventRecord(event) => {
                with_member(EVENT_RECORD, CUDA_EVENT_RECORD_NODE_PARAMS { event: *event as _, ctx: none })
            }
            Params::Allocate(allocation) => with_member(ALLOCATE, memory::describe(*allocation)),
            Params::Free(address) => with_member(FREE, CUDA_MEM_FREE_NODE_PARAMS { dptr: *address }),
            Params::MemOps(batch) => with_member(MEM_OPS, mem_ops::describe(batch)),
            Params::Conditional(conditional) => with_member(CONDITIONAL, conditionals::describe(conditional)),
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(nodeParams, params) }
    }
}
