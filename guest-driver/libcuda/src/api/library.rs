//! Libraries: images independent of contexts.

use std::ffi::{c_char, c_void};

use vgpu_protocol::cmd::VgpuLibraryLoad;
use vgpu_protocol::cuda::{CUkernel, CUlibrary, CUresult};
use vgpu_protocol::{Handle, HandleKind};

use super::module::{note_global, read_file, with_image, Loaded};
use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::image;
use crate::jit::Options;
use crate::stub::{self, check_out, give, string};

/// # Safety
/// `options` belong to the call in progress.
unsafe fn load(out: *mut CUlibrary, image: &[u8], options: &Options) -> Result {
    let driver = driver()?;
    check_out(out)?;
    let library = stub::mint(HandleKind::Library)?;
    let loaded = with_image(driver, image, |at| {
        let command = VgpuLibraryLoad { library, image: at, size: image.len() as u64, log_size: options.log_size() };
        stub::create(&command).map(|reply| Loaded { result: reply.result, log: reply.log })
    });
    // SAFETY: as the caller says.
    let settled = loaded.and_then(|loaded| unsafe { loaded.settle(options) });
    if let Err(error) = settled {
        stub::forget(library);
        return Err(error);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, library.0 as CUlibrary) }
}

/// Library options (whether the image stays in place) change nothing here: the image is copied.
#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLibraryLoadData(
    library: *mut CUlibrary,
    code: *const c_void,
    names: *const i32,
    values: *mut *mut c_void,
    count: u32,
    _library_options: *const i32,
    _library_values: *mut *mut c_void,
    _library_count: u32,
) -> Result {
    stub::ready()?;
    // SAFETY: the caller vouches for image and options.
    unsafe { load(library, image::bytes(code)?, &Options::read(count, names, values)?) }
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
    unsafe { load(library, &read_file(name)?, &Options::read(count, names, values)?) }
}

pub unsafe fn cuLibraryUnload(library: CUlibrary) -> Result {
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
    let handle = super::kernel::of_library(stub::handle(HandleKind::Library, library as u64)?, name)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, handle.0 as CUkernel) }
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
