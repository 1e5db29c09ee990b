//! Graphs: parameters of nodes, edges, and what instantiating and updating report.

use std::ffi::c_void;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    CUcontext, CUevent, CUfunction, CUgraph, CUgraphNode, CUhostFn, CUkernel, CUmemPoolProps, CUstream,
    CUstreamBatchMemOpParams, CUDA_MEMCPY3D,
};

macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident $size:literal { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[allow(missing_docs, non_snake_case, non_camel_case_types)]
        pub struct $name {
            $(pub $field: $ty,)*
        }
        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}

structs! {
    /// A kernel node, as the functions before CUDA 12 take it.
    CUDA_KERNEL_NODE_PARAMS_v1 56 {
        func: CUfunction,
        grid: [u32; 3],
        block: [u32; 3],
        sharedMemBytes: u32,
        kernelParams: *mut *mut c_void,
        extra: *mut *mut c_void,
    }
    /// A kernel node: `kern` counts where `func` is null.
    CUDA_KERNEL_NODE_PARAMS 72 {
        func: CUfunction,
        grid: [u32; 3],
        block: [u32; 3],
        sharedMemBytes: u32,
        kernelParams: *mut *mut c_void,
        extra: *mut *mut c_void,
        kern: CUkernel,
        ctx: CUcontext,
    }
    /// A memset node; width in elements, pitch in bytes.
    CUDA_MEMSET_NODE_PARAMS 40 {
        dst: u64,
        pitch: usize,
        value: u32,
        elementSize: u32,
        width: usize,
        height: usize,
    }
    /// A memset node with its context.
    CUDA_MEMSET_NODE_PARAMS_v2 48 {
        fill: CUDA_MEMSET_NODE_PARAMS,
        ctx: CUcontext,
    }
    /// A copy node with its context.
    CUDA_MEMCPY_NODE_PARAMS 216 {
        flags: i32,
        reserved: i32,
        copyCtx: CUcontext,
        copyParams: CUDA_MEMCPY3D,
    }
    /// A host node.
    CUDA_HOST_NODE_PARAMS 16 {
        function: CUhostFn,
        userData: *mut c_void,
    }
    /// A host node with its context.
    CUDA_HOST_NODE_PARAMS_v2 32 {
        host: CUDA_HOST_NODE_PARAMS,
        syncMode: u32,
        ctx: CUcontext,
    }
    /// A child graph node; ownership is 0 where the graph is cloned into the node, 1 where it is moved.
    CUDA_CHILD_GRAPH_NODE_PARAMS 16 {
        graph: CUgraph,
        ownership: i32,
    }
    /// An event record node.
    CUDA_EVENT_RECORD_NODE_PARAMS 16 {
        event: CUevent,
        ctx: CUcontext,
    }
    /// An event wait node.
    CUDA_EVENT_WAIT_NODE_PARAMS 8 {
        event: CUevent,
    }
    /// A memory allocation node; the location in `poolProps` says which device.
    CUDA_MEM_ALLOC_NODE_PARAMS 120 {
        poolProps: CUmemPoolProps,
        accessDescs: *const c_void,
        accessDescCount: usize,
        bytesize: usize,
        dptr: u64,
    }
    /// A memory free node.
    CUDA_MEM_FREE_NODE_PARAMS 8 {
        dptr: u64,
    }
    /// A node that waits for and writes values in memory.
    CUDA_BATCH_MEM_OP_NODE_PARAMS 32 {
        ctx: CUcontext,
        count: u32,
        paramArray: *mut CUstreamBatchMemOpParams,
        flags: u32,
    }
    /// A conditional node; the driver says where its bodies are.
    CUDA_CONDITIONAL_NODE_PARAMS 32 {
        handle: u64,
        kind: i32,
        size: u32,
        phGraph_out: *mut CUgraph,
        ctx: CUcontext,
    }
    /// A node of any type; `body` holds one of the structures above.
    CUgraphNodeParams 256 {
        kind: i32,
        reserved0: [i32; 3],
        body: [u64; 29],
        reserved2: u64,
    }
    /// How `cuGraphInstantiateWithParams` instantiates, and what came of it.
    CUDA_GRAPH_INSTANTIATE_PARAMS 32 {
        flags: u64,
        hUploadStream: CUstream,
        hErrNode_out: CUgraphNode,
        result_out: i32,
    }
    /// Why an executable graph could not be updated.
    CUgraphExecUpdateResultInfo 24 {
        result: i32,
        errorNode: CUgraphNode,
        errorFromNode: CUgraphNode,
    }
}

/// What an edge means beyond "after": ports and type; all zero for an ordinary edge.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct CUgraphEdgeData {
    pub from_port: u8,
    pub to_port: u8,
    pub kind: u8,
    pub reserved: [u8; 5],
}

/// A dependency on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WireEdge {
    /// Position of the operation that comes first.
    pub node: u32,
    /// Zero.
    pub reserved: u32,
    /// What the dependency means.
    pub data: CUgraphEdgeData,
}

/// A memset node on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WireFill {
    /// Device address.
    pub dst: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// What is written to each element.
    pub value: u32,
    /// Bytes of an element: 1, 2 or 4.
    pub element: u32,
    /// Elements of a row.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

/// What a conditional node does with its condition (`CUgraphConditionalNodeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// Runs the first body once if the condition is not 0, else the second one if there is one.
    If = 0,
    /// Runs its body as long as the condition is not 0.
    While = 1,
    /// Runs the body that the condition is the number of, if there is one.
    Switch = 2,
}

impl Branch {
    /// What a number and a count of bodies mean.
    pub fn new(kind: i32, bodies: u32) -> Option<Branch> {
        match (kind, bodies) {
            (0, 1 | 2) => Some(Branch::If),
            (1, 1) => Some(Branch::While),
            (2, 1..) => Some(Branch::Switch),
            _ => None,
        }
    }

    /// Which of the bodies a condition's value chooses.
    pub fn choose(self, value: u32, bodies: usize) -> Option<usize> {
        let chosen = match self {
            Branch::If | Branch::While => usize::from(value == 0),
            Branch::Switch => value as usize,
        };
        (chosen < bodies).then_some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_conditions_choose_a_body_or_none() {
        let chosen =
            |kind, bodies: u32, value| Branch::new(kind, bodies).map(|branch| branch.choose(value, bodies as usize));
        assert_eq!((chosen(0, 1, 7), chosen(0, 1, 0), chosen(0, 2, 0)), (Some(Some(0)), Some(None), Some(Some(1))));
        assert_eq!((chosen(1, 1, 7), chosen(1, 1, 0), chosen(1, 2, 0)), (Some(Some(0)), Some(None), None));
        assert_eq!((chosen(2, 3, 2), chosen(2, 3, 3), chosen(2, 0, 0)), (Some(Some(2)), Some(None), None));
        assert_eq!((chosen(3, 1, 0), chosen(0, 3, 0)), (None, None));
    }
}
