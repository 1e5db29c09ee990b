//! Micro-operations: what the interpreter executes.

use super::check::AccessSpec as CheckedAccess;
use super::isa::Entry;
use super::ops::atomic::AtomicSpec;
use super::ops::call::{CallSpec, Place};
use super::ops::matrix::{AccessSpec, MmaSpec};
use super::ops::texture::{SurfaceSpec, TextureSpec};
use crate::ir::{SpecialReg, VideoForm};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Lanes of a warp.
pub(super) const LANES: usize = 32;
/// All lanes of a warp.
pub(super) const FULL: u32 = u32::MAX;

/// A 32-bit value for each lane. 64-bit values take two consecutive rows, as 32
/// little-endian 64-bit words; 8- and 16-bit values take one, the upper bits of a
/// lane being unspecified.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(super) struct Row(pub(super) [u32; LANES]);

impl Row {
    pub(super) const ZERO: Row = Row([0; LANES]);
}

/// Per-lane constants. They are read through a reference that the compiler cannot see
/// through: constants known to it make it treat some lanes apart from the others.
pub(super) struct Lanes {
    /// `1 << lane`
    pub(super) bit: [u32; LANES],
    /// The lane's number.
    pub(super) index: [u32; LANES],
    pub(super) index64: [u64; LANES],
}

impl Lanes {
    pub(super) fn new() -> Lanes {
        Lanes {
            bit: std::array::from_fn(|i| 1 << i),
            index: std::array::from_fn(|i| i as u32),
            index64: std::array::from_fn(|i| i as u64),
        }
    }

    /// The lanes for which `holds`, as a mask.
    #[inline(always)]
    pub(super) fn mask(&self, holds: impl Fn(usize) -> bool) -> u32 {
        let mut mask = 0;
        for i in 0..LANES {
            mask |= if holds(i) { self.bit[i] } else { 0 };
        }
        mask
    }
}

/// A row of the activation, or of the constant pool if [`Slot::CONST`] is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    pub(super) const CONST: u32 = 1 << 31;
}

/// A predicate of the activation, possibly negated. Index 0 is always false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pred(pub(super) u32);

impl Pred {
    pub(super) const FALSE: Pred = Pred(0);
    pub(super) const TRUE: Pred = Pred(1);

    pub(super) fn new(index: u32, negated: bool) -> Pred {
        Pred(index << 1 | u32::from(negated))
    }

    pub(super) fn index(self) -> usize {
        (self.0 >> 1) as usize
    }

    pub(super) fn negated(self) -> bool {
        self.0 & 1 != 0
    }
}

/// One micro-operation. What the fields mean is up to the handler.
pub(super) struct Op {
    pub(super) entry: Entry,
    /// Lanes for which this is false skip the operation.
    pub(super) guard: Pred,
    pub(super) dst: u32,
    pub(super) a: Slot,
    pub(super) b: Slot,
    pub(super) c: Slot,
    pub(super) imm: u64,
}

/// Rows, predicates and local memory one activation of a function needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FunctionCode {
    /// First micro-operation.
    pub(super) entry: u32,
    pub(super) rows: u32,
    pub(super) preds: u32,
    /// Bytes of local memory per lane.
    pub(super) frame: u32,
}

/// A function that can be called.
pub(super) struct DeviceFunction {
    pub(super) code: FunctionCode,
    pub(super) params: Vec<Place>,
    pub(super) results: Vec<Place>,
}

/// Where the parts of a kernel's IR are in its code.
#[derive(Default)]
pub(super) struct Map {
    /// First row, or predicate, of each register.
    pub(super) places: Vec<u32>,
    /// Operations of each instruction: the first, and the one after the last.
    pub(super) insts: Vec<(u32, u32)>,
    /// First operation of each block.
    pub(super) blocks: Vec<u32>,
}

/// A kernel with everything it can call, ready to run.
#[derive(Default)]
pub(super) struct Code {
    pub(super) ops: Vec<Op>,
    /// PTX line of each operation.
    pub(super) lines: Vec<u32>,
    pub(super) consts: Vec<Row>,
    /// Rows of vector operands and other lists; operations hold index and length.
    pub(super) slots: Vec<Slot>,
    pub(super) specials: Vec<SpecialReg>,
    pub(super) branch_tables: Vec<Vec<u32>>,
    pub(super) atomics: Vec<AtomicSpec>,
    pub(super) calls: Vec<CallSpec>,
    pub(super) textures: Vec<TextureSpec>,
    pub(super) surfaces: Vec<SurfaceSpec>,
    pub(super) multiplications: Vec<MmaSpec>,
    pub(super) matrices: Vec<AccessSpec>,
    pub(super) videos: Vec<VideoForm>,
    /// Of checked code: what is looked at.
    pub(super) accesses: Vec<CheckedAccess>,
    /// By IR function id; `None` where the kernel cannot reach it.
    pub(super) functions: Vec<Option<DeviceFunction>>,
    pub(super) kernel: FunctionCode,
    /// Where what belongs to the kernel's own IR is.
    pub(super) map: Map,
    /// Whether any function calls another one, or allocates memory on the stack.
    pub(super) has_calls: bool,
}
