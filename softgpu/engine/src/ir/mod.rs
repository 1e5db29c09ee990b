//! Typed intermediate representation of a PTX module.
//!
//! Functions hold basic blocks in layout order over mutable virtual registers.
//! Everything is resolved and passes [`verify`]: an engine may index with
//! the ids found here.
//!
//! Where things live:
//! - Launch parameters of an entry: [`Space::Param`], address = byte offset.
//! - `.local` variables, and `.param` variables too large for a register: the
//!   frame of the activation, [`Operand::Frame`], read and written as
//!   [`Space::Local`].
//! - Scalar `.param` variables of calls and of device functions: registers.
//! - Static `.shared` variables: laid out per entry, addresses are immediates.
//! - Dynamic shared memory: [`SpecialReg::DynamicSmemBase`].
//! - Global and const variables, functions: [`Operand::Symbol`].

mod inst;
mod liveness;
mod matrix;
mod postdom;
mod print;
mod split;
mod texture;
mod types;
mod verify;
mod video;
mod visit;

pub use inst::*;
pub use liveness::{contains, intervals, members, Interval, Liveness, Set, Uses};
pub use matrix::*;
pub use postdom::{for_each_successor, set_post_dominators};
pub use split::split_registers;
pub use texture::*;
pub use types::*;
pub use verify::verify;
pub use video::*;
pub use visit::Visitor;

/// A compiled PTX module.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// `.version` major and minor.
    pub version: (u32, u32),
    /// `.target` name, such as `sm_80`.
    pub target: String,
    /// `.address_size`: 32 or 64.
    pub address_size: u32,
    pub functions: Vec<Function>,
    /// Global and const variables; shared and local ones are laid out already.
    pub variables: Vec<Variable>,
    pub symbols: Vec<Symbol>,
    pub signatures: Vec<Signature>,
    /// `.file` names by index, for [`SourcePos::file`].
    pub files: Vec<(u32, String)>,
}

/// A name that operands can refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    pub target: SymbolTarget,
}

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolTarget {
    Function(FunctionId),
    Variable(VariableId),
    Intrinsic(Intrinsic),
    /// Declared `.extern` and not defined in this module: a link step or the
    /// engine must refuse it.
    Undefined,
}

/// Visibility of a symbol to other modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linkage {
    #[default]
    Internal,
    Visible,
    Weak,
    Common,
}

/// A variable in global or const memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub linkage: Linkage,
    /// [`Space::Global`] or [`Space::Const`].
    pub space: Space,
    /// `.attribute(.managed)`.
    pub managed: bool,
    /// A texture, sampler or surface reference: it holds the handle of the object that is bound.
    pub opaque: Option<OpaqueType>,
    /// Power of two, in bytes.
    pub align: u32,
    /// In bytes.
    pub size: u64,
    /// First bytes of the variable; the rest is zero.
    pub init: Vec<u8>,
    pub relocations: Vec<Relocation>,
}

/// A place in an initialiser that holds a symbol's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Byte offset in the variable.
    pub offset: u64,
    /// Bytes to write: 1, 2, 4 or 8.
    pub size: u32,
    pub symbol: SymbolId,
    pub addend: i64,
    /// The stored bytes are `(address + addend) >> shift` (the `mask()` operator).
    pub shift: u32,
    /// `generic(symbol)`: the generic address rather than that in its own space.
    pub generic: bool,
}

/// Where a parameter arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamStorage {
    /// Entry: byte offset in the launch parameter block.
    Block { offset: u32 },
    /// Device function: a scalar in a register.
    Reg(Reg),
    /// Device function: bytes at this offset of the callee's frame.
    Frame { offset: u32 },
}

/// A formal parameter or result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    /// In bytes.
    pub size: u32,
    /// In bytes.
    pub align: u32,
    pub storage: ParamStorage,
}

/// Shape of one value in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamShape {
    /// Passed in a register, this many bytes wide (1, 2, 4, 8).
    Scalar { size: u32 },
    /// Passed in frame memory.
    Bytes { size: u32 },
}

/// Prototype of an indirect call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    pub results: Vec<ParamShape>,
    pub params: Vec<ParamShape>,
}

/// A place in the PTX source, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PtxPos {
    pub line: u32,
    pub column: u32,
}

/// A place in the original program, from `.loc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePos {
    /// Key in [`Module::files`].
    pub file: u32,
    pub line: u32,
}

/// Something in a function that cannot be executed. The module loads; a launch
/// that can reach the function must be refused with this message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub what: String,
    pub at: PtxPos,
}

/// An entry or device function.
#[derive(Clone, Debug, Default)]
pub struct Function {
    pub name: String,
    pub linkage: Linkage,
    pub is_entry: bool,
    pub params: Vec<Param>,
    pub results: Vec<Param>,
    /// Size in bytes of the launch parameter block of an entry.
    pub param_block_size: u32,
    pub regs: Vec<RegClass>,
    /// Bytes and alignment of one activation's frame in local memory.
    pub frame_size: u32,
    pub frame_align: u32,
    /// Entry: bytes of static shared memory, rounded up to where dynamic shared
    /// memory can start if it is used.
    pub shared_size: u32,
    /// Entry: whether it can reach dynamic shared memory.
    pub uses_dynamic_shared: bool,
    /// `.maxntid`, product over the dimensions is the limit.
    pub max_ntid: Option<[u32; 3]>,
    /// `.reqntid`.
    pub req_ntid: Option<[u32; 3]>,
    pub min_ctas_per_sm: Option<u32>,
    /// Entry point is block 0; blocks are in layout order.
    pub blocks: Vec<Block>,
    /// Instructions of all blocks, in layout order.
    pub insts: Vec<Inst>,
    /// PTX position of each instruction, parallel to `insts`.
    pub positions: Vec<PtxPos>,
    /// `(first instruction, position)` in ascending order, from `.loc`.
    pub line_table: Vec<(u32, SourcePos)>,
    pub reg_pool: Vec<Reg>,
    pub operand_pool: Vec<Operand>,
    pub arg_pool: Vec<CallArg>,
    pub branch_tables: Vec<Vec<BlockId>>,
    /// Functions called directly.
    pub callees: Vec<FunctionId>,
    pub has_indirect_calls: bool,
    /// Register with the local address at which the next `alloca` may start; frames of callees lie above
    /// it. `None` without `alloca`, and then they lie above this function's frame.
    pub stack: Option<Reg>,
    /// First construct that cannot be executed; the body is then empty.
    pub unsupported: Option<Unsupported>,
}

/// A basic block: `insts[first..end]`, then the terminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub first: u32,
    pub end: u32,
    pub terminator: Terminator,
    /// Immediate post-dominator: where diverged lanes meet again. `None` when
    /// paths only meet at the end of the function.
    pub ipdom: Option<BlockId>,
}

impl Function {
    /// Registers of a list.
    pub fn reg_list(&self, list: RegList) -> &[Reg] {
        let start = list.start as usize;
        &self.reg_pool[start..start + list.len as usize]
    }

    /// Operands of a list.
    pub fn operand_list(&self, list: OperandList) -> &[Operand] {
        let start = list.start as usize;
        &self.operand_pool[start..start + list.len as usize]
    }

    /// Call arguments of a list.
    pub fn arg_list(&self, list: ArgList) -> &[CallArg] {
        let start = list.start as usize;
        &self.arg_pool[start..start + list.len as usize]
    }

    /// Instructions of a block.
    pub fn block_insts(&self, block: &Block) -> &[Inst] {
        &self.insts[block.first as usize..block.end as usize]
    }
}

impl Module {
    /// The entry of this name.
    pub fn entry(&self, name: &str) -> Option<(FunctionId, &Function)> {
        let index = self.functions.iter().position(|f| f.is_entry && f.name == name)?;
        Some((FunctionId(index as u32), &self.functions[index]))
    }
}
