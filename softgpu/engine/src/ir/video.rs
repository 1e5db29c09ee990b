//! Video instructions: arithmetic on parts of 32-bit words, with a second operation on the result.

use super::inst::{Operand, Reg};
use super::types::Cmp;

/// The first operation of a video instruction, on values wider than their operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoOp {
    Add,
    Sub,
    AbsDiff,
    Min,
    Max,
    /// Half of the sum, rounded up unless that is negative.
    Average,
    /// Amounts above 32 count as 32, or are taken modulo 32.
    Shl {
        wrap: bool,
    },
    Shr {
        wrap: bool,
    },
    /// 1 or 0.
    Set(Cmp),
}

/// What becomes of the first result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoSecond {
    /// It is the result; parts that are not selected come from `c`.
    Merge,
    /// It is combined with the whole of `c`; of several parts, those that are selected are added up.
    Add,
    Min,
    Max,
}

/// A part of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoPart {
    /// First bit, in `a` with `b` above it for instructions of several parts, else in the operand itself.
    pub shift: u8,
    /// Bits: 8, 16 or 32.
    pub bits: u8,
    pub signed: bool,
}

/// What a video instruction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoForm {
    /// `vop`, `vop2`, `vop4`.
    Parts {
        op: VideoOp,
        second: VideoSecond,
        /// 1, 2 or 4 parts.
        parts: u8,
        /// Bits of `dst` that each part takes, and which parts are written.
        bits: u8,
        /// First bit of the only part of an instruction that has one.
        shift: u8,
        mask: u8,
        /// Clamp to the range of the part's bits in `dst`.
        saturate: bool,
        signed: bool,
        a: [VideoPart; 4],
        b: [VideoPart; 4],
    },
    /// `vmad`: `a * b + c`, shifted right. Negations as written; `plus_one` is `.po`.
    Mad { a: VideoPart, b: VideoPart, negate_product: bool, negate_c: bool, plus_one: bool, saturate: bool, shift: u8 },
}

/// A video instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Video {
    pub form: VideoForm,
    pub dst: Reg,
    pub a: Operand,
    pub b: Operand,
    pub c: Operand,
}
