//! Virtual memory management.

use std::ffi::c_void;

use vgpu_protocol::cmd::{VgpuMemCreate, VgpuMemGranularity, VgpuMemRetain, VgpuMemSetAccess};
use vgpu_protocol::cuda::{
    CUmemAccessDesc, CUmemAllocationProp, CUmemGenericAllocationHandle, CUmemLocation, CUresult, ALLOCATION_MANAGED,
    ALLOCATION_PINNED, HANDLE_TYPE_FILE_DESCRIPTOR, LOCATION_DEVICE, LOCATION_HOST, LOCATION_HOST_NUMA_CURRENT,
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
pub(super) fn physical(handle: CUmemGenericAllocationHandle) -> std::result::Result<Physical, CUresult> {
    driver()?.vmm.physical(Handle(handle as u64)).ok_or(CUresult::INVALID_VALUE)
}

/// What memory `prop` asks for: other processes may get it as a file descriptor or not at all.
///
/// # Safety
/// `prop` is null or valid for a read.
unsafe fn properties(
    name: &'static str,
    prop: *const CUmemAllocationProp,
) -> std::result::Result<CUmemAllocationProp, CUresult> {
    let driver = driver()?;
    // SAFETY: as the caller says.
    let prop = unsafe { stub::input(prop) }?;
    match (prop.kind, prop.location.kind) {
        (ALLOCATION_PINNED, LOCATION_DEVICE) => drop(driver.device(prop.location.id)?),
        (ALLOCATION_PINNED, LOCATION_HOST..=LOCATION_HOST_NUMA_CURRENT) => {}
        (ALLOCATION_MANAGED, _) => {
            trace::refused(name);
            return Err(CUresult::NOT_SUPPORTED);
        }
        _ => return Err(CUresult::INVALID_VALUE),
    }
    if prop.reserved != [0; 4] || !prop.win32HandleMetaData.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    if !matches!(prop.requestedHandleTypes, 0 | HANDLE_TYPE_FILE_DESCRIPTOR) {
        trace::refused(name);
        return Err(CUresult::NOT_SUPPORTED);
    }
    Ok(prop)
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
    let prop = unsafe { properties("cuMemCreate of managed memory, or exported as anything but a descriptor", prop)? };
    if flags != 0 || size == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // The host's would lie where the application cannot reach it; the guest has no device for RDMA.
    if prop.location.kind != LOCATION_DEVICE || prop.usage != 0 || prop.gpuDirectRDMACapable != 0 {
        trace::refused("cuMemCreate of host memory or for special uses");
        return Err(CUresult::NOT_SUPPORTED);
    }
    let (dev, handle_types) = (prop.location.id, prop.requestedHandleTypes);
    let minted = stub::mint(HandleKind::MemGenericAllocationHandle)?;
    let command = VgpuMemCreate { handle: minted, size: size as u64, dev, handle_types };
    stub::create(&command).inspect_err(|_| stub::forget(minted))?;
    let shareable = handle_types != 0;
    driver.vmm.created(minted, Physical { device: dev, id: driver.memory.next_id(), shareable });
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
    let prop = unsafe {
        properties("cuMemGetAllocationGranularity of managed memory, or exported as anything but a descriptor", prop)?
    };
    let (location, handle_types) = (prop.location, prop.requestedHandleTypes);
    let reply = stub::create(&VgpuMemGranularity { location, handle_types, option })?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(granularity, reply.granularity as usize) }
}

fn properties_of(physical: &Physical) -> CUmemAllocationProp {
    let requestedHandleTypes = physical.shareable.into();
    CUmemAllocationProp { requestedHandleTypes, ..CUmemAllocationProp::on_device(physical.device) }
}

pub unsafe fn cuMemGetAllocationPropertiesFromHandle(
    prop: *mut CUmemAllocationProp,
    handle: CUmemGenericAllocationHandle,
) -> Result {
    check_out(prop)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(prop, properties_of(&physical(handle)?)) }
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
