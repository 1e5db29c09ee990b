//! Comparisons, predicates and selection.

use super::super::code::{Lanes, Op, Pred, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::math::flush;
use super::float::HalfFormat;
use super::lane::{map, Int, Lane};
use crate::ir::{BoolOp, Cmp, TestOp};
use std::marker::PhantomData;

/// Immediate of a comparison: how its outcome is used.
#[derive(Clone, Copy, Default)]
pub(in crate::engine) struct CompareImm(pub(in crate::engine) u64);

impl CompareImm {
    /// `relation` is what [`relation`] gives.
    pub(in crate::engine) fn new(relation: u64, ftz: bool, combine: Option<(BoolOp, Pred)>) -> CompareImm {
        let (op, pred) = match combine {
            None => (0, Pred::FALSE),
            Some((BoolOp::And, p)) => (1, p),
            Some((BoolOp::Or, p)) => (2, p),
            Some((BoolOp::Xor, p)) => (3, p),
        };
        CompareImm(relation | u64::from(ftz) << 4 | op << 8 | u64::from(pred.0) << 32)
    }

    #[inline(always)]
    fn combine(self, cx: &Cx<'_>, lanes: u32) -> u32 {
        let other = cx.pred(Pred((self.0 >> 32) as u32));
        match self.0 >> 8 & 3 {
            0 => lanes,
            1 => lanes & other,
            2 => lanes | other,
            _ => lanes ^ other,
        }
    }
}

/// Which of "less", "equal", "greater", "unordered" (bits 0 to 3) satisfy a comparison.
pub(in crate::engine) fn relation(cmp: Cmp) -> u64 {
    match cmp {
        Cmp::Lt => 1,
        Cmp::Eq => 2,
        Cmp::Le => 3,
        Cmp::Gt => 4,
        Cmp::Ne => 5,
        Cmp::Ge => 6,
        Cmp::Num => 7,
        Cmp::Nan => 8,
        Cmp::Ltu => 9,
        Cmp::Equ => 10,
        Cmp::Leu => 11,
        Cmp::Gtu => 12,
        Cmp::Neu => 13,
        Cmp::Geu => 14,
    }
}

/// Writes a comparison's outcome to `dst` and, negated, to the predicate `c` if not 0.
#[inline(always)]
fn finish(cx: &mut Cx<'_>, op: &Op, lanes: u32) -> Flow {
    let imm = CompareImm(op.imm);
    let outcome = imm.combine(cx, lanes);
    let opposite = imm.combine(cx, !lanes);
    cx.write_pred(op.dst, outcome);
    if op.c.0 != 0 {
        cx.write_pred(op.c.0, opposite);
    }
    Flow::Next
}

/// A comparison of integers.
pub(in crate::engine) trait Relation {
    fn holds<T: Int>(a: T, b: T) -> bool;
}

macro_rules! relation {
    ($($name:ident, $op:tt;)*) => {$(
        #[doc = concat!("`a ", stringify!($op), " b`")]
        pub(in crate::engine) struct $name;
        impl Relation for $name {
            #[inline(always)]
            fn holds<T: Int>(a: T, b: T) -> bool { a $op b }
        }
    )*};
}
relation! { Eq, ==; Ne, !=; Lt, <; Le, <=; Gt, >; Ge, >=; }

/// `dst = a R b` for integers.
pub(in crate::engine) struct SetpInt<R, T>(PhantomData<(R, T)>);
impl<R: Relation, T: Int> Handler for SetpInt<R, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b) = (T::read(cx, op.a), T::read(cx, op.b));
        let lanes = cx.tables.mask(|i| R::holds(a[i], b[i]));
        finish(cx, op, lanes)
    }
}

/// Lanes whose order is among those of the immediate's relation.
#[inline(always)]
fn ordered<T: PartialOrd + Copy>(tables: &Lanes, imm: u64, a: [T; LANES], b: [T; LANES]) -> u32 {
    let less = tables.mask(|i| a[i] < b[i]);
    let equal = tables.mask(|i| a[i] == b[i]);
    let greater = tables.mask(|i| a[i] > b[i]);
    let unordered = !(less | equal | greater);
    let wanted = |bit: u32, lanes: u32| if imm >> bit & 1 != 0 { lanes } else { 0 };
    wanted(0, less) | wanted(1, equal) | wanted(2, greater) | wanted(3, unordered)
}

/// `dst = a ? b` for `f32`; `imm` says which relation.
pub(in crate::engine) struct SetpF32;
impl Handler for SetpF32 {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (mut a, mut b) = (f32::read(cx, op.a), f32::read(cx, op.b));
        if op.imm & 16 != 0 {
            a = map(a, flush);
            b = map(b, flush);
        }
        let lanes = ordered(cx.tables, op.imm, a, b);
        finish(cx, op, lanes)
    }
}

/// `dst = a ? b` for `f64`; `imm` says which relation.
pub(in crate::engine) struct SetpF64;
impl Handler for SetpF64 {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let lanes = ordered(cx.tables, op.imm, f64::read(cx, op.a), f64::read(cx, op.b));
        finish(cx, op, lanes)
    }
}

/// `dst = a ? b` for the halves of words that start at bit `SHIFT`.
pub(in crate::engine) struct SetpHalf<H, const SHIFT: u32>(PhantomData<H>);
impl<H: HalfFormat, const SHIFT: u32> Handler for SetpHalf<H, SHIFT> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let widen = |word: u32| {
            let bits = word >> SHIFT & 0xffff;
            let subnormal = bits & 0x7fff < H::FORMAT.least_normal();
            H::FORMAT.widen(if op.imm & 16 != 0 && subnormal { bits & 0x8000 } else { bits })
        };
        let (a, b) = (map(cx.read32(op.a), widen), map(cx.read32(op.b), widen));
        let lanes = ordered(cx.tables, op.imm, a, b);
        finish(cx, op, lanes)
    }
}

/// `dst = a op b` on predicates; `imm` is the operation.
pub(in crate::engine) struct PredBinary;
impl Handler for PredBinary {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b) = (cx.pred(Pred(op.a.0)), cx.pred(Pred(op.b.0)));
        let lanes = match op.imm {
            0 => a & b,
            1 => a | b,
            _ => a ^ b,
        };
        cx.write_pred(op.dst, lanes);
        Flow::Next
    }
}

/// Immediate of [`PredBinary`].
pub(in crate::engine) fn bool_op(op: BoolOp) -> u64 {
    match op {
        BoolOp::And => 0,
        BoolOp::Or => 1,
        BoolOp::Xor => 2,
    }
}

/// `dst = c ? a : b`, where `c` is a predicate.
pub(in crate::engine) struct Select<T>(PhantomData<T>);
impl<T: Lane> Handler for Select<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b) = (T::read(cx, op.a), T::read(cx, op.b));
        let lanes = cx.pred(Pred(op.c.0));
        let mut r = [T::default(); LANES];
        for i in 0..LANES {
            r[i] = if lanes >> i & 1 != 0 { a[i] } else { b[i] };
        }
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

/// `testp` for `f32`; `imm` is the test.
pub(in crate::engine) struct Testp32;
/// `testp` for `f64`; `imm` is the test.
pub(in crate::engine) struct Testp64;

/// Immediate of [`Testp32`] and [`Testp64`].
pub(in crate::engine) fn test_imm(test: TestOp) -> u64 {
    match test {
        TestOp::Finite => 0,
        TestOp::Infinite => 1,
        TestOp::Number => 2,
        TestOp::NotANumber => 3,
        TestOp::Normal => 4,
        TestOp::Subnormal => 5,
    }
}

macro_rules! testp {
    ($name:ident, $ty:ty) => {
        impl Handler for $name {
            #[inline(always)]
            fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
                let a = <$ty>::read(cx, op.a);
                let lanes = cx.tables.mask(|i| match op.imm {
                    0 => a[i].is_finite(),
                    1 => a[i].is_infinite(),
                    2 => !a[i].is_nan(),
                    3 => a[i].is_nan(),
                    4 => a[i].is_normal(),
                    _ => a[i].is_subnormal(),
                });
                cx.write_pred(op.dst, lanes);
                Flow::Next
            }
        }
    };
}
testp!(Testp32, f32);
testp!(Testp64, f64);
