//! 8-bit floats.

use super::round::F16;
use crate::ir::{Fp8Conversion, Fp8Type, Rounding};

/// The NaN of both formats, without its sign.
const NAN: u8 = 0x7f;

/// The value of `e4m3` bits.
#[inline(always)]
pub(in crate::engine) fn e4m3(bits: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
    let magnitude = match (bits & NAN, exponent) {
        (NAN, _) => f64::NAN,
        (_, 0) => mantissa / 512.0,
        _ => (8.0 + mantissa) * f64::from_bits(((exponent - 10 + 1023) as u64) << 52),
    };
    if bits & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// The nearest number of 8 bits, at most the largest finite one.
fn nearest(x: f64, ty: Fp8Type) -> u8 {
    let (mantissa, bias, largest) = match ty {
        Fp8Type::E4M3 => (3, 7, 0x7e),
        Fp8Type::E5M2 => (2, 15, 0x7b),
    };
    if x.is_nan() {
        return NAN;
    }
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    if x == 0.0 {
        return sign;
    }
    let least = 1 - bias;
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(least);
    if exponent > 16 {
        return sign | largest;
    }
    // Exact: a power of two in the range of `f64`.
    let quantum = f64::from_bits(((exponent - mantissa + 1023) as u64) << 52);
    let kept = (x.abs() / quantum).round_ties_even() as i32;
    // The leading bit of a normal number adds one to the exponent field.
    let bits = ((exponent - least) << mantissa) + kept;
    sign | bits.min(i32::from(largest)) as u8
}

fn relu(x: f64, relu: bool) -> f64 {
    if relu && x <= 0.0 {
        0.0
    } else {
        x
    }
}

/// Converts a pair; see [`Fp8Conversion`].
pub(in crate::engine) fn convert(conversion: Fp8Conversion, ty: Fp8Type, clamp: bool, a: u32, b: u32) -> u32 {
    let narrow = |x: f64| u32::from(nearest(relu(x, clamp), ty));
    match conversion {
        Fp8Conversion::FromF32Pair => {
            let single = |bits: u32| narrow(f32::from_bits(bits).into());
            single(a) << 8 | single(b)
        }
        Fp8Conversion::FromF16x2 => narrow(F16.widen(a >> 16)) << 8 | narrow(F16.widen(a & 0xffff)),
        Fp8Conversion::ToF16x2 => {
            let widen = |bits: u32| {
                let value = match ty {
                    Fp8Type::E4M3 => e4m3(bits as u8),
                    Fp8Type::E5M2 => F16.widen((bits & 0xff) << 8),
                };
                F16.round(relu(value, clamp), Rounding::Rn)
            };
            widen(a >> 8) << 16 | widen(a)
        }
    }
}
