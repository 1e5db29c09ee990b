//! Virtual memory management.

use std::ffi::c_void;

use vgpu_protocol::cmd::{VgpuMemCreate, VgpuMemGranularity, VgpuMemRetain, VgpuMemSetAccess};
use vgpu_protocol::cuda::{
    CUmemAccessDesc, CUmemAllocationProp, CUmemGenericAllocationHandle, CUmemLocation, CUresult, ALLOCATION_MANAGED,
    ALLOCATION_PINNED, LOCATION_DEVICE, LOCATION_HOST, LOCATION_HOST_NUMA_CURRENT,
};
use vgpu_protocol::{Handle, HandleKind};

use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::memory::Kind;
use crate::stub::{self, check_out, give};
use crate::trace;
use crate::vmm::Physical;

/// Where the handle of what belongs to no context is noted.
const NO_CONTEXT: Handle = Handle::NULL;

/// A handle of physical memory; one that is none is a wrong value.
fn physical(handle: CUmemGenericAllocationHandle) -> std::result::Result<Physical, CUresult> {
    driver()?.vmm.physical(Handle(handle as u64)).ok_or(CUresult::INVALID_VALUE)
}

/// The device of the memory that `prop` asks for. Memory of the host, which would lie where the
/// application cannot reach it, and memory that can be exported are refused.
///
/// # Safety
/// `prop` is null or valid for a read.
unsafe fn device(name: &'static str, prop: *const CUmemAllocationProp) -> std::result::Result<i32, CUresult> {
    let driver = driver()?;
    // SAFETY: as the caller says.
    let prop = unsafe { prop.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
    match (prop.kind, prop.location.kind) {
        (ALLOCATION_PINNED, LOCATION_DEVICE) => {}
        (ALLOCATION_PINNED, LOCATION_HOST..=LOCATION_HOST_NUMA_CURRENT) | (ALLOCATION_MANAGED, _) => {
            trace::refused(name);
            return Err(CUresult::NOT_SUPPORTED);
        }
        _ => return Err(CUresult::INVALID_VALUE),
    }
    if prop.reserved != [0; 4] || !prop.win32HandleMetaData.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    if prop.requestedHandleTypes != 0 || prop.usage != 0 || prop.gpuDirectRDMACapable != 0 {
        trace::refused(name);
        return Err(CUresult::NOT_SUPPORTED);
    }
    driver.device(prop.location.id).map(|_| prop.location.id)
}

pub unsafe fn cuMemAddressReserve(ptr: *mut u64, size: usize, alignment: usize, addr: u64, flags: u64) -> Result {
    let driver = driver()?;
    check_out(ptr)?;
    let mut address = 0;
    // SAFETY: the pointers are checked or ours.
    unsafe {
        raw::cuMemAddressReserve(&mut address, size, alignment, addr, flags)?;
        driver.memory.add(address, size as u64, Kind::Reserved, NO_CONTEXT, 0);
        give(ptr, address)
    }
}

pub unsafe fn cuMemAddressFree(ptr: u64, size: usize) -> Result {
    let driver = driver()?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemAddressFree(ptr, size)? };
    driver.memory.remove(ptr, |kind| kind == Kind::Reserved);
    Ok(())
}

pub unsafe fn cuMemCreate(
    handle: *mut CUmemGenericAllocationHandle,
    size: usize,
    prop: *const CUmemAllocationProp,
    flags: u64,
) -> Result {
    let driver = driver()?;
    check_out(handle)?;
    // SAFETY: the caller vouches for the pointer.
    let dev = unsafe { device("cuMemCreate of host memory or of memory that can be exported", prop)? };
    if flags != 0 || size == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    let minted = stub::mint(HandleKind::MemGenericAllocationHandle)?;
    stub::create(&VgpuMemCreate { handle: minted, size: size as u64, dev }).inspect_err(|_| stub::forget(minted))?;
    driver.vmm.created(minted, Physical { device: dev, id: driver.memory.next_id() });
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(handle, minted.0 as CUmemGenericAllocationHandle) }
}

pub unsafe fn cuMemRelease(handle: CUmemGenericAllocationHandle) -> Result {
    physical(handle)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemRelease(handle)? };
    driver()?.vmm.released(Handle(handle as u64));
    Ok(())
}

pub unsafe fn cuMemMap(
    ptr: u64,
    size: usize,
    offset: usize,
    handle: CUmemGenericAllocationHandle,
    flags: u64,
) -> Result {
    let physical = physical(handle)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemMap(ptr, size, offset, handle, flags)? };
    driver()?.vmm.mapped(ptr, size as u64, physical);
    Ok(())
}

pub unsafe fn cuMemUnmap(ptr: u64, size: usize) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemUnmap(ptr, size)? };
    driver()?.vmm.unmapped(ptr, size as u64);
    Ok(())
}

pub unsafe fn cuMemSetAccess(ptr: u64, size: usize, desc: *const CUmemAccessDesc, count: usize) -> Result {
    let driver = driver()?;
    if desc.is_null() || count == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    for i in 0..count {
        // SAFETY: the array has `count` elements.
        let access = unsafe { desc.add(i).read_unaligned() };
        stub::create(&VgpuMemSetAccess { ptr, size: size as u64, access })?;
        if access.location.kind == LOCATION_DEVICE {
            driver.vmm.protected(ptr, size as u64, access.location.id, access.flags);
        }
    }
    Ok(())
}

pub unsafe fn cuMemGetAccess(flags: *mut u64, location: *const CUmemLocation, ptr: u64) -> Result {
    let driver = driver()?;
    check_out(flags)?;
    // SAFETY: the caller vouches for the pointer.
    let location = unsafe { location.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
    let mapping = driver.vmm.find(ptr).ok_or(CUresult::INVALID_VALUE)?;
    let access = match location.kind {
        LOCATION_DEVICE => driver.device(location.id).map(|_| mapping.access(location.id))?,
        // The host cannot reach the device's memory.
        LOCATION_HOST..=LOCATION_HOST_NUMA_CURRENT => 0,
        _ => return Err(CUresult::INVALID_VALUE),
    };
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(flags, u64::from(access)) }
}

pub unsafe fn cuMemGetAllocationGranularity(
    granularity: *mut usize,
    prop: *const CUmemAllocationProp,
    option: i32,
) -> Result {
    stub::ready()?;
    check_out(granularity)?;
    // SAFETY: the caller vouches for the pointer.
    let dev = unsafe { device("cuMemGetAllocationGranularity of host memory or for export", prop)? };
    let reply = stub::create(&VgpuMemGranularity { dev, option })?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(granularity, reply.granularity as usize) }
}

pub unsafe fn cuMemGetAllocationPropertiesFromHandle(
    prop: *mut CUmemAllocationProp,
    handle: CUmemGenericAllocationHandle,
) -> Result {
    check_out(prop)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(prop, CUmemAllocationProp::on_device(physical(handle)?.device)) }
}

pub unsafe fn cuMemRetainAllocationHandle(handle: *mut CUmemGenericAllocationHandle, addr: *mut c_void) -> Result {
    let driver = driver()?;
    check_out(handle)?;
    let mapping = driver.vmm.find(addr as u64).ok_or(CUresult::INVALID_VALUE)?;
    let minted = stub::mint(HandleKind::MemGenericAllocationHandle)?;
    stub::create(&VgpuMemRetain { handle: minted, address: addr as u64 }).inspect_err(|_| stub::forget(minted))?;
    driver.vmm.created(minted, mapping.physical);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(handle, minted.0 as CUmemGenericAllocationHandle) }
}
