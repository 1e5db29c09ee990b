//! Rounding to a narrower format in any direction.
//!
//! Wide intermediate results are "rounded to odd": an inexact result has its last
//! bit set. A later rounding to a format with at least two bits less, in any
//! direction, then gives what rounding the exact value would have given.

use crate::ir::Rounding;

/// A binary interchange format narrower than `f64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Format {
    mantissa: u32,
    exponent: u32,
}

/// IEEE 754 binary16.
pub(in crate::engine) const F16: Format = Format { mantissa: 10, exponent: 5 };
/// bfloat16.
pub(in crate::engine) const BF16: Format = Format { mantissa: 7, exponent: 8 };
/// `f32` with 10 bits of mantissa, as a 19-bit number.
pub(in crate::engine) const TF32: Format = Format { mantissa: 10, exponent: 8 };
/// IEEE 754 binary32.
pub(in crate::engine) const F32: Format = Format { mantissa: 23, exponent: 8 };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// Bits of +infinity.
    pub(in crate::engine) fn infinity(self) -> u32 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    /// Bits of the canonical NaN: all ones but the sign.
    pub(in crate::engine) fn nan(self) -> u32 {
        self.sign() - 1
    }

    /// The sign bit.
    pub(in crate::engine) fn sign(self) -> u32 {
        1 << (self.mantissa + self.exponent)
    }

    /// Smallest normal number as bits.
    pub(in crate::engine) fn least_normal(self) -> u32 {
        1 << self.mantissa
    }

    /// The nearest value in the given direction, as bits of this format.
    pub(in crate::engine) fn round(self, x: f64, rounding: Rounding) -> u32 {
        let sign = if x.is_sign_negative() { self.sign() } else { 0 };
        if x.is_nan() {
            return self.nan();
        }
        if x.is_infinite() {
            return sign | self.infinity();
        }
        if x == 0.0 {
            return sign;
        }
        sign | self.round_magnitude(x.abs(), direction(rounding, sign != 0))
    }

    fn round_magnitude(self, x: f64, direction: Direction) -> u32 {
        let bits = x.to_bits();
        let raw_exponent = (bits >> 52) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (significand, exponent) =
            if raw_exponent == 0 { (fraction, -1022) } else { (fraction | 1 << 52, raw_exponent - 1023) };
        let least = 1 - self.bias();
        let extra = (least - exponent).max(0) as u32;
        // More than 63 bits below the last one are as good as 63.
        let shift = (52 - self.mantissa + extra).min(63);
        let kept = significand >> shift;
        let rest = significand & ((1 << shift) - 1);
        let half = 1u64 << (shift - 1);
        let up = match direction {
            Direction::Down => false,
            Direction::Up => rest != 0,
            Direction::Nearest => rest > half || (rest == half && kept & 1 != 0),
            Direction::NearestAway => rest >= half,
        };
        let kept = kept + u64::from(up);
        // The leading bit of a normal number adds one to the exponent field.
        let field = (exponent.max(least) - least) as u64;
        let result = (field << self.mantissa) + kept;
        if result < u64::from(self.infinity()) {
            return result as u32;
        }
        match direction {
            Direction::Down => self.infinity() - 1,
            _ => self.infinity(),
        }
    }

    /// The value of bits of this format.
    pub(in crate::engine) fn widen(self, bits: u32) -> f64 {
        let magnitude = bits & (self.sign() - 1);
        let value = if magnitude > self.infinity() {
            f64::NAN
        } else if magnitude == self.infinity() {
            f64::INFINITY
        } else {
            let field = (magnitude >> self.mantissa) as i32;
            let fraction = u64::from(magnitude & (self.least_normal() - 1));
            if field == 0 {
                fraction as f64 * exp2(1 - self.bias() - self.mantissa as i32)
            } else {
                let exponent = (field - self.bias() + 1023) as u64;
                f64::from_bits(exponent << 52 | fraction << (52 - self.mantissa))
            }
        };
        if bits & self.sign() != 0 {
            -value
        } else {
            value
        }
    }
}

/// 2 to a power within the normal range of `f64`.
fn exp2(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Rounding of a magnitude.
enum Direction {
    Down,
    Up,
    Nearest,
    NearestAway,
}

fn direction(rounding: Rounding, negative: bool) -> Direction {
    match (rounding, negative) {
        (Rounding::Rn, _) => Direction::Nearest,
        (Rounding::Rna, _) => Direction::NearestAway,
        (Rounding::Rz, _) | (Rounding::Rm, false) | (Rounding::Rp, true) => Direction::Down,
        (Rounding::Rm, true) | (Rounding::Rp, false) => Direction::Up,
    }
}

/// `sum`, whose exact value is `sum + error`, rounded to odd.
#[inline(always)]
fn to_odd(sum: f64, error: f64) -> f64 {
    let bits = sum.to_bits();
    if error == 0.0 || !sum.is_finite() || error.is_nan() || bits & 1 != 0 {
        return sum;
    }
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { bits + 1 } else { bits - 1 })
}

/// `a + b` rounded to odd.
#[inline(always)]
pub(in crate::engine) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let from_b = sum - a;
    let error = (a - (sum - from_b)) + (b - from_b);
    to_odd(sum, error)
}

/// `a * b + c` rounded to odd, where `a * b` is exact in `f64`.
#[inline(always)]
pub(in crate::engine) fn fma_odd(a: f64, b: f64, c: f64) -> f64 {
    add_odd(a * b, c)
}

/// `a / b` rounded to odd, for inputs that came from `f32` or narrower.
#[inline(always)]
pub(in crate::engine) fn div_odd(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    let rest = (-quotient).mul_add(b, a);
    to_odd(quotient, if b < 0.0 { -rest } else { rest })
}

/// Square root rounded to odd, for inputs that came from `f32` or narrower.
#[inline(always)]
pub(in crate::engine) fn sqrt_odd(a: f64) -> f64 {
    let root = a.sqrt();
    to_odd(root, (-root).mul_add(root, a))
}

/// An integer rounded to odd.
pub(in crate::engine) fn int_odd(value: i128) -> f64 {
    let near = value as f64;
    to_odd(near, (value - near as i128) as f64)
}
