//! Finding functions by name and version, as every CUDA runtime does.

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::exports::{Exports, FLAGS, PER_THREAD};

use super::Result;
use crate::driver;
use crate::exports::EXPORTS;
use crate::stub::{check_out, enter, give, put_optional, string};

fn exports() -> &'static Exports {
    static BY_NAME: OnceLock<Exports> = OnceLock::new();
    BY_NAME.get_or_init(|| Exports::new(EXPORTS))
}

pub unsafe fn cuGetProcAddress_v2(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    version: i32,
    flags: u64,
    status: *mut i32,
) -> Result {
    check_out(pfn)?;
    if flags & !FLAGS != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the string.
    let name = std::str::from_utf8(unsafe { string(symbol)? }).unwrap_or_default();
    let (result, found, why) = exports().answer(name, version, flags, driver::version());
    // SAFETY: the caller vouches for the pointers; `status` may be null.
    unsafe {
        put_optional(status, why);
        give(pfn, found.map_or(std::ptr::null(), |export| export.address.0))?;
    }
    match result {
        CUresult::SUCCESS => Ok(()),
        error => Err(error),
    }
}

pub unsafe fn cuGetProcAddress(symbol: *const c_char, pfn: *mut *const c_void, version: i32, flags: u64) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuGetProcAddress_v2(symbol, pfn, version, flags, std::ptr::null_mut()) }
}

/// What `cuda.h` calls for programs that are compiled with per-thread default streams.
#[no_mangle]
pub unsafe extern "C" fn cuGetProcAddress_v2_ptsz(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    version: i32,
    flags: u64,
    status: *mut i32,
) -> CUresult {
    let flags = if flags == 0 { PER_THREAD } else { flags };
    // SAFETY: as for the caller.
    enter("cuGetProcAddress_v2_ptsz", || unsafe { cuGetProcAddress_v2(symbol, pfn, version, flags, status) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgpu_protocol::exports::Missing;

    fn name(base: &str, version: u32, per_thread: bool) -> std::result::Result<&'static str, Missing> {
        exports().find(base, version, per_thread).map(|export| export.name)
    }

    /// Facts of `cudaTypedefs.h`.
    #[test]
    fn test_versions_choose_the_variant() {
        assert_eq!(name("cuMemAlloc", 2000, false), Ok("cuMemAlloc"));
        assert_eq!(name("cuMemAlloc", 12000, false), Ok("cuMemAlloc_v2"));
        assert_eq!(name("cuGetProcAddress", 11030, false), Ok("cuGetProcAddress"));
        assert_eq!(name("cuGetProcAddress", 13000, false), Ok("cuGetProcAddress_v2"));
        assert_eq!(name("cuDevicePrimaryCtxRelease", 7000, false), Ok("cuDevicePrimaryCtxRelease"));
        assert_eq!(name("cuCtxSynchronize", 12000, false), Ok("cuCtxSynchronize"));
        assert_eq!(name("cuCtxSynchronize", 13000, false), Ok("cuCtxSynchronize_v2"));
    }

    #[test]
    fn test_per_thread_twins_are_chosen_where_they_exist() {
        assert_eq!(name("cuMemcpyHtoD", 7000, true), Ok("cuMemcpyHtoD_v2_ptds"));
        assert_eq!(name("cuLaunchKernel", 7000, true), Ok("cuLaunchKernel_ptsz"));
        assert_eq!(name("cuLaunchKernel", 4000, true), Ok("cuLaunchKernel"));
        assert_eq!(name("cuInit", 12000, true), Ok("cuInit"));
    }

    #[test]
    fn test_unknown_and_too_new_names_differ() {
        assert_eq!(name("", 13000, false), Err(Missing::Symbol));
        assert_eq!(name("cuMemAlloc_v2", 13000, false), Err(Missing::Symbol));
        assert_eq!(name("cuLibraryLoadData", 11080, false), Err(Missing::Version));
    }
}
