//! Allocation of device, pinned and managed memory.

use std::ffi::c_void;

use vgpu_protocol::cmd::{CuCtxSynchronize, VgpuIpcForget};
use vgpu_protocol::cuda::CUresult;

use super::Result;
use crate::context::{self, Context};
use crate::driver::driver;
use crate::exports::raw;
use crate::memory::Kind;
use crate::stub::{self, check_out, give, put_optional};
use crate::{sys, trace};

/// `CU_MEMHOSTALLOC_*`: portable, device map, write combined.
const HOST_FLAGS: u32 = 0x7;
/// `CU_MEMHOSTALLOC_DEVICEMAP` and `_PORTABLE`: all pinned memory is both.
const ALWAYS: u32 = 0x3;
/// `CU_MEMHOSTREGISTER_*`: portable, device map, I/O memory, read-only.
const REGISTER_FLAGS: u32 = 0xf;
const REGISTER_PORTABLE: u32 = 1;
/// `CU_MEM_ATTACH_GLOBAL` and `_HOST`.
const ATTACH_FLAGS: std::ops::RangeInclusive<u32> = 1..=2;

/// Notes an allocation of a context.
pub(super) fn note(context: &Context, start: u64, size: usize, kind: Kind) -> Result {
    driver()?.memory.add(start, size as u64, kind, context.handle, context.device);
    Ok(())
}

pub unsafe fn cuMemAlloc_v2(dptr: *mut u64, size: usize) -> Result {
    driver()?.graphs.check_unsafe()?;
    check_out(dptr)?;
    // SAFETY: the pointer is checked.
    unsafe { give(dptr, allocate_device(size)?) }
}

/// Shared memory is allocated here: the worker knows it as parts of larger ranges.
pub unsafe fn cuMemGetAddressRange_v2(base: *mut u64, size: *mut usize, dptr: u64) -> Result {
    context::required()?;
    let range = driver()?.memory.find(dptr).filter(|range| matches!(range.kind, Kind::Host(_) | Kind::Managed));
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let Some(range) = range else { return raw::cuMemGetAddressRange_v2(base, size, dptr) };
        put_optional(base, range.start);
        put_optional(size, range.size as usize);
    }
    Ok(())
}

/// Allocates device memory.
pub(crate) fn allocate_device(size: usize) -> std::result::Result<u64, CUresult> {
    let context = context::required()?;
    if size == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    let mut address = 0;
    // SAFETY: the pointer is ours.
    unsafe { raw::cuMemAlloc_v2(&mut address, size)? };
    note(context, address, size, Kind::Device)?;
    Ok(address)
}

pub unsafe fn cuMemAllocPitch_v2(
    dptr: *mut u64,
    pitch: *mut usize,
    width: usize,
    height: usize,
    element: u32,
) -> Result {
    driver()?.graphs.check_unsafe()?;
    context::required()?;
    check_out(dptr)?;
    check_out(pitch)?;
    let (mut address, mut row) = (0, 0);
    // SAFETY: the pointers are checked or ours.
    unsafe {
        raw::cuMemAllocPitch_v2(&mut address, &mut row, width, height, element)?;
        note(context::required()?, address, row.saturating_mul(height), Kind::Device)?;
        put_optional(pitch, row);
        give(dptr, address)
    }
}

pub unsafe fn cuMemFree_v2(dptr: u64) -> Result {
    let driver = driver()?;
    if dptr == 0 {
        return Ok(());
    }
    driver.graphs.check_unsafe()?;
    match driver.graphs.free(dptr)? {
        true => Ok(()),
        false => free_device(dptr),
    }
}

/// Frees device or managed memory.
pub(crate) fn free_device(dptr: u64) -> Result {
    let driver = driver()?;
    let range = driver.memory.remove(dptr, |kind| matches!(kind, Kind::Device | Kind::Pool(_) | Kind::Managed));
    match range.ok_or(CUresult::INVALID_VALUE)?.kind {
        Kind::Managed => release(dptr),
        _ => {
            forget_export(dptr)?;
            // SAFETY: no pointers are involved.
            unsafe { raw::cuMemFree_v2(dptr) }
        }
    }
}

/// What other processes have been given ends: no more of them get it.
pub(super) fn forget_export(key: u64) -> Result {
    match driver()?.exported.take(key) {
        true => stub::post_anywhere(&VgpuIpcForget { ptr: key }).map(drop),
        false => Ok(()),
    }
}

fn allocate(size: usize, kind: Kind) -> std::result::Result<u64, CUresult> {
    let driver = driver()?;
    driver.graphs.check_unsafe()?;
    let context = context::required()?;
    if size == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    let address = driver.session.allocate(size as u64)?;
    note(context, address, size, kind)?;
    Ok(address)
}

/// Frees shared memory once the device is done with everything that may use it.
fn release(address: u64) -> Result {
    let driver = driver()?;
    if let Ok(context) = context::required() {
        // An error of earlier work stays with the context; the memory is unused either way.
        let _ = driver.session.call(context.handle.0, &CuCtxSynchronize {});
    }
    driver.session.free(address)
}

pub unsafe fn cuMemHostAlloc(pp: *mut *mut c_void, size: usize, flags: u32) -> Result {
    stub::ready()?;
    check_out(pp)?;
    if flags & !HOST_FLAGS != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    let address = allocate(size, Kind::Host(flags | ALWAYS))?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pp, address as *mut c_void) }
}

pub unsafe fn cuMemAllocHost_v2(pp: *mut *mut c_void, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuMemHostAlloc(pp, size, 0) }
}

pub unsafe fn cuMemFreeHost(p: *mut c_void) -> Result {
    let driver = driver()?;
    if p.is_null() {
        return Ok(());
    }
    driver.graphs.check_unsafe()?;
    let range = driver.memory.remove(p as u64, |kind| matches!(kind, Kind::Host(_)));
    range.ok_or(CUresult::INVALID_VALUE)?;
    release(p as u64)
}

fn pinned(p: *mut c_void) -> std::result::Result<u32, CUresult> {
    match driver()?.memory.find(p as u64).map(|range| range.kind) {
        Some(Kind::Host(flags)) => Ok(flags),
        Some(Kind::Registered) => {
            trace::refused("cuMemHostGetDevicePointer of registered memory");
            Err(CUresult::NOT_SUPPORTED)
        }
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// Pinned memory has the same address on the device.
pub unsafe fn cuMemHostGetDevicePointer_v2(pdptr: *mut u64, p: *mut c_void, flags: u32) -> Result {
    pinned(p)?;
    if flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pdptr, p as u64) }
}

pub unsafe fn cuMemHostGetFlags(flags: *mut u32, p: *mut c_void) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(flags, pinned(p)?) }
}

/// Managed memory lies in shared memory, which both sides can always reach.
pub unsafe fn cuMemAllocManaged(dptr: *mut u64, size: usize, flags: u32) -> Result {
    stub::ready()?;
    check_out(dptr)?;
    if !ATTACH_FLAGS.contains(&flags) {
        return Err(CUresult::INVALID_VALUE);
    }
    let address = allocate(size, Kind::Managed)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(dptr, address) }
}

/// Memory that the application got elsewhere cannot be shared with the worker: its pages would have to
/// be replaced under running threads, and a VM's shared memory comes in larger ones. So it serves copies,
/// in stream order, and kernels cannot reach it: whoever asks for that is refused.
pub unsafe fn cuMemHostRegister_v2(p: *mut c_void, size: usize, flags: u32) -> Result {
    let driver = driver()?;
    let context = context::required()?;
    let start = p as u64;
    if p.is_null() || size == 0 || flags & !REGISTER_FLAGS != 0 || start.checked_add(size as u64).is_none() {
        return Err(CUresult::INVALID_VALUE);
    }
    if driver.memory.overlaps(start, size as u64) {
        return Err(CUresult::HOST_MEMORY_ALREADY_REGISTERED);
    }
    if flags & !REGISTER_PORTABLE != 0 {
        trace::refused("cuMemHostRegister for use by kernels");
        return Err(CUresult::NOT_SUPPORTED);
    }
    if !sys::is_mapped(p, size) {
        return Err(CUresult::INVALID_VALUE);
    }
    note(context, start, size, Kind::Registered)
}

pub unsafe fn cuMemHostUnregister(p: *mut c_void) -> Result {
    let driver = driver()?;
    if p.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let range = driver.memory.remove(p as u64, |kind| kind == Kind::Registered);
    range.map(drop).ok_or(CUresult::HOST_MEMORY_NOT_REGISTERED)
}
