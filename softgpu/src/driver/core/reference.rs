//! Texture and surface references: variables of a module to which an image is bound. Underneath,
//! each has a texture or surface object, whose handle the variable holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_engine::memory::AccessError;
use vgpu_protocol::cuda::{
    CUresult, CUDA_RESOURCE_DESC, CUDA_TEXTURE_DESC, RESOURCE_ARRAY, RESOURCE_LINEAR, RESOURCE_MIPMAPPED_ARRAY,
    RESOURCE_PITCH2D,
};

use super::array::{Array, MipmappedArray};
use super::attributes::{TEXTURE_ALIGNMENT, TEXTURE_PITCH_ALIGNMENT};
use super::state::{driver, Driver};
use super::{Context, Result};

/// `CU_TRSA_OVERRIDE_FORMAT`: the array's format counts.
const OVERRIDE_FORMAT: u32 = 1;

/// A texture reference.
pub(in crate::driver) struct TextureReference {
    context: u64,
    /// The module it is part of, 0 if it was made by itself.
    module: u64,
    /// Where the handle is, if it is part of a module.
    variable: Option<u64>,
    state: Mutex<State>,
}

/// What is bound to a reference and how it is read.
#[derive(Clone, Copy)]
pub(in crate::driver) struct State {
    pub(in crate::driver) resource: Option<CUDA_RESOURCE_DESC>,
    /// `CUarray_format` and channels of memory.
    pub(in crate::driver) format: (u32, u32),
    pub(in crate::driver) texture: CUDA_TEXTURE_DESC,
    object: Option<u64>,
}

/// A surface reference.
pub(in crate::driver) struct SurfaceReference {
    context: u64,
    module: u64,
    variable: u64,
    /// The array and its surface object.
    bound: Mutex<Option<(u64, u64)>>,
}

impl TextureReference {
    /// The texture reference behind a handle.
    pub(in crate::driver) fn of(handle: u64) -> Result<Arc<TextureReference>> {
        driver()?.texture_references.get(handle).ok_or(CUresult::INVALID_HANDLE)
    }

    /// What is bound and how it is read.
    pub(in crate::driver) fn state(&self) -> State {
        *self.lock()
    }

    /// Changes the state. Launches before the change see the state before it.
    pub(in crate::driver) fn change(&self, change: impl FnOnce(&mut State) -> Result) -> Result {
        let context = driver()?.contexts.get(self.context).ok_or(CUresult::INVALID_CONTEXT)?;
        let mut state = self.lock();
        let mut next = *state;
        change(&mut next)?;
        let object = match (self.variable, next.resource) {
            // What does not fit together yet is not bound yet.
            (Some(_), Some(resource)) => {
                context.create_texture(with_format(resource, next.format), next.texture, None).ok()
            }
            _ => None,
        };
        if let Some(variable) = self.variable {
            bind(&context, variable, object)?;
        }
        if let Some(old) = state.object.take() {
            context.driver.textures.destroy(old, true)?;
        }
        *state = State { object, ..next };
        Ok(())
    }

    /// Ends a reference that is part of no module.
    pub(in crate::driver) fn destroy(handle: u64) -> Result {
        if TextureReference::of(handle)?.module != 0 {
            return Err(CUresult::INVALID_HANDLE);
        }
        driver()?.texture_references.remove(handle).map(drop).ok_or(CUresult::INVALID_HANDLE)
    }

    fn release(&self, driver: &Driver) {
        if let Some(object) = self.lock().object.take() {
            // Ours until here.
            let _ = driver.textures.destroy(object, true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> State {
        let texture = CUDA_TEXTURE_DESC { addressMode: [1; 3], maxMipmapLevelClamp: f32::MAX, ..Default::default() };
        State { resource: None, format: (0, 0), texture, object: None }
    }

    /// Binds an array or a mipmapped array.
    pub(in crate::driver) fn bind_array(&mut self, handle: u64, mipmapped: bool, flags: u32) -> Result {
        if flags != OVERRIDE_FORMAT {
            return Err(CUresult::INVALID_VALUE);
        }
        let (kind, shape) = match mipmapped {
            true => (RESOURCE_MIPMAPPED_ARRAY, MipmappedArray::of(handle)?.shape),
            false => (RESOURCE_ARRAY, Array::of(handle)?.shape),
        };
        self.format = (shape.Format, shape.NumChannels);
        let mut resource = CUDA_RESOURCE_DESC { resType: kind, ..Default::default() };
        resource.res[0] = handle;
        self.resource = Some(resource);
        Ok(())
    }

    /// Binds linear memory; gives the distance to the aligned address that is bound.
    pub(in crate::driver) fn bind_memory(&mut self, pointer: u64, size: u64, offset_wanted: bool) -> Result<u64> {
        if pointer == 0 {
            self.resource = None;
            return Ok(0);
        }
        let offset = pointer % u64::from(TEXTURE_ALIGNMENT);
        if offset != 0 && !offset_wanted {
            return Err(CUresult::INVALID_VALUE);
        }
        let size = size.checked_add(offset).ok_or(CUresult::INVALID_VALUE)?;
        let mut resource = CUDA_RESOURCE_DESC { resType: RESOURCE_LINEAR, ..Default::default() };
        [resource.res[0], resource.res[2]] = [pointer - offset, size];
        self.resource = Some(resource);
        Ok(offset)
    }

    /// Binds rows of memory, which are aligned as the device wants them.
    pub(in crate::driver) fn bind_rows(
        &mut self,
        pointer: u64,
        [width, height, pitch]: [u64; 3],
        format: (u32, u32),
    ) -> Result {
        if !pointer.is_multiple_of(TEXTURE_ALIGNMENT.into()) || !pitch.is_multiple_of(TEXTURE_PITCH_ALIGNMENT.into()) {
            return Err(CUresult::INVALID_VALUE);
        }
        let mut resource = CUDA_RESOURCE_DESC { resType: RESOURCE_PITCH2D, ..Default::default() };
        resource.res[..5].copy_from_slice(&[pointer, 0, width, height, pitch]);
        self.format = format;
        self.resource = Some(resource);
        Ok(())
    }

    /// The array (or mipmapped array) that is bound.
    pub(in crate::driver) fn array(&self, mipmapped: bool) -> Result<u64> {
        let kind = if mipmapped { RESOURCE_MIPMAPPED_ARRAY } else { RESOURCE_ARRAY };
        let bound = self.resource.filter(|resource| resource.resType == kind);
        bound.map(|resource| resource.res[0]).ok_or(CUresult::INVALID_VALUE)
    }
}

fn with_format(mut resource: CUDA_RESOURCE_DESC, (format, channels): (u32, u32)) -> CUDA_RESOURCE_DESC {
    if matches!(resource.resType, RESOURCE_LINEAR | RESOURCE_PITCH2D) {
        resource.res[1] = u64::from(format) | u64::from(channels) << 32;
    }
    resource
}

/// Writes an object's handle where kernels look for it, after the kernels before.
fn bind(context: &Context, variable: u64, object: Option<u64>) -> Result {
    context.synchronise()?;
    let written = context.driver.memory.write(variable, &object.unwrap_or(0).to_le_bytes());
    written.map_err(|_: AccessError| CUresult::INVALID_HANDLE)
}

impl SurfaceReference {
    /// The surface reference behind a handle.
    pub(in crate::driver) fn of(handle: u64) -> Result<Arc<SurfaceReference>> {
        driver()?.surface_references.get(handle).ok_or(CUresult::INVALID_HANDLE)
    }

    /// Binds an array.
    pub(in crate::driver) fn bind(&self, array: u64) -> Result {
        let context = driver()?.contexts.get(self.context).ok_or(CUresult::INVALID_CONTEXT)?;
        let mut resource = CUDA_RESOURCE_DESC { resType: RESOURCE_ARRAY, ..Default::default() };
        resource.res[0] = array;
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let object = context.create_surface(resource)?;
        bind(&context, self.variable, Some(object))?;
        if let Some((_, old)) = bound.replace((array, object)) {
            context.driver.textures.destroy(old, false)?;
        }
        Ok(())
    }

    /// The array that is bound.
    pub(in crate::driver) fn array(&self) -> Result<u64> {
        let bound = *self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.map(|(array, _)| array).ok_or(CUresult::INVALID_VALUE)
    }
}

impl Context {
    /// Handle of a new texture reference; one of a module lies at `variable`.
    pub(in crate::driver) fn create_texture_reference(&self, module: u64, variable: Option<u64>) -> u64 {
        let state = Mutex::new(State::new());
        let reference = TextureReference { context: self.handle, module, variable, state };
        self.driver.texture_references.insert(Arc::new(reference))
    }

    /// Handle of a new surface reference of a module.
    pub(in crate::driver) fn create_surface_reference(&self, module: u64, variable: u64) -> u64 {
        let reference = SurfaceReference { context: self.handle, module, variable, bound: Mutex::default() };
        self.driver.surface_references.insert(Arc::new(reference))
    }
}

impl Driver {
    /// Ends the references of a module that goes away, and what they hold.
    pub(super) fn drop_references(&self, module: u64) {
        for reference in self.texture_references.remove_where(|reference| reference.module == module) {
            reference.release(self);
        }
        for reference in self.surface_references.remove_where(|reference| reference.module == module) {
            let bound = *reference.bound.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, object)) = bound {
                // Ours until here.
                let _ = self.textures.destroy(object, false);
            }
        }
    }

    /// Ends the references of a context; their objects go with it.
    pub(super) fn drop_context_references(&self, context: u64) {
        drop(self.texture_references.remove_where(|reference| reference.context == context));
        drop(self.surface_references.remove_where(|reference| reference.context == context));
    }
}
