//! Modules and their functions and variables.

use std::ffi::{c_char, c_void};

use vgpu_protocol::cuda::{CUfunction, CUmodule, CUresult};

use super::abi::{guard, image, name as name_of, out, out_opt, set};
use super::core::{current, driver, JitLog, Module, Result};
use super::jit::JitOptions;

/// More than the first bytes by which the kind and the extent of an image are told.
const IMAGE_HEADER: usize = 64;

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
        let loaded =
            context.driver.compile(image, &mut log).and_then(|code| Module::load(&context, code, false, &mut log));
        options.finish(&log);
        module.write(loaded?.handle as CUmodule);
        Ok(())
    })
}

/// As `cuModuleLoadDataEx`, without options.
pub unsafe extern "C" fn cuModuleLoadData(module: *mut CUmodule, image_: *const c_void) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuModuleLoadDataEx(module, image_, 0, std::ptr::null(), std::ptr::null_mut()) }
}

/// As `cuModuleLoadData`.
pub unsafe extern "C" fn cuModuleLoadFatBinary(module: *mut CUmodule, fatCubin: *const c_void) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuModuleLoadData(module, fatCubin) }
}

/// As `cuModuleLoadData`, from a file.
pub unsafe extern "C" fn cuModuleLoad(module: *mut CUmodule, fname: *const c_char) -> CUresult {
    // SAFETY: null or a C string, by the driver API's contract.
    match unsafe { read_file(fname) } {
        // SAFETY: the contract is the same; the image ends with zeros.
        Ok(image) => unsafe { cuModuleLoadData(module, image.as_ptr().cast()) },
        Err(error) => error,
    }
}

/// The bytes of a file, with zeros behind them, which end text and describe nothing in binaries.
///
/// # Safety
/// `name` is null or a C string.
pub(super) unsafe fn read_file(name: *const c_char) -> Result<Vec<u8>> {
    driver()?;
    // SAFETY: as the caller says.
    let name = unsafe { name_of(name) }?;
    let mut image = std::fs::read(name).map_err(|_| CUresult::FILE_NOT_FOUND)?;
    image.extend([0; IMAGE_HEADER]);
    Ok(image)
}

/// `CU_MODULE_EAGER_LOADING`.
pub unsafe extern "C" fn cuModuleGetLoadingMode(mode: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { out(mode) }?.write(1);
        Ok(())
    })
}

/// Number of entry functions of a module.
pub unsafe extern "C" fn cuModuleGetFunctionCount(count: *mut u32, mod_: CUmodule) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let count = unsafe { out(count) }?;
        let module = driver()?.modules.get(mod_ as u64).ok_or(CUresult::INVALID_HANDLE)?;
        count.write(module.function_count());
        Ok(())
    })
}

/// The entry functions of a module, as many as there is room for.
pub unsafe extern "C" fn cuModuleEnumerateFunctions(
    functions: *mut CUfunction,
    numFunctions: u32,
    mod_: CUmodule,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { out(functions) }?;
        let driver = driver()?;
        let module = driver.modules.get(mod_ as u64).ok_or(CUresult::INVALID_HANDLE)?;
        for (i, handle) in module.enumerate(driver, numFunctions as usize)?.into_iter().enumerate() {
            // SAFETY: there is room for `numFunctions`, by the driver API's contract.
            unsafe { functions.add(i).write(handle as CUfunction) };
        }
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
