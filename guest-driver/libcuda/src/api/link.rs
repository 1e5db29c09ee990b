//! Linking several inputs to one image.

use std::ffi::{c_char, c_void};

use vgpu_protocol::cmd::{VgpuLinkAdd, VgpuLinkComplete, VgpuLinkCreate, VgpuLinkDestroy, VgpuLinkRead};
use vgpu_protocol::cuda::{CUlinkState, CUresult};
use vgpu_protocol::{Handle, HandleKind};

use super::module::{read_file, with_image, Loaded};
use super::Result;
use crate::context;
use crate::driver::driver;
use crate::jit::Options;
use crate::link::Link;
use crate::stub::{self, check_out, give, string};

/// Part of an image that one reply brings, bytes.
const PART: u32 = 4096;

fn link_handle(state: CUlinkState) -> std::result::Result<Handle, CUresult> {
    stub::handle(HandleKind::LinkState, state as u64)
}

pub unsafe fn cuLinkCreate_v2(
    count: u32,
    names: *const i32,
    values: *mut *mut c_void,
    out: *mut CUlinkState,
) -> Result {
    let driver = driver()?;
    check_out(out)?;
    context::required()?;
    // SAFETY: the caller vouches for the options, and for the log buffers until the link is destroyed.
    let options = unsafe { Options::read(count, names, values)? };
    let link = stub::mint(HandleKind::LinkState)?;
    if let Err(error) = stub::create(&VgpuLinkCreate { link, options: &options.numbers() }) {
        stub::forget(link);
        return Err(error);
    }
    driver.links.add(link, options);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, link.0 as CUlinkState) }
}

/// The first version has the same arguments; so have the two that add inputs.
pub unsafe fn cuLinkCreate(count: u32, names: *const i32, values: *mut *mut c_void, out: *mut CUlinkState) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuLinkCreate_v2(count, names, values, out) }
}

fn add(handle: Handle, kind: i32, data: &[u8], name: &[u8]) -> Result {
    let driver = driver()?;
    if data.is_empty() {
        return Err(CUresult::INVALID_VALUE);
    }
    driver.links.with(handle, |link| {
        let log_size = link.options.log_size();
        let added = with_image(driver, data, |at| {
            let command = VgpuLinkAdd { link: handle, kind, data: at, size: data.len() as u64, name, log_size };
            stub::create(&command).map(|reply| Loaded { result: reply.result, log: reply.log, values: Vec::new() })
        })?;
        // SAFETY: the application keeps the buffers until it destroys the link.
        unsafe { added.settle(&link.options) }
    })
}

/// Options of one input are tuning.
#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLinkAddData_v2(
    state: CUlinkState,
    kind: i32,
    data: *mut c_void,
    size: usize,
    name: *const c_char,
    _count: u32,
    _names: *const i32,
    _values: *mut *mut c_void,
) -> Result {
    stub::ready()?;
    let handle = link_handle(state)?;
    // SAFETY: the caller vouches for the string and the data.
    let (name, data) = unsafe { (if name.is_null() { &[] } else { string(name)? }, stub::bytes(data, size)?) };
    add(handle, kind, data, name)
}

pub unsafe fn cuLinkAddFile_v2(
    state: CUlinkState,
    kind: i32,
    path: *const c_char,
    _count: u32,
    _names: *const i32,
    _values: *mut *mut c_void,
) -> Result {
    stub::ready()?;
    let handle = link_handle(state)?;
    // SAFETY: the caller vouches for the string.
    let (name, data) = unsafe { (string(path)?, read_file(path)?) };
    add(handle, kind, &data, name)
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuLinkAddData(
    state: CUlinkState,
    kind: i32,
    data: *mut c_void,
    size: usize,
    name: *const c_char,
    count: u32,
    names: *const i32,
    values: *mut *mut c_void,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuLinkAddData_v2(state, kind, data, size, name, count, names, values) }
}

pub unsafe fn cuLinkAddFile(
    state: CUlinkState,
    kind: i32,
    path: *const c_char,
    count: u32,
    names: *const i32,
    values: *mut *mut c_void,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuLinkAddFile_v2(state, kind, path, count, names, values) }
}

pub unsafe fn cuLinkComplete(state: CUlinkState, image: *mut *mut c_void, size: *mut usize) -> Result {
    stub::ready()?;
    check_out(image)?;
    check_out(size)?;
    let handle = link_handle(state)?;
    driver()?.links.with(handle, |link| {
        if link.image.is_empty() {
            link.image = complete(handle, link)?;
        }
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            give(image, link.image.as_mut_ptr().cast())?;
            give(size, link.image.len())
        }
    })
}

/// Links, and fetches the image.
fn complete(handle: Handle, link: &Link) -> std::result::Result<Vec<u8>, CUresult> {
    let (log_size, values_size) = (link.options.log_size(), link.options.values_size());
    let reply = stub::create(&VgpuLinkComplete { link: handle, log_size, values_size })?;
    let loaded = Loaded { result: reply.result, log: reply.log, values: reply.values };
    // SAFETY: the application keeps the buffers, and the values of options, until it destroys the link.
    unsafe { loaded.settle(&link.options)? };
    let mut image = Vec::new();
    while (image.len() as u64) < reply.size {
        let part = stub::create(&VgpuLinkRead { link: handle, offset: image.len() as u64, size: PART })?.data;
        if part.is_empty() {
            return Err(CUresult::UNKNOWN);
        }
        image.extend(part);
    }
    Ok(image)
}

pub unsafe fn cuLinkDestroy(state: CUlinkState) -> Result {
    stub::ready()?;
    let link = link_handle(state)?;
    stub::post_anywhere(&VgpuLinkDestroy { link })?;
    driver()?.links.remove(link);
    stub::forget(link);
    Ok(())
}
