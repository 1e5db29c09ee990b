//! Surface loads, stores and reductions.

use super::{Image, Level};
use crate::memory::{AccessError, Pinned};

/// What happens outside of a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Bounds {
    /// The launch ends.
    Trap,
    /// The nearest place is meant.
    Clamp,
    /// Loads give zero, stores do nothing.
    Zero,
}

/// What a place on a surface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Location {
    /// An address.
    At(u64),
    /// Outside, where nothing is read or written.
    Nowhere,
    /// Outside, which ends the launch.
    Trap,
}

impl Image {
    /// The address of `size` bytes at byte `x`, row `y` and slice or layer `z`. Like hardware, it
    /// takes `x` as a multiple of `size`.
    pub(in crate::engine) fn locate(&self, [x, y, z]: [i32; 3], size: u32, bounds: Bounds) -> Location {
        const EMPTY: &Level = &Level { base: 0, pitch: 0, slice: 0, size: [0; 3] };
        let level = self.levels.first().unwrap_or(EMPTY);
        let [width, height, depth] = level.size.map(i64::from);
        let (size, row) = (i64::from(size), width * i64::from(self.format.bytes()));
        let mut at = [i64::from(x).div_euclid(size) * size, i64::from(y), i64::from(z)];
        let last = [row - size, height - 1, depth - 1];
        if last.iter().any(|last| *last < 0) {
            return Location::Trap;
        }
        let outside = at.iter().zip(last).any(|(at, last)| *at < 0 || *at > last);
        match bounds {
            _ if !outside => {}
            Bounds::Trap => return Location::Trap,
            Bounds::Zero => return Location::Nowhere,
            Bounds::Clamp => at.iter_mut().zip(last).for_each(|(at, last)| *at = (*at).clamp(0, last)),
        }
        let [x, y, z] = at.map(|at| at as u64);
        let offset = x.wrapping_add(y.wrapping_mul(level.pitch)).wrapping_add(z.wrapping_mul(level.slice));
        Location::At(level.base.wrapping_add(offset))
    }

    /// Stores channels as the surface's format demands; the address is that of a texel.
    pub(in crate::engine) fn store_formatted(
        &self,
        memory: &Pinned<'_>,
        address: u64,
        channels: [u32; 4],
    ) -> Result<(), AccessError> {
        self.format.store(memory, address, channels.map(|channel| self.format.encode(channel)))
    }
}
