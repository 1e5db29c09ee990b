//! Finding functions by name and version.

#![allow(non_snake_case)]

use std::ffi::{c_char, c_void, CStr};
use std::sync::OnceLock;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::exports::{Exports, FLAGS, PER_THREAD};

use crate::exports::EXPORTS;

/// The function of this name that a program built for CUDA `cudaVersion` calls, and why there is none.
pub unsafe extern "C" fn cuGetProcAddress_v2(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    cudaVersion: i32,
    flags: u64,
    symbolStatus: *mut i32,
) -> CUresult {
    static BY_NAME: OnceLock<Exports> = OnceLock::new();
    if symbol.is_null() || pfn.is_null() || flags & !FLAGS != 0 {
        return CUresult::INVALID_VALUE;
    }
    // SAFETY: a C string, by the driver API's contract.
    let name = unsafe { CStr::from_ptr(symbol) }.to_str().unwrap_or_default();
    let mut driver_version = 0;
    // SAFETY: the output is ours.
    unsafe { vgpu_softgpu::driver::cuDriverGetVersion(&mut driver_version) };
    let by_name = BY_NAME.get_or_init(|| Exports::new(EXPORTS));
    let (result, found, why) = by_name.answer(name, cudaVersion, flags, driver_version);
    // SAFETY: both are writable, by the driver API's contract; the second may be null.
    unsafe {
        pfn.write(found.map_or(std::ptr::null(), |export| export.address.0));
        if !symbolStatus.is_null() {
            symbolStatus.write(why);
        }
    }
    result
}

/// As `cuGetProcAddress_v2`, without the reason.
pub unsafe extern "C" fn cuGetProcAddress(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    cudaVersion: i32,
    flags: u64,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, std::ptr::null_mut()) }
}

/// What `cuda.h` calls for programs that are compiled with per-thread default streams.
#[no_mangle]
pub unsafe extern "C" fn cuGetProcAddress_v2_ptsz(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    cudaVersion: i32,
    flags: u64,
    symbolStatus: *mut i32,
) -> CUresult {
    let flags = if flags == 0 { PER_THREAD } else { flags };
    // SAFETY: the contract is the same.
    unsafe { cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, symbolStatus) }
}
