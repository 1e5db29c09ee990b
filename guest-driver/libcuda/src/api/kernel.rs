//! Kernels as functions of modules (`CUfunction`) and of libraries (`CUkernel`). Both are used alike.

use std::ffi::{c_char, CString};
use std::sync::Arc;

use vgpu_protocol::cmd::{CuKernelSetAttribute, VgpuLibraryGetKernel, VgpuModuleGetFunction};
use vgpu_protocol::cuda::attribute::CLUSTER_LAUNCH;
use vgpu_protocol::cuda::{CUfunction, CUkernel, CUmodule, CUresult};
use vgpu_protocol::{FunctionAttributes, Handle, HandleKind};

use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::function::{Function, MAX_DYNAMIC_SHARED_SIZE_BYTES};
use crate::stub::{self, give, put, put_optional};

/// Room for parameter descriptions, bytes: 512 parameters.
const PARAMS_SIZE: u32 = 4096;
/// Room for the names of kernels in one reply, bytes.
pub const NAMES_SIZE: u32 = 4096;
/// `CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT`.
const PREFERRED_CARVEOUT: i32 = 9;
/// `CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET` to `CLUSTER_SCHEDULING_POLICY_PREFERENCE`.
const CLUSTER_ATTRIBUTES: std::ops::RangeInclusive<i32> = 10..=15;

type Described = (FunctionAttributes, Vec<u8>);

fn add(
    kind: HandleKind,
    owner: Handle,
    name: &[u8],
    ask: impl FnOnce(Handle) -> std::result::Result<Described, CUresult>,
) -> std::result::Result<Handle, CUresult> {
    let driver = driver()?;
    let text = CString::new(name).map_err(|_| CUresult::INVALID_VALUE)?;
    if let Some(known) = driver.functions.find_by_name(owner, &text) {
        return Ok(known);
    }
    let handle = stub::mint(kind)?;
    match ask(handle).and_then(|(info, params)| Function::new(handle, owner, text, &info, &params)) {
        Ok(function) => {
            driver.functions.add(function);
            Ok(handle)
        }
        Err(error) => {
            stub::forget(handle);
            Err(error)
        }
    }
}

/// The kernel of that name in a module.
pub fn of_module(module: Handle, name: &[u8]) -> std::result::Result<Handle, CUresult> {
    add(HandleKind::Function, module, name, |function| {
        let command = VgpuModuleGetFunction { function, module, name, params_size: PARAMS_SIZE };
        stub::create(&command).map(|reply| (reply.info, reply.params))
    })
}

/// The kernel of that name in a library.
pub fn of_library(library: Handle, name: &[u8]) -> std::result::Result<Handle, CUresult> {
    add(HandleKind::Kernel, library, name, |kernel| {
        let command = VgpuLibraryGetKernel { kernel, library, name, params_size: PARAMS_SIZE };
        stub::create(&command).map(|reply| (reply.info, reply.params))
    })
}

fn find(handle: u64) -> std::result::Result<Arc<Function>, CUresult> {
    driver()?.functions.find(handle)
}

/// A `CUkernel` serves as a `CUfunction` everywhere.
pub unsafe fn cuKernelGetFunction(out: *mut CUfunction, kernel: CUkernel) -> Result {
    let function = find(kernel as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, function.handle.0 as CUfunction) }
}

pub unsafe fn cuFuncGetAttribute(pi: *mut i32, attribute: i32, function: CUfunction) -> Result {
    let value = find(function as u64)?.attribute(attribute)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pi, value) }
}

pub unsafe fn cuKernelGetAttribute(pi: *mut i32, attribute: i32, kernel: CUkernel, dev: i32) -> Result {
    driver()?.device(dev)?;
    // SAFETY: as for the caller.
    unsafe { cuFuncGetAttribute(pi, attribute, kernel.cast()) }
}

/// Only the first two can be set on devices without clusters; where there are clusters, the driver
/// says what their attributes may be.
fn check_settable(attribute: i32, value: i32, dev: i32) -> Result {
    match attribute {
        MAX_DYNAMIC_SHARED_SIZE_BYTES if value >= 0 => Ok(()),
        PREFERRED_CARVEOUT if (-1..=100).contains(&value) => Ok(()),
        _ if CLUSTER_ATTRIBUTES.contains(&attribute) && driver()?.attribute(dev, CLUSTER_LAUNCH).unwrap_or(0) == 1 => {
            Ok(())
        }
        _ => Err(CUresult::INVALID_VALUE),
    }
}

fn check_shared(function: &Function, attribute: i32, value: i32, dev: i32) -> Result {
    use vgpu_protocol::cuda::attribute::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    if attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES {
        return Ok(());
    }
    let limit = driver()?.attribute(dev, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
    let used = function.attribute(crate::function::SHARED_SIZE_BYTES).unwrap_or(0);
    if value <= limit.saturating_sub(used) {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

pub unsafe fn cuFuncSetAttribute(function: CUfunction, attribute: i32, value: i32) -> Result {
    let known = find(function as u64)?;
    let dev = crate::context::required()?.device;
    check_settable(attribute, value, dev)?;
    check_shared(&known, attribute, value, dev)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuFuncSetAttribute(function, attribute, value)? };
    known.set_attribute(attribute, value);
    super::occupancy::forget_answers();
    Ok(())
}

/// Needs no current context, unlike most commands.
pub unsafe fn cuKernelSetAttribute(attribute: i32, value: i32, kernel: CUkernel, dev: i32) -> Result {
    let known = find(kernel as u64)?;
    check_settable(attribute, value, dev)?;
    check_shared(&known, attribute, value, dev)?;
    let command = CuKernelSetAttribute { attrib: attribute, val: value, kernel: known.handle, dev };
    driver()?.session.post(0, &command)?;
    known.set_attribute(attribute, value);
    super::occupancy::forget_answers();
    Ok(())
}

/// Preferences without effect, as [`super::cuCtxSetCacheConfig`].
pub unsafe fn cuFuncSetCacheConfig(function: CUfunction, config: i32) -> Result {
    find(function as u64)?;
    if (0..=3).contains(&config) {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

pub unsafe fn cuFuncSetSharedMemConfig(function: CUfunction, config: i32) -> Result {
    find(function as u64)?;
    if (0..=2).contains(&config) {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

pub unsafe fn cuKernelSetCacheConfig(kernel: CUkernel, config: i32, dev: i32) -> Result {
    driver()?.device(dev)?;
    // SAFETY: as for the caller.
    unsafe { cuFuncSetCacheConfig(kernel.cast(), config) }
}

/// The name stays valid until its module or library is unloaded.
pub unsafe fn cuFuncGetName(name: *mut *const c_char, function: CUfunction) -> Result {
    let function = find(function as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(name, function.name.as_ptr()) }
}

pub unsafe fn cuKernelGetName(name: *mut *const c_char, kernel: CUkernel) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuFuncGetName(name, kernel.cast()) }
}

pub unsafe fn cuFuncGetParamInfo(function: CUfunction, index: usize, offset: *mut usize, size: *mut usize) -> Result {
    let param = find(function as u64)?.param(index)?;
    // SAFETY: the caller vouches for the pointers; `size` may be null.
    unsafe {
        give(offset, param.offset as usize)?;
        put_optional(size, param.size as usize);
    }
    Ok(())
}

pub unsafe fn cuKernelGetParamInfo(kernel: CUkernel, index: usize, offset: *mut usize, size: *mut usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuFuncGetParamInfo(kernel.cast(), index, offset, size) }
}

pub unsafe fn cuFuncGetParamCount(function: CUfunction, count: *mut usize) -> Result {
    let function = find(function as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(count, function.params.len()) }
}

pub unsafe fn cuKernelGetParamCount(kernel: CUkernel, count: *mut usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuFuncGetParamCount(kernel.cast(), count) }
}

/// Fills an array with the handles of the first `room` kernels of an image. `names` gives the names
/// from a number on, each with a NUL behind it, as many as one reply holds.
///
/// # Safety
/// `out` is null or valid for `room` writes.
pub unsafe fn enumerate<T>(
    out: *mut *mut T,
    room: u32,
    names: impl Fn(u32) -> std::result::Result<Vec<u8>, CUresult>,
    handle: impl Fn(&[u8]) -> std::result::Result<Handle, CUresult>,
) -> Result {
    stub::check_out(out)?;
    let mut found = 0;
    while found < room {
        let part = names(found)?;
        let ends = part.iter().filter(|byte| **byte == 0).count();
        if ends == 0 {
            return Ok(());
        }
        for name in part.split(|byte| *byte == 0).take(ends.min((room - found) as usize)) {
            // SAFETY: `found` is below `room`.
            unsafe { put(out.add(found as usize), handle(name)?.0 as *mut T) };
            found += 1;
        }
    }
    Ok(())
}

pub unsafe fn cuFuncGetModule(module: *mut CUmodule, function: CUfunction) -> Result {
    let function = find(function as u64)?;
    if function.owner.kind() != HandleKind::Module as u8 {
        return Err(CUresult::NOT_SUPPORTED);
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(module, function.owner.0 as CUmodule) }
}

/// Loading is eager.
pub unsafe fn cuFuncIsLoaded(state: *mut i32, function: CUfunction) -> Result {
    find(function as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(state, 1) }
}

pub unsafe fn cuFuncLoad(function: CUfunction) -> Result {
    find(function as u64).map(drop)
}
