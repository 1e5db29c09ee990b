//! Arrays and mipmapped arrays.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    CUarray, CUmipmappedArray, CUresult, CUDA_ARRAY3D_DESCRIPTOR, CUDA_ARRAY_DESCRIPTOR, CUDA_ARRAY_MEMORY_REQUIREMENTS,
};

use super::abi::{guard, out, values};
use super::core::{current, driver, Array, MipmappedArray, Result};

/// # Safety
/// A non-null `shape` may be read.
unsafe fn shape<'a, T>(shape: *const T) -> Result<&'a T> {
    // SAFETY: the caller's promise is the same.
    unsafe { values(shape, 1) }?.first().ok_or(CUresult::INVALID_VALUE)
}

/// Creates a one- or two-dimensional array.
pub unsafe extern "C" fn cuArrayCreate_v2(
    pHandle: *mut CUarray,
    pAllocateArray: *const CUDA_ARRAY_DESCRIPTOR,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable and readable, by the driver API's contract.
        let (handle, shape) = unsafe { (out(pHandle)?, shape(pAllocateArray)?) };
        handle.write(current()?.create_array((*shape).into())? as CUarray);
        Ok(())
    })
}

/// Creates an array of up to three dimensions, with layers or as a cubemap.
pub unsafe extern "C" fn cuArray3DCreate_v2(
    pHandle: *mut CUarray,
    pAllocateArray: *const CUDA_ARRAY3D_DESCRIPTOR,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable and readable, by the driver API's contract.
        let (handle, shape) = unsafe { (out(pHandle)?, shape(pAllocateArray)?) };
        handle.write(current()?.create_array(*shape)? as CUarray);
        Ok(())
    })
}

/// The shape of an array, without its depth.
pub unsafe extern "C" fn cuArrayGetDescriptor_v2(
    pArrayDescriptor: *mut CUDA_ARRAY_DESCRIPTOR,
    hArray: CUarray,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let descriptor = unsafe { out(pArrayDescriptor) }?;
        descriptor.write(Array::of(hArray as u64)?.shape.into());
        Ok(())
    })
}

/// The shape of an array.
pub unsafe extern "C" fn cuArray3DGetDescriptor_v2(
    pArrayDescriptor: *mut CUDA_ARRAY3D_DESCRIPTOR,
    hArray: CUarray,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let descriptor = unsafe { out(pArrayDescriptor) }?;
        descriptor.write(Array::of(hArray as u64)?.shape);
        Ok(())
    })
}

/// No array is sparse.
pub unsafe extern "C" fn cuArrayGetSparseProperties(_sparseProperties: *mut c_void, array: CUarray) -> CUresult {
    guard(|| Array::of(array as u64).and(Err(CUresult::INVALID_VALUE)))
}

/// No mipmapped array is sparse.
pub unsafe extern "C" fn cuMipmappedArrayGetSparseProperties(
    _sparseProperties: *mut c_void,
    mipmap: CUmipmappedArray,
) -> CUresult {
    guard(|| MipmappedArray::of(mipmap as u64).and(Err(CUresult::INVALID_VALUE)))
}

/// No array's memory is mapped later.
pub unsafe extern "C" fn cuArrayGetMemoryRequirements(
    _memoryRequirements: *mut CUDA_ARRAY_MEMORY_REQUIREMENTS,
    array: CUarray,
    device: i32,
) -> CUresult {
    guard(|| {
        driver()?.device(device)?;
        Array::of(array as u64).and(Err(CUresult::INVALID_VALUE))
    })
}

/// No mipmapped array's memory is mapped later.
pub unsafe extern "C" fn cuMipmappedArrayGetMemoryRequirements(
    _memoryRequirements: *mut CUDA_ARRAY_MEMORY_REQUIREMENTS,
    mipmap: CUmipmappedArray,
    device: i32,
) -> CUresult {
    guard(|| {
        driver()?.device(device)?;
        MipmappedArray::of(mipmap as u64).and(Err(CUresult::INVALID_VALUE))
    })
}

/// No array has planes.
pub unsafe extern "C" fn cuArrayGetPlane(_pPlaneArray: *mut CUarray, hArray: CUarray, _planeIdx: u32) -> CUresult {
    guard(|| Array::of(hArray as u64).and(Err(CUresult::INVALID_VALUE)))
}

/// Destroys an array; work that was queued before still finds it.
pub unsafe extern "C" fn cuArrayDestroy(hArray: CUarray) -> CUresult {
    guard(|| Array::destroy(hArray as u64))
}

/// Creates a mipmapped array.
pub unsafe extern "C" fn cuMipmappedArrayCreate(
    pHandle: *mut CUmipmappedArray,
    pMipmappedArrayDesc: *const CUDA_ARRAY3D_DESCRIPTOR,
    numMipmapLevels: u32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable and readable, by the driver API's contract.
        let (handle, shape) = unsafe { (out(pHandle)?, shape(pMipmappedArrayDesc)?) };
        handle.write(current()?.create_mipmapped_array(*shape, numMipmapLevels)? as CUmipmappedArray);
        Ok(())
    })
}

/// One level of a mipmapped array, which goes with it.
pub unsafe extern "C" fn cuMipmappedArrayGetLevel(
    pLevelArray: *mut CUarray,
    hMipmappedArray: CUmipmappedArray,
    level: u32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let array = unsafe { out(pLevelArray) }?;
        array.write(MipmappedArray::of(hMipmappedArray as u64)?.level(level)? as CUarray);
        Ok(())
    })
}

/// Destroys a mipmapped array and its levels.
pub unsafe extern "C" fn cuMipmappedArrayDestroy(hMipmappedArray: CUmipmappedArray) -> CUresult {
    guard(|| MipmappedArray::destroy(hMipmappedArray as u64))
}
