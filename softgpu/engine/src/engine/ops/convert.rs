//! Conversions between number formats. What has no operation of its own goes
//! through `f64`, rounded to odd.

use super::super::code::{Op, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::math::round::{self, Format};
use super::super::math::{fp8, saturate, saturate64, wide, Mode};
use super::float::HalfFormat;
use super::lane::{map, Int, Lane};
use super::lane_fn;
use crate::ir::{Fp8Conversion, Fp8Type, Rounding};
use std::marker::PhantomData;

/// Integer to integer: extends or truncates.
pub(in crate::engine) struct IntToInt<F, T>(PhantomData<(F, T)>);
impl<F: Int, T: Int> Handler for IntToInt<F, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = F::read(cx, op.a);
        let mut r = [T::default(); LANES];
        for i in 0..LANES {
            r[i] = T::truncate(a[i].wide());
        }
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Integer to integer, clamped to the range of the result.
pub(in crate::engine) struct IntToIntSat<F, T>(PhantomData<(F, T)>);
impl<F: Int, T: Int> Handler for IntToIntSat<F, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = F::read(cx, op.a);
        let r = map(a, |x| T::truncate(x.wide().clamp(T::MIN.wide(), T::MAX.wide())));
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

/// A host floating-point type.
pub(in crate::engine) trait Float: Lane {
    fn rounded(self, rounding: Rounding) -> Self;
    fn flushed(self) -> Self;
    fn clamped(self) -> Self;
    fn canonical(self) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn rounded(self, rounding: Rounding) -> f32 {
        match rounding {
            Rounding::Rn => self.round_ties_even(),
            Rounding::Rz => self.trunc(),
            Rounding::Rm => self.floor(),
            Rounding::Rp => self.ceil(),
            Rounding::Rna => self.round(),
        }
    }
    #[inline(always)]
    fn flushed(self) -> f32 {
        super::super::math::flush(self)
    }
    #[inline(always)]
    fn clamped(self) -> f32 {
        saturate(self)
    }
    #[inline(always)]
    fn canonical(self) -> f32 {
        if self.is_nan() {
            super::super::math::NAN_F32
        } else {
            self
        }
    }
}

impl Float for f64 {
    #[inline(always)]
    fn rounded(self, rounding: Rounding) -> f64 {
        match rounding {
            Rounding::Rn => self.round_ties_even(),
            Rounding::Rz => self.trunc(),
            Rounding::Rm => self.floor(),
            Rounding::Rp => self.ceil(),
            Rounding::Rna => self.round(),
        }
    }
    #[inline(always)]
    fn flushed(self) -> f64 {
        self
    }
    #[inline(always)]
    fn clamped(self) -> f64 {
        saturate64(self)
    }
    #[inline(always)]
    fn canonical(self) -> f64 {
        self
    }
}

/// A conversion that the host has, clamping where the value does not fit.
pub(in crate::engine) trait To<T> {
    fn to(self) -> T;
}

macro_rules! host_conversions {
    ($($from:ty => $($to:ty)*;)*) => {$($(
        impl To<$to> for $from {
            #[inline(always)]
            fn to(self) -> $to { self as $to }
        }
    )*)*};
}
host_conversions! {
    f32 => u8 i8 u16 i16 u32 i32 u64 i64 f64;
    f64 => u8 i8 u16 i16 u32 i32 u64 i64 f32;
    u8 => f32 f64; i8 => f32 f64; u16 => f32 f64; i16 => f32 f64;
    u32 => f32 f64; i32 => f32 f64; u64 => f32 f64; i64 => f32 f64;
}

/// Float to integer, clamped; NaN becomes 0. `imm` is the mode.
pub(in crate::engine) struct FloatToInt<F, T>(PhantomData<(F, T)>);
impl<F: Float + To<T>, T: Int> Handler for FloatToInt<F, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let mut a = F::read(cx, op.a);
        if mode.ftz() {
            a = map(a, F::flushed);
        }
        let r = match mode.rounding() {
            Rounding::Rz => map(a, |x| x.to()),
            rounding => map(a, |x| x.rounded(rounding).to()),
        };
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Conversion to `f32` or `f64` to nearest. `imm` is the mode (its flushing and clamping).
pub(in crate::engine) struct ToFloat<F, T>(PhantomData<(F, T)>);
impl<F: Lane + To<T>, T: Float> Handler for ToFloat<F, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mut r = map(F::read(cx, op.a), |x| x.to().canonical());
        let mode = Mode::unpack(op.imm);
        if mode.ftz() {
            r = map(r, T::flushed);
        }
        if mode.sat() {
            r = map(r, T::clamped);
        }
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Float to an integral value of the same format.
pub(in crate::engine) struct ToIntegral<T>(PhantomData<T>);
impl<T: Float> Handler for ToIntegral<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let mut r = T::read(cx, op.a);
        if mode.ftz() {
            r = map(r, T::flushed);
        }
        r = map(r, |x| x.rounded(mode.rounding()).canonical());
        if mode.sat() {
            r = map(r, T::clamped);
        }
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

/// The same value after flushing, canonicalisation and clamping.
pub(in crate::engine) struct SameFloat<T>(PhantomData<T>);
impl<T: Float> Handler for SameFloat<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let mut r = T::read(cx, op.a);
        if mode.ftz() {
            r = map(r, T::flushed);
        }
        if mode.sat() {
            r = map(r, T::clamped);
        }
        T::write(cx, op.dst, r);
        Flow::Next
    }
}

lane_fn!(DoubleOfInt<T: Int>(a: T) -> f64 { round::int_odd(a.wide()) });

/// Integer to `f64` in the direction of the mode in `imm`.
pub(in crate::engine) struct DirectedDouble<T>(PhantomData<T>);
impl<T: Int> Handler for DirectedDouble<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let rounding = Mode::unpack(op.imm).rounding();
        let r = map(T::read(cx, op.a), |x| wide::from_int(x.wide(), rounding));
        f64::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Half-width float to `f64`, exactly.
pub(in crate::engine) struct DoubleOfHalf<H>(PhantomData<H>);
impl<H: HalfFormat> Handler for DoubleOfHalf<H> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = cx.read32(op.a);
        let mut r = [0.0; LANES];
        for i in cx.lanes() {
            r[i] = H::FORMAT.widen(a[i] & 0xffff);
        }
        f64::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Immediate flag besides the mode: overflow gives the largest finite value.
pub(in crate::engine) const SAT_FINITE: u64 = 1 << 16;

/// `f64`, rounded to odd if inexact, to a narrower format; `imm` is the mode.
/// The row gets the bits of the format.
pub(in crate::engine) struct NarrowDouble<N>(PhantomData<N>);

/// The target of [`NarrowDouble`].
pub(in crate::engine) trait Narrow {
    const FORMAT: Format;
    /// Position of the format's lowest bit in the word.
    const SHIFT: u32 = 0;
}
/// `f32`
pub(in crate::engine) struct F32;
/// `tf32`: the upper bits of an `f32`.
pub(in crate::engine) struct Tf32;
impl Narrow for F32 {
    const FORMAT: Format = round::F32;
}
impl Narrow for Tf32 {
    const FORMAT: Format = round::TF32;
    const SHIFT: u32 = 13;
}
impl<H: HalfFormat> Narrow for H {
    const FORMAT: Format = <H as HalfFormat>::FORMAT;
}

fn narrow<N: Narrow>(x: f64, imm: u64) -> u32 {
    let mode = Mode::unpack(imm);
    // -0 becomes +0 as well.
    let x = if mode.relu() && x <= 0.0 { 0.0 } else { x };
    let x = if mode.sat() { saturate64(x) } else { x };
    let mut bits = N::FORMAT.round(x, mode.rounding());
    let magnitude = bits & (N::FORMAT.sign() - 1);
    if mode.ftz() && magnitude < N::FORMAT.least_normal() {
        bits &= N::FORMAT.sign();
    }
    if imm & SAT_FINITE != 0 && magnitude == N::FORMAT.infinity() {
        bits -= 1;
    }
    bits << N::SHIFT
}

impl<N: Narrow> Handler for NarrowDouble<N> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = f64::read(cx, op.a);
        let mut r = [0; LANES];
        for i in cx.lanes() {
            r[i] = narrow::<N>(a[i], op.imm);
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// Two `f32` to a pair of half-width floats, `a` in the upper half.
pub(in crate::engine) struct PackHalves<H>(PhantomData<H>);
impl<H: HalfFormat> Handler for PackHalves<H> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b) = (f32::read(cx, op.a), f32::read(cx, op.b));
        let mut r = [0; LANES];
        for i in cx.lanes() {
            r[i] = narrow::<H>(a[i].into(), op.imm) << 16 | narrow::<H>(b[i].into(), op.imm);
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// Two `s32` clamped to `BITS` wide integers; see `cvt.pack`.
pub(in crate::engine) struct PackInts<const BITS: u32, const SIGNED: bool>;
impl<const BITS: u32, const SIGNED: bool> Handler for PackInts<BITS, SIGNED> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b, c) = (i32::read(cx, op.a), i32::read(cx, op.b), cx.read32(op.c));
        let (low, high) = if SIGNED { (-(1 << (BITS - 1)), (1 << (BITS - 1)) - 1) } else { (0, (1 << BITS) - 1) };
        let mask = (1u32 << BITS) - 1;
        let mut r = [0; LANES];
        for i in 0..LANES {
            let part = |x: i32| x.clamp(low, high) as u32 & mask;
            let pair = part(a[i]) << BITS | part(b[i]);
            r[i] = if BITS == 8 { c[i] << 16 | pair } else { pair };
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// A pair to or from 8-bit floats. Bit 0 of `imm`: `e5m2`; bit 1: negative numbers become 0; bits 2 and 3:
/// the conversion.
pub(in crate::engine) struct ConvertFp8;
impl Handler for ConvertFp8 {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let ty = if op.imm & 1 != 0 { Fp8Type::E5M2 } else { Fp8Type::E4M3 };
        let conversion = match op.imm >> 2 {
            0 => Fp8Conversion::FromF32Pair,
            1 => Fp8Conversion::FromF16x2,
            _ => Fp8Conversion::ToF16x2,
        };
        let (a, b) = (cx.read32(op.a), cx.read32(op.b));
        let mut r = [0; LANES];
        for i in cx.lanes() {
            r[i] = fp8::convert(conversion, ty, op.imm & 2 != 0, a[i], b[i]);
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// Immediate of [`ConvertFp8`].
pub(in crate::engine) fn fp8_imm(conversion: Fp8Conversion, ty: Fp8Type, relu: bool) -> u64 {
    let conversion = match conversion {
        Fp8Conversion::FromF32Pair => 0,
        Fp8Conversion::FromF16x2 => 1,
        Fp8Conversion::ToF16x2 => 2,
    };
    u64::from(ty == Fp8Type::E5M2) | u64::from(relu) << 1 | conversion << 2
}
