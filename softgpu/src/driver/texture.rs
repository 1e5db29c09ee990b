//! Texture and surface objects.

use vgpu_protocol::cuda::{CUresult, CUDA_RESOURCE_DESC, CUDA_RESOURCE_VIEW_DESC, CUDA_TEXTURE_DESC};

use super::abi::{guard, out, values};
use super::core::{current, driver, Result};

/// # Safety
/// A non-null `pointer` may be read.
unsafe fn read<T: Copy>(pointer: *const T) -> Result<T> {
    // SAFETY: the caller's promise is the same.
    unsafe { values(pointer, 1) }?.first().copied().ok_or(CUresult::INVALID_VALUE)
}

/// Creates a texture object; its value is what kernels get.
pub unsafe extern "C" fn cuTexObjectCreate(
    pTexObject: *mut u64,
    pResDesc: *const CUDA_RESOURCE_DESC,
    pTexDesc: *const CUDA_TEXTURE_DESC,
    pResViewDesc: *const CUDA_RESOURCE_VIEW_DESC,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable and readable, by the driver API's contract.
        let (object, resource, texture) = unsafe { (out(pTexObject)?, read(pResDesc)?, read(pTexDesc)?) };
        let view = match pResViewDesc.is_null() {
            true => None,
            // SAFETY: readable, by the driver API's contract.
            false => Some(unsafe { read(pResViewDesc) }?),
        };
        object.write(current()?.create_texture(resource, texture, view)?);
        Ok(())
    })
}

/// Destroys a texture object.
pub unsafe extern "C" fn cuTexObjectDestroy(texObject: u64) -> CUresult {
    guard(|| driver()?.textures.destroy(texObject, true))
}

/// What a texture object reads.
pub unsafe extern "C" fn cuTexObjectGetResourceDesc(pResDesc: *mut CUDA_RESOURCE_DESC, texObject: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let resource = unsafe { out(pResDesc) }?;
        resource.write(driver()?.textures.describe(texObject, true)?.resource);
        Ok(())
    })
}

/// How a texture object samples.
pub unsafe extern "C" fn cuTexObjectGetTextureDesc(pTexDesc: *mut CUDA_TEXTURE_DESC, texObject: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let texture = unsafe { out(pTexDesc) }?;
        texture.write(driver()?.textures.describe(texObject, true)?.texture.ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    })
}

/// The view with which a texture object was made; an error if there was none.
pub unsafe extern "C" fn cuTexObjectGetResourceViewDesc(
    pResViewDesc: *mut CUDA_RESOURCE_VIEW_DESC,
    texObject: u64,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let view = unsafe { out(pResViewDesc) }?;
        view.write(driver()?.textures.describe(texObject, true)?.view.ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    })
}

/// Creates a surface object; its value is what kernels get.
pub unsafe extern "C" fn cuSurfObjectCreate(pSurfObject: *mut u64, pResDesc: *const CUDA_RESOURCE_DESC) -> CUresult {
    guard(|| {
        // SAFETY: null or writable and readable, by the driver API's contract.
        let (object, resource) = unsafe { (out(pSurfObject)?, read(pResDesc)?) };
        object.write(current()?.create_surface(resource)?);
        Ok(())
    })
}

/// Destroys a surface object.
pub unsafe extern "C" fn cuSurfObjectDestroy(surfObject: u64) -> CUresult {
    guard(|| driver()?.textures.destroy(surfObject, false))
}

/// What a surface object reads and writes.
pub unsafe extern "C" fn cuSurfObjectGetResourceDesc(pResDesc: *mut CUDA_RESOURCE_DESC, surfObject: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let resource = unsafe { out(pResDesc) }?;
        resource.write(driver()?.textures.describe(surfObject, false)?.resource);
        Ok(())
    })
}
