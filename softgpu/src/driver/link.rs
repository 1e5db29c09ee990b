//! Linking PTX: inputs are added to a link, which makes one image of them.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use vgpu_protocol::cuda::{CUlinkState, CUresult};

use super::abi::{bytes, guard, name as name_of, out};
use super::core::{current, driver, Link, Result};
use super::jit::JitOptions;
use super::module::read_file;

/// Begins a link. Log buffers among the options are written by the calls that follow.
pub unsafe extern "C" fn cuLinkCreate_v2(
    numOptions: u32,
    options: *const i32,
    optionValues: *mut *mut c_void,
    stateOut: *mut CUlinkState,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let state = unsafe { out(stateOut) }?;
        // SAFETY: null or arrays of that many elements that live as long as the link, by the driver
        // API's contract.
        let mut options = unsafe { JitOptions::new(numOptions, options, optionValues) }?;
        let context = current()?;
        let driver = context.driver;
        let link = Link::new(context.handle, driver.capability(), Box::new(move |log| options.finish(log)));
        state.write(driver.links.insert(Arc::new(Mutex::new(link))) as CUlinkState);
        Ok(())
    })
}

/// Adds PTX text or a fat binary. The options of an input choose between ways of compiling that make
/// no difference here.
pub unsafe extern "C" fn cuLinkAddData_v2(
    state: CUlinkState,
    kind: i32,
    data: *mut c_void,
    size: usize,
    name: *const c_char,
    _numOptions: u32,
    _options: *const i32,
    _optionValues: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        // SAFETY: null or that many bytes, by the driver API's contract.
        let data = unsafe { bytes(data, size) }?;
        let name = match name.is_null() {
            true => "unnamed",
            // SAFETY: a C string, by the driver API's contract.
            false => unsafe { name_of(name) }.unwrap_or("unnamed"),
        };
        with_link(state, |link| link.add(kind, data, name))
    })
}

/// As `cuLinkAddData_v2`, from a file.
pub unsafe extern "C" fn cuLinkAddFile_v2(
    state: CUlinkState,
    kind: i32,
    path: *const c_char,
    _numOptions: u32,
    _options: *const i32,
    _optionValues: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        // SAFETY: null or a C string, by the driver API's contract.
        let (data, name) = unsafe { (read_file(path)?, name_of(path)?) };
        with_link(state, |link| link.add(kind, &data, name))
    })
}

/// The first version, which has the same arguments.
pub unsafe extern "C" fn cuLinkCreate(
    numOptions: u32,
    options: *const i32,
    optionValues: *mut *mut c_void,
    stateOut: *mut CUlinkState,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuLinkCreate_v2(numOptions, options, optionValues, stateOut) }
}

/// As `cuLinkCreate`.
pub unsafe extern "C" fn cuLinkAddData(
    state: CUlinkState,
    kind: i32,
    data: *mut c_void,
    size: usize,
    name: *const c_char,
    numOptions: u32,
    options: *const i32,
    optionValues: *mut *mut c_void,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuLinkAddData_v2(state, kind, data, size, name, numOptions, options, optionValues) }
}

/// As `cuLinkCreate`.
pub unsafe extern "C" fn cuLinkAddFile(
    state: CUlinkState,
    kind: i32,
    path: *const c_char,
    numOptions: u32,
    options: *const i32,
    optionValues: *mut *mut c_void,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuLinkAddFile_v2(state, kind, path, numOptions, options, optionValues) }
}

/// Makes the image; it belongs to the link and ends with it.
pub unsafe extern "C" fn cuLinkComplete(
    state: CUlinkState,
    cubinOut: *mut *mut c_void,
    sizeOut: *mut usize,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (image_out, size_out) = unsafe { (out(cubinOut)?, out(sizeOut)?) };
        with_link(state, |link| {
            let image = link.complete()?;
            image_out.write(image.as_ptr().cast_mut().cast());
            size_out.write(image.len());
            Ok(())
        })
    })
}

/// Ends a link.
pub unsafe extern "C" fn cuLinkDestroy(state: CUlinkState) -> CUresult {
    guard(|| driver()?.links.remove(state as u64).map(drop).ok_or(CUresult::INVALID_HANDLE))
}

fn with_link(state: CUlinkState, work: impl FnOnce(&mut Link) -> Result) -> Result {
    let link = driver()?.links.get(state as u64).ok_or(CUresult::INVALID_HANDLE)?;
    let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut link)
}
