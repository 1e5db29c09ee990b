//! Arrays and mipmapped arrays. Their shapes are known here, so only making them costs a round trip.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    is_array_format, CUarray, CUmipmappedArray, CUresult, CUDA_ARRAY3D_DESCRIPTOR, CUDA_ARRAY_DESCRIPTOR,
    CUDA_ARRAY_MEMORY_REQUIREMENTS,
};
use vgpu_protocol::Handle;

use super::Result;
use crate::arrays::{self, Array, Mipmapped};
use crate::context;
use crate::driver::driver;
use crate::exports::raw;
use crate::stub::{self, check_out, give};

/// `CUDA_ARRAY3D_SPARSE` and `_DEFERRED_MAPPING`: memory that is mapped later.
const MAPPED_LATER: u32 = 0x40 | 0x80;

/// Formats whose elements have no fixed size cannot be checked in copies, so they are refused.
fn check(shape: &CUDA_ARRAY3D_DESCRIPTOR) -> Result {
    if !is_array_format(shape.Format) || !matches!(shape.NumChannels, 1 | 2 | 4) || shape.Width == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    if shape.element().is_none() || shape.Flags & MAPPED_LATER != 0 {
        return Err(CUresult::NOT_SUPPORTED);
    }
    Ok(())
}

/// Makes an array by `make` and gives its handle.
///
/// # Safety
/// `out` is null or valid for a write.
unsafe fn create(
    out: *mut CUarray,
    shape: CUDA_ARRAY3D_DESCRIPTOR,
    make: impl FnOnce(*mut CUarray) -> Result,
) -> Result {
    let context = context::required()?.handle;
    check(&shape)?;
    let mut array = std::ptr::null_mut();
    make(&mut array)?;
    driver()?.arrays.lock().arrays.insert(array as u64, Array { shape, context, is_level: false });
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, array) }
}

pub unsafe fn cuArrayCreate_v2(out: *mut CUarray, shape: *const CUDA_ARRAY_DESCRIPTOR) -> Result {
    stub::ready()?;
    check_out(out)?;
    // SAFETY: the caller vouches for the pointers.
    unsafe { create(out, stub::input(shape)?.into(), |array| raw::cuArrayCreate_v2(array, shape)) }
}

pub unsafe fn cuArray3DCreate_v2(out: *mut CUarray, shape: *const CUDA_ARRAY3D_DESCRIPTOR) -> Result {
    stub::ready()?;
    check_out(out)?;
    // SAFETY: the caller vouches for the pointers.
    unsafe { create(out, stub::input(shape)?, |array| raw::cuArray3DCreate_v2(array, shape)) }
}

pub unsafe fn cuArrayGetDescriptor_v2(out: *mut CUDA_ARRAY_DESCRIPTOR, array: CUarray) -> Result {
    let shape = arrays::find(array as u64)?.shape;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, shape.into()) }
}

pub unsafe fn cuArray3DGetDescriptor_v2(out: *mut CUDA_ARRAY3D_DESCRIPTOR, array: CUarray) -> Result {
    let shape = arrays::find(array as u64)?.shape;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, shape) }
}

pub unsafe fn cuArrayDestroy(array: CUarray) -> Result {
    if arrays::find(array as u64)?.is_level {
        return Err(CUresult::INVALID_HANDLE);
    }
    driver()?.arrays.lock().arrays.remove(&(array as u64));
    // SAFETY: no pointers are involved.
    unsafe { raw::cuArrayDestroy(array) }
}

/// Sparse arrays are refused, so no array has such properties.
pub unsafe fn cuArrayGetSparseProperties(_properties: *mut c_void, array: CUarray) -> Result {
    arrays::find(array as u64).and(Err(CUresult::INVALID_VALUE))
}

/// As for arrays.
pub unsafe fn cuMipmappedArrayGetSparseProperties(_properties: *mut c_void, array: CUmipmappedArray) -> Result {
    arrays::check_mipmapped(array as u64).and(Err(CUresult::INVALID_VALUE))
}

/// Arrays whose memory is mapped later are refused, so no array has requirements.
pub unsafe fn cuArrayGetMemoryRequirements(
    _requirements: *mut CUDA_ARRAY_MEMORY_REQUIREMENTS,
    array: CUarray,
    dev: i32,
) -> Result {
    driver()?.device(dev)?;
    arrays::find(array as u64).and(Err(CUresult::INVALID_VALUE))
}

/// As for arrays.
pub unsafe fn cuMipmappedArrayGetMemoryRequirements(
    _requirements: *mut CUDA_ARRAY_MEMORY_REQUIREMENTS,
    array: CUmipmappedArray,
    dev: i32,
) -> Result {
    driver()?.device(dev)?;
    arrays::check_mipmapped(array as u64).and(Err(CUresult::INVALID_VALUE))
}

/// Formats with planes are refused, so no array has any.
pub unsafe fn cuArrayGetPlane(_plane: *mut CUarray, array: CUarray, _index: u32) -> Result {
    arrays::find(array as u64).and(Err(CUresult::INVALID_VALUE))
}

/// More levels than the shape has are cut off.
pub unsafe fn cuMipmappedArrayCreate(
    out: *mut CUmipmappedArray,
    shape: *const CUDA_ARRAY3D_DESCRIPTOR,
    levels: u32,
) -> Result {
    stub::ready()?;
    check_out(out)?;
    let context = context::required()?.handle;
    // SAFETY: the caller vouches for the pointer.
    let described = unsafe { stub::input(shape)? };
    check(&described)?;
    if levels == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    let levels = levels.min(described.max_levels());
    let mut array = std::ptr::null_mut();
    // SAFETY: the pointers are checked or ours.
    unsafe { raw::cuMipmappedArrayCreate(&mut array, shape, levels)? };
    let made = Mipmapped { shape: described, context, levels: vec![None; levels as usize] };
    driver()?.arrays.lock().mipmapped.insert(array as u64, made);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, array) }
}

/// A level has one handle, however often it is asked for.
pub unsafe fn cuMipmappedArrayGetLevel(out: *mut CUarray, array: CUmipmappedArray, level: u32) -> Result {
    check_out(out)?;
    arrays::check_mipmapped(array as u64)?;
    let mut tables = driver()?.arrays.lock();
    let mipmapped = tables.mipmapped.get_mut(&(array as u64)).ok_or(CUresult::INVALID_HANDLE)?;
    let shape = mipmapped.shape.level(level);
    let context = mipmapped.context;
    let handle = match mipmapped.levels.get_mut(level as usize).ok_or(CUresult::INVALID_VALUE)? {
        Some(handle) => *handle,
        place => {
            let mut made = std::ptr::null_mut();
            // SAFETY: the pointer is ours.
            unsafe { raw::cuMipmappedArrayGetLevel(&mut made, array, level)? };
            *place.insert(Handle(made as u64))
        }
    };
    tables.arrays.insert(handle.0, Array { shape, context, is_level: true });
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, handle.0 as CUarray) }
}

pub unsafe fn cuMipmappedArrayDestroy(array: CUmipmappedArray) -> Result {
    arrays::check_mipmapped(array as u64)?;
    let mut tables = driver()?.arrays.lock();
    let mipmapped = tables.mipmapped.remove(&(array as u64)).ok_or(CUresult::INVALID_HANDLE)?;
    for level in mipmapped.levels.into_iter().flatten() {
        tables.arrays.remove(&level.0);
        stub::forget(level);
    }
    drop(tables);
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMipmappedArrayDestroy(array) }
}
