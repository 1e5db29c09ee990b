//! Launches as CUDA had them before version 4: block shape, shared memory and parameters are set on the
//! function first.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUfunction, CUresult, CUstream};

use super::launch::{launch, Shape};
use super::Result;
use crate::driver::driver;
use crate::function::LegacyLaunch;
use crate::stub::bytes;

/// Largest parameter block, bytes (`CU_PARAM_TR_DEFAULT` knows no other).
const PARAMS_MAX: usize = 4096;

fn change(function: CUfunction, change: impl FnOnce(&mut LegacyLaunch) -> Result) -> Result {
    change(&mut driver()?.functions.find(function as u64)?.legacy_launch())
}

pub unsafe fn cuFuncSetBlockShape(function: CUfunction, x: i32, y: i32, z: i32) -> Result {
    let size = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0).ok_or(CUresult::INVALID_VALUE);
    change(function, |launch| {
        launch.block = [size(x)?, size(y)?, size(z)?];
        Ok(())
    })
}

pub unsafe fn cuFuncSetSharedSize(function: CUfunction, bytes: u32) -> Result {
    change(function, |launch| {
        launch.shared = bytes;
        Ok(())
    })
}

pub unsafe fn cuParamSetSize(function: CUfunction, size: u32) -> Result {
    change(function, |launch| {
        if size as usize > PARAMS_MAX {
            return Err(CUresult::INVALID_VALUE);
        }
        launch.params.resize(size as usize, 0);
        Ok(())
    })
}

fn set(function: CUfunction, offset: i32, value: &[u8]) -> Result {
    change(function, |launch| {
        let start = usize::try_from(offset).map_err(|_| CUresult::INVALID_VALUE)?;
        let end = start.checked_add(value.len()).filter(|end| *end <= PARAMS_MAX).ok_or(CUresult::INVALID_VALUE)?;
        if launch.params.len() < end {
            launch.params.resize(end, 0);
        }
        let place = launch.params.get_mut(start..end).ok_or(CUresult::INVALID_VALUE)?;
        place.copy_from_slice(value);
        Ok(())
    })
}

pub unsafe fn cuParamSeti(function: CUfunction, offset: i32, value: u32) -> Result {
    set(function, offset, &value.to_ne_bytes())
}

pub unsafe fn cuParamSetf(function: CUfunction, offset: i32, value: f32) -> Result {
    set(function, offset, &value.to_ne_bytes())
}

pub unsafe fn cuParamSetv(function: CUfunction, offset: i32, value: *mut c_void, size: u32) -> Result {
    driver()?;
    if size as usize > PARAMS_MAX {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the buffer.
    set(function, offset, unsafe { bytes(value, size as usize)? })
}

pub unsafe fn cuLaunch(function: CUfunction) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuLaunchGrid(function, 1, 1) }
}

pub unsafe fn cuLaunchGrid(function: CUfunction, width: i32, height: i32) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuLaunchGridAsync(function, width, height, std::ptr::null_mut()) }
}

pub unsafe fn cuLaunchGridAsync(function: CUfunction, width: i32, height: i32, stream: CUstream) -> Result {
    let size = |n: i32| u32::try_from(n).map_err(|_| CUresult::INVALID_VALUE);
    let (shape, mut params) = {
        let known = driver()?.functions.find(function as u64)?;
        let set = known.legacy_launch();
        let grid = [size(width)?, size(height)?, 1];
        (Shape { grid, block: set.block, shared: set.shared }, set.params.clone())
    };
    let mut length = params.len();
    let mut extra: [*mut c_void; 5] = [
        std::ptr::without_provenance_mut(1), // CU_LAUNCH_PARAM_BUFFER_POINTER
        params.as_mut_ptr().cast(),
        std::ptr::without_provenance_mut(2), // CU_LAUNCH_PARAM_BUFFER_SIZE
        (&raw mut length).cast(),
        std::ptr::null_mut(),
    ];
    // SAFETY: the list describes `params`, which outlives the call.
    unsafe { launch(function, &shape, stream, &[], std::ptr::null_mut(), extra.as_mut_ptr()) }
}
