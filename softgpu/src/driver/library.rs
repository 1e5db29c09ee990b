//! Libraries and kernels: code that is independent of contexts.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use vgpu_protocol::cuda::{CUfunction, CUkernel, CUlibrary, CUmodule, CUresult};

use super::abi::{guard, image, name as name_of, out, out_opt, set};
use super::core::{current, driver, Context, Driver, Function, JitLog, Kernel, Library, Result};
use super::jit::JitOptions;
use super::module::read_file;

/// Loads PTX text or a fat binary. Library options decide about copies and eagerness only.
pub unsafe extern "C" fn cuLibraryLoadData(
    library: *mut CUlibrary,
    code: *const c_void,
    jitOptions: *const i32,
    jitOptionsValues: *mut *mut c_void,
    numJitOptions: u32,
    _libraryOptions: *const i32,
    _libraryOptionValues: *mut *mut c_void,
    _numLibraryOptions: u32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let library = unsafe { out(library) }?;
        // SAFETY: null or an image that describes its own extent, by the driver API's contract.
        let image = unsafe { image(code) }?;
        // SAFETY: null or arrays of that many elements, by the driver API's contract.
        let mut options = unsafe { JitOptions::new(numJitOptions, jitOptions, jitOptionsValues) }?;
        let driver = driver()?;
        let mut log = JitLog::default();
        let loaded = Library::load(driver, image, &mut log);
        options.finish(&log);
        library.write(loaded? as CUlibrary);
        Ok(())
    })
}

/// As `cuLibraryLoadData`, from a file.
pub unsafe extern "C" fn cuLibraryLoadFromFile(
    library: *mut CUlibrary,
    fileName: *const c_char,
    jitOptions: *const i32,
    jitOptionsValues: *mut *mut c_void,
    numJitOptions: u32,
    libraryOptions: *const i32,
    libraryOptionValues: *mut *mut c_void,
    numLibraryOptions: u32,
) -> CUresult {
    // SAFETY: null or a C string, by the driver API's contract.
    match unsafe { read_file(fileName) } {
        // SAFETY: the contract is the same; the image ends with zeros.
        Ok(image) => unsafe {
            cuLibraryLoadData(
                library,
                image.as_ptr().cast(),
                jitOptions,
                jitOptionsValues,
                numJitOptions,
                libraryOptions,
                libraryOptionValues,
                numLibraryOptions,
            )
        },
        Err(error) => error,
    }
}

/// Number of kernels of a library.
pub unsafe extern "C" fn cuLibraryGetKernelCount(count: *mut u32, lib: CUlibrary) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let count = unsafe { out(count) }?;
        count.write(library_of(driver()?, lib)?.kernel_count());
        Ok(())
    })
}

/// The kernels of a library, as many as there is room for.
pub unsafe extern "C" fn cuLibraryEnumerateKernels(
    kernels: *mut CUkernel,
    numKernels: u32,
    lib: CUlibrary,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { out(kernels) }?;
        let driver = driver()?;
        for (i, handle) in library_of(driver, lib)?.enumerate(driver, numKernels as usize)?.into_iter().enumerate() {
            // SAFETY: there is room for `numKernels`, by the driver API's contract.
            unsafe { kernels.add(i).write(handle as CUkernel) };
        }
        Ok(())
    })
}

/// Unloads a library; launches that are queued still run.
pub unsafe extern "C" fn cuLibraryUnload(library: CUlibrary) -> CUresult {
    guard(|| {
        let driver = driver()?;
        driver.libraries.remove(library as u64).ok_or(CUresult::INVALID_HANDLE)?.unload(driver);
        Ok(())
    })
}

/// A kernel by its PTX name.
pub unsafe extern "C" fn cuLibraryGetKernel(
    pKernel: *mut CUkernel,
    library: CUlibrary,
    name: *const c_char,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (kernel, name) = unsafe { (out(pKernel)?, name_of(name)?) };
        let driver = driver()?;
        kernel.write(library_of(driver, library)?.kernel(driver, name)? as CUkernel);
        Ok(())
    })
}

/// The library's module in the current context.
pub unsafe extern "C" fn cuLibraryGetModule(pMod: *mut CUmodule, library: CUlibrary) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let module = unsafe { out(pMod) }?;
        let library = library_of(driver()?, library)?;
        module.write(library.module(&*current()?)?.handle as CUmodule);
        Ok(())
    })
}

/// The kernel as a function of the current context.
pub unsafe extern "C" fn cuKernelGetFunction(pFunc: *mut CUfunction, kernel: CUkernel) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let function = unsafe { out(pFunc) }?;
        function.write(kernel_of(driver()?, kernel)?.function(&*current()?)?.0 as CUfunction);
        Ok(())
    })
}

/// Address and size of a variable, in the current context.
pub unsafe extern "C" fn cuLibraryGetGlobal(
    dptr: *mut u64,
    bytes: *mut usize,
    library: CUlibrary,
    name: *const c_char,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (dptr, bytes, name) = unsafe { (out_opt(dptr)?, out_opt(bytes)?, name_of(name)?) };
        let module = library_of(driver()?, library)?.module(&*current()?)?;
        let global = module.global(name)?;
        set(dptr, global.address);
        set(bytes, global.size as usize);
        Ok(())
    })
}

/// Address and size of a managed variable.
pub unsafe extern "C" fn cuLibraryGetManaged(
    dptr: *mut u64,
    bytes: *mut usize,
    library: CUlibrary,
    name: *const c_char,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, and null or a C string, by the driver API's contract.
        let (dptr, bytes, name) = unsafe { (out_opt(dptr)?, out_opt(bytes)?, name_of(name)?) };
        let module = library_of(driver()?, library)?.module(&*current()?)?;
        if !module.is_managed(name) {
            return Err(CUresult::NOT_FOUND);
        }
        let global = module.global(name)?;
        set(dptr, global.address);
        set(bytes, global.size as usize);
        Ok(())
    })
}

/// An attribute of a kernel on the device.
pub unsafe extern "C" fn cuKernelGetAttribute(pi: *mut i32, attrib: i32, kernel: CUkernel, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pi = unsafe { out(pi) }?;
        let driver = driver()?;
        pi.write(function_on(driver, kernel, dev)?.attribute(driver, attrib)?);
        Ok(())
    })
}

/// Sets an attribute of a kernel on the device.
pub unsafe extern "C" fn cuKernelSetAttribute(attrib: i32, val: i32, kernel: CUkernel, dev: i32) -> CUresult {
    guard(|| function_on(driver()?, kernel, dev)?.set_attribute(attrib, val))
}

/// Offset and size of a parameter in the parameter block, bytes.
pub unsafe extern "C" fn cuKernelGetParamInfo(
    kernel: CUkernel,
    paramIndex: usize,
    paramOffset: *mut usize,
    paramSize: *mut usize,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (offset_out, size_out) = unsafe { (out(paramOffset)?, out_opt(paramSize)?) };
        let (offset, size) = function_on(driver()?, kernel, 0)?.param(paramIndex)?;
        offset_out.write(offset);
        set(size_out, size);
        Ok(())
    })
}

/// Number of a kernel's parameters.
pub unsafe extern "C" fn cuKernelGetParamCount(kernel: CUkernel, paramCount: *mut usize) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let count = unsafe { out(paramCount) }?;
        count.write(function_on(driver()?, kernel, 0)?.kernel().params().len());
        Ok(())
    })
}

/// A kernel's library.
pub unsafe extern "C" fn cuKernelGetLibrary(pLib: *mut CUlibrary, kernel: CUkernel) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let library = unsafe { out(pLib) }?;
        library.write(kernel_of(driver()?, kernel)?.library()? as CUlibrary);
        Ok(())
    })
}

/// A kernel's name; it stays until the library is unloaded.
pub unsafe extern "C" fn cuKernelGetName(name: *mut *const c_char, hfunc: CUkernel) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let name = unsafe { out(name) }?;
        name.write(kernel_of(driver()?, hfunc)?.c_name.as_ptr());
        Ok(())
    })
}

/// A preference that changes nothing.
pub unsafe extern "C" fn cuKernelSetCacheConfig(kernel: CUkernel, config: i32, dev: i32) -> CUresult {
    guard(|| {
        let driver = driver()?;
        driver.device(dev)?;
        kernel_of(driver, kernel)?;
        match (0..=3).contains(&config) {
            true => Ok(()),
            false => Err(CUresult::INVALID_VALUE),
        }
    })
}

fn library_of(driver: &Driver, library: CUlibrary) -> Result<Arc<Library>> {
    driver.libraries.get(library as u64).ok_or(CUresult::INVALID_HANDLE)
}

fn kernel_of(driver: &Driver, kernel: CUkernel) -> Result<Arc<Kernel>> {
    driver.kernels.get(kernel as u64).ok_or(CUresult::INVALID_HANDLE)
}

/// What the kernel is in the current context, or in the device's primary one if that is of another device or there is
/// none.
fn function_on(driver: &Driver, kernel: CUkernel, device: i32) -> Result<Arc<Function>> {
    let device = driver.device(device)?;
    let kernel = kernel_of(driver, kernel)?;
    let context: Arc<Context> = match current() {
        Ok(context) if context.device.ordinal == device.ordinal => context,
        other => device.active_primary().ok_or(other.err().unwrap_or(CUresult::INVALID_CONTEXT))?,
    };
    Ok(kernel.function(&context)?.1)
}
