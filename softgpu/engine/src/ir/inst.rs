//! Instructions and their operands.
//!
//! An instruction is fully decoded: operand types, rounding and other modifiers
//! are fields of the operation, names are resolved to indices.

use super::matrix::*;
use super::texture::*;
use super::types::*;
use super::video::Video;

/// Index of a virtual register in [`super::Function::regs`].
///
/// Registers are mutable and private to one activation of their function. The
/// carry flag `CC` of PTX is an ordinary predicate register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u32);

/// Index into [`super::Module::symbols`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolId(pub u32);

/// Index into [`super::Module::functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u32);

/// Index into [`super::Module::variables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub u32);

/// Index into [`super::Function::blocks`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// Index into [`super::Module::signatures`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureId(pub u32);

/// A source value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    Reg(Reg),
    /// Bits of the operand's type, zero-extended to 64.
    Imm(u64),
    Special(SpecialReg),
    /// Device address of a global or const variable, or a function, plus `offset`.
    Symbol {
        id: SymbolId,
        offset: i32,
    },
    /// Local-space address: base of the current activation's frame plus this offset.
    Frame(u32),
}

/// A predicate input, possibly negated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PredOperand {
    /// A predicate register or an immediate 0 or 1.
    pub value: Operand,
    pub negated: bool,
}

/// Condition of an instruction or branch: holds when `reg != negated`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    pub reg: Reg,
    pub negated: bool,
}

/// Memory address `base + offset`, in bytes, wrapping at the base's width.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// A 32-bit register is zero-extended.
    pub base: Operand,
    pub offset: i64,
}

/// Run of registers in [`super::Function::reg_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegList {
    pub start: u32,
    pub len: u32,
}

/// Run of operands in [`super::Function::operand_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandList {
    pub start: u32,
    pub len: u32,
}

/// Run of call arguments in [`super::Function::arg_pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgList {
    pub start: u32,
    pub len: u32,
}

/// One instruction: lanes for which the guard is false skip it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inst {
    pub guard: Option<Guard>,
    pub op: Op,
}

/// Integer operations of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntUnaryOp {
    Neg,
    Abs,
    Not,
    /// 1 if the input is 0, else 0.
    Cnot,
    /// Result is 32 bits wide, also for a 64-bit input; so for `Clz`, `Bfind*`.
    Popc,
    Clz,
    Brev,
    /// Position of the most significant non-sign bit, or 0xffff_ffff.
    Bfind,
    /// Left-shift amount that moves that bit to the top, or 0xffff_ffff.
    BfindShift,
}

/// Integer operations of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntBinaryOp {
    Add,
    /// Clamped to the range of the type (`s32`).
    AddSat,
    Sub,
    SubSat,
    MulLo,
    MulHi,
    /// Result is twice as wide as the inputs.
    MulWide,
    /// Bits 31..0 of the product of the low 24 bits.
    Mul24Lo,
    /// Bits 47..16 of that product.
    Mul24Hi,
    /// Quotient; all ones for a zero divisor.
    Div,
    Rem,
    Min,
    Max,
    /// `Min` and then clamped to >= 0.
    MinRelu,
    MaxRelu,
    And,
    Or,
    Xor,
    /// The amount is a `u32`, clamped to the width.
    Shl,
    /// Arithmetic for signed types. The amount is a `u32`, clamped to the width.
    Shr,
    /// `bmsk.clamp`: a mask of `b` bits starting at bit `a`.
    BmskClamp,
    /// `bmsk.wrap`: as `BmskClamp`, with both inputs taken modulo 32.
    BmskWrap,
    /// `szext` on a bit width `b`, clamped to 32; extends by the type's signedness.
    SzextClamp,
    /// `szext` with the bit width modulo 32.
    SzextWrap,
}

/// Integer operations of three inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntTernaryOp {
    /// Low half of `a * b + c`.
    MadLo,
    /// High half of `a * b`, plus `c`.
    MadHi,
    /// `MadHi` clamped (`s32`).
    MadHiSat,
    /// `a * b + c` with `c` and the result twice as wide.
    MadWide,
    Mad24Lo,
    Mad24Hi,
    Mad24HiSat,
    /// `|a - b| + c`.
    Sad,
    /// Bit field of `a` at position `b` (bits 7..0) of length `c` (bits 7..0).
    Bfe,
    /// `shf.l.clamp`: high word of `{b, a} << min(c, 32)`.
    ShfLClamp,
    ShfLWrap,
    /// `shf.r.clamp`: low word of `{b, a} >> min(c, 32)`.
    ShfRClamp,
    ShfRWrap,
    /// `fns`: position of the n-th set bit, mask `a`, base `b`, offset `c`.
    Fns,
    /// `vadd`-less packed byte permute; `c` selects. See [`PrmtMode`] for others.
    Prmt(PrmtMode),
}

/// Byte permute modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrmtMode {
    Index,
    /// Forward 4 extract.
    F4e,
    /// Backward 4 extract.
    B4e,
    /// Replicate 8.
    Rc8,
    /// Edge clamp left.
    Ecl,
    /// Edge clamp right.
    Ecr,
    /// Replicate 16.
    Rc16,
}

/// Floating-point operations of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatUnaryOp {
    Neg,
    Abs,
    /// Correctly rounded reciprocal.
    Rcp,
    RcpApprox,
    /// Correctly rounded square root.
    Sqrt,
    SqrtApprox,
    RsqrtApprox,
    SinApprox,
    CosApprox,
    Lg2Approx,
    Ex2Approx,
    TanhApprox,
}

/// Floating-point operations of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatBinaryOp {
    Add,
    Sub,
    Mul,
    /// Correctly rounded quotient.
    Div,
    /// `a * (1 / b)`; 0 for 2^126 < |b| < 2^128.
    DivApprox,
    /// Full-range approximation, 2 ulp.
    DivFull,
    Min,
    Max,
    /// Magnitude of `b` with the sign of `a`.
    Copysign,
}

/// Floating-point operations of three inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatTernaryOp {
    /// `a * b + c` with one rounding.
    Fma,
    Min3,
    Max3,
}

/// Predicates of `testp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestOp {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// Input type of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmpType {
    Int(IntType),
    /// With subnormal inputs flushed if `ftz`. `F16x2`/`BF16x2` compare lane by
    /// lane: `Setp` writes `dst` (low lane) and `dst2` (high lane).
    Float {
        ty: FloatType,
        ftz: bool,
    },
}

/// Result type of `set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetType {
    /// All ones, of this width, for true; of each 16-bit lane for `x2` inputs.
    Int(Width),
    /// 1.0 for true; `x2` types per lane.
    Float(FloatType),
}

/// Type on either side of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CvtType {
    Int(IntType),
    Float(FloatType),
    /// `f32` rounded to 10 mantissa bits, low bits zero.
    Tf32,
}

/// Modifiers of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CvtMode {
    /// Rounding of the float result, or to an integral value (`.rni` = `Rn`, …)
    /// when `integral` is set or the destination is an integer.
    pub rounding: Rounding,
    /// Float to float of the same size: round to an integral value.
    pub integral: bool,
    pub ftz: bool,
    /// Integer destination: clamp to its range. Float: clamp to [0, 1].
    pub sat: bool,
    /// Clamp negative results to 0.
    pub relu: bool,
    /// Clamp to the largest finite value instead of infinity.
    pub satfinite: bool,
}

/// Read-modify-write operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    /// `old >= b ? 0 : old + 1`.
    Inc,
    /// `old == 0 || old > b ? b : old - 1`.
    Dec,
    Exch,
    /// Compare with `b`, swap in `c`.
    Cas,
}

/// Element type of an atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomType {
    /// `U*` also stands for `.b*`.
    Int(IntType),
    Float {
        ty: FloatType,
        ftz: bool,
    },
    B128,
}

/// Which lane `shfl` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShflMode {
    Up,
    Down,
    Bfly,
    Idx,
}

/// Reductions of `vote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteMode {
    All,
    Any,
    /// Same value in all lanes.
    Uni,
    /// Result is a 32-bit mask, not a predicate.
    Ballot,
}

/// Reductions of `redux.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduxOp {
    AddS32,
    AddU32,
    MinS32,
    MinU32,
    MaxS32,
    MaxU32,
    And,
    Or,
    Xor,
}

/// Reductions of `barrier.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierRedOp {
    /// Result is a 32-bit count.
    Popc,
    And,
    Or,
}

/// What a call calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallTarget {
    Function(FunctionId),
    Intrinsic(Intrinsic),
    /// A function address in a register, called with this prototype. The engine
    /// must check the callee's parameters against it.
    Indirect {
        address: Operand,
        signature: SignatureId,
    },
}

/// Device runtime functions that are declared `.extern` and provided by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intrinsic {
    /// `(format: u64, arguments: u64) -> s32`.
    Vprintf,
    /// `(bytes: u64) -> u64`.
    Malloc,
    /// `(address: u64)`.
    Free,
    /// `(message: u64, file: u64, line: u32, function: u64, char_size: u64)`.
    AssertFail,
    /// `(condition: u64, value: u32)`: `cudaGraphSetConditional`; the condition's handle is its address.
    SetConditional,
}

/// Argument or result of a call. A `Value` pairs with [`super::ParamStorage::Reg`]
/// of the callee and a `Frame` with `ParamStorage::Frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallArg {
    /// For results: always `Operand::Reg`.
    Value(Operand),
    /// Bytes of the caller's frame.
    Frame { offset: u32, size: u32 },
}

/// Decoded operations. Field order: type and modifiers, destinations, sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// Copy of bits; also of predicates (`width` `None`).
    Mov {
        width: Option<Width>,
        dst: Reg,
        src: Operand,
    },
    /// Concatenation of equal parts, first in the lowest bits.
    Pack {
        part: Width,
        dst: Reg,
        src: OperandList,
    },
    /// Split into equal parts, lowest bits first.
    Unpack {
        part: Width,
        dst: RegList,
        src: Operand,
    },

    IntUnary {
        op: IntUnaryOp,
        ty: IntType,
        dst: Reg,
        a: Operand,
    },
    IntBinary {
        op: IntBinaryOp,
        ty: IntType,
        dst: Reg,
        a: Operand,
        b: Operand,
    },
    IntTernary {
        op: IntTernaryOp,
        ty: IntType,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `a + b + carry_in`, writing the carry.
    AddCarry {
        ty: IntType,
        dst: Reg,
        a: Operand,
        b: Operand,
        carry_in: Option<Reg>,
        carry_out: Option<Reg>,
    },
    /// `a - b - borrow_in`; the flag holds the borrow.
    SubBorrow {
        ty: IntType,
        dst: Reg,
        a: Operand,
        b: Operand,
        borrow_in: Option<Reg>,
        borrow_out: Option<Reg>,
    },
    /// Low or high half of `a * b`, plus `c` plus carry.
    MadCarry {
        high: bool,
        ty: IntType,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
        carry_in: Option<Reg>,
        carry_out: Option<Reg>,
    },
    /// Insert the low `len` bits of `a` into `b` at `pos` (both bits 7..0).
    Bfi {
        width: Width,
        dst: Reg,
        a: Operand,
        b: Operand,
        pos: Operand,
        len: Operand,
    },
    /// Bitwise function with truth table `lut`; `pred`, if any, receives
    /// `(result != 0) op input`.
    Lop3 {
        lut: u8,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
        pred: Option<Lop3Pred>,
    },
    /// Four-way byte dot product accumulated into `c`.
    Dp4a {
        a_signed: bool,
        b_signed: bool,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// Two-way dot product of 16-bit `a` with bytes 0,1 (or 2,3 if `high`) of `b`.
    Dp2a {
        high: bool,
        a_signed: bool,
        b_signed: bool,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },

    PredNot {
        dst: Reg,
        a: PredOperand,
    },
    PredBinary {
        op: BoolOp,
        dst: Reg,
        a: PredOperand,
        b: PredOperand,
    },

    FloatUnary {
        op: FloatUnaryOp,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
    },
    FloatBinary {
        op: FloatBinaryOp,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
        b: Operand,
    },
    FloatTernary {
        op: FloatTernaryOp,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    Testp {
        test: TestOp,
        ty: FloatType,
        dst: Reg,
        a: Operand,
    },

    /// `dst = (a cmp b) op c`, `dst2 = !(a cmp b) op c`.
    Setp {
        cmp: Cmp,
        ty: CmpType,
        dst: Reg,
        dst2: Option<Reg>,
        a: Operand,
        b: Operand,
        combine: Option<(BoolOp, PredOperand)>,
    },
    Set {
        cmp: Cmp,
        ty: CmpType,
        result: SetType,
        dst: Reg,
        a: Operand,
        b: Operand,
        combine: Option<(BoolOp, PredOperand)>,
    },
    /// `p ? a : b`.
    Selp {
        width: Width,
        dst: Reg,
        a: Operand,
        b: Operand,
        p: PredOperand,
    },
    /// `c >= 0 ? a : b`; NaN selects `b`. `c_float` is `Some(ftz)` for an `f32` `c`.
    Slct {
        width: Width,
        c_float: Option<bool>,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },

    Cvt {
        to: CvtType,
        from: CvtType,
        mode: CvtMode,
        dst: Reg,
        a: Operand,
    },
    /// `f16x2`/`bf16x2` from two `f32`: `a` in the high half, `b` in the low half.
    CvtPackFloat {
        to: FloatType,
        mode: CvtMode,
        dst: Reg,
        a: Operand,
        b: Operand,
    },
    /// `cvt.pack.sat`: two `s32` clamped to `to` (`a` above `b`); an 8-bit `to`
    /// puts the low half of `c` above them.
    CvtPackInt {
        to: IntType,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// Address in `space` to generic, or back if `to_space`.
    Cvta {
        space: Space,
        to_space: bool,
        dst: Reg,
        a: Operand,
    },
    /// Whether generic address `a` lies in `space`.
    Isspacep {
        space: Space,
        dst: Reg,
        a: Operand,
    },

    Load {
        ty: MemType,
        space: Space,
        ordering: Ordering,
        dst: Reg,
        addr: Address,
    },
    LoadVec {
        ty: MemType,
        space: Space,
        ordering: Ordering,
        dst: RegList,
        addr: Address,
    },
    Store {
        width: Width,
        space: Space,
        ordering: Ordering,
        addr: Address,
        src: Operand,
    },
    StoreVec {
        width: Width,
        space: Space,
        ordering: Ordering,
        addr: Address,
        src: OperandList,
    },
    /// Atomic read-modify-write; `dst` receives the old value. `c` is used by `Cas`.
    Atom {
        op: AtomOp,
        ty: AtomType,
        space: Space,
        ordering: Ordering,
        scope: Scope,
        dst: Option<Reg>,
        addr: Address,
        b: Operand,
        c: Operand,
    },
    /// Asynchronous copy of `src_bytes` (<= `bytes`) from global to shared memory,
    /// rest zero-filled; may complete at once. `None`: copies `bytes`.
    CpAsync {
        bytes: u32,
        dst: Address,
        src: Address,
        src_bytes: Option<Operand>,
    },
    Fence {
        ordering: Ordering,
        scope: Scope,
    },

    /// `barrier.sync`, waiting for `threads` threads (all of the block if `None`).
    BarrierSync {
        id: Operand,
        threads: Option<Operand>,
    },
    BarrierArrive {
        id: Operand,
        threads: Operand,
    },
    BarrierRed {
        op: BarrierRedOp,
        dst: Reg,
        id: Operand,
        threads: Option<Operand>,
        p: PredOperand,
    },
    /// `bar.warp.sync`.
    WarpSync {
        mask: Operand,
    },

    /// `mask` is `None` for the form without `.sync`; `in_range` is the predicate
    /// output.
    Shfl {
        mode: ShflMode,
        dst: Reg,
        in_range: Option<Reg>,
        a: Operand,
        b: Operand,
        c: Operand,
        mask: Option<Operand>,
    },
    Vote {
        mode: VoteMode,
        dst: Reg,
        p: PredOperand,
        mask: Option<Operand>,
    },
    /// Mask of lanes with an equal value.
    MatchAny {
        width: Width,
        dst: Reg,
        a: Operand,
        mask: Operand,
    },
    /// `mask` if all lanes agree, else 0; `all` is the predicate output.
    MatchAll {
        width: Width,
        dst: Reg,
        all: Option<Reg>,
        a: Operand,
        mask: Operand,
    },
    ActiveMask {
        dst: Reg,
    },
    Redux {
        op: ReduxOp,
        dst: Reg,
        a: Operand,
        mask: Operand,
    },
    /// One lane of `mask` gets true; `dst`, if any, its lane id.
    Elect {
        dst: Option<Reg>,
        is_leader: Reg,
        mask: Operand,
    },

    Tex(Tex),
    /// A property of a texture or surface; `level` of a mipmapped texture.
    TexQuery {
        query: TexQuery,
        dst: Reg,
        handle: Operand,
        level: Option<Operand>,
    },
    Surf(Surf),
    /// Whether a handle names an object of a type.
    Istypep {
        ty: OpaqueType,
        dst: Reg,
        a: Operand,
    },

    Call {
        target: CallTarget,
        results: ArgList,
        args: ArgList,
    },
    /// Suspend for about this many nanoseconds; a hint.
    Nanosleep {
        duration: Operand,
    },

    Mma(Mma),
    /// `wmma.load`.
    MatrixLoad {
        access: MatrixAccess,
        dst: RegList,
    },
    /// `wmma.store`.
    MatrixStore {
        access: MatrixAccess,
        src: OperandList,
    },
    /// `ldmatrix`: a tile of 8 rows of 8 16-bit elements for each destination. The address of row `r` of
    /// tile `t` is that of lane `8 * t + r`; the tile lies in the warp as `a` of `mma` with `k` = 8.
    LoadTiles {
        space: Space,
        transposed: bool,
        dst: RegList,
        addr: Address,
    },
    /// `stmatrix`, likewise.
    StoreTiles {
        space: Space,
        transposed: bool,
        addr: Address,
        src: OperandList,
    },
    /// `movmatrix`: transposes a tile.
    TransposeTile {
        dst: Reg,
        a: Operand,
    },
    Video(Video),
    /// To nearest; what is too large for 8 bits becomes the largest finite number. `b` is for pairs of `f32`.
    CvtFp8 {
        conversion: Fp8Conversion,
        ty: Fp8Type,
        relu: bool,
        dst: Reg,
        a: Operand,
        b: Operand,
    },
}

/// Predicate output of `lop3`: `dst = (result != 0) op input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lop3Pred {
    pub dst: Reg,
    pub op: BoolOp,
    pub input: PredOperand,
}

/// How a block ends. Blocks carry no guard: a predicated `ret`, `exit` or `trap`
/// becomes a branch around a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminator {
    Branch(BlockId),
    CondBranch {
        cond: Guard,
        taken: BlockId,
        fallthrough: BlockId,
    },
    /// Jump to `table[index]`; an index out of range is undefined in PTX and must
    /// be a fault here. `table` indexes [`super::Function::branch_tables`].
    BranchIndexed {
        index: Operand,
        table: u32,
    },
    /// Return to the caller; in an entry, the same as `Exit`.
    Ret,
    /// End the thread.
    Exit,
    /// Abort the launch (`trap`, `brkpt`).
    Trap,
}
