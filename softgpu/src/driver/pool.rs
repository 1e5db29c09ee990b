//! Memory pools and stream-ordered allocation.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    pool_attribute, CUmemAccessDesc, CUmemLocation, CUmemPoolProps, CUmemoryPool, CUresult, CUstream,
    ACCESS_READ_WRITE, ALLOCATION_MANAGED, ALLOCATION_PINNED, HANDLE_TYPE_FILE_DESCRIPTOR, LOCATION_DEVICE,
};

use super::abi::{bytes_out, guard, out, values};
use super::core::{driver, Device, Driver, Result, Target};

/// The device's default pool.
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool_out: *mut CUmemoryPool, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pool_out) }?;
        let driver = driver()?;
        place.write(driver.default_pool(driver.device(dev)?).handle as CUmemoryPool);
        Ok(())
    })
}

/// The pool of allocations that name none.
pub unsafe extern "C" fn cuDeviceGetMemPool(pool: *mut CUmemoryPool, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pool) }?;
        let driver = driver()?;
        place.write(driver.current_pool(driver.device(dev)?).handle as CUmemoryPool);
        Ok(())
    })
}

/// Sets the pool of allocations that name none.
pub unsafe extern "C" fn cuDeviceSetMemPool(dev: i32, pool: CUmemoryPool) -> CUresult {
    guard(|| {
        let driver = driver()?;
        let device = driver.device(dev)?;
        let pool = driver.pool(pool as u64)?;
        if pool.is_imported() || pool.device.ordinal != dev {
            return Err(CUresult::INVALID_VALUE);
        }
        device.set_current_pool(pool);
        Ok(())
    })
}

/// A location and kind of memory that has pools: the device's. Those of host and managed memory are not
/// supported.
///
/// # Safety
/// `location` is null or readable.
unsafe fn check_kind(location: *const CUmemLocation, kind: i32) -> Result<i32> {
    // SAFETY: as the caller says.
    let [location] = (unsafe { values(location, 1) })? else { return Err(CUresult::INVALID_VALUE) };
    match (kind, location.kind) {
        (ALLOCATION_PINNED, LOCATION_DEVICE) => Ok(location.id),
        (ALLOCATION_PINNED, 2..=4) | (ALLOCATION_MANAGED, 0..=4) => Err(CUresult::NOT_SUPPORTED),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// As `cuDeviceGetDefaultMemPool`, by location.
pub unsafe extern "C" fn cuMemGetDefaultMemPool(
    pool_out: *mut CUmemoryPool,
    location: *const CUmemLocation,
    kind: i32,
) -> CUresult {
    // SAFETY: null or readable, by the driver API's contract.
    match unsafe { check_kind(location, kind) } {
        // SAFETY: the contract is the same.
        Ok(dev) => unsafe { cuDeviceGetDefaultMemPool(pool_out, dev) },
        Err(error) => error,
    }
}

/// As `cuDeviceGetMemPool`, by location.
pub unsafe extern "C" fn cuMemGetMemPool(
    pool: *mut CUmemoryPool,
    location: *const CUmemLocation,
    kind: i32,
) -> CUresult {
    // SAFETY: null or readable, by the driver API's contract.
    match unsafe { check_kind(location, kind) } {
        // SAFETY: the contract is the same.
        Ok(dev) => unsafe { cuDeviceGetMemPool(pool, dev) },
        Err(error) => error,
    }
}

/// As `cuDeviceSetMemPool`, by location.
pub unsafe extern "C" fn cuMemSetMemPool(location: *const CUmemLocation, kind: i32, pool: CUmemoryPool) -> CUresult {
    // SAFETY: null or readable, by the driver API's contract.
    match unsafe { check_kind(location, kind) } {
        // SAFETY: no pointers are involved.
        Ok(dev) => unsafe { cuDeviceSetMemPool(dev, pool) },
        Err(error) => error,
    }
}

/// Creates a pool of device memory; others are not supported. What is exported is a file descriptor.
pub unsafe extern "C" fn cuMemPoolCreate(pool: *mut CUmemoryPool, poolProps: *const CUmemPoolProps) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pool) }?;
        // SAFETY: null or readable, by the driver API's contract.
        let [props] = (unsafe { values(poolProps, 1) })? else { return Err(CUresult::INVALID_VALUE) };
        let shareable = matches!(props.handleTypes, 0 | HANDLE_TYPE_FILE_DESCRIPTOR);
        if props.allocType != ALLOCATION_PINNED || !shareable || props.location.kind != LOCATION_DEVICE {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let driver = driver()?;
        let device = driver.device(props.location.id).map_err(|_| CUresult::INVALID_VALUE)?;
        place.write(driver.create_pool(device, props.maxSize as u64, props.handleTypes != 0)? as CUmemoryPool);
        Ok(())
    })
}

/// Ends a pool; what is allocated from it stays until it is freed.
pub unsafe extern "C" fn cuMemPoolDestroy(pool: CUmemoryPool) -> CUresult {
    guard(|| driver()?.pool(pool as u64)?.destroy())
}

/// Gives memory back to the device until at most `minBytesToKeep` are reserved.
pub unsafe extern "C" fn cuMemPoolTrimTo(pool: CUmemoryPool, minBytesToKeep: usize) -> CUresult {
    guard(|| {
        driver()?.pool(pool as u64)?.trim(minBytesToKeep as u64);
        Ok(())
    })
}

/// Sets an attribute, whose type is `int` or `cuuint64_t`.
pub unsafe extern "C" fn cuMemPoolSetAttribute(pool: CUmemoryPool, attr: i32, value: *mut c_void) -> CUresult {
    guard(|| {
        let pool = driver()?.pool(pool as u64)?;
        let number = match pool_attribute::is_wide(attr) {
            // SAFETY: null or a value of the attribute's type, by the driver API's contract.
            true => unsafe { values(value.cast::<u64>(), 1) }?.first().copied(),
            // SAFETY: as above.
            false => unsafe { values(value.cast::<u32>(), 1) }?.first().map(|word| u64::from(*word)),
        };
        pool.set_attribute(attr, number.ok_or(CUresult::INVALID_VALUE)?)
    })
}

/// An attribute's value.
pub unsafe extern "C" fn cuMemPoolGetAttribute(pool: CUmemoryPool, attr: i32, value: *mut c_void) -> CUresult {
    guard(|| {
        let number = driver()?.pool(pool as u64)?.attribute(attr)?;
        let bytes = number.to_ne_bytes();
        let width = if pool_attribute::is_wide(attr) { 8 } else { 4 };
        // SAFETY: null or a place of the attribute's type, by the driver API's contract.
        unsafe { bytes_out(value, bytes.get(..width).unwrap_or_default()) }
    })
}

/// Sets which other devices have access to a pool's memory. Its own always has.
pub unsafe extern "C" fn cuMemPoolSetAccess(pool: CUmemoryPool, map: *const CUmemAccessDesc, count: usize) -> CUresult {
    guard(|| {
        let driver = driver()?;
        let pool = driver.pool(pool as u64)?;
        // SAFETY: null or `count` readable values, by the driver API's contract.
        let wanted = unsafe { values(map, count) }?;
        let change = |desc: &CUmemAccessDesc| match (device_of(driver, &desc.location)?.index(), desc.flags) {
            (device, ACCESS_READ_WRITE) => Ok((device, true)),
            (device, 0) if device != pool.device.index() => Ok((device, false)),
            _ => Err(CUresult::INVALID_VALUE),
        };
        let changes = wanted.iter().map(change).collect::<Result<Vec<_>>>()?;
        pool.set_access(&changes);
        Ok(())
    })
}

/// The access that a location has to a pool's memory.
pub unsafe extern "C" fn cuMemPoolGetAccess(
    flags: *mut u32,
    memPool: CUmemoryPool,
    location: *mut CUmemLocation,
) -> CUresult {
    guard(|| {
        let driver = driver()?;
        let pool = driver.pool(memPool as u64)?;
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(flags) }?;
        // SAFETY: null or readable, by the driver API's contract.
        let [location] = (unsafe { values(location, 1) })? else { return Err(CUresult::INVALID_VALUE) };
        let device = device_of(driver, location)?;
        place.write(if pool.reach().contains(device.index()) { ACCESS_READ_WRITE } else { 0 });
        Ok(())
    })
}

/// A location must be a device.
fn device_of<'d>(driver: &'d Driver, location: &CUmemLocation) -> Result<&'d Device> {
    match location.kind {
        LOCATION_DEVICE => driver.device(location.id).map_err(|_| CUresult::INVALID_VALUE),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// Allocates from the current pool in stream order; the address is valid at once.
pub unsafe extern "C" fn cuMemAllocAsync(dptr: *mut u64, bytesize: usize, hStream: CUstream) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(dptr) }?;
        let target = Target::of(hStream as u64)?;
        let pool = driver()?.current_pool(target.context.device);
        let address = match captured(hStream, &target, bytesize)? {
            Some(address) => address,
            None => pool.allocate(&target, bytesize as u64)?,
        };
        place.write(address);
        Ok(())
    })
}

/// As `cuMemAllocAsync`, from a named pool.
pub unsafe extern "C" fn cuMemAllocFromPoolAsync(
    dptr: *mut u64,
    bytesize: usize,
    pool: CUmemoryPool,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(dptr) }?;
        let target = Target::of(hStream as u64)?;
        let pool = driver()?.pool(pool as u64)?;
        let address = match captured(hStream, &target, bytesize)? {
            Some(address) => address,
            None => pool.allocate(&target, bytesize as u64)?,
        };
        place.write(address);
        Ok(())
    })
}

/// The address of an allocation in a stream that captures.
fn captured(stream: CUstream, target: &Target, size: usize) -> Result<Option<u64>> {
    driver()?.graphs.capture_allocation(stream as u64, target.context.device.ordinal, size as u64)
}

/// Frees device memory in stream order.
pub unsafe extern "C" fn cuMemFreeAsync(dptr: u64, hStream: CUstream) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        match driver()?.graphs.free_in_stream(hStream as u64, dptr)? {
            true => Ok(()),
            false => target.free(dptr),
        }
    })
}
