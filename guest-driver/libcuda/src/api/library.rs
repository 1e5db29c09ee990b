//! Libraries: images independent of contexts.

use std::ffi::{c_char, c_void};

use vgpu_protocol::cmd::{VgpuLibraryLoad, VgpuLibraryNames};
use vgpu_protocol::cuda::{CUkernel, CUlibrary, CUresult};
use vgpu_protocol::{Handle, HandleKind};

use super::kernel::{enumerate, of_library, NAMES_SIZE};
use super::module::{no_options, note_global, read_file, with_image, Loaded};
use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::image;
use crate::jit::Options;
use crate::stub::{self, check_out, give, string};

/// `CU_LIBRARY_BINARY_IS_PRESERVED`: the image stays where it is until the library is unloaded.
const BINARY_IS_PRESERVED: i32 = 1;

/// Has the worker load `image` as `library`.
///
/// # Safety
/// `options` belong to the call in progress.
unsafe fn send(library: Handle, image: &[u8], options: &Options) -> Result {
    let loaded = with_image(driver()?, image, |at| {
        let command = VgpuLibraryLoad {
            library,
            image: at,
            size: image.len() as u64,
            options: &options.numbers(),
            log_size: options.log_size(),
            values_size: options.values_size(),
        };
        stub::create(&command).map(|reply| Loaded { result: reply.result, log: reply.log, values: reply.values })
    })?;
    // SAFETY: as the caller says.
    unsafe { loaded.settle(options) }
}

/// Loads a library of which something is asked for, if that was put off.
pub fn load_library(library: Handle) -> Result {
    driver()?.libraries.ensure(library, |image| {
        // SAFETY: there are no options.
        unsafe { send(library, image, &no_options()?) }
    })
}

/// # Safety
/// `options` belong to the call in progress; a `preserved` image stays until the library is unloaded.
unsafe fn load(out: *mut CUlibrary, image: &[u8], options: &Options, preserved: bool) -> Result {
    let driver = driver()?;
    check_out(out)?;
    let library = stub::mint(HandleKind::Library)?;
    // SAFETY: as the caller says.
    let deferred = preserved && options.is_empty() && unsafe { driver.libraries.defer(library, image) };
    if !deferred {
        // SAFETY: as the caller says.
        if let Err(error) = unsafe { send(library, image, options) } {
            stub::forget(library);
            return Err(error);
        }
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, library.0 as CUlibrary) }
}

/// Whether the options say that the image stays in place. Runtimes pass them without values.
///
/// # Safety
/// The arrays are null or have `count` elements.
unsafe fn is_preserved(options: *const i32, values: *mut *mut c_void, count: u32) -> bool {
    if options.is_null() {
        return false;
    }
    (0..count as usize).any(|i| {
        // SAFETY: as the caller says.
        let on = values.is_null() || !unsafe { values.add(i).read_unaligned() }.is_null();
        // SAFETY: as the caller says.
        on && unsafe { options.add(i).read_unaligned() } == BINARY_IS_PRESERVED
    })
}

/// An image that stays in place is loaded at its first use.
#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLibraryLoadData(
    library: *mut CUlibrary,
    code: *const c_void,
    names: *const i32,
    values: *mut *mut c_void,
    count: u32,
    library_options: *const i32,
    library_values: *mut *mut c_void,
    library_count: u32,
) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for image and options.
    unsafe {
        let preserved = is_preserved(library_options, library_values, library_count);
        load(library, image::bytes(code)?, &Options::read(count, names, values)?, preserved)
    }
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLibraryLoadFromFile(
    library: *mut CUlibrary,
    name: *const c_char,
    names: *const i32,
    values: *mut *mut c_void,
    count: u32,
    _library_options: *const i32,
    _library_values: *mut *mut c_void,
    _library_count: u32,
) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for the string and the options.
    unsafe { load(library, &read_file(name)?, &Options::read(count, names, values)?, false) }
}

pub unsafe fn cuLibraryUnload(library: CUlibrary) -> Result {
    if driver()?.libraries.remove(Handle(library as u64)) {
        stub::forget(Handle(library as u64));
        return Ok(());
    }
    // SAFETY: a handle is no pointer to anything.
    unsafe { raw::cuLibraryUnload(library)? };
    driver()?.functions.forget_owner(Handle(library as u64));
    Ok(())
}

pub unsafe fn cuLibraryGetKernel(out: *mut CUkernel, library: CUlibrary, name: *const c_char) -> Result {
    stub::ready()?;
    check_out(out)?;
    // SAFETY: the caller vouches for the string.
    let name = unsafe { string(name)? };
    let handle = of_library(stub::handle(HandleKind::Library, library as u64)?, name)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, handle.0 as CUkernel) }
}

pub unsafe fn cuLibraryEnumerateKernels(out: *mut CUkernel, room: u32, library: CUlibrary) -> Result {
    stub::ready()?;
    let library = stub::handle(HandleKind::Library, library as u64)?;
    let names = |first| stub::create(&VgpuLibraryNames { library, first, size: NAMES_SIZE }).map(|reply| reply.names);
    // SAFETY: the caller vouches for the array.
    unsafe { enumerate(out, room, names, |name| of_library(library, name)) }
}

pub unsafe fn cuLibraryGetGlobal(dptr: *mut u64, bytes: *mut usize, library: CUlibrary, name: *const c_char) -> Result {
    crate::context::required()?;
    // SAFETY: the caller vouches for the pointers; the inner ones are ours.
    unsafe { note_global(dptr, bytes, |address, size| raw::cuLibraryGetGlobal(address, size, library, name)) }
}

pub unsafe fn cuLibraryGetManaged(
    dptr: *mut u64,
    bytes: *mut usize,
    library: CUlibrary,
    name: *const c_char,
) -> Result {
    // SAFETY: the caller vouches for the pointers; the inner ones are ours.
    unsafe { note_global(dptr, bytes, |address, size| raw::cuLibraryGetManaged(address, size, library, name)) }
}

pub unsafe fn cuKernelGetLibrary(out: *mut CUlibrary, kernel: CUkernel) -> Result {
    let function = driver()?.functions.find(kernel as u64)?;
    if function.owner.kind() != HandleKind::Library as u8 {
        return Err(CUresult::INVALID_HANDLE);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, function.owner.0 as CUlibrary) }
}
