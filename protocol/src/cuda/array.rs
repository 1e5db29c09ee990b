//! CUDA arrays: their descriptors, and what follows from them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Shape of a one- or two-dimensional array.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_ARRAY_DESCRIPTOR {
    pub Width: usize,
    pub Height: usize,
    pub Format: u32,
    pub NumChannels: u32,
}

/// Shape of an array. A dimension that it lacks is 0; layers count as depth.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_ARRAY3D_DESCRIPTOR {
    pub Width: usize,
    pub Height: usize,
    pub Depth: usize,
    pub Format: u32,
    pub NumChannels: u32,
    pub Flags: u32,
    /// Padding.
    pub pad: u32,
}

/// What an array needs of memory, bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_camel_case_types)]
pub struct CUDA_ARRAY_MEMORY_REQUIREMENTS {
    pub size: usize,
    pub alignment: usize,
    pub reserved: [u32; 4],
}

/// `CUDA_ARRAY3D_LAYERED`: the depth counts layers.
pub const ARRAY3D_LAYERED: u32 = 0x01;
/// `CUDA_ARRAY3D_SURFACE_LDST`: surfaces may be bound to it.
pub const ARRAY3D_SURFACE_LDST: u32 = 0x02;
/// `CUDA_ARRAY3D_CUBEMAP`: six layers are the faces of a cube.
pub const ARRAY3D_CUBEMAP: u32 = 0x04;
/// `CUDA_ARRAY3D_TEXTURE_GATHER`: texture gather may be used on it.
pub const ARRAY3D_TEXTURE_GATHER: u32 = 0x08;

/// What the bits of a channel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChannelType {
    Unsigned,
    Signed,
    /// Unsigned integers that stand for 0 to 1.
    UnsignedNormalized,
    /// Signed integers that stand for -1 to 1.
    SignedNormalized,
    Float,
}

/// The elements of an array, as far as a `CUarray_format` has plain channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// What a channel is.
    pub channel: ChannelType,
    /// Bytes of a channel: 1, 2 or 4.
    pub channel_bytes: usize,
    /// Channels: 1, 2 or 4.
    pub channels: usize,
}

impl Element {
    /// The element of a format with this many channels. `None` for planar and compressed formats,
    /// and for what does not exist.
    pub fn new(format: u32, channels: u32) -> Option<Element> {
        let (channel, channel_bytes, fixed) = match format {
            0x01 => (ChannelType::Unsigned, 1, None),
            0x02 => (ChannelType::Unsigned, 2, None),
            0x03 => (ChannelType::Unsigned, 4, None),
            0x08 => (ChannelType::Signed, 1, None),
            0x09 => (ChannelType::Signed, 2, None),
            0x0a => (ChannelType::Signed, 4, None),
            0x10 => (ChannelType::Float, 2, None),
            0x20 => (ChannelType::Float, 4, None),
            0xc0..=0xc2 => (ChannelType::UnsignedNormalized, 1, Some(1 << (format - 0xc0))),
            0xc3..=0xc5 => (ChannelType::UnsignedNormalized, 2, Some(1 << (format - 0xc3))),
            0xc6..=0xc8 => (ChannelType::SignedNormalized, 1, Some(1 << (format - 0xc6))),
            0xc9..=0xcb => (ChannelType::SignedNormalized, 2, Some(1 << (format - 0xc9))),
            _ => return None,
        };
        let fits = matches!(channels, 1 | 2 | 4) && fixed.is_none_or(|fixed| fixed == channels);
        fits.then_some(Element { channel, channel_bytes, channels: channels as usize })
    }

    /// Bytes of an element.
    pub fn bytes(&self) -> usize {
        self.channel_bytes * self.channels
    }
}

/// Whether a number is a `CUarray_format` of CUDA 13.
pub fn is_array_format(format: u32) -> bool {
    matches!(format, 0x01..=0x03 | 0x08..=0x0a | 0x10 | 0x20 | 0x50..=0x5e | 0x91..=0x9f | 0xa1..=0xa9 | 0xb0..=0xb5 | 0xc0..=0xcb)
}

impl From<CUDA_ARRAY_DESCRIPTOR> for CUDA_ARRAY3D_DESCRIPTOR {
    fn from(flat: CUDA_ARRAY_DESCRIPTOR) -> Self {
        CUDA_ARRAY3D_DESCRIPTOR {
            Width: flat.Width,
            Height: flat.Height,
            Format: flat.Format,
            NumChannels: flat.NumChannels,
            ..Self::default()
        }
    }
}

impl From<CUDA_ARRAY3D_DESCRIPTOR> for CUDA_ARRAY_DESCRIPTOR {
    fn from(full: CUDA_ARRAY3D_DESCRIPTOR) -> Self {
        CUDA_ARRAY_DESCRIPTOR {
            Width: full.Width,
            Height: full.Height,
            Format: full.Format,
            NumChannels: full.NumChannels,
        }
    }
}

impl CUDA_ARRAY3D_DESCRIPTOR {
    /// The elements, if the format has plain channels.
    pub fn element(&self) -> Option<Element> {
        Element::new(self.Format, self.NumChannels)
    }

    /// Whether the depth counts layers or faces.
    pub fn is_layered(&self) -> bool {
        self.Flags & (ARRAY3D_LAYERED | ARRAY3D_CUBEMAP) != 0
    }

    /// Elements, rows and slices (or layers) that can be copied, each at least 1.
    pub fn extent(&self) -> [usize; 3] {
        [self.Width.max(1), self.Height.max(1), self.Depth.max(1)]
    }

    /// The most levels that a mipmapped array of this shape can have.
    pub fn max_levels(&self) -> u32 {
        let depth = if self.is_layered() { 0 } else { self.Depth };
        self.Width.max(self.Height).max(depth).max(1).ilog2() + 1
    }

    /// The shape of a level of a mipmapped array of this shape.
    pub fn level(&self, level: u32) -> CUDA_ARRAY3D_DESCRIPTOR {
        let shrink = |size: usize| if size == 0 { 0 } else { size.checked_shr(level).unwrap_or(0).max(1) };
        CUDA_ARRAY3D_DESCRIPTOR {
            Width: shrink(self.Width),
            Height: shrink(self.Height),
            Depth: if self.is_layered() { self.Depth } else { shrink(self.Depth) },
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_elements_have_the_size_of_their_channels() {
        let bytes = |format, channels| Element::new(format, channels).map(|e| e.bytes());
        assert_eq!([bytes(0x01, 4), bytes(0x10, 2), bytes(0x20, 4), bytes(0xc5, 4)], [4, 4, 16, 8].map(Some));
        assert_eq!([bytes(0x01, 3), bytes(0xc5, 2), bytes(0xb0, 1), bytes(0x04, 1)], [None; 4]);
    }

    #[test]
    fn test_levels_shrink_dimensions_but_not_layers() {
        let shape = CUDA_ARRAY3D_DESCRIPTOR { Width: 20, Height: 5, Depth: 7, ..Default::default() };
        let level =
            |shape: CUDA_ARRAY3D_DESCRIPTOR, n| [shape.level(n).Width, shape.level(n).Height, shape.level(n).Depth];
        assert_eq!((level(shape, 2), level(shape, 40), shape.max_levels()), ([5, 1, 1], [1, 1, 1], 5));
        let layers = CUDA_ARRAY3D_DESCRIPTOR { Height: 0, Flags: ARRAY3D_LAYERED, ..shape };
        assert_eq!((level(layers, 1), layers.extent()), ([10, 0, 7], [20, 1, 7]));
    }
}
