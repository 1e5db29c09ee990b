//! `f16` arithmetic to nearest, in ways that vectorise.
//!
//! Sums and products are made in `f32`: with 24 bits there, rounding twice gives what rounding once would.
//! A multiply-add is made in `f64` and goes through an `f32` that is rounded to odd.

use super::super::code::{Op, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::math::half::{from_half, to_half};
use std::marker::PhantomData;

/// An operation on `f16` values.
pub(in crate::engine) trait HalfFn {
    /// The result, such that rounding it to `f16` rounds the exact one.
    fn call(a: f32, b: f32, c: f32) -> f32;
}

/// `a + b`
pub(in crate::engine) struct AddHalf;
/// `a - b`
pub(in crate::engine) struct SubHalf;
/// `a * b`
pub(in crate::engine) struct MulHalf;
/// `a * b + c`
pub(in crate::engine) struct FmaHalf;

impl HalfFn for AddHalf {
    #[inline(always)]
    fn call(a: f32, b: f32, _: f32) -> f32 {
        a + b
    }
}
impl HalfFn for SubHalf {
    #[inline(always)]
    fn call(a: f32, b: f32, _: f32) -> f32 {
        a - b
    }
}
impl HalfFn for MulHalf {
    #[inline(always)]
    fn call(a: f32, b: f32, _: f32) -> f32 {
        a * b
    }
}
impl HalfFn for FmaHalf {
    #[inline(always)]
    fn call(a: f32, b: f32, c: f32) -> f32 {
        // The product is exact. The sum is too, unless one of its terms is too small to matter: 53 bits hold
        // all that lies between the largest `f16` and the smallest.
        let sum = f64::from(a) * f64::from(b) + f64::from(c);
        const DROPPED: u64 = (1 << 29) - 1;
        let bits = sum.to_bits();
        let kept = f64::from_bits(bits & !DROPPED) as f32;
        // An infinity or NaN keeps what it is.
        let odd = u32::from(bits & DROPPED != 0 && sum.is_finite());
        f32::from_bits(kept.to_bits() | odd)
    }
}

/// `dst` = F of the low halves, or of both halves if `PAIR`.
pub(in crate::engine) struct HalfNearest<F, const PAIR: bool>(PhantomData<F>);
impl<F: HalfFn, const PAIR: bool> Handler for HalfNearest<F, PAIR> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b, c) = (cx.read32(op.a), cx.read32(op.b), cx.read32(op.c));
        let mut r = [0; LANES];
        for i in 0..LANES {
            r[i] = to_half(F::call(from_half(a[i]), from_half(b[i]), from_half(c[i])));
        }
        if PAIR {
            for i in 0..LANES {
                let high = F::call(from_half(a[i] >> 16), from_half(b[i] >> 16), from_half(c[i] >> 16));
                r[i] |= to_half(high) << 16;
            }
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}
