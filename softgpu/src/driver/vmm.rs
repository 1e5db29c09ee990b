//! Virtual memory management: address ranges, physical memory, and mappings of the one into the other.

use std::ffi::c_void;

use vgpu_engine::memory::{Access, MemoryError, Physical, MAPPING_UNIT};
use vgpu_protocol::cuda::{
    CUmemAccessDesc, CUmemAllocationProp, CUmemGenericAllocationHandle, CUmemLocation, CUresult, ALLOCATION_PINNED,
    HANDLE_TYPE_FILE_DESCRIPTOR, LOCATION_DEVICE, LOCATION_HOST, LOCATION_HOST_NUMA_CURRENT,
};

use super::abi::{guard, out, values};
use super::core::{driver, Device, Driver, Result};

const GRANULARITY_MINIMUM: i32 = 0;
const GRANULARITY_RECOMMENDED: i32 = 1;

pub(super) fn code(error: MemoryError) -> CUresult {
    match error {
        MemoryError::OutOfMemory => CUresult::OUT_OF_MEMORY,
        MemoryError::InvalidValue => CUresult::INVALID_VALUE,
    }
}

/// Reserves address space; `addr` is a hint.
pub unsafe extern "C" fn cuMemAddressReserve(
    ptr: *mut u64,
    size: usize,
    alignment: usize,
    addr: u64,
    flags: u64,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(ptr) }?;
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        place.write(driver()?.memory.reserve(size as u64, alignment as u64, addr).map_err(code)?);
        Ok(())
    })
}

/// Ends a reservation, named exactly, into which nothing is mapped.
pub unsafe extern "C" fn cuMemAddressFree(ptr: u64, size: usize) -> CUresult {
    guard(|| driver()?.memory.unreserve(ptr, size as u64).map_err(code))
}

/// Refuses memory that is not plain memory of the device. Other processes may be given it as a file
/// descriptor only.
///
/// # Safety
/// `prop` is null or readable.
unsafe fn check_properties<'a>(driver: &Driver, prop: *const CUmemAllocationProp) -> Result<&'a CUmemAllocationProp> {
    // SAFETY: as the caller says.
    let [prop] = (unsafe { values(prop, 1) })? else { return Err(CUresult::INVALID_VALUE) };
    let shareable = matches!(prop.requestedHandleTypes, 0 | HANDLE_TYPE_FILE_DESCRIPTOR);
    if prop.kind != ALLOCATION_PINNED || !shareable {
        return Err(CUresult::NOT_SUPPORTED);
    }
    match prop.location.kind {
        LOCATION_DEVICE => drop(driver.device(prop.location.id)?),
        LOCATION_HOST..=LOCATION_HOST_NUMA_CURRENT => {}
        _ => return Err(CUresult::INVALID_VALUE),
    }
    Ok(prop)
}

/// Physical memory of the device, not mapped anywhere. Compression is a hint that is not taken.
pub unsafe extern "C" fn cuMemCreate(
    handle: *mut CUmemGenericAllocationHandle,
    size: usize,
    prop: *const CUmemAllocationProp,
    flags: u64,
) -> CUresult {
    guard(|| {
        let driver = driver()?;
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(handle) }?;
        // SAFETY: null or readable, by the driver API's contract.
        let prop = unsafe { check_properties(driver, prop) }?;
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        if prop.location.kind != LOCATION_DEVICE || prop.usage != 0 || prop.gpuDirectRDMACapable != 0 {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let (device, shared) = (driver.device(prop.location.id)?, prop.requestedHandleTypes != 0);
        let physical = driver.create_physical(device, size as u64, shared).map_err(code)?;
        place.write(driver.physical.insert(physical) as CUmemGenericAllocationHandle);
        Ok(())
    })
}

pub(super) fn physical(handle: CUmemGenericAllocationHandle) -> Result<std::sync::Arc<Physical>> {
    driver()?.physical.get(handle as u64).ok_or(CUresult::INVALID_VALUE)
}

/// Ends a handle; the memory stays while it is mapped.
pub unsafe extern "C" fn cuMemRelease(handle: CUmemGenericAllocationHandle) -> CUresult {
    guard(|| driver()?.physical.remove(handle as u64).map(drop).ok_or(CUresult::INVALID_VALUE))
}

/// Maps physical memory into a reserved range.
pub unsafe extern "C" fn cuMemMap(
    ptr: u64,
    size: usize,
    offset: usize,
    handle: CUmemGenericAllocationHandle,
    flags: u64,
) -> CUresult {
    guard(|| {
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        driver()?.memory.map(ptr, size as u64, offset as u64, &physical(handle)?).map_err(code)
    })
}

/// Takes whole mappings away.
pub unsafe extern "C" fn cuMemUnmap(ptr: u64, size: usize) -> CUresult {
    guard(|| driver()?.memory.unmap(ptr, size as u64).map_err(code))
}

/// Sets what devices may do with whole mappings.
pub unsafe extern "C" fn cuMemSetAccess(ptr: u64, size: usize, desc: *const CUmemAccessDesc, count: usize) -> CUresult {
    guard(|| {
        let driver = driver()?;
        // SAFETY: null or `count` readable values, by the driver API's contract.
        let wanted = unsafe { values(desc, count) }?;
        if wanted.is_empty() {
            return Err(CUresult::INVALID_VALUE);
        }
        for CUmemAccessDesc { location, flags } in wanted {
            let device = device_of(driver, location)?;
            let access = match flags {
                0 => Access::None,
                1 => Access::Read,
                3 => Access::ReadWrite,
                _ => return Err(CUresult::INVALID_VALUE),
            };
            device.memory.protect(ptr, size as u64, access).map_err(code)?;
        }
        Ok(())
    })
}

fn device_of<'d>(driver: &'d Driver, location: &CUmemLocation) -> Result<&'d Device> {
    match location.kind {
        LOCATION_DEVICE => driver.device(location.id),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// What a device may do with a mapping.
pub unsafe extern "C" fn cuMemGetAccess(flags: *mut u64, location: *const CUmemLocation, ptr: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(flags) }?;
        // SAFETY: null or readable, by the driver API's contract.
        let [location] = (unsafe { values(location, 1) })? else { return Err(CUresult::INVALID_VALUE) };
        let driver = driver()?;
        let device = device_of(driver, location)?;
        let mapping = driver.memory.mapping_of(ptr).ok_or(CUresult::INVALID_VALUE)?;
        place.write(u64::from(access_flags(mapping.access(device.index()))));
        Ok(())
    })
}

/// `CUmemAccess_flags`, which are also those of a pointer's attribute.
pub(super) fn access_flags(access: Access) -> u32 {
    match access {
        Access::None => 0,
        Access::Read => 1,
        Access::ReadWrite => 3,
    }
}

/// The unit of everything in this file, and what that of host memory would be.
pub unsafe extern "C" fn cuMemGetAllocationGranularity(
    granularity: *mut usize,
    prop: *const CUmemAllocationProp,
    option: i32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(granularity) }?;
        // SAFETY: null or readable, by the driver API's contract.
        unsafe { check_properties(driver()?, prop) }?;
        if !(GRANULARITY_MINIMUM..=GRANULARITY_RECOMMENDED).contains(&option) {
            return Err(CUresult::INVALID_VALUE);
        }
        place.write(MAPPING_UNIT as usize);
        Ok(())
    })
}

/// What physical memory was created as.
pub unsafe extern "C" fn cuMemGetAllocationPropertiesFromHandle(
    prop: *mut CUmemAllocationProp,
    handle: CUmemGenericAllocationHandle,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(prop) }?;
        let physical = physical(handle)?;
        let requestedHandleTypes = physical.file().is_some().into();
        let device = i32::try_from(physical.device()).unwrap_or(0);
        place.write(CUmemAllocationProp { requestedHandleTypes, ..CUmemAllocationProp::on_device(device) });
        Ok(())
    })
}

/// A further handle of the physical memory at an address.
pub unsafe extern "C" fn cuMemRetainAllocationHandle(
    handle: *mut CUmemGenericAllocationHandle,
    addr: *mut c_void,
) -> CUresult {
    guard(|| {
        let driver = driver()?;
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(handle) }?;
        let mapping = driver.memory.mapping_of(addr.addr() as u64).ok_or(CUresult::INVALID_VALUE)?;
        place.write(driver.physical.insert(mapping.physical) as CUmemGenericAllocationHandle);
        Ok(())
    })
}
