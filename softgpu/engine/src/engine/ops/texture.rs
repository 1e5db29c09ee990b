//! Texture and surface operations.

use super::super::code::{Op, Slot, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::math::round::F16;
use super::super::texture::{Bounds, Coordinates, Fetch, Image, Location, Mode, Object, Texture};
use super::super::FaultKind;
use super::atomic::{AtomicBank, AtomicSpec, GlobalAtomics};
use super::lane::map;
use crate::ir::{OpaqueType, Rounding, Surf, SurfAction, SurfBounds, Tex, TexMode, TexQuery, Width};
use crate::memory::AccessError;

/// A texture fetch: rows of its results and sources.
pub(in crate::engine) struct TextureSpec {
    pub(in crate::engine) tex: Tex,
    pub(in crate::engine) dst: Vec<u32>,
    pub(in crate::engine) sources: Vec<Slot>,
    pub(in crate::engine) resident: Option<u32>,
}

/// A surface access. `bits` of a value; `place`: layer and coordinates.
pub(in crate::engine) struct SurfaceSpec {
    pub(in crate::engine) surf: Surf,
    pub(in crate::engine) bits: u32,
    pub(in crate::engine) dst: Vec<u32>,
    pub(in crate::engine) place: Vec<Slot>,
    pub(in crate::engine) values: Vec<Slot>,
    pub(in crate::engine) reduction: Option<AtomicSpec>,
}

/// Most sources of a fetch: layer, three coordinates, two gradients.
const MOST_SOURCES: usize = 10;

fn no_object(cx: &mut Cx<'_>, lane: usize, handle: u64) -> Flow {
    cx.fail_access(lane, AccessError::Illegal(handle), "no texture or surface object")
}

fn texture_of<'a>(cx: &Cx<'a>, handle: u64) -> Option<&'a Texture> {
    match cx.env.objects.get(handle) {
        Some(Object::Texture(texture)) => Some(texture),
        _ => None,
    }
}

fn surface_of<'a>(cx: &Cx<'a>, handle: u64) -> Option<&'a Image> {
    match cx.env.objects.get(handle) {
        Some(Object::Surface(image)) => Some(image),
        _ => None,
    }
}

/// Fetch `imm` of [`super::super::code::Code::textures`] from the texture `a`.
pub(in crate::engine) struct FetchTexture;
impl Handler for FetchTexture {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let code = cx.code;
        let spec = &code.textures[op.imm as usize];
        let handles = cx.read64(op.a);
        let mut sources = [[0; LANES]; MOST_SOURCES];
        for (values, slot) in sources.iter_mut().zip(&spec.sources) {
            *values = cx.read32(*slot);
        }
        let mut results = [[0; LANES]; 4];
        for lane in cx.lanes() {
            let Some(texture) = texture_of(cx, handles[lane]) else { return no_object(cx, lane, handles[lane]) };
            let fetch = fetch(&spec.tex, &map(sources, |values| values[lane]));
            match texture.fetch(cx.memory, &fetch) {
                Ok(channels) => {
                    let channels = if spec.tex.packed { pack(channels) } else { channels };
                    results.iter_mut().zip(channels).for_each(|(row, channel)| row[lane] = channel);
                }
                Err(error) => return cx.fail_access(lane, error, "texture"),
            }
        }
        for (dst, values) in spec.dst.iter().zip(results) {
            cx.write32(*dst, values);
        }
        if let Some(resident) = spec.resident {
            cx.write_pred(resident, u32::MAX);
        }
        Flow::Next
    }
}

/// One lane's fetch, given its sources in order.
fn fetch(tex: &Tex, sources: &[u32; MOST_SOURCES]) -> Fetch {
    let mut rest = sources.iter().copied();
    let mut next = || rest.next().unwrap_or(0);
    let layer = if tex.geometry.is_array() { next() } else { 0 };
    let mut place = [0; 3];
    place.iter_mut().take(tex.geometry.dimensions()).for_each(|coordinate| *coordinate = next());
    let mode = match tex.mode {
        TexMode::Base => Mode::Base,
        TexMode::Level => Mode::Level(f32::from_bits(next())),
        TexMode::Grad => Mode::Gradient([[(); 3]; 2].map(|three| three.map(|()| f32::from_bits(next())))),
        TexMode::Gather(channel) => Mode::Gather(channel),
    };
    Fetch { at: Coordinates { geometry: tex.geometry, place, layer, integer: tex.integer }, mode }
}

/// Four floats as two pairs of halves.
fn pack(channels: [u32; 4]) -> [u32; 4] {
    let half = |bits: u32| F16.round(f32::from_bits(bits).into(), Rounding::Rn);
    let [r, g, b, a] = channels.map(half);
    [r | g << 16, b | a << 16, 0, 0]
}

/// `dst` = property `imm` (a [`TexQuery`]) of level `b` of the texture or surface `a`.
pub(in crate::engine) struct QueryObject;
impl Handler for QueryObject {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (handles, levels) = (cx.read64(op.a), cx.read32(op.b));
        let mut values = [0; LANES];
        for lane in cx.lanes() {
            values[lane] = match cx.env.objects.get(handles[lane]) {
                Some(Object::Texture(texture)) => {
                    property(&texture.image, op.imm, levels[lane], texture.sampler.normalized_coordinates)
                }
                Some(Object::Surface(image)) => property(image, op.imm, levels[lane], false),
                None => return no_object(cx, lane, handles[lane]),
            };
        }
        cx.write32(op.dst, values);
        Flow::Next
    }
}

fn property(image: &Image, query: u64, level: u32, normalized: bool) -> u32 {
    const WIDTH: u64 = TexQuery::Width as u64;
    const HEIGHT: u64 = TexQuery::Height as u64;
    const DEPTH: u64 = TexQuery::Depth as u64;
    const CHANNEL_TYPE: u64 = TexQuery::ChannelType as u64;
    const CHANNEL_ORDER: u64 = TexQuery::ChannelOrder as u64;
    const NORMALIZED: u64 = TexQuery::NormalizedCoordinates as u64;
    const ARRAY_SIZE: u64 = TexQuery::ArraySize as u64;
    const LEVELS: u64 = TexQuery::Levels as u64;
    let size = image.levels.get(level as usize).map_or([0; 3], |level| level.size);
    match query {
        WIDTH => size[0],
        HEIGHT => size[1],
        DEPTH | ARRAY_SIZE => size[2],
        CHANNEL_TYPE => image.format.type_number(),
        CHANNEL_ORDER => image.format.order_number(),
        NORMALIZED => normalized.into(),
        LEVELS => image.levels.len() as u32,
        // Samples a texel.
        _ => 1,
    }
}

/// Predicate `dst` = whether `a` is a handle of type `imm` (an [`OpaqueType`]).
pub(in crate::engine) struct IsType;
impl Handler for IsType {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let handles = cx.read64(op.a);
        let mut holds = 0;
        for lane in cx.lanes() {
            let found = match cx.env.objects.get(handles[lane]) {
                Some(Object::Texture(_)) => op.imm == OpaqueType::Texture as u64,
                Some(Object::Surface(_)) => op.imm == OpaqueType::Surface as u64,
                None => false,
            };
            holds |= u32::from(found) << lane;
        }
        cx.write_pred(op.dst, holds);
        Flow::Next
    }
}

/// Access `imm` of [`super::super::code::Code::surfaces`] to the surface `a`.
pub(in crate::engine) struct UseSurface;
impl Handler for UseSurface {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let code = cx.code;
        let spec = &code.surfaces[op.imm as usize];
        let handles = cx.read64(op.a);
        let mut place = [[0; LANES]; 4];
        for (values, slot) in place.iter_mut().zip(&spec.place) {
            *values = cx.read32(*slot);
        }
        let mut values = [[0; LANES]; 4];
        for (values, slot) in values.iter_mut().zip(&spec.values) {
            *values = if spec.bits == 64 { cx.read64(*slot) } else { map(cx.read32(*slot), u64::from) };
        }
        let mut results = [[0; LANES]; 4];
        for lane in cx.lanes() {
            let Some(image) = surface_of(cx, handles[lane]) else { return no_object(cx, lane, handles[lane]) };
            let at = map(place, |values| values[lane] as i32);
            let address = match locate(image, spec, at) {
                Location::At(address) => address,
                Location::Nowhere => continue,
                Location::Trap => return cx.fail(FaultKind::Trap, lane, "access outside of a surface"),
            };
            match access(cx, lane, image, spec, address, map(values, |values| values[lane])) {
                Ok(loaded) => results.iter_mut().zip(loaded).for_each(|(row, value)| row[lane] = value),
                Err(error) => return cx.fail_access(lane, error, "surface"),
            }
        }
        for (dst, values) in spec.dst.iter().zip(results) {
            match spec.bits {
                64 => cx.write64(*dst, values),
                _ => cx.write32(*dst, map(values, |value| value as u32)),
            }
        }
        Flow::Next
    }
}

/// Where one lane's access is. Formatted accesses count texels, the others bytes.
fn locate(image: &Image, spec: &SurfaceSpec, place: [i32; 4]) -> Location {
    let dimensions = spec.surf.geometry.dimensions();
    let [first, second, third, _] = place;
    let [x, y, z] = match (spec.surf.geometry.is_array(), dimensions) {
        (true, 1) => [second, 0, first],
        (true, _) => [second, third, first],
        (false, 1) => [first, 0, 0],
        (false, 2) => [first, second, 0],
        (false, _) => [first, second, third],
    };
    let texel = image.format.bytes();
    let (x, size) = match spec.surf.action {
        SurfAction::Load(_) | SurfAction::Store(_) => {
            let count = spec.dst.len().max(spec.values.len()) as u32;
            (x, spec.bits / 8 * count)
        }
        SurfAction::StoreFormatted => (x.saturating_mul(texel as i32), texel),
        SurfAction::Reduce { formatted: true, .. } => (x.saturating_mul(texel as i32), spec.bits / 8),
        SurfAction::Reduce { .. } => (x, spec.bits / 8),
    };
    let bounds = match spec.surf.bounds {
        SurfBounds::Trap => Bounds::Trap,
        SurfBounds::Clamp => Bounds::Clamp,
        SurfBounds::Zero => Bounds::Zero,
    };
    image.locate([x, y, z], size, bounds)
}

/// Makes one lane's access; what it loads.
fn access(
    cx: &mut Cx<'_>,
    lane: usize,
    image: &Image,
    spec: &SurfaceSpec,
    address: u64,
    values: [u64; 4],
) -> Result<[u64; 4], AccessError> {
    let mut loaded = [0; 4];
    let step = |i: usize| address.wrapping_add(u64::from(spec.bits / 8) * i as u64);
    match spec.surf.action {
        SurfAction::Load(width) => {
            for (i, value) in loaded.iter_mut().take(spec.dst.len()).enumerate() {
                *value = match width {
                    Width::W8 => cx.memory.load::<u8>(step(i))?.into(),
                    Width::W16 => cx.memory.load::<u16>(step(i))?.into(),
                    Width::W32 => cx.memory.load::<u32>(step(i))?.into(),
                    _ => cx.memory.load::<u64>(step(i))?,
                };
            }
        }
        SurfAction::Store(width) => {
            for (i, value) in values.iter().take(spec.values.len()).enumerate() {
                match width {
                    Width::W8 => cx.memory.store(step(i), *value as u8)?,
                    Width::W16 => cx.memory.store(step(i), *value as u16)?,
                    Width::W32 => cx.memory.store(step(i), *value as u32)?,
                    _ => cx.memory.store(step(i), *value)?,
                }
            }
        }
        SurfAction::StoreFormatted => {
            image.store_formatted(cx.memory, address, map(values, |value| value as u32))?;
        }
        SurfAction::Reduce { .. } => {
            if let Some(reduction) = &spec.reduction {
                GlobalAtomics::update(cx, lane, address, reduction, values[0], 0)?;
            }
        }
    }
    Ok(loaded)
}
