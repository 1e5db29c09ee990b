//! Primary contexts, created contexts, and the thread's context stack.

use std::ffi::c_void;

use vgpu_protocol::cmd::CuCtxSynchronize;
use vgpu_protocol::cuda::{CUcontext, CUctxCreateParams, CUdevResource, CUresult};

use super::Result;
use crate::context::{self, check_flags, resolve};
use crate::driver::{self, driver};
use crate::exports::raw;
use crate::stub::{check_out, give, latched, put_optional};

pub unsafe fn cuDevicePrimaryCtxRetain(pctx: *mut CUcontext, dev: i32) -> Result {
    let driver = driver()?;
    check_out(pctx)?;
    let context = driver.retain_primary(dev)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pctx, context.raw()) }
}

pub unsafe fn cuDevicePrimaryCtxRelease(dev: i32) -> Result {
    driver()?.release_primary(dev)
}

pub unsafe fn cuDevicePrimaryCtxRelease_v2(dev: i32) -> Result {
    driver()?.release_primary(dev)
}

pub unsafe fn cuDevicePrimaryCtxSetFlags(dev: i32, flags: u32) -> Result {
    driver()?.set_primary_flags(dev, flags)
}

pub unsafe fn cuDevicePrimaryCtxSetFlags_v2(dev: i32, flags: u32) -> Result {
    driver()?.set_primary_flags(dev, flags)
}

pub unsafe fn cuDevicePrimaryCtxGetState(dev: i32, flags: *mut u32, active: *mut i32) -> Result {
    let (set, is_active) = driver()?.primary_state(dev)?;
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        give(flags, set)?;
        give(active, i32::from(is_active))
    }
}

pub unsafe fn cuDevicePrimaryCtxReset(dev: i32) -> Result {
    driver()?.reset_primary(dev)
}

pub unsafe fn cuDevicePrimaryCtxReset_v2(dev: i32) -> Result {
    driver()?.reset_primary(dev)
}

pub unsafe fn cuCtxCreate_v2(pctx: *mut CUcontext, flags: u32, dev: i32) -> Result {
    let driver = driver()?;
    check_out(pctx)?;
    let context = driver.create_context(dev, flags)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pctx, context.raw()) }
}

pub unsafe fn cuCtxCreate(pctx: *mut CUcontext, flags: u32, dev: i32) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuCtxCreate_v2(pctx, flags, dev) }
}

/// Contexts that have a part of the multiprocessors exist under MPS only.
pub unsafe fn cuCtxCreate_v3(
    pctx: *mut CUcontext,
    affinities: *const c_void,
    count: i32,
    flags: u32,
    dev: i32,
) -> Result {
    driver()?.device(dev)?;
    match (affinities.is_null(), count) {
        (_, 0) => {}
        (false, 1..) => return Err(CUresult::UNSUPPORTED_EXEC_AFFINITY),
        _ => return Err(CUresult::INVALID_VALUE),
    }
    // SAFETY: as for the caller.
    unsafe { cuCtxCreate_v2(pctx, flags, dev) }
}

pub unsafe fn cuCtxCreate_v4(pctx: *mut CUcontext, params: *const CUctxCreateParams, flags: u32, dev: i32) -> Result {
    driver()?;
    if params.is_null() {
        // SAFETY: as for the caller.
        return unsafe { cuCtxCreate_v2(pctx, flags, dev) };
    }
    // SAFETY: the caller vouches for the pointer.
    let params = unsafe { params.read_unaligned() };
    if !params.cigParams.is_null() {
        // There is no graphics API to share a context with.
        return Err(CUresult::NOT_SUPPORTED);
    }
    // SAFETY: as for the caller.
    unsafe { cuCtxCreate_v3(pctx, params.execAffinityParams, params.numExecAffinityParams, flags, dev) }
}

pub unsafe fn cuCtxAttach(pctx: *mut CUcontext, flags: u32) -> Result {
    driver()?;
    let context = context::required()?;
    if flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    check_out(pctx)?;
    context.attach();
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pctx, context.raw()) }
}

pub unsafe fn cuCtxDetach(ctx: CUcontext) -> Result {
    driver()?.detach_context(ctx)
}

pub unsafe fn cuCtxDestroy(ctx: CUcontext) -> Result {
    driver()?.destroy_context(ctx)
}

pub unsafe fn cuCtxDestroy_v2(ctx: CUcontext) -> Result {
    driver()?.destroy_context(ctx)
}

pub unsafe fn cuCtxPushCurrent(ctx: CUcontext) -> Result {
    let driver = driver()?;
    if ctx.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    context::push(Some(driver.contexts.find(ctx)?));
    Ok(())
}

pub unsafe fn cuCtxPushCurrent_v2(ctx: CUcontext) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuCtxPushCurrent(ctx) }
}

pub unsafe fn cuCtxPopCurrent(pctx: *mut CUcontext) -> Result {
    driver()?;
    context::current().ok_or(CUresult::INVALID_CONTEXT)?;
    let popped = context::pop().map_or(std::ptr::null_mut(), |context| context.raw());
    // SAFETY: the caller vouches for the pointer; it may be null.
    unsafe { put_optional(pctx, popped) };
    Ok(())
}

pub unsafe fn cuCtxPopCurrent_v2(pctx: *mut CUcontext) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuCtxPopCurrent(pctx) }
}

pub unsafe fn cuCtxSetCurrent(ctx: CUcontext) -> Result {
    let driver = driver()?;
    let context = if ctx.is_null() { None } else { Some(driver.contexts.find(ctx)?) };
    context::set_current(context);
    Ok(())
}

pub unsafe fn cuCtxGetCurrent(pctx: *mut CUcontext) -> Result {
    driver()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pctx, context::current().map_or(std::ptr::null_mut(), |context| context.raw())) }
}

pub unsafe fn cuCtxGetDevice(device: *mut i32) -> Result {
    driver()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(device, context::required()?.device) }
}

pub unsafe fn cuCtxGetDevice_v2(device: *mut i32, ctx: CUcontext) -> Result {
    driver()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(device, resolve(ctx)?.device) }
}

pub unsafe fn cuCtxGetFlags(flags: *mut u32) -> Result {
    driver()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(flags, context::required()?.flags()) }
}

pub unsafe fn cuCtxSetFlags(flags: u32) -> Result {
    driver()?;
    let context = context::required()?;
    check_flags(flags)?;
    context.set_flags(flags);
    Ok(())
}

pub unsafe fn cuCtxGetId(ctx: CUcontext, id: *mut u64) -> Result {
    driver()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(id, resolve(ctx)?.id) }
}

pub unsafe fn cuCtxGetApiVersion(ctx: CUcontext, version: *mut u32) -> Result {
    driver()?;
    resolve(ctx)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(version, driver::version().cast_unsigned()) }
}

pub unsafe fn cuCtxSynchronize() -> Result {
    // SAFETY: as for the caller.
    unsafe { cuCtxSynchronize_v2(std::ptr::null_mut()) }
}

pub unsafe fn cuCtxSynchronize_v2(ctx: CUcontext) -> Result {
    let driver = driver()?;
    let context = resolve(ctx)?;
    driver.graphs.check_context(context.handle.0)?;
    driver.session.call(context.handle.0, &CuCtxSynchronize {}).inspect_err(|error| context.note(*error))?;
    latched()
}

pub unsafe fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) -> Result {
    let (lowest, highest) = crate::stream::priorities()?;
    // SAFETY: the caller vouches for the pointers; they may be null.
    unsafe {
        put_optional(least, lowest);
        put_optional(greatest, highest);
    }
    Ok(())
}

/// `CU_EXEC_AFFINITY_TYPE_SM_COUNT` is the only affinity, and no context was created with one.
pub unsafe fn cuCtxGetExecAffinity(affinity: *mut c_void, kind: i32) -> Result {
    driver()?;
    context::required()?;
    check_out(affinity)?;
    match kind {
        0 => Err(CUresult::UNSUPPORTED_EXEC_AFFINITY),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// All that the context's device has.
pub unsafe fn cuCtxGetDevResource(ctx: CUcontext, resource: *mut CUdevResource, kind: i32) -> Result {
    driver()?;
    // SAFETY: as for the caller.
    unsafe { super::cuDeviceGetDevResource(resolve(ctx)?.device, resource, kind) }
}

/// The context with whose memory the current one's kernels have to do.
fn peer(peer: CUcontext) -> std::result::Result<(), CUresult> {
    context::required()?;
    driver()?.contexts.find(peer).map(drop)
}

pub unsafe fn cuCtxEnablePeerAccess(context: CUcontext, flags: u32) -> Result {
    peer(context)?;
    if flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: no pointers are involved.
    unsafe { raw::cuCtxEnablePeerAccess(context, flags) }
}

pub unsafe fn cuCtxDisablePeerAccess(context: CUcontext) -> Result {
    peer(context)?;
    // SAFETY: no pointers are involved.
    unsafe { raw::cuCtxDisablePeerAccess(context) }
}

/// Preferences of cache and shared memory banks have had no effect since compute capability 7.0.
pub unsafe fn cuCtxGetCacheConfig(config: *mut i32) -> Result {
    context::required()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(config, 0) }
}

pub unsafe fn cuCtxSetCacheConfig(config: i32) -> Result {
    context::required()?;
    if (0..=3).contains(&config) {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

pub unsafe fn cuCtxGetSharedMemConfig(config: *mut i32) -> Result {
    context::required()?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(config, 1) }
}

pub unsafe fn cuCtxSetSharedMemConfig(config: i32) -> Result {
    context::required()?;
    if (0..=2).contains(&config) {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}
