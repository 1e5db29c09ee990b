//! Launches as CUDA had them before version 4: block shape, shared memory and parameters are set on the
//! function first.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUfunction, CUresult, CUstream};

use super::abi::{bytes, guard};
use super::core::{Function, LaunchRequest, LegacyLaunch, Result};
use super::launch::launch;

/// Largest parameter block, bytes.
const PARAMS_MAX: usize = 4096;

fn change(function: CUfunction, change: impl FnOnce(&mut LegacyLaunch) -> Result) -> CUresult {
    guard(|| change(&mut Function::of(function as u64)?.legacy_launch()))
}

/// Threads of a block.
pub unsafe extern "C" fn cuFuncSetBlockShape(hfunc: CUfunction, x: i32, y: i32, z: i32) -> CUresult {
    let size = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0).ok_or(CUresult::INVALID_VALUE);
    change(hfunc, |launch| {
        launch.block = [size(x)?, size(y)?, size(z)?];
        Ok(())
    })
}

/// Bytes of dynamic shared memory.
pub unsafe extern "C" fn cuFuncSetSharedSize(hfunc: CUfunction, bytes: u32) -> CUresult {
    change(hfunc, |launch| {
        launch.shared = bytes;
        Ok(())
    })
}

/// Bytes of the parameter block.
pub unsafe extern "C" fn cuParamSetSize(hfunc: CUfunction, numbytes: u32) -> CUresult {
    change(hfunc, |launch| {
        let size = Some(numbytes as usize).filter(|size| *size <= PARAMS_MAX).ok_or(CUresult::INVALID_VALUE)?;
        launch.params.resize(size, 0);
        Ok(())
    })
}

fn set(function: CUfunction, offset: i32, value: &[u8]) -> CUresult {
    change(function, |launch| {
        let start = usize::try_from(offset).map_err(|_| CUresult::INVALID_VALUE)?;
        let end = start.checked_add(value.len()).filter(|end| *end <= PARAMS_MAX).ok_or(CUresult::INVALID_VALUE)?;
        if launch.params.len() < end {
            launch.params.resize(end, 0);
        }
        launch.params.get_mut(start..end).ok_or(CUresult::INVALID_VALUE)?.copy_from_slice(value);
        Ok(())
    })
}

/// A parameter of four bytes.
pub unsafe extern "C" fn cuParamSeti(hfunc: CUfunction, offset: i32, value: u32) -> CUresult {
    set(hfunc, offset, &value.to_ne_bytes())
}

/// As `cuParamSeti`.
pub unsafe extern "C" fn cuParamSetf(hfunc: CUfunction, offset: i32, value: f32) -> CUresult {
    set(hfunc, offset, &value.to_ne_bytes())
}

/// A parameter of any size.
pub unsafe extern "C" fn cuParamSetv(hfunc: CUfunction, offset: i32, ptr: *mut c_void, numbytes: u32) -> CUresult {
    if numbytes as usize > PARAMS_MAX {
        return CUresult::INVALID_VALUE;
    }
    // SAFETY: null or that many bytes, by the driver API's contract.
    match unsafe { bytes(ptr, numbytes as usize) } {
        Ok(value) => set(hfunc, offset, value),
        Err(error) => error,
    }
}

/// Launches one block.
pub unsafe extern "C" fn cuLaunch(f: CUfunction) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuLaunchGrid(f, 1, 1) }
}

/// Launches a grid.
pub unsafe extern "C" fn cuLaunchGrid(f: CUfunction, grid_width: i32, grid_height: i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuLaunchGridAsync(f, grid_width, grid_height, std::ptr::null_mut()) }
}

/// Launches a grid on a stream.
pub unsafe extern "C" fn cuLaunchGridAsync(
    f: CUfunction,
    grid_width: i32,
    grid_height: i32,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        let function = Function::of(f as u64)?;
        let size = |n: i32| u32::try_from(n).map_err(|_| CUresult::INVALID_VALUE);
        let grid = [size(grid_width)?, size(grid_height)?, 1];
        let request = {
            let set = function.legacy_launch();
            let params = set.params.get(..function.kernel().param_bytes()).ok_or(CUresult::INVALID_VALUE)?;
            LaunchRequest { grid, block: set.block, shared: set.shared, cooperative: false, params: params.to_vec() }
        };
        launch(f as u64, function, request, hStream as u64)
    })
}
