//! What functions are.

use std::ffi::c_char;

use vgpu_protocol::cuda::{CUfunction, CUmodule, CUresult};

use super::abi::{guard, out};
use super::core::Function;

/// Number of a function's parameters.
pub unsafe extern "C" fn cuFuncGetParamCount(func: CUfunction, paramCount: *mut usize) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let count = unsafe { out(paramCount) }?;
        count.write(Function::of(func as u64)?.kernel().params().len());
        Ok(())
    })
}

/// A function's module.
pub unsafe extern "C" fn cuFuncGetModule(hmod: *mut CUmodule, hfunc: CUfunction) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let module = unsafe { out(hmod) }?;
        module.write(Function::of(hfunc as u64)?.module as CUmodule);
        Ok(())
    })
}

/// A function's name; it stays until the module is unloaded.
pub unsafe extern "C" fn cuFuncGetName(name: *mut *const c_char, hfunc: CUfunction) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let name = unsafe { out(name) }?;
        name.write(Function::of(hfunc as u64)?.name.as_ptr());
        Ok(())
    })
}

/// Loading is eager.
pub unsafe extern "C" fn cuFuncIsLoaded(state: *mut i32, function: CUfunction) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let state = unsafe { out(state) }?;
        Function::of(function as u64)?;
        state.write(1);
        Ok(())
    })
}

/// As `cuFuncIsLoaded`.
pub unsafe extern "C" fn cuFuncLoad(function: CUfunction) -> CUresult {
    guard(|| Function::of(function as u64).map(drop))
}

/// A preference that changes nothing.
pub unsafe extern "C" fn cuFuncSetCacheConfig(hfunc: CUfunction, config: i32) -> CUresult {
    set_preference(hfunc, config, 3)
}

/// As `cuFuncSetCacheConfig`.
pub unsafe extern "C" fn cuFuncSetSharedMemConfig(hfunc: CUfunction, config: i32) -> CUresult {
    set_preference(hfunc, config, 2)
}

fn set_preference(function: CUfunction, value: i32, most: i32) -> CUresult {
    guard(|| {
        Function::of(function as u64)?;
        match (0..=most).contains(&value) {
            true => Ok(()),
            false => Err(CUresult::INVALID_VALUE),
        }
    })
}
