//! Modules and their functions and variables.

use std::ffi::{c_char, c_void};

use vgpu_protocol::cuda::{CUfunction, CUmodule, CUresult};

use super::abi::{guard, image, name as name_of, out, out_opt, set};
use super::core::{compile, current, driver, JitLog, Module};
use super::jit::JitOptions;

/// Loads PTX text or a fat binary; logs are returned through the options.
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut CUmodule,
    image_: *const c_void,
    numOptions: u32,
    options: *const i32,
    optionValues: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let module = unsafe { out(module) }?;
        // SAFETY: null or an image that describes its own extent, by the driver API's contract.
        let image = unsafe { image(image_) }?;
        // SAFETY: null or arrays of that many elements, by the driver API's contract.
        let mut options = unsafe { JitOptions::new(numOptions, options, optionValues) }?;
        let context = current()?;
        let mut log = JitLog::default();
        let loaded = compile(image, context.driver.capability(), &mut log)
            .and_then(|code| Module::load(&context, code, false, &mut log));
        options.finish(&log);
        module.write(loaded?.handle as CUmodule);
        Ok(())
    })
}

/// Unloads a module; launches that are queued still run.
pub unsafe extern "C" fn cuModuleUnload(hmod: CUmodule) -> CUresult {
    guard(|| {
        let driver = driver()?;
        let module = driver.modules.get(hmod as u64).ok_or(CUresult::INVALID_HANDLE)?;
        if module.of_library {
            return Err(CUresult::NOT_PERMITTED);
        }
        module.unload(driver);
        Ok(())
    })
}

/// An entry function by its PTX name.
pub unsafe extern "C" fn cuModuleGetFunction(hfunc: *mut CUfunction, hmod: CUmodule, name: *const c_char) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (hfunc, name) = unsafe { (out(hfunc)?, name_of(name)?) };
        if name.is_empty() {
            return Err(CUresult::INVALID_VALUE);
        }
        let driver = driver()?;
        let module = driver.modules.get(hmod as u64).ok_or(CUresult::INVALID_HANDLE)?;
        hfunc.write(module.function(driver, name)?.0 as CUfunction);
        Ok(())
    })
}

/// Address and size of a variable by its PTX name.
pub unsafe extern "C" fn cuModuleGetGlobal_v2(
    dptr: *mut u64,
    bytes: *mut usize,
    hmod: CUmodule,
    name: *const c_char,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (dptr, bytes, name) = unsafe { (out_opt(dptr)?, out_opt(bytes)?, name_of(name)?) };
        let module = driver()?.modules.get(hmod as u64).ok_or(CUresult::INVALID_HANDLE)?;
        let global = module.global(name)?;
        set(dptr, global.address);
        set(bytes, global.size as usize);
        Ok(())
    })
}
