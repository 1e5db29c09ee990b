//! Graphs as DOT files (`cuGraphDebugDotPrint`).

use std::fmt::Write;

use vgpu_protocol::cuda::{CUDA_MEMCPY3D, MEMORYTYPE_ARRAY, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST};

use crate::graph::Store;
use crate::node::{Conditional, Params};
use crate::Result;

/// `CU_GRAPH_DEBUG_DOT_FLAGS_*`.
const VERBOSE: u32 = 1;
const KERNEL_PARAMS: u32 = 1 << 2;
const COPY_PARAMS: u32 = 1 << 3;
const FILL_PARAMS: u32 = 1 << 4;
const HOST_PARAMS: u32 = 1 << 5;
const EVENT_PARAMS: u32 = 1 << 6;
const ATTRIBUTES: u32 = 1 << 9;
const HANDLES: u32 = 1 << 10;
const ALLOCATE_PARAMS: u32 = 1 << 11;
const FREE_PARAMS: u32 = 1 << 12;
const MEM_OP_PARAMS: u32 = 1 << 13;
const CONDITIONAL_PARAMS: u32 = 1 << 15;
/// All flags that exist.
pub const FLAGS: u32 = (1 << 18) - 1;

/// Writes a graph.
pub fn write(store: &Store, graph: u64, flags: u32, name: &dyn Fn(u64) -> Option<String>) -> Result<String> {
    let flags = if flags & VERBOSE != 0 { FLAGS } else { flags };
    let mut out = String::from("digraph dot {\n");
    cluster(&mut out, store, graph, flags, name)?;
    out.push_str("}\n");
    Ok(out)
}

fn cluster(out: &mut String, store: &Store, graph: u64, flags: u32, name: &dyn Fn(u64) -> Option<String>) -> Result {
    let id = store.graphs.get(graph)?.id;
    let _ = writeln!(out, "subgraph cluster_{id} {{\nlabel=\"graph_{id}\" graph[style=\"dashed\"];");
    for handle in &store.graphs.get(graph)?.nodes {
        let node = store.nodes.get(*handle)?;
        let mut label = format!("{}\\n{}", node.local_id, describe(&node.params, flags, name));
        if flags & HANDLES != 0 {
            let _ = write!(label, "\\nnode handle: {handle:#x}");
        }
        let local = node.local_id;
        let _ = writeln!(out, "\"graph_{id}_node_{local}\"[shape=\"rectangle\" label=\"{label}\"];");
        for edge in &node.dependencies {
            let from = store.nodes.get(edge.node)?.local_id;
            let style = if edge.data.kind == 0 { "" } else { "[style=\"dashed\"]" };
            let _ = writeln!(out, "\"graph_{id}_node_{from}\" -> \"graph_{id}_node_{local}\"{style};");
        }
        for graph in node.params.graphs() {
            cluster(out, store, *graph, flags, name)?;
        }
    }
    out.push_str("}\n");
    Ok(())
}

fn describe(params: &Params, flags: u32, name: &dyn Fn(u64) -> Option<String>) -> String {
    let detail = |flag: u32, text: String| if flags & flag != 0 { format!("\\n{text}") } else { String::new() };
    match params {
        Params::Kernel(kernel) => {
            let ([x, y, z], [bx, by, bz]) = (kernel.grid, kernel.block);
            let shape = format!("grid {{{x},{y},{z}}} block {{{bx},{by},{bz}}} shared {}", kernel.shared);
            let function = name(kernel.function).unwrap_or_else(|| format!("{:#x}", kernel.function));
            let cooperative = u32::from(kernel.attributes.is_cooperative());
            format!(
                "{function}{}{}{}",
                detail(KERNEL_PARAMS, shape),
                detail(ATTRIBUTES, format!("cooperative {cooperative}")),
                detail(HANDLES, format!("function handle: {:#x}", kernel.function)),
            )
        }
        Params::Copy(copy) => {
            let CUDA_MEMCPY3D { WidthInBytes, Height, Depth, .. } = copy.params;
            let (from, to) = (place(copy.params.srcMemoryType), place(copy.params.dstMemoryType));
            format!("MEMCPY\\n{from} to {to}{}", detail(COPY_PARAMS, format!("{WidthInBytes} x {Height} x {Depth}")))
        }
        Params::Fill(fill) => {
            let p = &fill.params;
            let rows = format!("{:#x}: {} of {} bytes x {} = {:#x}", p.dst, p.width, p.elementSize, p.height, p.value);
            format!("MEMSET{}", detail(FILL_PARAMS, rows))
        }
        Params::Host(host) => {
            let function = host.function.map_or(0, |function| function as usize);
            format!("HOST{}", detail(HOST_PARAMS, format!("{function:#x}({:#x})", host.data)))
        }
        Params::Child(_) => "GRAPH".into(),
        Params::Empty => "EMPTY".into(),
        Params::EventWait(event) => format!("EVENT_WAIT{}", detail(EVENT_PARAMS, format!("{event:#x}"))),
        Params::EventRecord(event) => format!("EVENT_RECORD{}", detail(EVENT_PARAMS, format!("{event:#x}"))),
        Params::Allocate(allocation) => {
            let bytes = format!("{:#x}: {} bytes", allocation.address, allocation.size);
            format!("MEM_ALLOC{}", detail(ALLOCATE_PARAMS, bytes))
        }
        Params::Free(address) => format!("MEM_FREE{}", detail(FREE_PARAMS, format!("{address:#x}"))),
        Params::MemOps(batch) => {
            format!("BATCH_MEM_OP{}", detail(MEM_OP_PARAMS, format!("{} operations", batch.operations.len())))
        }
        Params::Conditional(conditional) => {
            let Conditional { condition, branch, bodies, .. } = conditional;
            let choice = format!("{branch:?} {condition:#x}, {} graphs", bodies.len());
            format!("CONDITIONAL{}", detail(CONDITIONAL_PARAMS, choice))
        }
    }
}

fn place(kind: u32) -> &'static str {
    match kind {
        MEMORYTYPE_HOST => "host",
        MEMORYTYPE_DEVICE => "device",
        MEMORYTYPE_ARRAY => "array",
        _ => "unified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Edge;

    #[test]
    fn test_nodes_and_edges_are_written_with_their_details() {
        let mut store = Store::new();
        let graph = store.create();
        let first = store.add(graph, &[], Params::EventRecord(0x77)).unwrap();
        store.add(graph, &[Edge::after(first)], Params::Empty).unwrap();
        let plain = write(&store, graph, 0, &|_| None).unwrap();
        assert!(plain.contains("\"graph_1_node_0\" -> \"graph_1_node_1\";") && !plain.contains("0x77"), "{plain}");
        let verbose = write(&store, graph, VERBOSE, &|_| None).unwrap();
        assert!(verbose.contains("EVENT_RECORD\\n0x77"), "{verbose}");
    }
}
