//! Approximate functions of `f32` from additions, multiplications and fused ones only: the same steps give the same
//! bits in any tier and vector width. Errors are below 2 units in the last place, within the bounds of PTX ISA 9.7.3.

use std::f32::consts::{LN_2, LOG2_E};

/// `2^f = 1 + f * p(f)` for `f` from -1/2 to 1/2; the lowest coefficient comes first, as in all of these.
pub const EX2: [f32; 6] = [LN_2, 0.240_226_5, 0.055_503_57, 0.009_618_057, 0.001_339_086_8, 0.000_154_614_48];
/// What arguments of [`ex2`] are limited to: beyond, results are infinite or zero.
pub const EX2_LIMITS: [f32; 2] = [-160.0, 129.0];
/// Added to a number below 2^22, this rounds it to an integer, which is then in the lowest bits.
pub const TO_INTEGER: f32 = 12_582_912.0;

/// `log2(1 + f) = f * p(f)` for `1 + f` from the root of 1/2 to that of 2.
pub const LG2: [f32; 9] = [
    LOG2_E,
    -0.721_347_33,
    0.480_910_6,
    -0.360_704_84,
    0.287_918_33,
    -0.238_920_32,
    0.215_669_92,
    -0.207_421_29,
    0.126_148_64,
];
/// Bits of the root of 1/2.
pub const LG2_START: u32 = 0x3f35_04f3;
/// Subnormal arguments of [`lg2`] are multiplied by 2 to the power of this.
pub const LG2_SCALE: i32 = 23;

/// `tanh(x) = x + x * t * p(t)` with `t = x * x` for `x` up to [`TANH_NEAR`].
pub const TANH: [f32; 5] = [-0.333_333_3, 0.133_329_23, -0.053_874_888, 0.021_114_923, -0.006_274_338_4];
pub const TANH_NEAR: f32 = 0.6;
/// Beyond, `tanh` is 1.
pub const TANH_FAR: f32 = 10.0;
/// Twice the binary logarithm of e.
pub const TWO_LOG2_E: f32 = 2.0 * LOG2_E;

/// A power of two.
pub fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
}

#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    coefficients.into_iter().rev().reduce(|sum, c| sum.mul_add(x, c)).unwrap_or(0.0)
}

/// 2 to the power of `x`.
#[inline(always)]
pub(in crate::engine) fn ex2(x: f32) -> f32 {
    let [least, most] = EX2_LIMITS;
    let x = if x > most { most } else { x };
    let x = if x < least { least } else { x };
    let rounded = x + TO_INTEGER;
    let fraction = x - (rounded - TO_INTEGER);
    let value = fraction.mul_add(polynomial(EX2, fraction), 1.0);
    let exponent = rounded.to_bits().wrapping_sub(TO_INTEGER.to_bits()) as i32;
    // In two steps, since neither the largest nor the smallest result's factor is a normal number.
    let half = exponent >> 1;
    value * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

/// The binary logarithm.
#[inline(always)]
pub(in crate::engine) fn lg2(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * power_of_two(LG2_SCALE) } else { x };
    let bits = scaled.to_bits();
    let exponent = bits.wrapping_sub(LG2_START) as i32 >> 23;
    let fraction = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23)) - 1.0;
    let whole = exponent as f32 - if small { LG2_SCALE as f32 } else { 0.0 };
    let value = fraction.mul_add(polynomial(LG2, fraction), whole);
    let value = if x < f32::INFINITY { value } else { x };
    let outside = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    if x <= 0.0 {
        outside
    } else {
        value
    }
}

/// The hyperbolic tangent.
#[inline(always)]
pub(in crate::engine) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = size * size;
    let near = (size * square).mul_add(polynomial(TANH, square), size);
    let limited = if size > TANH_FAR { TANH_FAR } else { size };
    let far = 1.0 - 2.0 / (ex2(limited * TWO_LOG2_E) + 1.0);
    let value = if size < TANH_NEAR { near } else { far };
    f32::from_bits(value.to_bits() & 0x7fff_ffff | x.to_bits() & 0x8000_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error of a function, in units in the last place of the result.
    fn worst(function: fn(f32) -> f32, exact: fn(f64) -> f64, arguments: impl Iterator<Item = u32>) -> (f64, f32) {
        let error = |x: f32| {
            let exact = exact(f64::from(x));
            let got = f64::from(function(x));
            if exact.is_nan() || exact.abs() > f64::from(f32::MAX) {
                let same = got.is_nan() == exact.is_nan() && (exact.is_nan() || got == f64::from(exact as f32));
                return if same || got == f64::from(f32::MAX) { 0.0 } else { f64::INFINITY };
            }
            let nearest = (exact as f32).abs().max(f32::MIN_POSITIVE);
            (got - exact).abs() / (f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest))
        };
        arguments.map(f32::from_bits).fold((0.0, 0.0), |(worst, at), x| match error(x) {
            more if more > worst => (more, x),
            _ => (worst, at),
        })
    }

    /// Every so many-th number, and the special ones.
    fn numbers() -> impl Iterator<Item = u32> {
        let special = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 128.0, -149.0, 0.6];
        let near = special.into_iter().flat_map(|x: f32| (0..1000).map(move |d| x.to_bits().wrapping_add(d)));
        (0..u32::MAX).step_by(1009).chain(near)
    }

    #[test]
    fn approximations_are_as_good_as_they_say() {
        type Function = (&'static str, fn(f32) -> f32, fn(f64) -> f64);
        let functions: [Function; 3] = [("ex2", ex2, f64::exp2), ("lg2", lg2, f64::log2), ("tanh", tanh, f64::tanh)];
        for (name, function, exact) in functions {
            let (worst, at) = worst(function, exact, numbers());
            println!("{name}: {worst} at {at}");
            assert!(worst < 2.0, "{name}({at}) is off by {worst} units in the last place");
        }
    }
}
