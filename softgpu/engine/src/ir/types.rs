//! Scalar types, state spaces and instruction modifiers shared by all operations.

/// Width class of a virtual register.
///
/// A result whose type is narrower than its destination register is extended to
/// the register's width: sign-extended for signed integer types, zero-extended
/// for all others (PTX ISA, "Operand Size Exceeding Instruction-Type Size").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegClass {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
}

impl RegClass {
    /// Width in bits; a predicate is one bit wide.
    pub fn bits(self) -> u32 {
        match self {
            RegClass::Pred => 1,
            RegClass::B8 => 8,
            RegClass::B16 => 16,
            RegClass::B32 => 32,
            RegClass::B64 => 64,
            RegClass::B128 => 128,
        }
    }
}

/// Width of an untyped (bit-size) operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    W8,
    W16,
    W32,
    W64,
    W128,
}

impl Width {
    /// Width in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Width::W8 => 1,
            Width::W16 => 2,
            Width::W32 => 4,
            Width::W64 => 8,
            Width::W128 => 16,
        }
    }

    /// Width in bits.
    pub fn bits(self) -> u32 {
        self.bytes() * 8
    }
}

/// Integer operand types. Untyped (`.bN`) operations use the unsigned type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntType {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    /// Two 16-bit lanes in 32 bits.
    U16x2,
    /// Two signed 16-bit lanes in 32 bits.
    S16x2,
}

impl IntType {
    /// Width of the whole operand in bits.
    pub fn bits(self) -> u32 {
        match self {
            IntType::U8 | IntType::S8 => 8,
            IntType::U16 | IntType::S16 => 16,
            IntType::U32 | IntType::S32 | IntType::U16x2 | IntType::S16x2 => 32,
            IntType::U64 | IntType::S64 => 64,
        }
    }

    /// Whether values are two's-complement.
    pub fn is_signed(self) -> bool {
        matches!(self, IntType::S8 | IntType::S16 | IntType::S32 | IntType::S64 | IntType::S16x2)
    }
}

/// Floating-point operand types. `x2` types hold two lanes in 32 bits, the first
/// in the low half (`F32x2`: two `f32` in 64 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    F16,
    F16x2,
    BF16,
    BF16x2,
    F32,
    F32x2,
    F64,
}

impl FloatType {
    /// Width of the whole operand in bits.
    pub fn bits(self) -> u32 {
        match self {
            FloatType::F16 | FloatType::BF16 => 16,
            FloatType::F16x2 | FloatType::BF16x2 | FloatType::F32 => 32,
            FloatType::F32x2 | FloatType::F64 => 64,
        }
    }
}

/// 8-bit floats, which come in pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fp8Type {
    /// Four bits of exponent, three of mantissa; no infinities, and one NaN of either sign.
    E4M3,
    /// The upper half of an `f16`.
    E5M2,
}

/// Between what [`Fp8Type`] pairs are converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fp8Conversion {
    /// From two `f32`, the first in the upper half.
    FromF32Pair,
    FromF16x2,
    ToF16x2,
}

/// Element type of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemType {
    /// Zero-extended to the destination register.
    U(Width),
    /// Sign-extended to the destination register.
    S(Width),
}

impl MemType {
    /// Bytes of one element in memory.
    pub fn bytes(self) -> u32 {
        match self {
            MemType::U(width) | MemType::S(width) => width.bytes(),
        }
    }
}

/// State space of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// 64-bit generic address: global memory, or a window of another space.
    Generic,
    Global,
    /// Shared memory; addresses start at 0 for each block.
    Shared,
    /// Thread-private memory; see [`super::Operand::Frame`].
    Local,
    Const,
    /// The launch parameter block of an entry; addresses are byte offsets in it.
    Param,
}

/// IEEE 754 rounding of a floating-point result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To nearest, ties to even.
    #[default]
    Rn,
    /// Toward zero.
    Rz,
    /// Toward negative infinity.
    Rm,
    /// Toward positive infinity.
    Rp,
    /// To nearest, ties away from zero (`cvt.rna` only).
    Rna,
}

/// Modifiers of a floating-point operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FloatMode {
    pub rounding: Rounding,
    /// Flush subnormal inputs and results to sign-preserving zero (`f32`, `f16`).
    pub ftz: bool,
    /// Clamp the result to [0, 1]; NaN becomes +0.
    pub sat: bool,
    /// Clamp a negative result to 0; NaN stays the canonical NaN.
    pub relu: bool,
    /// `min`/`max`: a NaN input gives the canonical NaN.
    pub nan: bool,
    /// `min`/`max`: compare magnitudes, the result's sign is the XOR of the inputs'.
    pub xorsign_abs: bool,
}

/// Comparison of `setp` and `set`.
///
/// `Lt..Ge` are signed or unsigned by operand type; for floats they are ordered
/// (false when an input is NaN) and the `*u` forms are unordered (true then).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    /// Both inputs are numbers.
    Num,
    /// Either input is NaN.
    Nan,
}

/// Combination of two predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BoolOp {
    And,
    Or,
    Xor,
}

/// Memory-ordering semantics of a load, store, atomic or fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// Plain access.
    Weak,
    /// `.volatile`, `.mmio` and `.relaxed`.
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    SeqCst,
}

/// Set of threads a strong operation synchronises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Cta,
    Cluster,
    Gpu,
    Sys,
}

/// Read-only special registers. Vector registers list their components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialReg {
    TidX,
    TidY,
    TidZ,
    NtidX,
    NtidY,
    NtidZ,
    CtaidX,
    CtaidY,
    CtaidZ,
    NctaidX,
    NctaidY,
    NctaidZ,
    LaneId,
    WarpId,
    NWarpId,
    WarpSize,
    SmId,
    NSmId,
    GridId,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    GlobalTimerLo,
    GlobalTimerHi,
    DynamicSmemSize,
    TotalSmemSize,
    /// Shared-space address of `extern` dynamic shared memory: the static size
    /// of the entry that is running ([`super::Function::shared_size`]).
    DynamicSmemBase,
    /// `%envreg<n>`, n < 32.
    EnvReg(u8),
    /// `%pm<n>` performance counters, n < 8.
    Pm(u8),
    ClusterIdX,
    ClusterIdY,
    ClusterIdZ,
    NClusterIdX,
    NClusterIdY,
    NClusterIdZ,
    ClusterCtaidX,
    ClusterCtaidY,
    ClusterCtaidZ,
    ClusterNctaidX,
    ClusterNctaidY,
    ClusterNctaidZ,
    ClusterCtarank,
    ClusterNctarank,
    /// Whether the launch specified cluster dimensions (predicate).
    IsExplicitCluster,
}
