//! CUDA arrays. An array is rows and slices in device memory of its own, which no pointer names.

use std::sync::{Arc, Mutex, PoisonError};

use vgpu_engine::memory::{MemoryError, GRANULE};
use vgpu_protocol::cuda::{
    is_array_format, CUresult, Element, ARRAY3D_CUBEMAP, ARRAY3D_LAYERED, ARRAY3D_SURFACE_LDST, ARRAY3D_TEXTURE_GATHER,
    CUDA_ARRAY3D_DESCRIPTOR,
};

use super::state::{driver, Driver};
use super::{Context, Result};

/// Rows start at multiples of this, bytes.
const ROW_ALIGNMENT: usize = 64;
const FLAGS: u32 = ARRAY3D_LAYERED | ARRAY3D_SURFACE_LDST | ARRAY3D_CUBEMAP | ARRAY3D_TEXTURE_GATHER;
const FLAGS_LAST: u32 = 0x1ff;

/// The largest arrays: width, height and depth or layers (`CU_DEVICE_ATTRIBUTE_MAXIMUM_…`).
pub(super) const MAX_1D: usize = 131_072;
pub(super) const MAX_2D: [usize; 2] = [131_072, 65_536];
pub(super) const MAX_3D: [usize; 3] = [16_384; 3];
pub(super) const MAX_LAYERED: [usize; 3] = [32_768, 32_768, 2048];
pub(super) const MAX_MIPMAPPED: usize = 32_768;
pub(super) const MAX_CUBEMAP_LAYERS: usize = 2046;

/// Device memory of an array, freed when nothing uses it any more.
pub(in crate::driver) struct Storage {
    driver: &'static Driver,
    base: u64,
}

impl Drop for Storage {
    fn drop(&mut self) {
        // It was allocated and is freed only here.
        let _ = self.driver.memory.free(self.base);
    }
}

/// How an array, or a level of a mipmapped array, lies in device memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Layout {
    /// Address of the first element.
    pub(in crate::driver) base: u64,
    /// Bytes from row to row.
    pub(in crate::driver) pitch: u64,
    /// Bytes from slice to slice.
    pub(in crate::driver) slice: u64,
}

/// An array, or one level of a mipmapped array.
pub(in crate::driver) struct Array {
    /// Handle of the context it ends with.
    pub(in crate::driver) context: u64,
    pub(in crate::driver) shape: CUDA_ARRAY3D_DESCRIPTOR,
    pub(in crate::driver) element: Element,
    pub(in crate::driver) layout: Layout,
    pub(in crate::driver) storage: Arc<Storage>,
    /// Whether it is part of a mipmapped array.
    level: bool,
}

/// An array with smaller copies of itself.
pub(in crate::driver) struct MipmappedArray {
    /// Handle of the context it ends with.
    pub(in crate::driver) context: u64,
    pub(in crate::driver) shape: CUDA_ARRAY3D_DESCRIPTOR,
    pub(in crate::driver) element: Element,
    pub(in crate::driver) levels: Vec<Layout>,
    pub(in crate::driver) storage: Arc<Storage>,
    /// Handles of the levels that were asked for.
    handles: Mutex<Vec<Option<u64>>>,
}

impl Array {
    /// The array behind a handle.
    pub(in crate::driver) fn of(handle: u64) -> Result<Arc<Array>> {
        driver()?.arrays.get(handle).ok_or(CUresult::INVALID_HANDLE)
    }

    /// Ends an array's handle; the memory goes when work in flight is done with it.
    pub(in crate::driver) fn destroy(handle: u64) -> Result {
        if Array::of(handle)?.level {
            return Err(CUresult::INVALID_HANDLE);
        }
        driver()?.arrays.remove(handle).map(drop).ok_or(CUresult::INVALID_HANDLE)
    }
}

impl MipmappedArray {
    /// The mipmapped array behind a handle.
    pub(in crate::driver) fn of(handle: u64) -> Result<Arc<MipmappedArray>> {
        driver()?.mipmapped_arrays.get(handle).ok_or(CUresult::INVALID_HANDLE)
    }

    /// Handle of a level, which is the same each time.
    pub(in crate::driver) fn level(&self, level: u32) -> Result<u64> {
        let layout = *self.levels.get(level as usize).ok_or(CUresult::INVALID_VALUE)?;
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let place = handles.get_mut(level as usize).ok_or(CUresult::INVALID_VALUE)?;
        if let Some(handle) = place {
            return Ok(*handle);
        }
        let array = Array {
            context: self.context,
            shape: self.shape.level(level),
            element: self.element,
            layout,
            storage: self.storage.clone(),
            level: true,
        };
        let handle = driver()?.arrays.insert(Arc::new(array));
        *place = Some(handle);
        Ok(handle)
    }

    /// Ends the handle of a mipmapped array and those of its levels.
    pub(in crate::driver) fn destroy(handle: u64) -> Result {
        let driver = driver()?;
        let array = driver.mipmapped_arrays.remove(handle).ok_or(CUresult::INVALID_HANDLE)?;
        for level in array.handles.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten() {
            driver.arrays.remove(*level);
        }
        Ok(())
    }
}

impl Context {
    /// A new array's handle.
    pub(in crate::driver) fn create_array(&self, shape: CUDA_ARRAY3D_DESCRIPTOR) -> Result<u64> {
        let element = check(&shape, 1)?;
        let (storage, levels) = self.allocate_levels(&shape, element, 1)?;
        let layout = *levels.first().ok_or(CUresult::UNKNOWN)?;
        let array = Array { context: self.handle, shape, element, layout, storage, level: false };
        Ok(self.driver.arrays.insert(Arc::new(array)))
    }

    /// A new mipmapped array's handle. More levels than there can be are cut off.
    pub(in crate::driver) fn create_mipmapped_array(&self, shape: CUDA_ARRAY3D_DESCRIPTOR, levels: u32) -> Result<u64> {
        if levels == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let count = levels.min(shape.max_levels());
        let element = check(&shape, count)?;
        let (storage, levels) = self.allocate_levels(&shape, element, count)?;
        let handles = Mutex::new(vec![None; levels.len()]);
        let array = MipmappedArray { context: self.handle, shape, element, levels, storage, handles };
        Ok(self.driver.mipmapped_arrays.insert(Arc::new(array)))
    }

    fn allocate_levels(
        &self,
        shape: &CUDA_ARRAY3D_DESCRIPTOR,
        element: Element,
        count: u32,
    ) -> Result<(Arc<Storage>, Vec<Layout>)> {
        let mut size = 0u64;
        let mut levels = Vec::new();
        for level in 0..count {
            let layout = layout(&shape.level(level), element, size).ok_or(CUresult::OUT_OF_MEMORY)?;
            let depth = shape.level(level).extent()[2] as u64;
            size = layout
                .slice
                .checked_mul(depth)
                .and_then(|bytes| layout.base.checked_add(bytes))
                .ok_or(CUresult::OUT_OF_MEMORY)?;
            size = size.checked_next_multiple_of(GRANULE).ok_or(CUresult::OUT_OF_MEMORY)?;
            levels.push(layout);
        }
        let driver = self.driver;
        driver.sweep();
        let base = self.device.memory.allocate(size).map_err(|error| match error {
            MemoryError::OutOfMemory => CUresult::OUT_OF_MEMORY,
            MemoryError::InvalidValue => CUresult::INVALID_VALUE,
        })?;
        levels.iter_mut().for_each(|level| level.base += base);
        Ok((Arc::new(Storage { driver, base }), levels))
    }
}

impl Driver {
    /// Ends the arrays of a context, and what was made of them.
    pub(super) fn drop_context_arrays(&self, context: u64) {
        self.drop_context_references(context);
        self.textures.drop_context(context);
        drop(self.arrays.remove_where(|array| array.context == context));
        drop(self.mipmapped_arrays.remove_where(|array| array.context == context));
    }
}

fn layout(shape: &CUDA_ARRAY3D_DESCRIPTOR, element: Element, base: u64) -> Option<Layout> {
    let [width, height, _] = shape.extent();
    let pitch = width.checked_mul(element.bytes())?.checked_next_multiple_of(ROW_ALIGNMENT)?;
    Some(Layout { base, pitch: pitch as u64, slice: pitch.checked_mul(height)? as u64 })
}

/// What an array may look like; formats with planes or compression, and sparse arrays, are not supported.
fn check(shape: &CUDA_ARRAY3D_DESCRIPTOR, levels: u32) -> Result<Element> {
    if shape.Flags & !FLAGS_LAST != 0 || !is_array_format(shape.Format) || shape.Width == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    if shape.Flags & !FLAGS != 0 {
        return Err(CUresult::NOT_SUPPORTED);
    }
    let element = match Element::new(shape.Format, shape.NumChannels) {
        Some(element) => element,
        None if matches!(shape.Format, 0x50..=0xb5) => return Err(CUresult::NOT_SUPPORTED),
        None => return Err(CUresult::INVALID_VALUE),
    };
    let [width, height, depth] = [shape.Width, shape.Height, shape.Depth];
    let within = |limits: [usize; 3]| width <= limits[0] && height <= limits[1] && depth <= limits[2];
    let (layered, cubemap) = (shape.Flags & ARRAY3D_LAYERED != 0, shape.Flags & ARRAY3D_CUBEMAP != 0);
    let gather_fits = shape.Flags & ARRAY3D_TEXTURE_GATHER == 0 || (height > 0 && (depth == 0 || layered || cubemap));
    let fits = match (layered, cubemap) {
        (false, true) => width == height && depth == 6 && width <= MAX_LAYERED[0],
        (true, true) => {
            let limits = [MAX_LAYERED[0], MAX_LAYERED[0], MAX_CUBEMAP_LAYERS];
            width == height && depth > 0 && depth.is_multiple_of(6) && within(limits)
        }
        (true, false) => depth > 0 && within(MAX_LAYERED),
        // A depth needs a height.
        (false, false) if depth > 0 => height > 0 && within(MAX_3D),
        (false, false) if height > 0 => within([MAX_2D[0], MAX_2D[1], 0]),
        (false, false) => within([MAX_1D, 0, 0]),
    };
    let mipmaps_fit = levels == 1 || width.max(height) <= MAX_MIPMAPPED;
    if fits && gather_fits && mipmaps_fit {
        Ok(element)
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}
