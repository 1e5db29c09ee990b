//! `f64` arithmetic with directed rounding, which the host's instructions do not offer.

use crate::ir::Rounding;
use rustc_apfloat::ieee::Double;
use rustc_apfloat::{Float, Round};

fn double(x: f64) -> Double {
    Double::from_bits(u128::from(x.to_bits()))
}

fn value(x: Double) -> f64 {
    f64::from_bits(x.to_bits() as u64)
}

fn round(rounding: Rounding) -> Round {
    match rounding {
        Rounding::Rn => Round::NearestTiesToEven,
        Rounding::Rz => Round::TowardZero,
        Rounding::Rm => Round::TowardNegative,
        Rounding::Rp => Round::TowardPositive,
        Rounding::Rna => Round::NearestTiesToAway,
    }
}

/// `a + b`
pub(in crate::engine) fn add(a: f64, b: f64, rounding: Rounding) -> f64 {
    value(double(a).add_r(double(b), round(rounding)).value)
}

/// `a * b`
pub(in crate::engine) fn mul(a: f64, b: f64, rounding: Rounding) -> f64 {
    value(double(a).mul_r(double(b), round(rounding)).value)
}

/// `a / b`
pub(in crate::engine) fn div(a: f64, b: f64, rounding: Rounding) -> f64 {
    value(double(a).div_r(double(b), round(rounding)).value)
}

/// `a * b + c`
pub(in crate::engine) fn fma(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    value(double(a).mul_add_r(double(b), double(c), round(rounding)).value)
}

/// Square root: the host's result, corrected by the sign of what is left over.
pub(in crate::engine) fn sqrt(a: f64, rounding: Rounding) -> f64 {
    let root = a.sqrt();
    if rounding == Rounding::Rn || !root.is_finite() || root == 0.0 {
        return root;
    }
    // Scaled by a power of four so that the residual does not underflow.
    let (scaled, scaled_root) = if a < 1e-200 { (a * 2f64.powi(600), root * 2f64.powi(300)) } else { (a, root) };
    let rest = (-scaled_root).mul_add(scaled_root, scaled);
    match rounding {
        Rounding::Rp if rest > 0.0 => root.next_up(),
        Rounding::Rz | Rounding::Rm if rest < 0.0 => root.next_down(),
        _ => root,
    }
}

/// An integer as `f64`.
pub(in crate::engine) fn from_int(value: i128, rounding: Rounding) -> f64 {
    let near = value as f64;
    let exact = near as i128;
    let up = match rounding {
        Rounding::Rz => value < 0,
        Rounding::Rp => true,
        Rounding::Rm => false,
        Rounding::Rn | Rounding::Rna => return near,
    };
    if up && exact < value {
        near.next_up()
    } else if !up && exact > value {
        near.next_down()
    } else {
        near
    }
}
