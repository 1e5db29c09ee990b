//! Texture and surface objects: from the API's descriptions to the engine's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_engine::engine::texture::{
    AddressMode, Channel, Format, Image, Level, Object, Objects, Sampler, Shape, Snapshot, Texture,
};
use vgpu_protocol::cuda::{
    is_array_format, CUresult, ChannelType, Element, ARRAY3D_CUBEMAP, ARRAY3D_LAYERED, ARRAY3D_SURFACE_LDST,
    CUDA_ARRAY3D_DESCRIPTOR, CUDA_RESOURCE_DESC, CUDA_RESOURCE_VIEW_DESC, CUDA_TEXTURE_DESC, RESOURCE_ARRAY,
    RESOURCE_LINEAR, RESOURCE_MIPMAPPED_ARRAY, RESOURCE_PITCH2D, TRSF_DISABLE_TRILINEAR_OPTIMIZATION,
    TRSF_NORMALIZED_COORDINATES, TRSF_READ_AS_INTEGER, TRSF_SEAMLESS_CUBEMAP, TRSF_SRGB,
};

use super::array::{Array, Layout, MipmappedArray, Storage, MAX_2D};
use super::attributes::{MAX_LINEAR, MAX_LINEAR_PITCH, TEXTURE_ALIGNMENT, TEXTURE_PITCH_ALIGNMENT};
use super::state::Driver;
use super::{Context, Result};

const FLAGS: u32 = TRSF_READ_AS_INTEGER
    | TRSF_NORMALIZED_COORDINATES
    | TRSF_SRGB
    | TRSF_DISABLE_TRILINEAR_OPTIMIZATION
    | TRSF_SEAMLESS_CUBEMAP;
/// Resource view formats of plain channels: three numbers of channels for each of these.
const VIEW_CHANNELS: [u32; 8] = [0x01, 0x08, 0x02, 0x09, 0x03, 0x0a, 0x10, 0x20];
/// The first and last resource view format of compressed blocks.
const VIEW_BLOCKS: std::ops::RangeInclusive<u32> = 0x19..=0x22;

/// What a texture or surface object was made of.
#[derive(Clone, Copy)]
pub(in crate::driver) struct Description {
    /// Handle of the context it ends with.
    context: u64,
    pub(in crate::driver) resource: CUDA_RESOURCE_DESC,
    /// Of a texture object.
    pub(in crate::driver) texture: Option<CUDA_TEXTURE_DESC>,
    pub(in crate::driver) view: Option<CUDA_RESOURCE_VIEW_DESC>,
}

/// The texture and surface objects of the device.
#[derive(Default)]
pub(in crate::driver) struct Textures {
    objects: Objects,
    descriptions: Mutex<HashMap<u64, Description>>,
}

impl Textures {
    /// What a launch sees.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.objects.snapshot()
    }

    fn add(&self, object: Object, description: Description) -> Result<u64> {
        let handle = self.objects.insert(object).ok_or(CUresult::OUT_OF_MEMORY)?;
        self.descriptions().insert(handle, description);
        Ok(handle)
    }

    /// What a texture object (or, if not `texture`, a surface object) was made of.
    pub(in crate::driver) fn describe(&self, handle: u64, texture: bool) -> Result<Description> {
        let found = self.descriptions().get(&handle).copied();
        found.filter(|found| found.texture.is_some() == texture).ok_or(CUresult::INVALID_VALUE)
    }

    /// Ends a handle; launches that are queued still see the object.
    pub(in crate::driver) fn destroy(&self, handle: u64, texture: bool) -> Result {
        self.describe(handle, texture)?;
        self.descriptions().remove(&handle);
        self.objects.remove(handle).map(drop).ok_or(CUresult::INVALID_VALUE)
    }

    /// Ends the objects of a context.
    pub(super) fn drop_context(&self, context: u64) {
        self.descriptions().retain(|handle, description| {
            if description.context == context {
                self.objects.remove(*handle);
            }
            description.context != context
        });
    }

    fn descriptions(&self) -> MutexGuard<'_, HashMap<u64, Description>> {
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// A new texture object's handle.
    pub(in crate::driver) fn create_texture(
        &self,
        resource: CUDA_RESOURCE_DESC,
        texture: CUDA_TEXTURE_DESC,
        view: Option<CUDA_RESOURCE_VIEW_DESC>,
    ) -> Result<u64> {
        let mut image = image(self.driver, &resource)?;
        if let Some(view) = &view {
            if !matches!(resource.resType, RESOURCE_ARRAY | RESOURCE_MIPMAPPED_ARRAY) {
                return Err(CUresult::INVALID_VALUE);
            }
            apply_view(&mut image, view)?;
        }
        let sampler = sampler(&resource, &texture, &image)?;
        let description = Description { context: self.handle, resource, texture: Some(texture), view };
        self.driver.textures.add(Object::Texture(Texture { image, sampler }), description)
    }

    /// A new surface object's handle.
    pub(in crate::driver) fn create_surface(&self, resource: CUDA_RESOURCE_DESC) -> Result<u64> {
        if resource.resType != RESOURCE_ARRAY {
            return Err(CUresult::INVALID_VALUE);
        }
        let image = image(self.driver, &resource)?;
        if Array::of(resource.res[0])?.shape.Flags & ARRAY3D_SURFACE_LDST == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let description = Description { context: self.handle, resource, texture: None, view: None };
        self.driver.textures.add(Object::Surface(image), description)
    }
}

fn image(driver: &Driver, resource: &CUDA_RESOURCE_DESC) -> Result<Image> {
    if resource.flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    let [first, second, third, fourth, fifth, ..] = resource.res;
    match resource.resType {
        RESOURCE_ARRAY => {
            let array = Array::of(first)?;
            array_image(&array.shape, array.element, &[array.layout], &array.storage)
        }
        RESOURCE_MIPMAPPED_ARRAY => {
            let array = MipmappedArray::of(first)?;
            array_image(&array.shape, array.element, &array.levels, &array.storage)
        }
        RESOURCE_LINEAR => {
            let element = element(second)?;
            let width = third / element.bytes() as u64;
            if width > MAX_LINEAR as u64 {
                return Err(CUresult::INVALID_VALUE);
            }
            memory_image(driver, element, first, [width, 1], third)
        }
        RESOURCE_PITCH2D => {
            let element = element(second)?;
            let (width, height, pitch) = (third, fourth, fifth);
            let row = width.checked_mul(element.bytes() as u64).ok_or(CUresult::INVALID_VALUE)?;
            let fits = width <= MAX_2D[0] as u64 && height <= MAX_2D[1] as u64 && pitch <= MAX_LINEAR_PITCH as u64;
            if !fits || pitch < row || !pitch.is_multiple_of(TEXTURE_PITCH_ALIGNMENT.into()) {
                return Err(CUresult::INVALID_VALUE);
            }
            memory_image(driver, element, first, [width, height], pitch)
        }
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// Format and channels of linear memory, as `CUDA_RESOURCE_DESC` has them in one word.
fn element(word: u64) -> Result<Element> {
    let (format, channels) = (word as u32, (word >> 32) as u32);
    match Element::new(format, channels) {
        Some(element) => Ok(element),
        None if is_array_format(format) && matches!(channels, 1 | 2 | 4) && format >= 0x50 => {
            Err(CUresult::NOT_SUPPORTED)
        }
        None => Err(CUresult::INVALID_VALUE),
    }
}

fn memory_image(driver: &Driver, element: Element, base: u64, [width, height]: [u64; 2], pitch: u64) -> Result<Image> {
    if width == 0 || height == 0 || !base.is_multiple_of(TEXTURE_ALIGNMENT.into()) {
        return Err(CUresult::INVALID_VALUE);
    }
    let last_row = (height - 1).checked_mul(pitch).ok_or(CUresult::INVALID_VALUE)?;
    let size = last_row.checked_add(width * element.bytes() as u64).ok_or(CUresult::INVALID_VALUE)?;
    if !driver.holds(base, size) {
        return Err(CUresult::INVALID_VALUE);
    }
    let level = Level { base, pitch, slice: 0, size: [width as u32, height as u32, 1] };
    Ok(Image { format: format(element), shape: Shape::Solid, levels: vec![level], owner: None })
}

fn array_image(
    shape: &CUDA_ARRAY3D_DESCRIPTOR,
    element: Element,
    layouts: &[Layout],
    storage: &Arc<Storage>,
) -> Result<Image> {
    let level = |(number, layout): (u32, &Layout)| {
        let size = shape.level(number).extent().map(|size| size as u32);
        Level { base: layout.base, pitch: layout.pitch, slice: layout.slice, size }
    };
    Ok(Image {
        format: format(element),
        shape: match shape.Flags {
            flags if flags & ARRAY3D_CUBEMAP != 0 => Shape::Cube,
            flags if flags & ARRAY3D_LAYERED != 0 => Shape::Layered,
            _ => Shape::Solid,
        },
        levels: (0..).zip(layouts).map(level).collect(),
        owner: Some(storage.clone()),
    })
}

fn format(element: Element) -> Format {
    let channel = match element.channel {
        ChannelType::Unsigned => Channel::Unsigned,
        ChannelType::Signed => Channel::Signed,
        ChannelType::UnsignedNormalized => Channel::UnsignedNormalized,
        ChannelType::SignedNormalized => Channel::SignedNormalized,
        ChannelType::Float => Channel::Float,
    };
    Format { channel, channel_bytes: element.channel_bytes as u32, channels: element.channels as u32 }
}

/// Narrows an image to what a view shows.
fn apply_view(image: &mut Image, view: &CUDA_RESOURCE_VIEW_DESC) -> Result {
    if VIEW_BLOCKS.contains(&view.format) {
        return Err(CUresult::NOT_SUPPORTED);
    }
    if let Some(number) = view.format.checked_sub(1) {
        let channels = 1 << (number % 3);
        let format = *VIEW_CHANNELS.get(number as usize / 3).ok_or(CUresult::INVALID_VALUE)?;
        let seen = self::format(Element::new(format, channels).ok_or(CUresult::INVALID_VALUE)?);
        if seen.bytes() != image.format.bytes() {
            return Err(CUresult::INVALID_VALUE);
        }
        image.format = seen;
    }
    let count = image.levels.len() as u32;
    let (first, last) = (view.firstMipmapLevel, view.lastMipmapLevel);
    if first > last || last >= count {
        return Err(CUresult::INVALID_VALUE);
    }
    let size = image.levels.first().map_or([0; 3], |level| level.size);
    let depth = if image.shape == Shape::Solid { size[2] } else { 1 };
    let same = |seen: usize, size: u32| seen.max(1) == size as usize;
    if !same(view.width, size[0]) || !same(view.height, size[1]) || (depth > 1 && !same(view.depth, depth)) {
        return Err(CUresult::INVALID_VALUE);
    }
    image.levels = image.levels.get(first as usize..=last as usize).unwrap_or_default().to_vec();
    if image.shape == Shape::Solid {
        return Ok(());
    }
    let (first, last) = (view.firstLayer, view.lastLayer);
    if first > last || last >= size[2] {
        return Err(CUresult::INVALID_VALUE);
    }
    for level in &mut image.levels {
        level.base += u64::from(first) * level.slice;
        level.size[2] = last - first + 1;
    }
    Ok(())
}

fn sampler(resource: &CUDA_RESOURCE_DESC, texture: &CUDA_TEXTURE_DESC, image: &Image) -> Result<Sampler> {
    let has = |flag| texture.flags & flag != 0;
    if texture.flags & !FLAGS != 0 || texture.filterMode > 1 || texture.mipmapFilterMode > 1 {
        return Err(CUresult::INVALID_VALUE);
    }
    if has(TRSF_SEAMLESS_CUBEMAP) {
        return Err(CUresult::NOT_SUPPORTED);
    }
    let mut address = [AddressMode::Clamp; 3];
    for (mode, number) in address.iter_mut().zip(texture.addressMode) {
        *mode = match number {
            0 => AddressMode::Wrap,
            1 => AddressMode::Clamp,
            2 => AddressMode::Mirror,
            3 => AddressMode::Border,
            _ => return Err(CUresult::INVALID_VALUE),
        };
    }
    let buffer = resource.resType == RESOURCE_LINEAR;
    let integers = matches!(image.format.channel, Channel::Unsigned | Channel::Signed);
    let normalized_values = !has(TRSF_READ_AS_INTEGER);
    let linear = texture.filterMode == 1 && !buffer;
    if linear && integers && (!normalized_values || image.format.channel_bytes == 4) {
        return Err(CUresult::INVALID_VALUE);
    }
    Ok(Sampler {
        address,
        linear,
        normalized_coordinates: has(TRSF_NORMALIZED_COORDINATES) && !buffer,
        normalized_values,
        srgb: has(TRSF_SRGB),
        border: texture.borderColor,
        linear_levels: texture.mipmapFilterMode == 1,
        level_bias: texture.mipmapLevelBias,
        level_clamp: [texture.minMipmapLevelClamp, texture.maxMipmapLevelClamp],
        buffer,
    })
}
