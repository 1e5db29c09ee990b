//! Primary and created contexts, and the calling thread's current one.

use vgpu_protocol::cuda::{CUcontext, CUresult};

use super::abi::{guard, out, out_opt, set};
use super::core::{current, current_handle, driver, pop_current, push_current, set_current, Context, Limit};

/// Scheduling, host mapping, local memory and coredump flags; they change nothing here.
const CONTEXT_FLAGS: u32 = 0xff;

/// Activates the primary context, or takes another reference to it.
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(pctx: *mut CUcontext, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out(pctx) }?;
        let driver = driver()?;
        driver.check_device(dev)?;
        pctx.write(driver.retain_primary().handle as CUcontext);
        Ok(())
    })
}

/// Gives a reference back; the last one destroys the primary context.
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(dev: i32) -> CUresult {
    guard(|| {
        let driver = driver()?;
        driver.check_device(dev)?;
        driver.release_primary()
    })
}

/// Destroys the primary context whoever has retained it.
pub unsafe extern "C" fn cuDevicePrimaryCtxReset_v2(dev: i32) -> CUresult {
    guard(|| {
        let driver = driver()?;
        driver.check_device(dev)?;
        driver.reset_primary();
        Ok(())
    })
}

/// Creates a context and makes it current on top of the present one.
pub unsafe extern "C" fn cuCtxCreate_v2(pctx: *mut CUcontext, flags: u32, dev: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pctx = unsafe { out(pctx) }?;
        let driver = driver()?;
        driver.check_device(dev)?;
        if flags & !CONTEXT_FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let context = Context::new(driver);
        pctx.write(context.handle as CUcontext);
        push_current(context);
        Ok(())
    })
}

/// Destroys a created context: its kernels are stopped, its memory is freed.
pub unsafe extern "C" fn cuCtxDestroy_v2(ctx: CUcontext) -> CUresult {
    guard(|| {
        let driver = driver()?;
        let context = driver.contexts.get(ctx as u64).ok_or(CUresult::INVALID_CONTEXT)?;
        if driver.active_primary().is_some_and(|primary| primary.handle == context.handle) {
            return Err(CUresult::INVALID_CONTEXT);
        }
        context.destroy();
        pop_current(&context);
        Ok(())
    })
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

/// A limit in bytes.
pub unsafe extern "C" fn cuCtxGetLimit(pvalue: *mut usize, limit: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pvalue = unsafe { out(pvalue) }?;
        pvalue.write(current()?.limit(Limit::from_number(limit)?) as usize);
        Ok(())
    })
}

/// All streams have the same priority, 0.
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(leastPriority: *mut i32, greatestPriority: *mut i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (least, greatest) = unsafe { (out_opt(leastPriority)?, out_opt(greatestPriority)?) };
        current()?;
        set(least, 0);
        set(greatest, 0);
        Ok(())
    })
}
