//! Floating-point arithmetic.

use super::super::code::{Op, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::math::round::{self, Format};
use super::super::math::{approx, flush, min_max, min_max32, saturate64, wide, Mode, NAN_F32};
use super::lane::Lane;
use super::lane_fn;
use crate::ir::Rounding;
use std::marker::PhantomData;

/// Subnormal handling, chosen when the code is decoded.
pub(in crate::engine) trait Flush {
    fn flush(x: f32) -> f32;
}
/// Subnormals are kept.
pub(in crate::engine) struct Keep;
/// `.ftz`
pub(in crate::engine) struct Ftz;

impl Flush for Keep {
    #[inline(always)]
    fn flush(x: f32) -> f32 {
        x
    }
}

impl Flush for Ftz {
    #[inline(always)]
    fn flush(x: f32) -> f32 {
        flush(x)
    }
}

#[inline(always)]
fn finish<M: Flush>(x: f32) -> f32 {
    if x.is_nan() {
        NAN_F32
    } else {
        M::flush(x)
    }
}

lane_fn!(AddF32<M: Flush>(a: f32, b: f32) -> f32 { finish::<M>(M::flush(a) + M::flush(b)) });
lane_fn!(SubF32<M: Flush>(a: f32, b: f32) -> f32 { finish::<M>(M::flush(a) - M::flush(b)) });
lane_fn!(MulF32<M: Flush>(a: f32, b: f32) -> f32 { finish::<M>(M::flush(a) * M::flush(b)) });
lane_fn!(FmaF32<M: Flush>(a: f32, b: f32, c: f32) -> f32 {
    finish::<M>(M::flush(a).mul_add(M::flush(b), M::flush(c)))
});
lane_fn!(AddF64(a: f64, b: f64) -> f64 { a + b });
lane_fn!(SubF64(a: f64, b: f64) -> f64 { a - b });
lane_fn!(MulF64(a: f64, b: f64) -> f64 { a * b });
lane_fn!(FmaF64(a: f64, b: f64, c: f64) -> f64 { a.mul_add(b, c) });

/// An operation on `f32`, `f64` and the half-width formats, with any [`Mode`].
/// Unused inputs are zero.
pub(in crate::engine) trait FloatFn {
    /// `f32` result before flushing and clamping.
    fn single(a: f32, b: f32, c: f32, mode: Mode) -> f32;
    /// `f64` result.
    fn double(a: f64, b: f64, c: f64, mode: Mode) -> f64;
    /// Result of a half-width operation, exact or rounded to odd.
    fn half(a: f64, b: f64, c: f64, mode: Mode) -> f64;
}

/// An `f32` operation; `imm` is the mode.
pub(in crate::engine) struct Single<F>(PhantomData<F>);
/// An `f64` operation; `imm` is the mode.
pub(in crate::engine) struct Double<F>(PhantomData<F>);
/// An operation on one or both halves of a word; `imm` is the mode.
pub(in crate::engine) struct Half<F, H, const PAIR: bool>(PhantomData<(F, H)>);
/// An operation on a pair of `f32`; `imm` is the mode.
pub(in crate::engine) struct SinglePair<F>(PhantomData<F>);

#[inline(always)]
fn single<F: FloatFn>(a: f32, b: f32, c: f32, mode: Mode) -> f32 {
    mode.output(F::single(mode.input(a), mode.input(b), mode.input(c), mode))
}

impl<F: FloatFn> Handler for Single<F> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let (a, b, c) = (f32::read(cx, op.a), f32::read(cx, op.b), f32::read(cx, op.c));
        let mut r = [0.0; LANES];
        for i in 0..LANES {
            r[i] = single::<F>(a[i], b[i], c[i], mode);
        }
        f32::write(cx, op.dst, r);
        Flow::Next
    }
}

impl<F: FloatFn> Handler for SinglePair<F> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let (a, b, c) = (u64::read(cx, op.a), u64::read(cx, op.b), u64::read(cx, op.c));
        let mut r = [0; LANES];
        let part = |word: u64, shift: u32| f32::from_bits((word >> shift) as u32);
        for i in 0..LANES {
            let one = |shift| {
                let value = single::<F>(part(a[i], shift), part(b[i], shift), part(c[i], shift), mode);
                u64::from(value.to_bits()) << shift
            };
            r[i] = one(0) | one(32);
        }
        u64::write(cx, op.dst, r);
        Flow::Next
    }
}

impl<F: FloatFn> Handler for Double<F> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let (a, b, c) = (f64::read(cx, op.a), f64::read(cx, op.b), f64::read(cx, op.c));
        let mut r = [0.0; LANES];
        for i in 0..LANES {
            let value = F::double(a[i], b[i], c[i], mode);
            r[i] = if mode.sat() { saturate64(value) } else { value };
        }
        f64::write(cx, op.dst, r);
        Flow::Next
    }
}

/// A half-width format as a type.
pub(in crate::engine) trait HalfFormat {
    const FORMAT: Format;
}
/// IEEE 754 binary16.
pub(in crate::engine) struct F16;
/// bfloat16.
pub(in crate::engine) struct BF16;
impl HalfFormat for F16 {
    const FORMAT: Format = round::F16;
}
impl HalfFormat for BF16 {
    const FORMAT: Format = round::BF16;
}

/// Flushes a subnormal of a half-width format.
fn flush_half(format: Format, bits: u32) -> u32 {
    if bits & (format.sign() - 1) < format.least_normal() {
        bits & format.sign()
    } else {
        bits
    }
}

/// Rounds a half-width result and applies the mode's clamps.
pub(in crate::engine) fn finish_half(format: Format, value: f64, mode: Mode) -> u32 {
    // -0 becomes +0 as well.
    let value = if mode.relu() && value <= 0.0 { 0.0 } else { value };
    let value = if mode.sat() { saturate64(value) } else { value };
    let bits = format.round(value, mode.rounding());
    if mode.ftz() {
        flush_half(format, bits)
    } else {
        bits
    }
}

fn half<F: FloatFn>(format: Format, a: u32, b: u32, c: u32, mode: Mode) -> u32 {
    let input = |bits: u32| {
        let bits = bits & 0xffff;
        format.widen(if mode.ftz() { flush_half(format, bits) } else { bits })
    };
    finish_half(format, F::half(input(a), input(b), input(c), mode), mode)
}

impl<F: FloatFn, H: HalfFormat, const PAIR: bool> Handler for Half<F, H, PAIR> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mode = Mode::unpack(op.imm);
        let (a, b, c) = (cx.read32(op.a), cx.read32(op.b), cx.read32(op.c));
        let mut r = [0; LANES];
        for i in cx.lanes() {
            r[i] = half::<F>(H::FORMAT, a[i], b[i], c[i], mode);
            if PAIR {
                r[i] |= half::<F>(H::FORMAT, a[i] >> 16, b[i] >> 16, c[i] >> 16, mode) << 16;
            }
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// `f64` value rounded to `f32` in the mode's direction.
#[inline(always)]
fn narrow(value: f64, mode: Mode) -> f32 {
    f32::from_bits(round::F32.round(value, mode.rounding()))
}

/// Defines a [`FloatFn`] whose half form is that of `f64` unless given.
macro_rules! float_fn {
    ($name:ident($a:ident, $b:ident, $c:ident, $m:ident): single $s:block double $d:block half $h:block) => {
        pub(in crate::engine) struct $name;
        #[allow(unused_variables)]
        impl FloatFn for $name {
            #[inline(always)]
            fn single($a: f32, $b: f32, $c: f32, $m: Mode) -> f32 $s
            #[inline(always)]
            fn double($a: f64, $b: f64, $c: f64, $m: Mode) -> f64 $d
            #[inline(always)]
            fn half($a: f64, $b: f64, $c: f64, $m: Mode) -> f64 $h
        }
    };
}

float_fn!(Add(a, b, c, m):
    single { if m.rounding() == Rounding::Rn { a + b } else { directed_sum(a, b, m) } }
    double { if m.rounding() == Rounding::Rn { a + b } else { wide::add(a, b, m.rounding()) } }
    half { round::add_odd(a, b) });
float_fn!(Sub(a, b, c, m):
    single { Add::single(a, -b, c, m) }
    double { Add::double(a, -b, c, m) }
    half { round::add_odd(a, -b) });
float_fn!(Mul(a, b, c, m):
    single { if m.rounding() == Rounding::Rn { a * b } else { narrow(f64::from(a) * f64::from(b), m) } }
    double { if m.rounding() == Rounding::Rn { a * b } else { wide::mul(a, b, m.rounding()) } }
    half { a * b });
float_fn!(Fma(a, b, c, m):
    single { if m.rounding() == Rounding::Rn { a.mul_add(b, c) } else { directed_fma(a, b, c, m) } }
    double { if m.rounding() == Rounding::Rn { a.mul_add(b, c) } else { wide::fma(a, b, c, m.rounding()) } }
    half { round::fma_odd(a, b, c) });
float_fn!(Div(a, b, c, m):
    single { if m.rounding() == Rounding::Rn { a / b } else { narrow(round::div_odd(a.into(), b.into()), m) } }
    double { if m.rounding() == Rounding::Rn { a / b } else { wide::div(a, b, m.rounding()) } }
    half { round::div_odd(a, b) });
float_fn!(Rcp(a, b, c, m):
    single { Div::single(1.0, a, c, m) }
    double { Div::double(1.0, a, c, m) }
    half { round::div_odd(1.0, a) });
float_fn!(Sqrt(a, b, c, m):
    single { if m.rounding() == Rounding::Rn { a.sqrt() } else { narrow(round::sqrt_odd(a.into()), m) } }
    double { wide::sqrt(a, m.rounding()) }
    half { round::sqrt_odd(a) });
float_fn!(Min(a, b, c, m):
    single { if m.xorsign() { with_sign_of_product(a, b, min_max32(a.abs(), b.abs(), false, m.nan())) } else { min_max32(a, b, false, m.nan()) } }
    double { min_max(a, b, false, m.nan()) }
    half { if m.xorsign() { half_with_sign(a, b, min_max(a.abs(), b.abs(), false, m.nan())) } else { min_max(a, b, false, m.nan()) } });
float_fn!(Max(a, b, c, m):
    single { if m.xorsign() { with_sign_of_product(a, b, min_max32(a.abs(), b.abs(), true, m.nan())) } else { min_max32(a, b, true, m.nan()) } }
    double { min_max(a, b, true, m.nan()) }
    half { if m.xorsign() { half_with_sign(a, b, min_max(a.abs(), b.abs(), true, m.nan())) } else { min_max(a, b, true, m.nan()) } });
float_fn!(Min3(a, b, c, m):
    single { Min::single(Min::single(a, b, c, m), c, c, m) }
    double { Min::double(Min::double(a, b, c, m), c, c, m) }
    half { Min::half(Min::half(a, b, c, m), c, c, m) });
float_fn!(Max3(a, b, c, m):
    single { Max::single(Max::single(a, b, c, m), c, c, m) }
    double { Max::double(Max::double(a, b, c, m), c, c, m) }
    half { Max::half(Max::half(a, b, c, m), c, c, m) });
float_fn!(Rsqrt(a, b, c, m):
    single { (1.0 / f64::from(a).sqrt()) as f32 }
    double { 1.0 / a.sqrt() }
    half { 1.0 / a.sqrt() });
float_fn!(Sin(a, b, c, m):
    single { a.sin() } double { a.sin() } half { a.sin() });
float_fn!(Cos(a, b, c, m):
    single { a.cos() } double { a.cos() } half { a.cos() });
float_fn!(Lg2(a, b, c, m):
    single { approx::lg2(a) } double { a.log2() } half { a.log2() });
float_fn!(Ex2(a, b, c, m):
    single { approx::ex2(a) } double { a.exp2() } half { a.exp2() });
float_fn!(Tanh(a, b, c, m):
    single { approx::tanh(a) } double { a.tanh() } half { a.tanh() });

/// The reciprocal of `f64` as `rcp.approx.ftz.f64` gives it: the low half of the result is zero.
pub(in crate::engine) struct RcpCoarse;
/// As [`RcpCoarse`], for `rsqrt.approx.ftz.f64`.
pub(in crate::engine) struct RsqrtCoarse;

impl FloatFn for RcpCoarse {
    #[inline(always)]
    fn single(a: f32, b: f32, c: f32, m: Mode) -> f32 {
        Rcp::single(a, b, c, m)
    }
    #[inline(always)]
    fn double(a: f64, _: f64, _: f64, _: Mode) -> f64 {
        coarse(1.0 / coarse(a))
    }
    #[inline(always)]
    fn half(a: f64, b: f64, c: f64, m: Mode) -> f64 {
        Rcp::half(a, b, c, m)
    }
}

impl FloatFn for RsqrtCoarse {
    #[inline(always)]
    fn single(a: f32, b: f32, c: f32, m: Mode) -> f32 {
        Rsqrt::single(a, b, c, m)
    }
    #[inline(always)]
    fn double(a: f64, _: f64, _: f64, _: Mode) -> f64 {
        coarse(1.0 / coarse(a).sqrt())
    }
    #[inline(always)]
    fn half(a: f64, b: f64, c: f64, m: Mode) -> f64 {
        Rsqrt::half(a, b, c, m)
    }
}

/// Flushes subnormals and clears the low 32 bits.
#[inline(always)]
fn coarse(x: f64) -> f64 {
    let bits = x.to_bits();
    let bits = if x.is_subnormal() { bits & 1 << 63 } else { bits };
    if x.is_nan() {
        f64::from_bits(0x7fff_ffff_0000_0000)
    } else {
        f64::from_bits(bits & !0xffff_ffff)
    }
}

fn directed_sum(a: f32, b: f32, mode: Mode) -> f32 {
    directed_fma(a, 1.0, b, mode)
}

fn directed_fma(a: f32, b: f32, c: f32, mode: Mode) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    if product == -c && product.is_finite() {
        // An exact zero is negative only when rounding down, unless both terms are.
        let both_negative = product == 0.0 && product.is_sign_negative() && c.is_sign_negative();
        let both_positive = product == 0.0 && product.is_sign_positive() && c.is_sign_positive();
        let negative = both_negative || (!both_positive && mode.rounding() == Rounding::Rm);
        return if negative { -0.0 } else { 0.0 };
    }
    narrow(round::add_odd(product, c), mode)
}

#[inline(always)]
fn with_sign_of_product(a: f32, b: f32, magnitude: f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    f32::from_bits(magnitude.to_bits() & 0x7fff_ffff | sign)
}

fn half_with_sign(a: f64, b: f64, magnitude: f64) -> f64 {
    if a.is_sign_negative() != b.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// A change of the sign bits: `(a & and) ^ xor`, per word; `imm` holds both masks.
pub(in crate::engine) struct SignBits<const FTZ: bool>;
impl<const FTZ: bool> Handler for SignBits<FTZ> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (and, xor) = ((op.imm >> 32) as u32, op.imm as u32);
        let a = cx.read32(op.a);
        let mut r = [0; LANES];
        for i in 0..LANES {
            let x = if FTZ { flush(f32::from_bits(a[i])).to_bits() } else { a[i] };
            r[i] = x & and ^ xor;
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

lane_fn!(NegF64(a: f64) -> f64 { -a });
lane_fn!(AbsF64(a: f64) -> f64 { a.abs() });
lane_fn!(Copysign32(a: u32, b: u32) -> u32 { b & 0x7fff_ffff | a & 0x8000_0000 });
lane_fn!(Copysign64(a: f64, b: f64) -> f64 { b.copysign(a) });
