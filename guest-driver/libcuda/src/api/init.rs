//! Initialisation, version, error texts, profiler control.

use std::ffi::{c_char, CStr};

use vgpu_protocol::cuda::CUresult;

use super::Result;
use crate::driver;
use crate::stub::give;

pub unsafe fn cuInit(flags: u32) -> Result {
    if flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    driver::initialise()
}

pub unsafe fn cuDriverGetVersion(version: *mut i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(version, driver::version()) }
}

/// # Safety
/// `text` is null or valid for a write.
unsafe fn describe(
    error: CUresult,
    text: *mut *const c_char,
    pick: fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Result {
    let described = error.describe();
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(text, described.map_or(std::ptr::null(), |texts| pick(texts).as_ptr()))? };
    described.map(drop).ok_or(CUresult::INVALID_VALUE)
}

pub unsafe fn cuGetErrorName(error: CUresult, text: *mut *const c_char) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { describe(error, text, |(name, _)| name) }
}

pub unsafe fn cuGetErrorString(error: CUresult, text: *mut *const c_char) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { describe(error, text, |(_, description)| description) }
}

pub unsafe fn cuProfilerStart() -> Result {
    crate::context::required().map(drop)
}

pub unsafe fn cuProfilerStop() -> Result {
    crate::context::required().map(drop)
}
