//! Texture and surface objects: images in device memory, and how instructions read and write them.
//!
//! Instructions name an object by a 64-bit number from a register. It selects an entry of
//! [`Objects`] or nothing; texels are read through the same checks as any other access.

mod coordinate;
mod format;
mod level;
mod sample;
mod surface;

use std::sync::{Arc, PoisonError, RwLock};

pub use format::{Channel, Format};
pub(in crate::engine) use sample::{Coordinates, Fetch, Mode};
pub(in crate::engine) use surface::{Bounds, Location};

/// One image: rows and slices of texels.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// Address of the first texel.
    pub base: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// Bytes from slice (or layer) to slice.
    pub slice: u64,
    /// Texels, rows, and slices or layers; each at least 1.
    pub size: [u32; 3],
}

/// What the dimensions of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Width, height and depth.
    Solid,
    /// Width and height; the third dimension counts layers.
    Layered,
    /// Faces of cubes, six for each cube.
    Cube,
}

/// Texels with smaller copies of themselves.
#[derive(Clone)]
pub struct Image {
    /// What a texel is.
    pub format: Format,
    /// What its dimensions are.
    pub shape: Shape,
    /// From the largest to the smallest; at least one.
    pub levels: Vec<Level>,
    /// Keeps the memory, if it is not the caller's care.
    pub owner: Option<Arc<dyn Send + Sync>>,
}

/// What lies outside of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMode {
    /// The image again.
    Wrap,
    /// Its edge.
    Clamp,
    /// The image, flipped every other time.
    Mirror,
    /// The border colour.
    Border,
}

/// How texels are chosen and combined.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// By dimension. Without normalized coordinates, `Wrap` and `Mirror` mean `Clamp`.
    pub address: [AddressMode; 3],
    /// Interpolates between texels.
    pub linear: bool,
    /// Coordinates from 0 to 1 rather than in texels.
    pub normalized_coordinates: bool,
    /// Integers of 8 and 16 bits are read as floats from 0 (or -1) to 1.
    pub normalized_values: bool,
    /// The first three channels of 8-bit texels are sRGB.
    pub srgb: bool,
    /// Colour outside of the image.
    pub border: [f32; 4],
    /// Interpolates between levels.
    pub linear_levels: bool,
    /// Is added to the level.
    pub level_bias: f32,
    /// Lowest and highest level.
    pub level_clamp: [f32; 2],
    /// The image is linear memory: what lies outside reads as zero.
    pub buffer: bool,
}

/// A texture object.
#[derive(Clone)]
pub struct Texture {
    /// What is read.
    pub image: Image,
    /// How.
    pub sampler: Sampler,
}

/// What a handle can stand for.
pub enum Object {
    /// A texture object.
    Texture(Texture),
    /// A surface object; its first level is read and written.
    Surface(Image),
}

/// Bits that make a handle's kind recognisable, and unlikely to be an address.
const TAG: u64 = 0x7e << 56;
const GENERATIONS: u32 = 1 << 24;

#[derive(Clone, Default)]
struct Slot {
    generation: u32,
    object: Option<Arc<Object>>,
}

/// All objects of a device. Thread-safe.
#[derive(Default)]
pub struct Objects {
    slots: RwLock<Arc<Vec<Slot>>>,
}

/// The objects at one moment: what a launch sees.
#[derive(Clone, Default)]
pub struct Snapshot(Arc<Vec<Slot>>);

impl Objects {
    /// Adds an object; its handle, or `None` if there are too many.
    pub fn insert(&self, object: Object) -> Option<u64> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slots = Arc::make_mut(&mut slots);
        let free = slots.iter().position(|slot| slot.object.is_none() && slot.generation < GENERATIONS);
        let index = free.unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        let slot = slots.get_mut(index)?;
        slot.object = Some(Arc::new(object));
        let index = u32::try_from(index).ok()?;
        Some(TAG | u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// Ends a handle's life. Launches that have begun still see the object.
    pub fn remove(&self, handle: u64) -> Option<Arc<Object>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        find(&slots, handle)?;
        let slot = Arc::make_mut(&mut slots).get_mut(handle as u32 as usize)?;
        slot.generation += 1;
        slot.object.take()
    }

    /// The objects as they are now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.slots.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Snapshot {
    /// The object of a handle.
    pub fn get(&self, handle: u64) -> Option<&Object> {
        find(&self.0, handle).map(Arc::as_ref)
    }
}

fn find(slots: &[Slot], handle: u64) -> Option<&Arc<Object>> {
    let slot = slots.get(handle as u32 as usize)?;
    let same = handle == TAG | u64::from(slot.generation) << 32 | u64::from(handle as u32);
    slot.object.as_ref().filter(|_| same)
}

#[cfg(test)]
mod tests;
