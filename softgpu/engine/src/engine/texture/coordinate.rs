//! From coordinates to texels, by the formulas of the CUDA C++ programming guide ("Texture Fetching").

use super::AddressMode;

/// Fractions of a texel that interpolation tells apart: weights have 8 fractional bits.
const STEPS: f64 = 256.0;
/// Coordinates beyond are as good as infinite, texels.
const FAR: f64 = (1u64 << 40) as f64;

/// Two neighbouring texels along one dimension, and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) first: i64,
    pub(super) weight: f64,
}

fn bounded(x: f64) -> f64 {
    if x.is_nan() {
        0.0
    } else {
        x.clamp(-FAR, FAR)
    }
}

/// The texel that contains a coordinate (in texels).
pub(super) fn nearest(x: f64) -> i64 {
    bounded(x).floor() as i64
}

/// The texels around a coordinate (in texels).
pub(super) fn around(x: f64) -> Pair {
    let fixed = (bounded(x - 0.5) * STEPS).round() as i64;
    let steps = STEPS as i64;
    Pair { first: fixed.div_euclid(steps), weight: fixed.rem_euclid(steps) as f64 / STEPS }
}

/// The texel of an image of `size` texels that stands for texel `i`; `None` for the border.
pub(super) fn wrap(mode: AddressMode, i: i64, size: u32) -> Option<u32> {
    let size = i64::from(size);
    let i = match mode {
        AddressMode::Clamp => i.clamp(0, size - 1),
        AddressMode::Wrap => i.rem_euclid(size),
        AddressMode::Mirror => {
            let twice = i.rem_euclid(2 * size);
            twice.min(2 * size - 1 - twice)
        }
        AddressMode::Border => i,
    };
    u32::try_from(i).ok().filter(|i| i64::from(*i) < size)
}

/// Face of a cube that a direction points to, and the place on it from 0 to 1 in both dimensions.
pub(super) fn face([x, y, z]: [f64; 3]) -> (u32, [f64; 2], f64) {
    let [ax, ay, az] = [x.abs(), y.abs(), z.abs()];
    let (face, m, s, t) = if ax >= ay && ax >= az {
        if x >= 0.0 {
            (0, ax, -z, -y)
        } else {
            (1, ax, z, -y)
        }
    } else if ay >= az {
        if y >= 0.0 {
            (2, ay, x, z)
        } else {
            (3, ay, x, -z)
        }
    } else if z >= 0.0 {
        (4, az, x, -y)
    } else {
        (5, az, -x, -y)
    };
    let place = |v: f64| if m > 0.0 { (v / m + 1.0) / 2.0 } else { 0.5 };
    (face, [place(s), place(t)], m)
}
