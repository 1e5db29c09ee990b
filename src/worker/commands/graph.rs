//! Executable graphs. The guest sends the operations in order; they become nodes of a graph of the
//! driver, which stays as long as the executable graph, because its nodes name what is to be changed.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use vgpu_protocol::cuda::{
    CUcontext, CUevent, CUgraph, CUgraphEdgeData, CUgraphExec, CUgraphNode, CUlaunchAttribute, CUresult,
    CUstreamBatchMemOpParams, WireEdge, WireFill, CUDA_BATCH_MEM_OP_NODE_PARAMS, CUDA_CONDITIONAL_NODE_PARAMS,
    CUDA_HOST_NODE_PARAMS, CUDA_KERNEL_NODE_PARAMS, CUDA_MEMCPY3D, CUDA_MEMSET_NODE_PARAMS,
    LAUNCH_ATTRIBUTE_COOPERATIVE,
};
use vgpu_protocol::{cmd, Handle, HandleKind, ParamInfo};
use zerocopy::FromBytes;

use super::copy_box::copy_params;
use super::mem_op::operations;
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::{add_conditional_node, driver, graph_host_function};
use crate::worker::session::lock;

/// Operations that a graph may have.
const MAX_NODES: usize = 1 << 20;
/// Parameters of a kernel, bytes (CUDA C++ Programming Guide, compute capability 7.0 and later).
const MAX_PARAMS: usize = 32_764;
/// Launch attributes of a node: as many as there are kinds of them.
const MAX_ATTRIBUTES: usize = 32;

/// Conditions that a graph may have.
const MAX_CONDITIONS: usize = 1 << 16;

/// A graph with its nodes by their positions. Addresses of the driver's objects, which are never followed.
#[derive(Debug)]
pub struct Graph {
    /// The graph itself, and the bodies of its conditional nodes in the order of their creation.
    graphs: Vec<usize>,
    /// Which of them new nodes belong to.
    body: usize,
    nodes: Vec<usize>,
    /// Handles of conditions that the driver gave.
    conditions: Vec<u64>,
    executable: usize,
    /// What went wrong before the graph was instantiated, which tells it.
    failed: Option<Failure>,
    /// Parameters sent ahead of their kernel.
    ahead: Vec<u8>,
}

impl Graph {
    fn new(graph: CUgraph) -> Graph {
        Graph {
            graphs: vec![graph as usize],
            body: 0,
            nodes: Vec::new(),
            conditions: Vec::new(),
            executable: 0,
            failed: None,
            ahead: Vec::new(),
        }
    }

    fn graph(&self) -> CUgraph {
        self.graphs.first().copied().unwrap_or_default() as CUgraph
    }

    /// Where new nodes belong.
    fn body(&self) -> Result<CUgraph, Failure> {
        self.graphs.get(self.body).map(|graph| *graph as CUgraph).ok_or(Failure::INVALID_VALUE)
    }

    fn executable(&self) -> CUgraphExec {
        self.executable as CUgraphExec
    }

    fn node(&self, position: u32) -> Result<CUgraphNode, Failure> {
        self.nodes.get(position as usize).map(|node| *node as CUgraphNode).ok_or(Failure::INVALID_VALUE)
    }
}

fn find(ctx: &Context<'_>, handle: Handle) -> Result<Arc<Mutex<Graph>>, Failure> {
    ctx.entry(HandleKind::GraphExec, handle)?;
    lock(&ctx.session.graphs).get(&handle).cloned().ok_or(Failure::INVALID_VALUE)
}

/// Dependencies of a new node.
struct After {
    nodes: Vec<CUgraphNode>,
    /// Those that mean more than an order: they are added afterwards.
    special: Vec<(CUgraphNode, CUgraphEdgeData)>,
}

fn after(graph: &Graph, edges: &[u8]) -> Result<After, Failure> {
    let mut after = After { nodes: Vec::new(), special: Vec::new() };
    for edge in edges.chunks(size_of::<WireEdge>()) {
        let edge = WireEdge::read_from_bytes(edge).map_err(|_| Failure::Malformed)?;
        let node = graph.node(edge.node)?;
        match edge.data == CUgraphEdgeData::default() {
            true => after.nodes.push(node),
            false => after.special.push((node, edge.data)),
        }
    }
    Ok(after)
}

/// What a node does. Its kind never changes.
trait Node {
    /// Adds a node behind others.
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure>;

    /// Has a node of an executable graph do this instead.
    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure>;
}

/// Adds a node, or changes the one that is there. What is wrong with one of a graph that is not instantiated
/// yet is told when it is.
fn place(
    ctx: &Context<'_>,
    handle: Handle,
    position: u32,
    edges: &[u8],
    node: Result<impl Node, Failure>,
) -> Result<(), Failure> {
    let graph = find(ctx, handle)?;
    let mut graph = lock(&graph);
    if graph.executable != 0 {
        let at = graph.node(position)?;
        return node?.change(ctx, graph.executable(), at);
    }
    if let Err(error) = node.and_then(|node| add(ctx, &mut graph, position, edges, node)) {
        graph.failed = graph.failed.or(Some(error));
    }
    Ok(())
}

fn add(ctx: &Context<'_>, graph: &mut Graph, position: u32, edges: &[u8], mut node: impl Node) -> Result<(), Failure> {
    if position as usize != graph.nodes.len() || graph.nodes.len() >= MAX_NODES {
        return Err(Failure::INVALID_VALUE);
    }
    let after = after(graph, edges)?;
    let body = graph.body()?;
    let node = node.add(ctx, body, &after.nodes)?;
    for (from, data) in after.special {
        driver!(ctx, cuGraphAddDependencies_v2(body, &from, &node, &data, 1))?;
    }
    graph.nodes.push(node as usize);
    Ok(())
}

/// Calls a function of the driver that adds a node; the node.
macro_rules! add_node {
    ($ctx:ident, $name:ident($graph:ident, $after:ident $(, $arg:expr)*)) => {{
        let mut node: CUgraphNode = std::ptr::null_mut();
        driver!($ctx, $name(&mut node, $graph, $after.as_ptr(), $after.len() $(, $arg)*)).map(|()| node)
    }};
}

/// `vgpuGraphBegin`.
pub fn graph_begin(ctx: &mut Context<'_>, command: cmd::VgpuGraphBegin) -> Result<cmd::VgpuGraphBeginReply, Failure> {
    ctx.reserve(HandleKind::GraphExec, command.graph)?;
    let mut graph: CUgraph = std::ptr::null_mut();
    driver!(ctx, cuGraphCreate(&mut graph, 0))?;
    lock(&ctx.session.graphs).insert(command.graph, Arc::new(Mutex::new(Graph::new(graph))));
    ctx.insert(command.graph, graph.cast(), Handle::NULL);
    Ok(cmd::VgpuGraphBeginReply {})
}

/// `vgpuGraphParams`.
pub fn graph_params(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphParams<'_>,
) -> Result<cmd::VgpuGraphParamsReply, Failure> {
    let graph = find(ctx, command.graph)?;
    let mut graph = lock(&graph);
    if graph.ahead.len() + command.params.len() > MAX_PARAMS {
        return Err(Failure::INVALID_VALUE);
    }
    graph.ahead.extend_from_slice(command.params);
    Ok(cmd::VgpuGraphParamsReply {})
}

/// A launch. The parameter block goes to the driver as one buffer; only cooperative launches need to be told
/// parameter by parameter.
struct KernelNode {
    function: *mut c_void,
    is_kernel: bool,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    attributes: Vec<CUlaunchAttribute>,
    params: Vec<u8>,
    /// Pointers to the parameters, if they are told one by one.
    each: Vec<*mut c_void>,
    size: usize,
    extra: [*mut c_void; 5],
}

impl KernelNode {
    fn new(ctx: &Context<'_>, c: &cmd::VgpuGraphKernel<'_>, mut params: Vec<u8>) -> Result<KernelNode, Failure> {
        let function = ctx.entry(HandleKind::Function, c.function)?;
        if params.len() < function.param_bytes as usize {
            return Err(Failure::INVALID_VALUE);
        }
        let attributes = attributes(c.attributes)?;
        let cooperative = attributes.iter().any(|a| a.id == LAUNCH_ATTRIBUTE_COOPERATIVE && a.word(0) != 0);
        let is_kernel = c.function.kind() == HandleKind::Kernel as u8;
        let function = function.pointer as *mut c_void;
        let each = if cooperative { parameters(ctx, c.function, &mut params)? } else { Vec::new() };
        Ok(KernelNode {
            function,
            is_kernel,
            grid: [c.grid_x, c.grid_y, c.grid_z],
            block: [c.block_x, c.block_y, c.block_z],
            shared: c.shared,
            attributes,
            size: if cooperative { 0 } else { params.len() },
            params,
            each,
            extra: [std::ptr::null_mut(); 5],
        })
    }

    /// What the driver is told. It points into the node.
    fn params(&mut self) -> CUDA_KERNEL_NODE_PARAMS {
        let none = std::ptr::null_mut();
        self.extra = [
            std::ptr::without_provenance_mut(1),
            self.params.as_mut_ptr().cast(),
            std::ptr::without_provenance_mut(2),
            std::ptr::from_mut(&mut self.size).cast(),
            none,
        ];
        CUDA_KERNEL_NODE_PARAMS {
            func: if self.is_kernel { std::ptr::null_mut() } else { self.function.cast() },
            grid: self.grid,
            block: self.block,
            sharedMemBytes: self.shared,
            kernelParams: if self.each.is_empty() { none.cast() } else { self.each.as_mut_ptr() },
            extra: if self.size == 0 { none.cast() } else { self.extra.as_mut_ptr() },
            kern: if self.is_kernel { self.function.cast() } else { std::ptr::null_mut() },
            ctx: std::ptr::null_mut(),
        }
    }
}

impl Node for KernelNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        let node = add_node!(ctx, cuGraphAddKernelNode_v2(graph, after, &self.params()))?;
        for attribute in &self.attributes {
            let (id, value) = (attribute.id.cast_signed(), attribute.value.as_ptr().cast());
            driver!(ctx, cuGraphKernelNodeSetAttribute(node, id, value))?;
        }
        Ok(node)
    }

    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure> {
        driver!(ctx, cuGraphExecKernelNodeSetParams_v2(graph, node, &self.params()))
    }
}

/// `vgpuGraphKernel`.
pub fn graph_kernel(ctx: &mut Context<'_>, c: cmd::VgpuGraphKernel<'_>) -> Result<cmd::VgpuGraphKernelReply, Failure> {
    let mut params = std::mem::take(&mut lock(&*find(ctx, c.graph)?).ahead);
    params.extend_from_slice(c.params);
    let node = KernelNode::new(ctx, &c, params);
    place(ctx, c.graph, c.node, c.after, node)?;
    Ok(cmd::VgpuGraphKernelReply {})
}

fn attributes(bytes: &[u8]) -> Result<Vec<CUlaunchAttribute>, Failure> {
    let attributes = bytes.chunks(size_of::<CUlaunchAttribute>()).map(CUlaunchAttribute::read_from_bytes);
    let attributes = attributes.collect::<Result<Vec<_>, _>>().map_err(|_| Failure::Malformed)?;
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(Failure::INVALID_VALUE);
    }
    // No value that the driver would take for one of its objects.
    match attributes.iter().all(|attribute| attribute.is_portable() && !attribute.names_event()) {
        true => Ok(attributes),
        false => Err(Failure::NOT_SUPPORTED),
    }
}

/// Pointers to a function's parameters in a block.
fn parameters(ctx: &Context<'_>, function: Handle, block: &mut [u8]) -> Result<Vec<*mut c_void>, Failure> {
    let layout = ctx.session.ledger.layout(function).ok_or(Failure::INVALID_VALUE)?;
    let pointer = |param: &ParamInfo| {
        let end = param.offset.checked_add(param.size)?;
        Some(block.get_mut(param.offset as usize..end as usize)?.as_mut_ptr().cast())
    };
    layout.iter().map(pointer).collect::<Option<_>>().ok_or(Failure::INVALID_VALUE)
}

struct CopyNode {
    params: CUDA_MEMCPY3D,
    context: CUcontext,
}

impl Node for CopyNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        add_node!(ctx, cuGraphAddMemcpyNode(graph, after, &self.params, self.context))
    }

    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure> {
        driver!(ctx, cuGraphExecMemcpyNodeSetParams(graph, node, &self.params, self.context))
    }
}

/// `vgpuGraphCopy`.
pub fn graph_copy(ctx: &mut Context<'_>, c: cmd::VgpuGraphCopy<'_>) -> Result<cmd::VgpuGraphCopyReply, Failure> {
    let context = ctx.current as CUcontext;
    let node = copy_params(ctx, &c.copy).map(|params| CopyNode { params, context });
    place(ctx, c.graph, c.node, c.after, node)?;
    Ok(cmd::VgpuGraphCopyReply {})
}

struct FillNode {
    params: CUDA_MEMSET_NODE_PARAMS,
    context: CUcontext,
}

impl FillNode {
    fn new(ctx: &Context<'_>, fill: &WireFill) -> Result<FillNode, Failure> {
        let size = |n: u64| usize::try_from(n).map_err(|_| Failure::INVALID_VALUE);
        let params = CUDA_MEMSET_NODE_PARAMS {
            dst: fill.dst,
            pitch: size(fill.pitch)?,
            value: fill.value,
            elementSize: fill.element,
            width: size(fill.width)?,
            height: size(fill.height)?,
        };
        Ok(FillNode { params, context: ctx.current as CUcontext })
    }
}

impl Node for FillNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        add_node!(ctx, cuGraphAddMemsetNode(graph, after, &self.params, self.context))
    }

    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure> {
        driver!(ctx, cuGraphExecMemsetNodeSetParams(graph, node, &self.params, self.context))
    }
}

/// `vgpuGraphFill`.
pub fn graph_fill(ctx: &mut Context<'_>, c: cmd::VgpuGraphFill<'_>) -> Result<cmd::VgpuGraphFillReply, Failure> {
    let node = FillNode::new(ctx, &c.fill);
    place(ctx, c.graph, c.node, c.after, node)?;
    Ok(cmd::VgpuGraphFillReply {})
}

/// A host function. Which one an id stands for is the guest's to change.
struct HostNode(CUDA_HOST_NODE_PARAMS);

impl Node for HostNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        add_node!(ctx, cuGraphAddHostNode(graph, after, &self.0))
    }

    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure> {
        driver!(ctx, cuGraphExecHostNodeSetParams(graph, node, &self.0))
    }
}

/// `vgpuGraphHost`.
pub fn graph_host(ctx: &mut Context<'_>, c: cmd::VgpuGraphHost<'_>) -> Result<cmd::VgpuGraphHostReply, Failure> {
    let (function, user_data) = graph_host_function(&ctx.session.host_functions, c.id);
    let node = HostNode(CUDA_HOST_NODE_PARAMS { function, userData: user_data });
    place(ctx, c.graph, c.node, c.after, Ok(node))?;
    Ok(cmd::VgpuGraphHostReply {})
}

struct EmptyNode;

impl Node for EmptyNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        add_node!(ctx, cuGraphAddEmptyNode(graph, after))
    }

    fn change(&mut self, _: &Context<'_>, _: CUgraphExec, _: CUgraphNode) -> Result<(), Failure> {
        Ok(())
    }
}

/// `vgpuGraphEmpty`.
pub fn graph_empty(ctx: &mut Context<'_>, c: cmd::VgpuGraphEmpty<'_>) -> Result<cmd::VgpuGraphEmptyReply, Failure> {
    place(ctx, c.graph, c.node, c.after, Ok(EmptyNode))?;
    Ok(cmd::VgpuGraphEmptyReply {})
}

struct EventNode {
    event: CUevent,
    records: bool,
}

impl Node for EventNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        match self.records {
            true => add_node!(ctx, cuGraphAddEventRecordNode(graph, after, self.event)),
            false => add_node!(ctx, cuGraphAddEventWaitNode(graph, after, self.event)),
        }
    }

    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure> {
        match self.records {
            true => driver!(ctx, cuGraphExecEventRecordNodeSetEvent(graph, node, self.event)),
            false => driver!(ctx, cuGraphExecEventWaitNodeSetEvent(graph, node, self.event)),
        }
    }
}

/// `vgpuGraphEvent`.
pub fn graph_event(ctx: &mut Context<'_>, c: cmd::VgpuGraphEvent<'_>) -> Result<cmd::VgpuGraphEventReply, Failure> {
    let event = ctx.resolve(HandleKind::Event, c.event);
    let node = event.map(|event| EventNode { event: event.cast(), records: c.record != 0 });
    place(ctx, c.graph, c.node, c.after, node)?;
    Ok(cmd::VgpuGraphEventReply {})
}

struct MemOpsNode {
    context: CUcontext,
    operations: Vec<CUstreamBatchMemOpParams>,
}

impl MemOpsNode {
    /// What the driver is told. It points into the node.
    fn params(&mut self) -> CUDA_BATCH_MEM_OP_NODE_PARAMS {
        let count = self.operations.len() as u32;
        CUDA_BATCH_MEM_OP_NODE_PARAMS { ctx: self.context, count, paramArray: self.operations.as_mut_ptr(), flags: 0 }
    }
}

impl Node for MemOpsNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        add_node!(ctx, cuGraphAddBatchMemOpNode(graph, after, &self.params()))
    }

    fn change(&mut self, ctx: &Context<'_>, graph: CUgraphExec, node: CUgraphNode) -> Result<(), Failure> {
        driver!(ctx, cuGraphExecBatchMemOpNodeSetParams(graph, node, &self.params()))
    }
}

/// `vgpuGraphMemOps`.
pub fn graph_mem_ops(ctx: &mut Context<'_>, c: cmd::VgpuGraphMemOps<'_>) -> Result<cmd::VgpuGraphMemOpsReply, Failure> {
    let mut bytes = std::mem::take(&mut lock(&*find(ctx, c.graph)?).ahead);
    bytes.extend_from_slice(c.operations);
    let node = operations(&bytes).map(|operations| MemOpsNode { context: ctx.current as CUcontext, operations });
    place(ctx, c.graph, c.node, c.after, node)?;
    Ok(cmd::VgpuGraphMemOpsReply {})
}

/// `vgpuGraphCondition`.
pub fn graph_condition(
    ctx: &mut Context<'_>,
    c: cmd::VgpuGraphCondition,
) -> Result<cmd::VgpuGraphConditionReply, Failure> {
    let graph = find(ctx, c.graph)?;
    let mut graph = lock(&graph);
    if graph.conditions.len() >= MAX_CONDITIONS {
        return Err(Failure::Cuda(CUresult::OUT_OF_MEMORY));
    }
    let mut condition = 0;
    let context = ctx.current as CUcontext;
    driver!(ctx, cuGraphConditionalHandleCreate(&mut condition, graph.graph(), context, c.default, c.flags))?;
    graph.conditions.push(condition);
    Ok(cmd::VgpuGraphConditionReply { condition })
}

/// A node that chooses between graphs.
struct ConditionalNode {
    params: CUDA_CONDITIONAL_NODE_PARAMS,
    /// The graphs, once it is there.
    bodies: Vec<usize>,
}

impl Node for &mut ConditionalNode {
    fn add(&mut self, ctx: &Context<'_>, graph: CUgraph, after: &[CUgraphNode]) -> Result<CUgraphNode, Failure> {
        let (node, bodies) = add_conditional_node(ctx.api, graph, after, &self.params)?;
        self.bodies = bodies;
        Ok(node)
    }

    fn change(&mut self, _: &Context<'_>, _: CUgraphExec, _: CUgraphNode) -> Result<(), Failure> {
        Err(Failure::NOT_SUPPORTED)
    }
}

/// `vgpuGraphConditional`.
pub fn graph_conditional(
    ctx: &mut Context<'_>,
    c: cmd::VgpuGraphConditional<'_>,
) -> Result<cmd::VgpuGraphConditionalReply, Failure> {
    let graph = find(ctx, c.graph)?;
    // What the driver takes for a handle must be one.
    let known = lock(&graph).conditions.contains(&c.condition);
    let fits = lock(&graph).graphs.len().saturating_add(c.size as usize) <= MAX_NODES;
    let params = CUDA_CONDITIONAL_NODE_PARAMS {
        handle: c.condition,
        kind: c.kind,
        size: c.size,
        phGraph_out: std::ptr::null_mut(),
        ctx: ctx.current as CUcontext,
    };
    let mut node = ConditionalNode { params, bodies: Vec::new() };
    place(ctx, c.graph, c.node, c.after, if known && fits { Ok(&mut node) } else { Err(Failure::INVALID_VALUE) })?;
    lock(&graph).graphs.append(&mut node.bodies);
    Ok(cmd::VgpuGraphConditionalReply {})
}

/// `vgpuGraphBody`.
pub fn graph_body(ctx: &mut Context<'_>, c: cmd::VgpuGraphBody) -> Result<cmd::VgpuGraphBodyReply, Failure> {
    lock(&*find(ctx, c.graph)?).body = c.body as usize;
    Ok(cmd::VgpuGraphBodyReply {})
}

/// `vgpuGraphReset`.
pub fn graph_reset(ctx: &mut Context<'_>, c: cmd::VgpuGraphReset) -> Result<cmd::VgpuGraphResetReply, Failure> {
    let graph = find(ctx, c.graph)?;
    let mut graph = lock(&graph);
    if graph.executable != 0 {
        driver!(ctx, cuGraphExecDestroy(graph.executable()))?;
        graph.executable = 0;
    }
    // With their nodes go the bodies.
    let mut count = graph.nodes.len();
    let mut nodes: Vec<CUgraphNode> = vec![std::ptr::null_mut(); count];
    if count > 0 {
        driver!(ctx, cuGraphGetNodes(graph.graph(), nodes.as_mut_ptr(), &mut count))?;
    }
    for node in nodes.into_iter().take(count) {
        driver!(ctx, cuGraphDestroyNode(node))?;
    }
    let conditions = std::mem::take(&mut graph.conditions);
    *graph = Graph { conditions, ..Graph::new(graph.graph()) };
    Ok(cmd::VgpuGraphResetReply {})
}

/// `vgpuGraphInstantiate`.
pub fn graph_instantiate(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphInstantiate,
) -> Result<cmd::VgpuGraphInstantiateReply, Failure> {
    let graph = find(ctx, command.graph)?;
    let mut graph = lock(&graph);
    if let Some(failed) = graph.failed {
        return Err(failed);
    }
    if graph.executable != 0 {
        return Err(Failure::Cuda(CUresult::ILLEGAL_STATE));
    }
    let mut executable: CUgraphExec = std::ptr::null_mut();
    driver!(ctx, cuGraphInstantiateWithFlags(&mut executable, graph.graph(), command.flags))?;
    graph.executable = executable as usize;
    Ok(cmd::VgpuGraphInstantiateReply {})
}

/// The executable graph of a handle, while nothing changes it.
fn with_executable(
    ctx: &Context<'_>,
    handle: Handle,
    body: impl FnOnce(&Graph) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let graph = find(ctx, handle)?;
    let graph = lock(&graph);
    match graph.executable {
        0 => Err(Failure::INVALID_VALUE),
        _ => body(&graph),
    }
}

/// `vgpuGraphEnable`.
pub fn graph_enable(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphEnable,
) -> Result<cmd::VgpuGraphEnableReply, Failure> {
    with_executable(ctx, command.graph, |graph| {
        let node = graph.node(command.node)?;
        driver!(ctx, cuGraphNodeSetEnabled(graph.executable(), node, command.enabled))
    })?;
    Ok(cmd::VgpuGraphEnableReply {})
}

/// `vgpuGraphLaunch`.
pub fn graph_launch(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphLaunch,
) -> Result<cmd::VgpuGraphLaunchReply, Failure> {
    ctx.session.pace.wait();
    let stream = ctx.resolve(HandleKind::Stream, command.stream)?;
    with_executable(ctx, command.graph, |graph| driver!(ctx, cuGraphLaunch(graph.executable(), stream.cast())))?;
    Ok(cmd::VgpuGraphLaunchReply {})
}

/// `vgpuGraphUpload`.
pub fn graph_upload(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphUpload,
) -> Result<cmd::VgpuGraphUploadReply, Failure> {
    let stream = ctx.resolve(HandleKind::Stream, command.stream)?;
    with_executable(ctx, command.graph, |graph| driver!(ctx, cuGraphUpload(graph.executable(), stream.cast())))?;
    Ok(cmd::VgpuGraphUploadReply {})
}

/// `vgpuGraphDestroy`.
pub fn graph_destroy(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphDestroy,
) -> Result<cmd::VgpuGraphDestroyReply, Failure> {
    // Its handle may have gone with its context, which the driver's object does not.
    let graph = lock(&ctx.session.graphs).remove(&command.graph).ok_or(Failure::INVALID_VALUE)?;
    let _ = ctx.take(HandleKind::GraphExec, command.graph);
    let graph = lock(&graph);
    if graph.executable != 0 {
        driver!(ctx, cuGraphExecDestroy(graph.executable()))?;
    }
    driver!(ctx, cuGraphDestroy(graph.graph()))?;
    Ok(cmd::VgpuGraphDestroyReply {})
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn test_attributes_that_are_cut_off_or_too_many_are_refused() {
        let one = CUlaunchAttribute::with_word(LAUNCH_ATTRIBUTE_COOPERATIVE, 1);
        let bytes = [one; 2].as_bytes().to_vec();
        let known = attributes(&bytes).unwrap();
        assert_eq!((known.len(), known[1].id, known[1].word(0)), (2, LAUNCH_ATTRIBUTE_COOPERATIVE, 1));
        assert!(attributes(&bytes[..bytes.len() - 8]).is_err());
        assert!(attributes(&bytes[..3]).is_err());
        assert!(attributes(CUlaunchAttribute::with_word(12, 1).as_bytes()).is_err(), "names an event");
        assert!(attributes([one; MAX_ATTRIBUTES + 1].as_bytes()).is_err());
    }

    #[test]
    fn test_dependencies_are_nodes_that_are_there() {
        let graph = Graph { nodes: vec![0x10, 0x20], ..Graph::new(std::ptr::null_mut()) };
        let edge = |node: u32, kind: u8| {
            let mut bytes = [0u8; 16];
            bytes[..4].copy_from_slice(&node.to_le_bytes());
            bytes[10] = kind;
            bytes
        };
        let known = after(&graph, &[edge(1, 0), edge(0, 1)].concat()).ok().unwrap();
        assert_eq!((known.nodes.len(), known.special.len()), (1, 1));
        assert!(after(&graph, &edge(2, 0)).is_err());
        assert!(after(&graph, &edge(0, 0)[..9]).is_err());
    }
}
