//! Which levels of a mipmapped image are read.

use super::{Sampler, Texture};

/// Two levels and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Levels {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) weight: f64,
}

/// The levels for a level of detail, which is clamped by the sampler and to what there is.
pub(super) fn levels(sampler: &Sampler, detail: f64, count: usize) -> Levels {
    let last = count.saturating_sub(1) as f64;
    let [low, high] = sampler.level_clamp.map(f64::from);
    let detail = if detail.is_nan() { 0.0 } else { detail };
    let detail = detail.min(high).max(low).clamp(0.0, last);
    if !sampler.linear_levels {
        let level = (detail + 0.5).floor().min(last) as usize;
        return Levels { first: level, second: level, weight: 0.0 };
    }
    let fixed = (detail * 256.0).round() as usize;
    let first = fixed / 256;
    Levels { first, second: (first + 1).min(count.saturating_sub(1)), weight: (fixed % 256) as f64 / 256.0 }
}

impl Texture {
    /// Level of detail of two gradients, in coordinates.
    pub(super) fn detail_of(&self, gradients: [[f32; 3]; 2], scale: f64) -> f64 {
        let size = self.image.levels.first().map_or([1; 3], |level| level.size);
        let length = |gradient: [f32; 3]| {
            let texels = |(d, size): (f32, u32)| {
                let size = if self.sampler.normalized_coordinates { f64::from(size) } else { 1.0 };
                f64::from(d) * size * scale
            };
            gradient.into_iter().zip(size).map(texels).map(|d| d * d).sum::<f64>().sqrt()
        };
        length(gradients[0]).max(length(gradients[1])).log2()
    }
}
