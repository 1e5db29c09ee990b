//! Texture and surface operations.

use super::inst::{AtomOp, Operand, OperandList, Reg, RegList};
use super::types::{IntType, Width};

/// Which coordinates a texture or surface instruction takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TexGeometry {
    D1,
    D2,
    D3,
    /// A layer comes before the other coordinates.
    D1Array,
    D2Array,
    Cube,
    CubeArray,
}

impl TexGeometry {
    /// Coordinates of a place, without the layer.
    pub fn dimensions(self) -> usize {
        match self {
            TexGeometry::D1 | TexGeometry::D1Array => 1,
            TexGeometry::D2 | TexGeometry::D2Array => 2,
            TexGeometry::D3 | TexGeometry::Cube | TexGeometry::CubeArray => 3,
        }
    }

    /// Whether there is a layer.
    pub fn is_array(self) -> bool {
        matches!(self, TexGeometry::D1Array | TexGeometry::D2Array | TexGeometry::CubeArray)
    }
}

/// How a texture instruction chooses the level, and what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TexMode {
    Base,
    /// The operand behind the coordinates is the level of detail.
    Level,
    /// The operands behind the coordinates are three derivatives each in two directions.
    Grad,
    /// One channel of four texels.
    Gather(u8),
}

/// A texture fetch. Sources: the layer if there is one, the coordinates, then what the mode takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tex {
    pub geometry: TexGeometry,
    pub mode: TexMode,
    /// Whether coordinates are `s32` rather than `f32`.
    pub integer: bool,
    /// Two results of `f16x2` rather than four of 32 bits.
    pub packed: bool,
    pub dst: RegList,
    /// Is set to true: all memory is resident.
    pub resident: Option<Reg>,
    pub handle: Operand,
    pub sources: OperandList,
}

/// What `txq` and `suq` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TexQuery {
    Width,
    Height,
    Depth,
    ChannelType,
    ChannelOrder,
    NormalizedCoordinates,
    /// Of cubes and layers.
    ArraySize,
    Levels,
    Samples,
}

/// Where a surface access goes if it is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SurfBounds {
    Trap,
    Clamp,
    Zero,
}

/// What a surface access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SurfAction {
    /// Gives elements of a width.
    Load(Width),
    /// Writes elements of a width.
    Store(Width),
    /// Writes channels, which the surface's format converts.
    StoreFormatted,
    /// Reduces a value into memory. Formatted, the place is in texels.
    Reduce { op: AtomOp, ty: IntType, formatted: bool },
}

/// A surface access. Sources: the layer if there is one, the coordinates, then the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surf {
    pub geometry: TexGeometry,
    pub action: SurfAction,
    pub bounds: SurfBounds,
    pub dst: RegList,
    pub handle: Operand,
    pub sources: OperandList,
}

/// What `istypep` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueType {
    Texture,
    Sampler,
    Surface,
}
