//! Memory pools and stream-ordered allocation.

use std::ffi::c_void;

use vgpu_protocol::cmd::{
    VgpuPoolCreate, VgpuPoolGetAccess, VgpuPoolGetAttribute, VgpuPoolSetAccess, VgpuPoolSetAttribute,
};
use vgpu_protocol::cuda::{
    pool_attribute, CUmemAccessDesc, CUmemLocation, CUmemPoolProps, CUmemoryPool, CUresult, CUstream,
    ALLOCATION_MANAGED, ALLOCATION_PINNED, HANDLE_TYPE_FILE_DESCRIPTOR, LOCATION_DEVICE, LOCATION_HOST_NUMA_CURRENT,
};
use vgpu_protocol::{Handle, HandleKind};

use super::memory::forget_export;
use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::memory::Kind;
use crate::stub::{self, check_out, give, put};
use crate::{stream, trace};

/// A pool's handle; one that is none is a wrong value.
pub(super) fn pool_handle(pool: CUmemoryPool) -> std::result::Result<Handle, CUresult> {
    stub::handle(HandleKind::MemoryPool, pool as u64).map_err(|error| match error {
        CUresult::INVALID_HANDLE => CUresult::INVALID_VALUE,
        other => other,
    })
}

pub unsafe fn cuDeviceGetDefaultMemPool(pool: *mut CUmemoryPool, dev: i32) -> Result {
    check_out(pool)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pool, driver()?.default_pool(dev)?.0 as CUmemoryPool) }
}

pub unsafe fn cuDeviceGetMemPool(pool: *mut CUmemoryPool, dev: i32) -> Result {
    check_out(pool)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pool, driver()?.current_pool(dev)?.0 as CUmemoryPool) }
}

pub unsafe fn cuDeviceSetMemPool(dev: i32, pool: CUmemoryPool) -> Result {
    let driver = driver()?;
    driver.device(dev)?;
    let handle = pool_handle(pool)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuDeviceSetMemPool(dev, pool)? };
    driver.set_current_pool(dev, handle)
}

/// The device of a location for pools of `kind`. Pools of host and managed memory are refused: their
/// memory would lie where the application cannot reach it.
///
/// # Safety
/// `location` is null or valid for a read.
unsafe fn pool_device(
    name: &'static str,
    location: *const CUmemLocation,
    kind: i32,
) -> std::result::Result<i32, CUresult> {
    let driver = driver()?;
    // SAFETY: as the caller says.
    let location = unsafe { location.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
    match (kind, location.kind) {
        (ALLOCATION_PINNED, LOCATION_DEVICE) => driver.device(location.id).map(|_| location.id),
        (ALLOCATION_PINNED, 2..=LOCATION_HOST_NUMA_CURRENT) | (ALLOCATION_MANAGED, 0..=LOCATION_HOST_NUMA_CURRENT) => {
            trace::refused(name);
            Err(CUresult::NOT_SUPPORTED)
        }
        _ => Err(CUresult::INVALID_VALUE),
    }
}

pub unsafe fn cuMemGetDefaultMemPool(pool: *mut CUmemoryPool, location: *const CUmemLocation, kind: i32) -> Result {
    // SAFETY: the caller vouches for the pointers.
    unsafe { cuDeviceGetDefaultMemPool(pool, pool_device("cuMemGetDefaultMemPool of host memory", location, kind)?) }
}

pub unsafe fn cuMemGetMemPool(pool: *mut CUmemoryPool, location: *const CUmemLocation, kind: i32) -> Result {
    // SAFETY: the caller vouches for the pointers.
    unsafe { cuDeviceGetMemPool(pool, pool_device("cuMemGetMemPool of host memory", location, kind)?) }
}

pub unsafe fn cuMemSetMemPool(location: *const CUmemLocation, kind: i32, pool: CUmemoryPool) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { cuDeviceSetMemPool(pool_device("cuMemSetMemPool of host memory", location, kind)?, pool) }
}

pub unsafe fn cuMemPoolCreate(pool: *mut CUmemoryPool, props: *const CUmemPoolProps) -> Result {
    stub::ready()?;
    check_out(pool)?;
    // SAFETY: the caller vouches for the properties.
    let props = unsafe { props.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the location is part of them.
    let dev = unsafe { pool_device("cuMemPoolCreate of host memory", &props.location, props.allocType) };
    let dev = dev.map_err(|error| if error == CUresult::INVALID_DEVICE { CUresult::INVALID_VALUE } else { error })?;
    if props.reserved != [0; 53] || !props.win32SecurityAttributes.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let shareable = matches!(props.handleTypes, 0 | HANDLE_TYPE_FILE_DESCRIPTOR);
    if !shareable || props.usage != 0 || props.gpuDirectRDMACapable != 0 {
        trace::refused("cuMemPoolCreate of a pool that has a special use or is exported as anything but a descriptor");
        return Err(CUresult::NOT_SUPPORTED);
    }
    let minted = stub::mint(HandleKind::MemoryPool)?;
    let handle_types = props.handleTypes;
    let command = VgpuPoolCreate { pool: minted, dev, max_size: props.maxSize as u64, handle_types };
    stub::create(&command).inspect_err(|_| stub::forget(minted))?;
    driver()?.pools.created(minted, dev, handle_types != 0);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pool, minted.0 as CUmemoryPool) }
}

pub unsafe fn cuMemPoolDestroy(pool: CUmemoryPool) -> Result {
    let driver = driver()?;
    let handle = pool_handle(pool)?;
    if driver.pools.is_default(handle) {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemPoolDestroy(pool)? };
    driver.pools.forget(handle);
    Ok(())
}

pub unsafe fn cuMemPoolTrimTo(pool: CUmemoryPool, keep: usize) -> Result {
    pool_handle(pool)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemPoolTrimTo(pool, keep) }
}

pub unsafe fn cuMemPoolSetAttribute(pool: CUmemoryPool, attribute: i32, value: *mut c_void) -> Result {
    stub::ready()?;
    let pool = pool_handle(pool)?;
    check_out(value)?;
    let value = match pool_attribute::is_wide(attribute) {
        // SAFETY: the caller vouches for a value of the attribute's type.
        true => unsafe { value.cast::<u64>().read_unaligned() },
        // SAFETY: as above.
        false => u64::from(unsafe { value.cast::<u32>().read_unaligned() }),
    };
    stub::create(&VgpuPoolSetAttribute { pool, attribute, value }).map(drop)
}

pub unsafe fn cuMemPoolGetAttribute(pool: CUmemoryPool, attribute: i32, value: *mut c_void) -> Result {
    stub::ready()?;
    let pool = pool_handle(pool)?;
    check_out(value)?;
    let reply = stub::create(&VgpuPoolGetAttribute { pool, attribute })?;
    // SAFETY: the caller vouches for a place of the attribute's type.
    unsafe {
        match pool_attribute::is_wide(attribute) {
            true => put(value.cast::<u64>(), reply.value),
            false => put(value.cast::<u32>(), reply.value as u32),
        }
    }
    Ok(())
}

pub unsafe fn cuMemPoolSetAccess(pool: CUmemoryPool, map: *const CUmemAccessDesc, count: usize) -> Result {
    stub::ready()?;
    let pool = pool_handle(pool)?;
    if map.is_null() && count > 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    for i in 0..count {
        // SAFETY: the array has `count` elements.
        let access = unsafe { map.add(i).read_unaligned() };
        stub::create(&VgpuPoolSetAccess { pool, access })?;
    }
    Ok(())
}

pub unsafe fn cuMemPoolGetAccess(flags: *mut u32, pool: CUmemoryPool, location: *mut CUmemLocation) -> Result {
    stub::ready()?;
    let pool = pool_handle(pool)?;
    check_out(flags)?;
    check_out(location)?;
    // SAFETY: the caller vouches for the pointer.
    let location = unsafe { location.read_unaligned() };
    let reply = stub::create(&VgpuPoolGetAccess { pool, location })?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(flags, reply.flags) }
}

/// One round trip, in which nothing is waited for but the address. The pool is named in the command's
/// own terms: that of the stream's device.
pub unsafe fn cuMemAllocAsync(dptr: *mut u64, size: usize, stream: CUstream) -> Result {
    let driver = driver()?;
    let device = stream::find(stream as u64)?.context.device;
    let pool = driver.current_pool(device)?;
    // SAFETY: as for the caller.
    unsafe { cuMemAllocFromPoolAsync(dptr, size, pool.0 as CUmemoryPool, stream) }
}

pub unsafe fn cuMemAllocFromPoolAsync(dptr: *mut u64, size: usize, pool: CUmemoryPool, stream: CUstream) -> Result {
    let driver = driver()?;
    check_out(dptr)?;
    let handle = pool_handle(pool)?;
    let owner = stream::find(stream as u64)?.context;
    if size == 0 {
        // SAFETY: the caller vouches for the pointer.
        return unsafe { give(dptr, 0) };
    }
    if let Some(address) = driver.graphs.capture_allocation(stream as u64, owner.device, size as u64)? {
        // SAFETY: the caller vouches for the pointer.
        return unsafe { give(dptr, address) };
    }
    let mut address = 0;
    // SAFETY: the pointers are checked or ours.
    unsafe {
        raw::cuMemAllocFromPoolAsync(&mut address, size, pool, stream)?;
        let device = driver.pools.device_of(handle).unwrap_or(owner.device);
        driver.memory.add(address, size as u64, Kind::Pool(handle), owner.handle, device);
        give(dptr, address)
    }
}

pub unsafe fn cuMemFreeAsync(dptr: u64, stream: CUstream) -> Result {
    let driver = driver()?;
    stream::find(stream as u64)?;
    if driver.graphs.free_in_stream(stream as u64, dptr)? {
        return Ok(());
    }
    let freeable = |kind| matches!(kind, Kind::Device | Kind::Pool(_));
    driver.memory.remove(dptr, freeable).ok_or(CUresult::INVALID_VALUE)?;
    forget_export(dptr)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuMemFreeAsync(dptr, stream) }
}
