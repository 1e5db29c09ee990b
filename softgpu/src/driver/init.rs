//! Initialisation and version.

use std::ffi::{c_char, CStr};

use vgpu_protocol::cuda::CUresult;

use super::abi::{guard, out};
use super::core::{configured, initialise};

/// Must come before everything but `cuDriverGetVersion`; `Flags` is 0.
pub unsafe extern "C" fn cuInit(Flags: u32) -> CUresult {
    guard(|| match Flags {
        0 => initialise().map(drop),
        _ => Err(CUresult::INVALID_VALUE),
    })
}

/// The newest CUDA version whose programs the driver runs.
pub unsafe extern "C" fn cuDriverGetVersion(driverVersion: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { out(driverVersion) }?.write(configured().cuda_version);
        Ok(())
    })
}

/// # Safety
/// `text` is null or writable.
unsafe fn describe(
    error: CUresult,
    text: *mut *const c_char,
    pick: fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> CUresult {
    guard(|| {
        // SAFETY: as the caller says.
        let text = unsafe { out(text) }?;
        let described = error.describe();
        text.write(described.map_or(std::ptr::null(), |texts| pick(texts).as_ptr()));
        described.map(drop).ok_or(CUresult::INVALID_VALUE)
    })
}

/// The name of an error code.
pub unsafe extern "C" fn cuGetErrorName(error: CUresult, pStr: *mut *const c_char) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { describe(error, pStr, |(name, _)| name) }
}

/// What an error code means.
pub unsafe extern "C" fn cuGetErrorString(error: CUresult, pStr: *mut *const c_char) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { describe(error, pStr, |(_, text)| text) }
}
