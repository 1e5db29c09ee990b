//! Texture and surface objects: what they are made of.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a texture or surface object reads: an array, a mipmapped array, linear or pitched memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_RESOURCE_DESC {
    pub resType: u32,
    /// Padding.
    pub pad: u32,
    /// {array}, {mipmapped array}, {pointer, format | channels << 32, bytes} or
    /// {pointer, format | channels << 32, width, height, pitch}.
    pub res: [u64; 16],
    pub flags: u32,
    /// Padding.
    pub pad2: u32,
}

/// `CU_RESOURCE_TYPE_ARRAY`.
pub const RESOURCE_ARRAY: u32 = 0;
/// `CU_RESOURCE_TYPE_MIPMAPPED_ARRAY`.
pub const RESOURCE_MIPMAPPED_ARRAY: u32 = 1;
/// `CU_RESOURCE_TYPE_LINEAR`.
pub const RESOURCE_LINEAR: u32 = 2;
/// `CU_RESOURCE_TYPE_PITCH2D`.
pub const RESOURCE_PITCH2D: u32 = 3;

/// How a texture object samples.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_TEXTURE_DESC {
    pub addressMode: [u32; 3],
    pub filterMode: u32,
    pub flags: u32,
    pub maxAnisotropy: u32,
    pub mipmapFilterMode: u32,
    pub mipmapLevelBias: f32,
    pub minMipmapLevelClamp: f32,
    pub maxMipmapLevelClamp: f32,
    pub borderColor: [f32; 4],
    pub reserved: [i32; 12],
}

/// `CU_TRSF_READ_AS_INTEGER`: integers are not turned into normalized floats.
pub const TRSF_READ_AS_INTEGER: u32 = 0x01;
/// `CU_TRSF_NORMALIZED_COORDINATES`.
pub const TRSF_NORMALIZED_COORDINATES: u32 = 0x02;
/// `CU_TRSF_SRGB`.
pub const TRSF_SRGB: u32 = 0x10;
/// `CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION`.
pub const TRSF_DISABLE_TRILINEAR_OPTIMIZATION: u32 = 0x20;
/// `CU_TRSF_SEAMLESS_CUBEMAP`.
pub const TRSF_SEAMLESS_CUBEMAP: u32 = 0x40;

/// A border colour.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BorderColor {
    /// Red, green, blue, alpha.
    pub channels: [f32; 4],
}

/// Another view of a resource.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_RESOURCE_VIEW_DESC {
    pub format: u32,
    /// Padding.
    pub pad: u32,
    pub width: usize,
    pub height: usize,
    pub depth: usize,
    pub firstMipmapLevel: u32,
    pub lastMipmapLevel: u32,
    pub firstLayer: u32,
    pub lastLayer: u32,
    pub reserved: [u32; 16],
}

const _: () = assert!(size_of::<CUDA_RESOURCE_DESC>() == 144 && size_of::<CUDA_TEXTURE_DESC>() == 104);
const _: () = assert!(size_of::<CUDA_RESOURCE_VIEW_DESC>() == 112);
