//! Device memory and registered host memory.

use std::ffi::c_void;

use vgpu_protocol::cuda::CUresult;

use super::abi::{guard, out, out_opt, set};
use super::core::{current, driver, PITCH_ALIGNMENT};

/// Portable, mapped and read-only registration; I/O memory is not supported.
const REGISTER_FLAGS: u32 = 0b1011;
const REGISTER_PORTABLE: u32 = 1;

/// Free and total device memory, bytes.
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (free, total) = unsafe { (out(free)?, out(total)?) };
        let context = current()?;
        context.driver.sweep();
        let info = context.device.memory.info();
        free.write(info.free as usize);
        total.write(info.total as usize);
        Ok(())
    })
}

/// Allocates device memory.
pub unsafe extern "C" fn cuMemAlloc_v2(dptr: *mut u64, bytesize: usize) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let dptr = unsafe { out(dptr) }?;
        let context = current()?;
        context.driver.graphs.check_unsafe()?;
        dptr.write(context.allocate(bytesize as u64)?);
        Ok(())
    })
}

/// Allocates rows of device memory; elements have 4, 8 or 16 bytes.
pub unsafe extern "C" fn cuMemAllocPitch_v2(
    dptr: *mut u64,
    pPitch: *mut usize,
    WidthInBytes: usize,
    Height: usize,
    ElementSizeBytes: u32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (dptr, pitch_out) = unsafe { (out(dptr)?, out(pPitch)?) };
        let context = current()?;
        context.driver.graphs.check_unsafe()?;
        if !matches!(ElementSizeBytes, 4 | 8 | 16) {
            return Err(CUresult::INVALID_VALUE);
        }
        let pitch = (WidthInBytes as u64).checked_next_multiple_of(PITCH_ALIGNMENT).ok_or(CUresult::INVALID_VALUE)?;
        let size = pitch.checked_mul(Height as u64).ok_or(CUresult::INVALID_VALUE)?;
        dptr.write(context.allocate(size)?);
        pitch_out.write(pitch as usize);
        Ok(())
    })
}

/// Frees device memory after all work queued so far.
pub unsafe extern "C" fn cuMemFree_v2(dptr: u64) -> CUresult {
    guard(|| {
        let context = current()?;
        context.driver.graphs.check_unsafe()?;
        match context.driver.graphs.free(dptr)? {
            true => Ok(()),
            false => context.free(dptr),
        }
    })
}

/// The allocation around an address.
pub unsafe extern "C" fn cuMemGetAddressRange_v2(pbase: *mut u64, psize: *mut usize, dptr: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (base, size) = unsafe { (out_opt(pbase)?, out_opt(psize)?) };
        let allocation = current()?.driver.range_of(dptr).ok_or(CUresult::NOT_FOUND)?;
        set(base, allocation.base);
        set(size, allocation.size as usize);
        Ok(())
    })
}

/// Lets kernels and copies use host memory at its own address. Portable memory (flag 1) belongs to
/// no context: none has to be current, and it stays registered when a context ends.
pub unsafe extern "C" fn cuMemHostRegister_v2(p: *mut c_void, bytesize: usize, Flags: u32) -> CUresult {
    guard(|| {
        if Flags & !REGISTER_FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let context = match Flags & REGISTER_PORTABLE {
            0 => current()?.handle,
            _ => 0,
        };
        // SAFETY: the caller keeps the range mapped until it is unregistered and expects the GPU to
        // change it, by the driver API's contract.
        unsafe { driver()?.register_host(p.expose_provenance() as u64, bytesize as u64, context) }
    })
}

/// Ends a registration after all work queued so far.
pub unsafe extern "C" fn cuMemHostUnregister(p: *mut c_void) -> CUresult {
    guard(|| {
        let driver = driver()?;
        if p.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        driver.unregister_host(p.addr() as u64)
    })
}
