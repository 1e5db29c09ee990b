//! Texture fetches and gathers.

use super::coordinate::{around, face, nearest, wrap, Pair};
use super::format::linear_of_srgb;
use super::level::levels;
use super::{AddressMode, Level, Shape, Texture};
use crate::ir::TexGeometry;
use crate::memory::{AccessError, Pinned};

/// How a fetch chooses the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) enum Mode {
    /// The first one.
    Base,
    /// By a level of detail.
    Level(f32),
    /// By the coordinates' derivatives in two directions.
    Gradient([[f32; 3]; 2]),
    /// The first one; gives one channel of the four texels around the place.
    Gather(u8),
}

/// The place of a fetch, as an instruction gives it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Coordinates {
    pub(in crate::engine) geometry: TexGeometry,
    /// Up to three numbers, as bits.
    pub(in crate::engine) place: [u32; 3],
    /// Which layer, where there are layers.
    pub(in crate::engine) layer: u32,
    /// Whether the place is integers, in texels.
    pub(in crate::engine) integer: bool,
}

/// A fetch.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Fetch {
    pub(in crate::engine) at: Coordinates,
    pub(in crate::engine) mode: Mode,
}

/// A place on one level.
struct Spot<'t> {
    level: &'t Level,
    /// In texels; unused dimensions are 0.
    place: [f64; 3],
    /// How many dimensions are interpolated.
    dimensions: usize,
    /// Index of the layer or face where the third dimension is not interpolated.
    layer: u32,
    address: [AddressMode; 3],
}

/// Where a fetch points to, in normalized or texel coordinates.
struct Target {
    place: [f64; 3],
    layer: u32,
    normalized: bool,
    /// What gradients of this place have to be multiplied with.
    gradient_scale: f64,
}

impl Texture {
    /// The four channels, as bits of floats or integers.
    pub(in crate::engine) fn fetch(&self, memory: &Pinned<'_>, fetch: &Fetch) -> Result<[u32; 4], AccessError> {
        let target = self.target(&fetch.at);
        let detail = match fetch.mode {
            Mode::Base => 0.0,
            Mode::Level(detail) => f64::from(detail) + f64::from(self.sampler.level_bias),
            Mode::Gradient(gradients) => {
                self.detail_of(gradients, target.gradient_scale) + f64::from(self.sampler.level_bias)
            }
            Mode::Gather(channel) => return self.gather(memory, &self.spot(&fetch.at, &target, 0), channel),
        };
        let chosen = levels(&self.sampler, detail, self.image.levels.len());
        let first = self.spot(&fetch.at, &target, chosen.first);
        if !self.image.format.is_float(self.sampler.normalized_values) {
            return self.integers(memory, &first);
        }
        let mut colour = self.floats(memory, &first, fetch.at.integer)?;
        if chosen.weight > 0.0 {
            let second = self.floats(memory, &self.spot(&fetch.at, &target, chosen.second), fetch.at.integer)?;
            for (a, b) in colour.iter_mut().zip(second) {
                *a = *a * (1.0 - chosen.weight) + b * chosen.weight;
            }
        }
        Ok(colour.map(|channel| (channel as f32).to_bits()))
    }

    fn target(&self, at: &Coordinates) -> Target {
        let place = at.place.map(|bits| match at.integer {
            true => f64::from(bits as i32),
            false => f64::from(f32::from_bits(bits)),
        });
        let normalized = self.sampler.normalized_coordinates && !at.integer;
        if matches!(at.geometry, TexGeometry::Cube | TexGeometry::CubeArray) {
            let (face, [s, t], length) = face(place);
            let cubes = self.image.levels.first().map_or(0, |level| level.size[2] / 6);
            let layer = at.layer.min(cubes.saturating_sub(1)) * 6 + face;
            let scale = if length > 0.0 { 0.5 / length } else { 0.0 };
            return Target { place: [s, t, 0.0], layer, normalized: true, gradient_scale: scale };
        }
        Target { place, layer: at.layer, normalized, gradient_scale: 1.0 }
    }

    fn spot(&self, at: &Coordinates, target: &Target, level: usize) -> Spot<'_> {
        const EMPTY: &Level = &Level { base: 0, pitch: 0, slice: 0, size: [0; 3] };
        let level = self.image.levels.get(level).unwrap_or(EMPTY);
        let dimensions = match at.geometry {
            TexGeometry::D1 | TexGeometry::D1Array => 1,
            TexGeometry::D3 => 3,
            _ => 2,
        };
        let mut place = [0.0; 3];
        for (i, (to, from)) in place.iter_mut().zip(target.place).take(dimensions).enumerate() {
            *to = if target.normalized { from * f64::from(level.size[i]) } else { from };
        }
        let address = self.sampler.address.map(|mode| match mode {
            // A face ends at its edges.
            _ if self.image.shape == Shape::Cube => AddressMode::Clamp,
            AddressMode::Wrap | AddressMode::Mirror if !target.normalized => AddressMode::Clamp,
            mode => mode,
        });
        Spot { level, place, dimensions, layer: target.layer, address }
    }

    /// The bits of a texel; `None` outside of the image.
    fn texel(&self, memory: &Pinned<'_>, spot: &Spot<'_>, at: [i64; 3]) -> Result<Option<[u32; 4]>, AccessError> {
        let mut index = [0; 3];
        for (i, place) in index.iter_mut().enumerate() {
            let size = spot.level.size[i];
            let inside = match i {
                _ if size == 0 => None,
                // Beyond the dimensions of the instruction lies the layer, or nothing.
                2 if spot.dimensions < 3 => Some(spot.layer.min(size - 1)),
                i if i >= spot.dimensions => Some(0),
                i if self.sampler.buffer => wrap(AddressMode::Border, at[i], size),
                i => wrap(spot.address[i], at[i], size),
            };
            let Some(inside) = inside else { return Ok(None) };
            *place = u64::from(inside);
        }
        let strides = [self.image.format.bytes().into(), spot.level.pitch, spot.level.slice];
        let add = |address: u64, (index, stride): (u64, u64)| address.wrapping_add(index.wrapping_mul(stride));
        let address = index.into_iter().zip(strides).fold(spot.level.base, add);
        self.image.format.load(memory, address).map(Some)
    }

    fn integers(&self, memory: &Pinned<'_>, spot: &Spot<'_>) -> Result<[u32; 4], AccessError> {
        let format = self.image.format;
        Ok(match self.texel(memory, spot, spot.place.map(nearest))? {
            Some(bits) => bits.map(|bits| format.integer(bits)),
            None => self.outside().map(|channel| channel as i64 as u32),
        })
    }

    /// The colour beyond the border.
    fn outside(&self) -> [f32; 4] {
        if self.sampler.buffer {
            [0.0; 4]
        } else {
            self.sampler.border
        }
    }

    fn colour(&self, memory: &Pinned<'_>, spot: &Spot<'_>, at: [i64; 3]) -> Result<[f32; 4], AccessError> {
        let format = self.image.format;
        let Some(bits) = self.texel(memory, spot, at)? else { return Ok(self.outside()) };
        let mut colour = [0.0; 4];
        for (i, (channel, bits)) in colour.iter_mut().zip(bits).take(format.channels as usize).enumerate() {
            *channel = format.float(bits);
            if self.sampler.srgb && i < 3 && format.channel_bytes == 1 {
                *channel = linear_of_srgb(*channel);
            }
        }
        Ok(colour)
    }

    fn floats(&self, memory: &Pinned<'_>, spot: &Spot<'_>, integer: bool) -> Result<[f64; 4], AccessError> {
        if !self.sampler.linear || integer {
            return Ok(self.colour(memory, spot, spot.place.map(nearest))?.map(f64::from));
        }
        let none = Pair { first: 0, weight: 0.0 };
        let pairs: [Pair; 3] = std::array::from_fn(|i| if i < spot.dimensions { around(spot.place[i]) } else { none });
        let mut sum = [0.0; 4];
        for corner in 0..1usize << spot.dimensions {
            let second = |i: usize| corner >> i & 1 != 0;
            let weight = |i: usize| if second(i) { pairs[i].weight } else { 1.0 - pairs[i].weight };
            let weight: f64 = (0..spot.dimensions).map(weight).product();
            if weight > 0.0 {
                let at = std::array::from_fn(|i| pairs[i].first + i64::from(second(i)));
                for (sum, channel) in sum.iter_mut().zip(self.colour(memory, spot, at)?) {
                    *sum += weight * f64::from(channel);
                }
            }
        }
        Ok(sum)
    }

    /// One channel of the four texels around a place, counterclockwise from the one at the lower left.
    fn gather(&self, memory: &Pinned<'_>, spot: &Spot<'_>, channel: u8) -> Result<[u32; 4], AccessError> {
        let [x, y] = [around(spot.place[0]).first, around(spot.place[1]).first];
        let mut values = [0; 4];
        for (value, (dx, dy)) in values.iter_mut().zip([(0, 1), (1, 1), (1, 0), (0, 0)]) {
            let at = [x + dx, y + dy, 0];
            let channel = usize::from(channel & 3);
            *value = if self.image.format.is_float(self.sampler.normalized_values) {
                self.colour(memory, spot, at)?[channel].to_bits()
            } else {
                let texel = self.texel(memory, spot, at)?;
                let outside = self.outside()[channel] as i64 as u32;
                texel.map_or(outside, |bits| self.image.format.integer(bits[channel]))
            };
        }
        Ok(values)
    }
}
