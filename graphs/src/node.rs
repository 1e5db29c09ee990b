//! Nodes: what they do, and what is known of their parameters.

#![allow(non_snake_case)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use vgpu_protocol::cuda::{
    Branch, CUgraphEdgeData, CUhostFn, CUlaunchAttribute, CUresult, CUstreamBatchMemOpParams, CUDA_MEMCPY3D,
    CUDA_MEMSET_NODE_PARAMS, LAUNCH_ATTRIBUTE_COOPERATIVE,
};
use vgpu_protocol::ParamInfo;
use zerocopy::IntoBytes;

use crate::Result;

/// A dependency: on which node, and what it means.
#[derive(Clone, std::marker::Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The node that comes first.
    pub node: u64,
    /// Ports and type.
    pub data: CUgraphEdgeData,
}

impl Edge {
    /// An ordinary dependency.
    pub fn after(node: u64) -> Self {
        Edge { node, data: CUgraphEdgeData::default() }
    }
}

/// A kernel's parameter block, at an address that does not change while the node keeps it.
pub struct Block {
    /// Storage with the alignment that any parameter may have.
    words: Box<[u128]>,
    size: usize,
    layout: Arc<[ParamInfo]>,
    /// Addresses of the parameters in `words`, in order.
    addresses: Box<[usize]>,
}

impl Block {
    /// Copies a block whose parameters lie as `layout` says.
    pub fn new(bytes: &[u8], layout: Arc<[ParamInfo]>) -> Self {
        let mut words = vec![0u128; bytes.len().div_ceil(size_of::<u128>())].into_boxed_slice();
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        let base = words.as_mut_ptr().expose_provenance();
        let addresses = layout.iter().map(|param| base + param.offset as usize).collect();
        Block { words, size: bytes.len(), layout, addresses }
    }

    /// Takes over the values of a block with the same layout, in its own place; false if the layout is another.
    fn refill(&mut self, other: &Block) -> bool {
        let same = self.layout == other.layout && self.size == other.size;
        if same {
            self.words.copy_from_slice(&other.words);
        }
        same
    }

    /// The block.
    pub fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.size]
    }

    /// The array of pointers to the parameters, as `kernelParams` is given.
    pub fn pointers(&self) -> *mut *mut c_void {
        match self.addresses.is_empty() {
            true => std::ptr::null_mut(),
            false => self.addresses.as_ptr().cast_mut().cast(),
        }
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Block::new(self.bytes(), self.layout.clone())
    }
}

/// Launch attributes that a node can have.
pub const NODE_ATTRIBUTES: [u32; 9] = [1, 2, 4, 5, 8, 9, 10, 11, 14];

/// Values of launch attributes by their number; what was not set has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub BTreeMap<u32, [u8; 64]>);

impl Attributes {
    /// The first word of an attribute.
    pub fn word(&self, attribute: u32) -> u32 {
        let value = self.0.get(&attribute).and_then(|value| value.first_chunk());
        value.map_or(0, |word| u32::from_ne_bytes(*word))
    }

    /// Whether the blocks of the launch may wait for each other.
    pub fn is_cooperative(&self) -> bool {
        self.word(LAUNCH_ATTRIBUTE_COOPERATIVE) != 0
    }

    /// Attributes of a launch that becomes a node. What concerns the order of launches only is left out.
    pub fn of_launch(attributes: &[CUlaunchAttribute]) -> Result<Self> {
        const ORDER: u32 = 6;
        let mut of = Attributes::default();
        for attribute in attributes.iter().filter(|attribute| !matches!(attribute.id, 0 | ORDER)) {
            if !NODE_ATTRIBUTES.contains(&attribute.id) {
                return Err(CUresult::NOT_SUPPORTED);
            }
            of.0.insert(attribute.id, attribute.value);
        }
        Ok(of)
    }

    /// Attributes that only hold a flag or a number.
    pub fn with(mut self, attribute: u32, value: u32) -> Self {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&value.to_ne_bytes());
        self.0.insert(attribute, bytes);
        self
    }
}

/// A kernel launch.
#[derive(Clone)]
pub struct Kernel {
    /// Handle of the function, or of the kernel.
    pub function: u64,
    /// Whether it was given as a kernel.
    pub is_kernel: bool,
    /// Context in which it runs.
    pub context: u64,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory, bytes.
    pub shared: u32,
    /// Parameters.
    pub params: Block,
    /// Launch attributes.
    pub attributes: Attributes,
}

/// A host function.
#[derive(Clone, std::marker::Copy)]
pub struct Host {
    /// The function, which is not null.
    pub function: CUhostFn,
    /// Address that it is passed.
    pub data: usize,
}

/// A copy. Pointers in it are addresses that whoever executes the copy uses.
#[derive(Clone, std::marker::Copy)]
pub struct Copy {
    /// What is copied where.
    pub params: CUDA_MEMCPY3D,
    /// Context in which it runs.
    pub context: u64,
}

// SAFETY: the addresses are the application's, which lets the driver use them on any thread.
unsafe impl Send for Copy {}
// SAFETY: as above.
unsafe impl Sync for Copy {}

impl Fill {
    /// `width` elements in each of `height` rows, which are `pitch` bytes apart.
    pub fn rows(dst: u64, pitch: usize, value: u32, elementSize: u32, width: usize, height: usize) -> Fill {
        Fill { params: CUDA_MEMSET_NODE_PARAMS { dst, pitch, value, elementSize, width, height }, context: 0 }
    }
}

/// A memset.
#[derive(Clone, std::marker::Copy)]
pub struct Fill {
    /// What is filled with what.
    pub params: CUDA_MEMSET_NODE_PARAMS,
    /// Context in which it runs.
    pub context: u64,
}

/// An allocation of the graph's own memory.
#[derive(Clone, std::marker::Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Where it was asked for.
    pub device: i32,
    /// Bytes.
    pub size: u64,
    /// Where it is.
    pub address: u64,
}

/// Operations on memory, one after the other.
#[derive(Clone)]
pub struct MemOps {
    /// As they were given; they stay where they are while the node keeps them.
    pub operations: Arc<[CUstreamBatchMemOpParams]>,
    /// Context in which they run.
    pub context: u64,
}

/// A choice between graphs.
#[derive(Clone)]
pub struct Conditional {
    /// Handle of the condition, as kernels know it.
    pub condition: u64,
    /// What becomes of it.
    pub branch: Branch,
    /// The graphs, which belong to the node; they stay where they are while the node keeps them.
    pub bodies: Arc<[u64]>,
    /// Context in which it runs.
    pub context: u64,
}

/// What a node does.
#[derive(Clone)]
pub enum Params {
    /// Launches a kernel.
    Kernel(Box<Kernel>),
    /// Copies memory.
    Copy(Box<Copy>),
    /// Fills memory.
    Fill(Fill),
    /// Calls a host function.
    Host(Host),
    /// Runs the nodes of the graph that it owns.
    Child(u64),
    /// Nothing.
    Empty,
    /// Waits for an event.
    EventWait(u64),
    /// Records an event.
    EventRecord(u64),
    /// Allocates memory.
    Allocate(Allocation),
    /// Frees memory.
    Free(u64),
    /// Waits for and writes values in memory.
    MemOps(MemOps),
    /// Runs one of the graphs that it owns, or none.
    Conditional(Conditional),
}

impl Params {
    /// `CUgraphNodeType`.
    pub fn kind(&self) -> i32 {
        match self {
            Params::Kernel(_) => 0,
            Params::Copy(_) => 1,
            Params::Fill(_) => 2,
            Params::Host(_) => 3,
            Params::Child(_) => 4,
            Params::Empty => 5,
            Params::EventWait(_) => 6,
            Params::EventRecord(_) => 7,
            Params::Allocate(_) => 10,
            Params::Free(_) => 11,
            Params::MemOps(_) => 12,
            Params::Conditional(_) => 13,
        }
    }

    /// Becomes what is given. Parameters of a kernel that have the layout of those before stay where those were:
    /// llama.cpp asks where they are once, and writes there before each change.
    pub fn replace(&mut self, mut with: Params) {
        if let (Params::Kernel(old), Params::Kernel(new)) = (&mut *self, &mut with) {
            if old.params.refill(&new.params) {
                std::mem::swap(&mut old.params, &mut new.params);
            }
        }
        *self = with;
    }

    /// Graphs that the node owns.
    pub fn graphs(&self) -> &[u64] {
        match self {
            Params::Child(child) => std::slice::from_ref(child),
            Params::Conditional(conditional) => &conditional.bodies,
            _ => &[],
        }
    }

    /// Whether it may be in the body of a conditional node.
    pub fn can_be_conditional(&self) -> bool {
        self.can_be_disabled() || matches!(self, Params::Empty | Params::Child(_) | Params::Conditional(_))
    }

    /// Whether the node takes or gives back the graph's memory.
    pub fn is_memory(&self) -> bool {
        matches!(self, Params::Allocate(_) | Params::Free(_))
    }

    /// Whether it can be switched off in an executable graph.
    pub fn can_be_disabled(&self) -> bool {
        matches!(self, Params::Kernel(_) | Params::Copy(_) | Params::Fill(_))
    }

    /// A kernel node's launch.
    pub fn kernel(&self) -> Result<&Kernel> {
        match self {
            Params::Kernel(kernel) => Ok(kernel),
            _ => Err(CUresult::INVALID_VALUE),
        }
    }
}

/// Whether an edge between nodes of these kinds may have this meaning.
pub fn check_edge(from: &Params, to: &Params, data: CUgraphEdgeData) -> Result {
    const PROGRAMMATIC: u8 = 1;
    let kernels = matches!((from, to), (Params::Kernel(_), Params::Kernel(_)));
    let good = data.reserved == [0; 5]
        && data.to_port == 0
        && match (data.kind, data.from_port) {
            (0, 0) => true,
            (PROGRAMMATIC, 1 | 2) => kernels,
            _ => false,
        };
    good.then_some(()).ok_or(CUresult::INVALID_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_pointers_lead_to_the_copied_parameters() {
        let layout: Arc<[ParamInfo]> = [ParamInfo { offset: 0, size: 4 }, ParamInfo { offset: 8, size: 8 }].into();
        let block = Block::new(&[1, 0, 0, 0, 9, 9, 9, 9, 2, 0, 0, 0, 0, 0, 0, 0], layout).clone();
        // SAFETY: the block has two parameters, aligned by their sizes.
        let (first, second) =
            unsafe { (**block.pointers().cast::<*mut u32>(), **block.pointers().add(1).cast::<*mut u64>()) };
        assert_eq!((first, second), (1, 2));
        assert!(Block::new(&[], [].into()).pointers().is_null());
    }

    #[test]
    fn test_replaced_parameters_of_the_same_layout_stay_in_place() {
        let kernel = |bytes: &[u8], layout: &[ParamInfo]| {
            Params::Kernel(Box::new(Kernel {
                function: bytes[0].into(),
                is_kernel: false,
                context: 0,
                grid: [1; 3],
                block: [1; 3],
                shared: 0,
                params: Block::new(bytes, layout.into()),
                attributes: Attributes::default(),
            }))
        };
        let pointers = |params: &Params| params.kernel().map(|kernel| kernel.params.pointers());
        let one = [ParamInfo { offset: 0, size: 4 }];
        let mut params = kernel(&[1, 2, 3, 4], &one);
        let first = pointers(&params);
        params.replace(kernel(&[5, 6, 7, 8], &one));
        assert_eq!(pointers(&params), first);
        let now = params.kernel().unwrap();
        assert_eq!((now.function, now.params.bytes()), (5, [5, 6, 7, 8].as_slice()));
        params.replace(kernel(&[9, 9], &[ParamInfo { offset: 0, size: 2 }]));
        assert_eq!(params.kernel().unwrap().params.bytes(), [9, 9]);
        params.replace(Params::Empty);
        assert_eq!(params.kind(), Params::Empty.kind());
    }

    #[test]
    fn test_only_kernels_have_programmatic_edges() {
        let data = |kind, from_port| CUgraphEdgeData { kind, from_port, ..Default::default() };
        assert_eq!(check_edge(&Params::Empty, &Params::Empty, data(0, 0)), Ok(()));
        for bad in [data(1, 1), data(0, 1), data(2, 0), CUgraphEdgeData { to_port: 1, ..data(0, 0) }] {
            assert_eq!(check_edge(&Params::Empty, &Params::Empty, bad), Err(CUresult::INVALID_VALUE));
        }
    }
}
