//! Floating-point arithmetic in the formats and rounding modes of PTX.

pub mod approx;
pub(super) mod fp8;
pub(super) mod half;
pub(super) mod round;
pub(super) mod wide;

use crate::ir::{FloatMode, Rounding};

/// The NaN that PTX's `f32` operations return.
pub(super) const NAN_F32: f32 = f32::from_bits(0x7fff_ffff);

/// [`FloatMode`] packed into the immediate of a micro-operation.
#[derive(Clone, Copy)]
pub(super) struct Mode(u64);

impl Mode {
    pub(super) fn pack(mode: FloatMode) -> u64 {
        let rounding = match mode.rounding {
            Rounding::Rn => 0,
            Rounding::Rz => 1,
            Rounding::Rm => 2,
            Rounding::Rp => 3,
            Rounding::Rna => 4,
        };
        let flags = [mode.ftz, mode.sat, mode.relu, mode.nan, mode.xorsign_abs];
        let flags = flags.iter().enumerate().map(|(i, set)| u64::from(*set) << i).sum::<u64>();
        flags | rounding << 8
    }

    #[inline(always)]
    pub(super) fn unpack(imm: u64) -> Mode {
        Mode(imm)
    }

    #[inline(always)]
    pub(super) fn ftz(self) -> bool {
        self.0 & 1 != 0
    }

    #[inline(always)]
    pub(super) fn sat(self) -> bool {
        self.0 & 2 != 0
    }

    #[inline(always)]
    pub(super) fn relu(self) -> bool {
        self.0 & 4 != 0
    }

    #[inline(always)]
    pub(super) fn nan(self) -> bool {
        self.0 & 8 != 0
    }

    #[inline(always)]
    pub(super) fn xorsign(self) -> bool {
        self.0 & 16 != 0
    }

    #[inline(always)]
    pub(super) fn rounding(self) -> Rounding {
        match self.0 >> 8 & 7 {
            0 => Rounding::Rn,
            1 => Rounding::Rz,
            2 => Rounding::Rm,
            3 => Rounding::Rp,
            _ => Rounding::Rna,
        }
    }

    /// An input as the operation sees it.
    #[inline(always)]
    pub(super) fn input(self, x: f32) -> f32 {
        if self.ftz() {
            flush(x)
        } else {
            x
        }
    }

    /// A result after flushing, clamping and canonicalisation.
    #[inline(always)]
    pub(super) fn output(self, x: f32) -> f32 {
        let x = if self.ftz() { flush(x) } else { x };
        let x = if self.relu() && x <= 0.0 { 0.0 } else { x };
        let x = if x.is_nan() { NAN_F32 } else { x };
        if self.sat() {
            saturate(x)
        } else {
            x
        }
    }
}

/// Subnormals become zero of the same sign.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

/// Clamps to [0, 1]; NaN becomes +0.
#[inline(always)]
pub(super) fn saturate(x: f32) -> f32 {
    if x > 0.0 {
        if x < 1.0 {
            x
        } else {
            1.0
        }
    } else {
        0.0
    }
}

/// Clamps to [0, 1]; NaN becomes +0.
#[inline(always)]
pub(super) fn saturate64(x: f64) -> f64 {
    if x > 0.0 {
        if x < 1.0 {
            x
        } else {
            1.0
        }
    } else {
        0.0
    }
}

/// `min` or `max` of PTX: -0 is below +0; one NaN is ignored unless `nan`.
#[inline(always)]
pub(super) fn min_max(a: f64, b: f64, max: bool, nan: bool) -> f64 {
    let (low, high) = if a < b || (a == b && a.is_sign_negative()) { (a, b) } else { (b, a) };
    let number = if max { high } else { low };
    let either = if a.is_nan() { b } else { a };
    if a.is_nan() || b.is_nan() {
        if nan {
            f64::NAN
        } else {
            either
        }
    } else {
        number
    }
}

/// As [`min_max`], for `f32`.
#[inline(always)]
pub(super) fn min_max32(a: f32, b: f32, max: bool, nan: bool) -> f32 {
    let (low, high) = if a < b || (a == b && a.is_sign_negative()) { (a, b) } else { (b, a) };
    let number = if max { high } else { low };
    let either = if a.is_nan() { b } else { a };
    if a.is_nan() || b.is_nan() {
        if nan {
            f32::NAN
        } else {
            either
        }
    } else {
        number
    }
}
