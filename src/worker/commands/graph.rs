//! Executable graphs. The guest sends the operations in order; they become nodes of a graph of the
//! driver, which stays as long as the executable graph, because its nodes name what is to be changed.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard};

use vgpu_protocol::cuda::{
    CUgraph, CUgraphEdgeData, CUgraphExec, CUgraphNode, CUhostFn, CUlaunchAttribute, CUresult, WireEdge,
    CUDA_HOST_NODE_PARAMS, CUDA_KERNEL_NODE_PARAMS, CUDA_MEMSET_NODE_PARAMS, LAUNCH_ATTRIBUTE_COOPERATIVE,
};
use vgpu_protocol::{cmd, Handle, HandleKind};
use zerocopy::FromBytes;

use super::copy_box::copy_params;
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::{driver, graph_host_function};
use crate::worker::session::lock;

/// Operations that a graph may have.
const MAX_NODES: usize = 1 << 20;
/// Parameters of a kernel, bytes (CUDA C++ Programming Guide, compute capability 7.0 and later).
const MAX_PARAMS: usize = 32_764;
/// Launch attributes of a node: as many as there are kinds of them.
const MAX_ATTRIBUTES: usize = 32;

/// A graph with its nodes by their positions. Addresses of the driver's objects, which are never followed.
#[derive(Debug)]
pub struct Graph {
    graph: usize,
    nodes: Vec<usize>,
    executable: usize,
    /// What went wrong before the graph was instantiated, which tells it.
    failed: Option<Failure>,
    /// Parameters sent ahead of their kernel.
    ahead: Vec<u8>,
}

impl Graph {
    fn graph(&self) -> CUgraph {
        self.graph as CUgraph
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

/// What is wrong with a command of a graph that is not instantiated yet is told when it is.
fn told_later(ctx: &Context<'_>, handle: Handle, done: Result<(), Failure>) -> Result<(), Failure> {
    let Err(error) = done else { return Ok(()) };
    let graph = find(ctx, handle)?;
    let mut graph = lock(&graph);
    if graph.executable != 0 {
        return Err(error);
    }
    graph.failed = graph.failed.or(Some(error));
    Ok(())
}

/// Adds a node, or changes the one that is there.
fn put(
    ctx: &Context<'_>,
    handle: Handle,
    position: u32,
    edges: &[u8],
    add: impl FnOnce(&Graph, &[CUgraphNode], &mut CUgraphNode) -> Result<(), Failure>,
    change: impl FnOnce(&Graph, CUgraphNode) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let graph = find(ctx, handle)?;
    let mut graph = lock(&graph);
    if graph.executable != 0 {
        let node = graph.node(position)?;
        return change(&graph, node);
    }
    add_node(ctx, &mut graph, position, edges, add)
}

fn add_node(
    ctx: &Context<'_>,
    graph: &mut MutexGuard<'_, Graph>,
    position: u32,
    edges: &[u8],
    add: impl FnOnce(&Graph, &[CUgraphNode], &mut CUgraphNode) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if position as usize != graph.nodes.len() || graph.nodes.len() >= MAX_NODES {
        return Err(Failure::INVALID_VALUE);
    }
    let after = after(graph, edges)?;
    let mut node = std::ptr::null_mut();
    add(graph, &after.nodes, &mut node)?;
    for (from, data) in after.special {
        driver!(ctx, cuGraphAddDependencies_v2(graph.graph(), &from, &node, &data, 1))?;
    }
    graph.nodes.push(node as usize);
    Ok(())
}

/// `vgpuGraphBegin`.
pub fn graph_begin(ctx: &mut Context<'_>, command: cmd::VgpuGraphBegin) -> Result<cmd::VgpuGraphBeginReply, Failure> {
    ctx.reserve(HandleKind::GraphExec, command.graph)?;
    let mut graph: CUgraph = std::ptr::null_mut();
    driver!(ctx, cuGraphCreate(&mut graph, 0))?;
    let made = Graph { graph: graph as usize, nodes: Vec::new(), executable: 0, failed: None, ahead: Vec::new() };
    lock(&ctx.session.graphs).insert(command.graph, Arc::new(Mutex::new(made)));
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

/// `vgpuGraphKernel`. The parameter block goes to the driver as one buffer; only cooperative launches
/// need to be told parameter by parameter.
pub fn graph_kernel(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphKernel<'_>,
) -> Result<cmd::VgpuGraphKernelReply, Failure> {
    let graph = command.graph;
    told_later(ctx, graph, put_kernel(ctx, command))?;
    Ok(cmd::VgpuGraphKernelReply {})
}

fn put_kernel(ctx: &Context<'_>, command: cmd::VgpuGraphKernel<'_>) -> Result<(), Failure> {
    let mut block = std::mem::take(&mut lock(&*find(ctx, command.graph)?).ahead);
    block.extend_from_slice(command.params);
    let function = ctx.entry(HandleKind::Function, command.function)?;
    if block.len() < function.param_bytes as usize {
        return Err(Failure::INVALID_VALUE);
    }
    let attributes = attributes(command.attributes)?;
    let cooperative = attributes.iter().any(|a| a.id == LAUNCH_ATTRIBUTE_COOPERATIVE && a.word(0) != 0);
    let is_kernel = command.function.kind() == HandleKind::Kernel as u8;
    let pointer = function.pointer as *mut c_void;
    let mut size = block.len();
    let mut buffer = [
        std::ptr::without_provenance_mut(1),
        block.as_mut_ptr().cast(),
        std::ptr::without_provenance_mut(2),
        std::ptr::from_mut(&mut size).cast(),
        std::ptr::null_mut(),
    ];
    let mut each = if cooperative { parameters(ctx, pointer, is_kernel, &mut block)? } else { Vec::new() };
    let none = std::ptr::null_mut();
    let params = CUDA_KERNEL_NODE_PARAMS {
        func: if is_kernel { std::ptr::null_mut() } else { pointer.cast() },
        grid: [command.grid_x, command.grid_y, command.grid_z],
        block: [command.block_x, command.block_y, command.block_z],
        sharedMemBytes: command.shared,
        kernelParams: if each.is_empty() { none } else { each.as_mut_ptr() },
        extra: if cooperative || size == 0 { none } else { buffer.as_mut_ptr() },
        kern: if is_kernel { pointer.cast() } else { std::ptr::null_mut() },
        ctx: std::ptr::null_mut(),
    };
    put(
        ctx,
        command.graph,
        command.node,
        command.after,
        |graph, after, node| {
            let dependencies = after.as_ptr();
            driver!(ctx, cuGraphAddKernelNode_v2(node, graph.graph(), dependencies, after.len(), &params))?;
            attributes.iter().try_for_each(|attribute| {
                let (id, value) = (attribute.id.cast_signed(), attribute.value.as_ptr().cast());
                driver!(ctx, cuGraphKernelNodeSetAttribute(*node, id, value))
            })
        },
        |graph, node| driver!(ctx, cuGraphExecKernelNodeSetParams_v2(graph.executable(), node, &params)),
    )
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

/// Pointers to the parameters in a block, which lie where the driver says.
fn parameters(
    ctx: &Context<'_>,
    function: *mut c_void,
    is_kernel: bool,
    block: &mut [u8],
) -> Result<Vec<*mut c_void>, Failure> {
    let mut pointers = Vec::new();
    let (mut offset, mut size) = (0, 0);
    let ask = |index: usize, offset: &mut usize, size: &mut usize| match is_kernel {
        true => driver!(ctx, cuKernelGetParamInfo(function.cast(), index, offset, size)),
        false => driver!(ctx, cuFuncGetParamInfo(function.cast(), index, offset, size)),
    };
    while pointers.len() <= block.len() && ask(pointers.len(), &mut offset, &mut size).is_ok() {
        let end = offset.checked_add(size).ok_or(Failure::INVALID_VALUE)?;
        pointers.push(block.get_mut(offset..end).ok_or(Failure::INVALID_VALUE)?.as_mut_ptr().cast());
    }
    Ok(pointers)
}

/// `vgpuGraphCopy`.
pub fn graph_copy(ctx: &mut Context<'_>, command: cmd::VgpuGraphCopy<'_>) -> Result<cmd::VgpuGraphCopyReply, Failure> {
    let graph = command.graph;
    told_later(ctx, graph, put_copy(ctx, command))?;
    Ok(cmd::VgpuGraphCopyReply {})
}

fn put_copy(ctx: &Context<'_>, command: cmd::VgpuGraphCopy<'_>) -> Result<(), Failure> {
    let params = copy_params(ctx, &command.copy)?;
    let context = ctx.current as vgpu_protocol::cuda::CUcontext;
    put(
        ctx,
        command.graph,
        command.node,
        command.after,
        |graph, after, node| {
            driver!(ctx, cuGraphAddMemcpyNode(node, graph.graph(), after.as_ptr(), after.len(), &params, context))
        },
        |graph, node| driver!(ctx, cuGraphExecMemcpyNodeSetParams(graph.executable(), node, &params, context)),
    )
}

/// `vgpuGraphFill`.
pub fn graph_fill(ctx: &mut Context<'_>, command: cmd::VgpuGraphFill<'_>) -> Result<cmd::VgpuGraphFillReply, Failure> {
    let graph = command.graph;
    told_later(ctx, graph, put_fill(ctx, command))?;
    Ok(cmd::VgpuGraphFillReply {})
}

fn put_fill(ctx: &Context<'_>, command: cmd::VgpuGraphFill<'_>) -> Result<(), Failure> {
    let size = |n: u64| usize::try_from(n).map_err(|_| Failure::INVALID_VALUE);
    let params = CUDA_MEMSET_NODE_PARAMS {
        dst: command.fill.dst,
        pitch: size(command.fill.pitch)?,
        value: command.fill.value,
        elementSize: command.fill.element,
        width: size(command.fill.width)?,
        height: size(command.fill.height)?,
    };
    let context = ctx.current as vgpu_protocol::cuda::CUcontext;
    put(
        ctx,
        command.graph,
        command.node,
        command.after,
        |graph, after, node| {
            driver!(ctx, cuGraphAddMemsetNode(node, graph.graph(), after.as_ptr(), after.len(), &params, context))
        },
        |graph, node| driver!(ctx, cuGraphExecMemsetNodeSetParams(graph.executable(), node, &params, context)),
    )
}

/// `vgpuGraphHost`. Which function an id stands for is the guest's to change.
pub fn graph_host(ctx: &mut Context<'_>, command: cmd::VgpuGraphHost<'_>) -> Result<cmd::VgpuGraphHostReply, Failure> {
    let graph = command.graph;
    told_later(ctx, graph, put_host(ctx, command))?;
    Ok(cmd::VgpuGraphHostReply {})
}

fn put_host(ctx: &Context<'_>, command: cmd::VgpuGraphHost<'_>) -> Result<(), Failure> {
    let (function, id): (CUhostFn, *mut c_void) = graph_host_function(&ctx.session.host_functions, command.id);
    let params = CUDA_HOST_NODE_PARAMS { function, userData: id };
    put(
        ctx,
        command.graph,
        command.node,
        command.after,
        |graph, after, node| {
            driver!(ctx, cuGraphAddHostNode(node, graph.graph(), after.as_ptr(), after.len(), &params))
        },
        |graph, node| driver!(ctx, cuGraphExecHostNodeSetParams(graph.executable(), node, &params)),
    )
}

/// `vgpuGraphEmpty`.
pub fn graph_empty(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphEmpty<'_>,
) -> Result<cmd::VgpuGraphEmptyReply, Failure> {
    let graph = command.graph;
    told_later(ctx, graph, put_empty(ctx, command))?;
    Ok(cmd::VgpuGraphEmptyReply {})
}

fn put_empty(ctx: &Context<'_>, command: cmd::VgpuGraphEmpty<'_>) -> Result<(), Failure> {
    put(
        ctx,
        command.graph,
        command.node,
        command.after,
        |graph, after, node| driver!(ctx, cuGraphAddEmptyNode(node, graph.graph(), after.as_ptr(), after.len())),
        |_, _| Ok(()),
    )
}

/// `vgpuGraphEvent`.
pub fn graph_event(
    ctx: &mut Context<'_>,
    command: cmd::VgpuGraphEvent<'_>,
) -> Result<cmd::VgpuGraphEventReply, Failure> {
    let graph = command.graph;
    told_later(ctx, graph, put_event(ctx, command))?;
    Ok(cmd::VgpuGraphEventReply {})
}

fn put_event(ctx: &Context<'_>, command: cmd::VgpuGraphEvent<'_>) -> Result<(), Failure> {
    let event = ctx.resolve(HandleKind::Event, command.event)?.cast();
    let records = command.record != 0;
    put(
        ctx,
        command.graph,
        command.node,
        command.after,
        |graph, after, node| match records {
            true => driver!(ctx, cuGraphAddEventRecordNode(node, graph.graph(), after.as_ptr(), after.len(), event)),
            false => {
                driver!(ctx, cuGraphAddEventWaitNode(node, graph.graph(), after.as_ptr(), after.len(), event))
            }
        },
        |graph, node| match records {
            true => driver!(ctx, cuGraphExecEventRecordNodeSetEvent(graph.executable(), node, event)),
            false => driver!(ctx, cuGraphExecEventWaitNodeSetEvent(graph.executable(), node, event)),
        },
    )
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
        let graph = Graph { graph: 1, nodes: vec![0x10, 0x20], executable: 0, failed: None, ahead: Vec::new() };
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
