//! Pinned and managed memory.

use std::ffi::c_void;

use vgpu_protocol::cuda::CUresult;

use super::abi::{guard, out};
use super::core::{current, driver, Kind};

/// `CU_MEMHOSTALLOC_*`: portable, device map, write combined.
const HOST_FLAGS: u32 = 0x7;
/// All pinned memory is portable and mapped.
const ALWAYS: u32 = 0x3;
/// `CU_MEM_ATTACH_GLOBAL` and `_HOST`.
const ATTACH_FLAGS: std::ops::RangeInclusive<u32> = 1..=2;

/// Allocates pinned memory.
pub unsafe extern "C" fn cuMemHostAlloc(pp: *mut *mut c_void, bytesize: usize, Flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pp) }?;
        if Flags & !HOST_FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let base = current()?.allocate_pinned(bytesize as u64, Flags | ALWAYS)?;
        place.write(std::ptr::with_exposed_provenance_mut(base as usize));
        Ok(())
    })
}

/// As `cuMemHostAlloc` without flags.
pub unsafe extern "C" fn cuMemAllocHost_v2(pp: *mut *mut c_void, bytesize: usize) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuMemHostAlloc(pp, bytesize, 0) }
}

/// Frees pinned memory after all work queued so far; null is no memory.
pub unsafe extern "C" fn cuMemFreeHost(p: *mut c_void) -> CUresult {
    guard(|| match p.is_null() {
        true => driver().map(|_| ()),
        false => driver()?.free_pinned(p.addr() as u64),
    })
}

/// Pinned and registered memory has the same address on the device.
pub unsafe extern "C" fn cuMemHostGetDevicePointer_v2(pdptr: *mut u64, p: *mut c_void, Flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pdptr) }?;
        let address = p.addr() as u64;
        let range = current()?.driver.range_of(address).filter(|range| range.is_host());
        if range.is_none() || Flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        place.write(address);
        Ok(())
    })
}

/// The flags with which pinned memory was allocated.
pub unsafe extern "C" fn cuMemHostGetFlags(pFlags: *mut u32, p: *mut c_void) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pFlags) }?;
        match driver()?.range_of(p.addr() as u64).map(|range| range.kind) {
            Some(Kind::Pinned(pinned)) => place.write(pinned.flags),
            _ => return Err(CUresult::INVALID_VALUE),
        };
        Ok(())
    })
}

/// Device memory lies in this process, so managed memory is device memory that the host uses too.
pub unsafe extern "C" fn cuMemAllocManaged(dptr: *mut u64, bytesize: usize, flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let dptr = unsafe { out(dptr) }?;
        if !ATTACH_FLAGS.contains(&flags) {
            return Err(CUresult::INVALID_VALUE);
        }
        dptr.write(current()?.allocate_as(bytesize as u64, Kind::Managed)?);
        Ok(())
    })
}
