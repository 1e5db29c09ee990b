//! Initialisation and version.

use vgpu_protocol::cuda::CUresult;

use super::abi::{guard, out};
use super::core::initialise;

/// The CUDA version that the driver claims: 1000 * major + 10 * minor.
const VERSION: i32 = 13000;

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
        unsafe { out(driverVersion) }?.write(VERSION);
        Ok(())
    })
}
