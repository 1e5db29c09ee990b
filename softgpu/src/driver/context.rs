//! Primary and created contexts, and the calling thread's current one.

use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use vgpu_protocol::cuda::{CUcontext, CUctxCreateParams, CUdevResource, CUevent, CUresult};

use super::abi::{guard, out, out_opt, set};
use super::core::{
    attached, current, current_handle, driver, pop_current, pop_top, push_current, set_current, Context, Limit, Result,
};
use super::device::put_resource;
use super::event::event_of;

/// Scheduling, host mapping, local memory and coredump flags; they change nothing here.
const CONTEXT_FLAGS: u32 = 0xff;
/// One of these ways to wait at most.
const SCHEDULING_FLAGS: u32 = 0x7;
/// Stream priorities: the lowest and the highest. They are hints that change nothing here.
pub(super) const PRIORITIES: [i32; 2] = [0, -5];

fn check_flags(flags: u32) -> Result {
    match flags & !CONTEXT_FLAGS == 0 && (flags & SCHEDULING_FLAGS).count_ones() <= 1 {
        true => Ok(()),
        false => Err(CUresult::INVALID_VALUE),
    }
}

fn context_of(ctx: CUcontext) -> Result<Arc<Context>> {
    driver()?.contexts.get(ctx as u64).ok_or(CUresult::INVALID_CONTEXT)
}

/// The context of a handle, the current one for null.
fn context_or_current(ctx: CUcontext) -> Result<Arc<Context>> {
    match ctx.is_null() {
        true => attached(),
        false => context_of(ctx),
    }
}

/// Activates the primary context, or takes another reference to it.
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(pctx: *mut CUcontext, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out(pctx) }?;
        let driver = driver()?;
        pctx.write(driver.device(dev)?.retain_primary(driver).handle as CUcontext);
        Ok(())
    })
}

/// Gives a reference back; the last one destroys the primary context.
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(dev: i32) -> CUresult {
    guard(|| driver()?.device(dev)?.release_primary())
}

/// Destroys the primary context whoever has retained it.
pub unsafe extern "C" fn cuDevicePrimaryCtxReset_v2(dev: i32) -> CUresult {
    guard(|| {
        driver()?.device(dev)?.reset_primary();
        Ok(())
    })
}

/// As `cuDevicePrimaryCtxRelease_v2`.
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease(dev: i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuDevicePrimaryCtxRelease_v2(dev) }
}

/// As `cuDevicePrimaryCtxReset_v2`.
pub unsafe extern "C" fn cuDevicePrimaryCtxReset(dev: i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuDevicePrimaryCtxReset_v2(dev) }
}

/// Sets the flags of the primary context.
pub unsafe extern "C" fn cuDevicePrimaryCtxSetFlags_v2(dev: i32, flags: u32) -> CUresult {
    guard(|| {
        let device = driver()?.device(dev)?;
        check_flags(flags)?;
        device.set_primary_flags(flags);
        Ok(())
    })
}

/// As `cuDevicePrimaryCtxSetFlags_v2`.
pub unsafe extern "C" fn cuDevicePrimaryCtxSetFlags(dev: i32, flags: u32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuDevicePrimaryCtxSetFlags_v2(dev, flags) }
}

/// The flags of the primary context, and whether it is active.
pub unsafe extern "C" fn cuDevicePrimaryCtxGetState(dev: i32, flags: *mut u32, active: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (flags, active) = unsafe { (out(flags)?, out(active)?) };
        let (set, is_active) = driver()?.device(dev)?.primary_state();
        flags.write(set);
        active.write(i32::from(is_active));
        Ok(())
    })
}

/// Creates a context and makes it current on top of the present one.
pub unsafe extern "C" fn cuCtxCreate_v2(pctx: *mut CUcontext, flags: u32, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out(pctx) }?;
        let driver = driver()?;
        let device = driver.device(dev)?;
        check_flags(flags)?;
        let context = Context::new(driver, device, flags);
        pctx.write(context.handle as CUcontext);
        push_current(context);
        Ok(())
    })
}

/// As `cuCtxCreate_v2`.
pub unsafe extern "C" fn cuCtxCreate(pctx: *mut CUcontext, flags: u32, dev: i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuCtxCreate_v2(pctx, flags, dev) }
}

/// As `cuCtxCreate_v2`; there is no execution affinity.
pub unsafe extern "C" fn cuCtxCreate_v3(
    pctx: *mut CUcontext,
    paramsArray: *const c_void,
    numParams: i32,
    flags: u32,
    dev: i32,
) -> CUresult {
    let checked = guard(|| {
        driver()?.device(dev)?;
        match (paramsArray.is_null(), numParams) {
            (_, 0) => Ok(()),
            (false, 1..) => Err(CUresult::UNSUPPORTED_EXEC_AFFINITY),
            _ => Err(CUresult::INVALID_VALUE),
        }
    });
    match checked {
        // SAFETY: the contract is the same.
        CUresult::SUCCESS => unsafe { cuCtxCreate_v2(pctx, flags, dev) },
        error => error,
    }
}

/// As `cuCtxCreate_v3`; there is no graphics API either.
pub unsafe extern "C" fn cuCtxCreate_v4(
    pctx: *mut CUcontext,
    ctxCreateParams: *const CUctxCreateParams,
    flags: u32,
    dev: i32,
) -> CUresult {
    // SAFETY: null or readable, by the driver API's contract.
    match unsafe { ctxCreateParams.as_ref() } {
        Some(params) if !params.cigParams.is_null() => CUresult::NOT_SUPPORTED,
        // SAFETY: the contract is the same.
        Some(params) => unsafe {
            cuCtxCreate_v3(pctx, params.execAffinityParams, params.numExecAffinityParams, flags, dev)
        },
        // SAFETY: the contract is the same.
        None => unsafe { cuCtxCreate_v2(pctx, flags, dev) },
    }
}

/// Destroys a created context: its kernels are stopped, its memory is freed.
pub unsafe extern "C" fn cuCtxDestroy_v2(ctx: CUcontext) -> CUresult {
    guard(|| {
        let contexts = &driver()?.contexts;
        match contexts.get(ctx as u64) {
            Some(context) => destroy(&context),
            None if ctx.is_null() => Err(CUresult::INVALID_VALUE),
            None if contexts.has_ended(ctx as u64) => Err(CUresult::CONTEXT_IS_DESTROYED),
            None => Err(CUresult::INVALID_CONTEXT),
        }
    })
}

/// As `cuCtxDestroy_v2`.
pub unsafe extern "C" fn cuCtxDestroy(ctx: CUcontext) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuCtxDestroy_v2(ctx) }
}

fn destroy(context: &Arc<Context>) -> Result {
    if context.device.active_primary().is_some_and(|primary| primary.handle == context.handle) {
        return Err(CUresult::INVALID_CONTEXT);
    }
    context.destroy();
    pop_current(context);
    Ok(())
}

/// Another use of the current context.
pub unsafe extern "C" fn cuCtxAttach(pctx: *mut CUcontext, flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out(pctx) }?;
        let context = attached()?;
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        context.attach();
        pctx.write(context.handle as CUcontext);
        Ok(())
    })
}

/// Ends a use of the current context; the last one destroys it.
pub unsafe extern "C" fn cuCtxDetach(ctx: CUcontext) -> CUresult {
    guard(|| {
        let context = context_of(ctx)?;
        if current_handle() != context.handle {
            return Err(CUresult::INVALID_CONTEXT);
        }
        match context.detach() {
            true => Ok(()),
            false => destroy(&context),
        }
    })
}

/// Makes a context current on top of the present one.
pub unsafe extern "C" fn cuCtxPushCurrent_v2(ctx: CUcontext) -> CUresult {
    guard(|| {
        driver()?;
        if ctx.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        push_current(context_of(ctx)?);
        Ok(())
    })
}

/// As `cuCtxPushCurrent_v2`.
pub unsafe extern "C" fn cuCtxPushCurrent(ctx: CUcontext) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuCtxPushCurrent_v2(ctx) }
}

/// Takes the current context off the thread's stack.
pub unsafe extern "C" fn cuCtxPopCurrent_v2(pctx: *mut CUcontext) -> CUresult {
    guard(|| {
        driver()?;
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out_opt(pctx) }?;
        let context = pop_top().ok_or(CUresult::INVALID_CONTEXT)?;
        set(pctx, context.handle as CUcontext);
        Ok(())
    })
}

/// As `cuCtxPopCurrent_v2`.
pub unsafe extern "C" fn cuCtxPopCurrent(pctx: *mut CUcontext) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuCtxPopCurrent_v2(pctx) }
}

/// The device of the current context.
pub unsafe extern "C" fn cuCtxGetDevice(device: *mut i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuCtxGetDevice_v2(device, std::ptr::null_mut()) }
}

/// The device of a context.
pub unsafe extern "C" fn cuCtxGetDevice_v2(device: *mut i32, ctx: CUcontext) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let device = unsafe { out(device) }?;
        device.write(context_or_current(ctx)?.device.ordinal);
        Ok(())
    })
}

/// The flags of the current context.
pub unsafe extern "C" fn cuCtxGetFlags(flags: *mut u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let flags = unsafe { out(flags) }?;
        flags.write(attached()?.flags.load(Ordering::Relaxed));
        Ok(())
    })
}

/// Sets the flags of the current context.
pub unsafe extern "C" fn cuCtxSetFlags(flags: u32) -> CUresult {
    guard(|| {
        let context = attached()?;
        check_flags(flags)?;
        context.flags.store(flags, Ordering::Relaxed);
        Ok(())
    })
}

/// The number of a context.
pub unsafe extern "C" fn cuCtxGetId(ctx: CUcontext, ctxId: *mut u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let id = unsafe { out(ctxId) }?;
        id.write(context_or_current(ctx)?.id);
        Ok(())
    })
}

/// The version of the API with which a context works: the driver's.
pub unsafe extern "C" fn cuCtxGetApiVersion(ctx: CUcontext, version: *mut u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let version = unsafe { out(version) }?;
        context_or_current(ctx)?;
        version.write(driver()?.config.cuda_version.cast_unsigned());
        Ok(())
    })
}

/// Cache and shared memory preferences change nothing.
pub unsafe extern "C" fn cuCtxGetCacheConfig(pconfig: *mut i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { get_preference(pconfig, 0) }
}

/// As `cuCtxGetCacheConfig`.
pub unsafe extern "C" fn cuCtxSetCacheConfig(config: i32) -> CUresult {
    set_preference(config, 3)
}

/// As `cuCtxGetCacheConfig`: banks are four bytes wide.
pub unsafe extern "C" fn cuCtxGetSharedMemConfig(pConfig: *mut i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { get_preference(pConfig, 1) }
}

/// As `cuCtxGetCacheConfig`.
pub unsafe extern "C" fn cuCtxSetSharedMemConfig(config: i32) -> CUresult {
    set_preference(config, 2)
}

/// # Safety
/// `place` is null or writable.
unsafe fn get_preference(place: *mut i32, value: i32) -> CUresult {
    guard(|| {
        // SAFETY: as the caller says.
        let place = unsafe { out(place) }?;
        attached()?;
        place.write(value);
        Ok(())
    })
}

fn set_preference(value: i32, most: i32) -> CUresult {
    guard(|| {
        attached()?;
        match (0..=most).contains(&value) {
            true => Ok(()),
            false => Err(CUresult::INVALID_VALUE),
        }
    })
}

/// All that the context's device has.
pub unsafe extern "C" fn cuCtxGetDevResource(hCtx: CUcontext, resource: *mut CUdevResource, kind: i32) -> CUresult {
    guard(|| {
        context_or_current(hCtx)?;
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { put_resource(resource, kind) }
    })
}

/// No context was created with an execution affinity.
pub unsafe extern "C" fn cuCtxGetExecAffinity(pExecAffinity: *mut c_void, exec_type: i32) -> CUresult {
    guard(|| {
        attached()?;
        match (pExecAffinity.is_null(), exec_type) {
            (false, 0) => Err(CUresult::UNSUPPORTED_EXEC_AFFINITY),
            _ => Err(CUresult::INVALID_VALUE),
        }
    })
}

/// Lets the kernels of the current context's device reach what the other context has allocated and allocates.
pub unsafe extern "C" fn cuCtxEnablePeerAccess(peerContext: CUcontext, Flags: u32) -> CUresult {
    guard(|| {
        let context = attached()?;
        let owner = context_of(peerContext)?;
        match Flags {
            0 => context.enable_peer(&owner),
            _ => Err(CUresult::INVALID_VALUE),
        }
    })
}

/// Ends what `cuCtxEnablePeerAccess` began.
pub unsafe extern "C" fn cuCtxDisablePeerAccess(peerContext: CUcontext) -> CUresult {
    guard(|| attached()?.disable_peer(&*context_of(peerContext)?))
}

/// Captures the work of all streams of a context.
pub unsafe extern "C" fn cuCtxRecordEvent(hCtx: CUcontext, hEvent: CUevent) -> CUresult {
    guard(|| {
        let context = context_of(hCtx)?;
        context.check()?;
        event_of(hEvent)?.record_context(&context)
    })
}

/// Makes all later work of a context wait for what the event captured.
pub unsafe extern "C" fn cuCtxWaitEvent(hCtx: CUcontext, hEvent: CUevent) -> CUresult {
    guard(|| {
        let context = context_of(hCtx)?;
        context.check()?;
        event_of(hEvent)?.hold_context(&context)
    })
}

/// Waits for all work of a context.
pub unsafe extern "C" fn cuCtxSynchronize_v2(ctx: CUcontext) -> CUresult {
    guard(|| context_or_current(ctx)?.synchronise())
}

/// Makes a context current in place of the present one; null leaves none in its place.
pub unsafe extern "C" fn cuCtxSetCurrent(ctx: CUcontext) -> CUresult {
    guard(|| {
        let driver = driver()?;
        let context = match ctx.is_null() {
            true => None,
            false => Some(driver.contexts.get(ctx as u64).ok_or(CUresult::INVALID_CONTEXT)?),
        };
        set_current(context);
        Ok(())
    })
}

/// The current context, null if there is none.
pub unsafe extern "C" fn cuCtxGetCurrent(pctx: *mut CUcontext) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out(pctx) }?;
        driver()?;
        pctx.write(current_handle() as CUcontext);
        Ok(())
    })
}

/// Waits for all work of the current context.
pub unsafe extern "C" fn cuCtxSynchronize() -> CUresult {
    guard(|| {
        let context = current()?;
        context.driver.graphs.check_context(context.handle)?;
        context.synchronise()
    })
}

/// Sets a limit: stack, printf buffer or heap, in bytes.
pub unsafe extern "C" fn cuCtxSetLimit(limit: i32, value: usize) -> CUresult {
    guard(|| current()?.set_limit(Limit::from_number(limit)?, value as u64))
}

/// `CU_LIMIT_CIG_ENABLED` and `CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED`: whether a context shares its work with
/// graphics. cuBLAS asks, and takes an error for a device that it does not know.
const LIMIT_CIG_ENABLED: i32 = 8;
const LIMIT_CIG_SHARED_FALLBACK: i32 = 9;

/// A limit in bytes; no context shares its work with graphics.
pub unsafe extern "C" fn cuCtxGetLimit(pvalue: *mut usize, limit: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pvalue = unsafe { out(pvalue) }?;
        let context = current()?;
        pvalue.write(match limit {
            LIMIT_CIG_ENABLED | LIMIT_CIG_SHARED_FALLBACK => 0,
            _ => context.limit(Limit::from_number(limit)?) as usize,
        });
        Ok(())
    })
}

/// Stream priorities, which are hints that change nothing here.
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(leastPriority: *mut i32, greatestPriority: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (least, greatest) = unsafe { (out_opt(leastPriority)?, out_opt(greatestPriority)?) };
        attached()?;
        set(least, PRIORITIES[0]);
        set(greatest, PRIORITIES[1]);
        Ok(())
    })
}

/// Nothing is profiled.
pub unsafe extern "C" fn cuProfilerStart() -> CUresult {
    guard(|| attached().map(drop))
}

/// As `cuProfilerStart`.
pub unsafe extern "C" fn cuProfilerStop() -> CUresult {
    guard(|| attached().map(drop))
}
