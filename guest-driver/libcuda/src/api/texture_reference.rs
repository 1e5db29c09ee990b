//! Texture and surface references (deprecated by CUDA). The driver keeps their state; which array is
//! bound is noted here, since the driver's own pointer says nothing to the application.

use vgpu_protocol::cuda::{CUarray, CUmipmappedArray, CUresult, CUsurfref, CUtexref, CUDA_ARRAY_DESCRIPTOR};
use vgpu_protocol::{Handle, HandleKind};

use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::stub::{self, give, put_optional};

/// Notes what is bound to a reference; `None` for memory.
fn note(reference: u64, array: Option<u64>) -> Result {
    let mut tables = driver()?.arrays.lock();
    match array {
        Some(array) => tables.bound.insert(reference, Handle(array)),
        None => tables.bound.remove(&reference),
    };
    Ok(())
}

/// The array of a kind that is bound to a reference.
fn bound(reference: u64, kind: HandleKind) -> std::result::Result<u64, CUresult> {
    let array = driver()?.arrays.lock().bound.get(&reference).copied();
    array.filter(|array| array.kind() == kind as u8).map(|array| array.0).ok_or(CUresult::INVALID_VALUE)
}

pub unsafe fn cuTexRefSetArray(reference: CUtexref, array: CUarray, flags: u32) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { raw::cuTexRefSetArray(reference, array, flags)? };
    note(reference as u64, Some(array as u64))
}

pub unsafe fn cuTexRefSetMipmappedArray(reference: CUtexref, array: CUmipmappedArray, flags: u32) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { raw::cuTexRefSetMipmappedArray(reference, array, flags)? };
    note(reference as u64, Some(array as u64))
}

/// An address that is not aligned needs a place for its offset.
pub unsafe fn cuTexRefSetAddress_v2(offset: *mut usize, reference: CUtexref, dptr: u64, size: usize) -> Result {
    if dptr != 0 {
        stub::check_device(dptr)?;
    }
    let mut distance = 0;
    // SAFETY: the pointer is ours.
    unsafe { raw::cuTexRefSetAddress_v2(&mut distance, reference, dptr, size)? };
    note(reference as u64, None)?;
    if offset.is_null() && distance != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { put_optional(offset, distance) };
    Ok(())
}

pub unsafe fn cuTexRefSetAddress2D_v2(
    reference: CUtexref,
    shape: *const CUDA_ARRAY_DESCRIPTOR,
    dptr: u64,
    pitch: usize,
) -> Result {
    stub::check_device(dptr)?;
    // SAFETY: as for the caller.
    unsafe { raw::cuTexRefSetAddress2D_v2(reference, shape, dptr, pitch)? };
    note(reference as u64, None)
}

pub unsafe fn cuTexRefSetAddress2D_v3(
    reference: CUtexref,
    shape: *const CUDA_ARRAY_DESCRIPTOR,
    dptr: u64,
    pitch: usize,
) -> Result {
    stub::check_device(dptr)?;
    // SAFETY: as for the caller.
    unsafe { raw::cuTexRefSetAddress2D_v3(reference, shape, dptr, pitch)? };
    note(reference as u64, None)
}

pub unsafe fn cuTexRefDestroy(reference: CUtexref) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { raw::cuTexRefDestroy(reference)? };
    note(reference as u64, None)
}

pub unsafe fn cuTexRefGetArray(out: *mut CUarray, reference: CUtexref) -> Result {
    stub::handle(HandleKind::Texref, reference as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, bound(reference as u64, HandleKind::Array)? as CUarray) }
}

pub unsafe fn cuTexRefGetMipmappedArray(out: *mut CUmipmappedArray, reference: CUtexref) -> Result {
    stub::handle(HandleKind::Texref, reference as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, bound(reference as u64, HandleKind::MipmappedArray)? as CUmipmappedArray) }
}

pub unsafe fn cuSurfRefSetArray(reference: CUsurfref, array: CUarray, flags: u32) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { raw::cuSurfRefSetArray(reference, array, flags)? };
    note(reference as u64, Some(array as u64))
}

pub unsafe fn cuSurfRefGetArray(out: *mut CUarray, reference: CUsurfref) -> Result {
    stub::handle(HandleKind::Surfref, reference as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, bound(reference as u64, HandleKind::Array)? as CUarray) }
}
