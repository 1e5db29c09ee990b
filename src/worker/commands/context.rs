//! Contexts: retained, created, destroyed. What was in one that ends leaves the ledger with it.

use std::sync::atomic::Ordering;

use vgpu_protocol::cuda::{self, CUresult};
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;
use crate::worker::ledger::Entry;
use crate::worker::session::lock;

/// A context lives in no other.
fn entry(pointer: cuda::CUcontext) -> Entry {
    Entry { pointer: pointer as usize, context: 0, parent: Handle::NULL, param_bytes: 0, image_bytes: 0 }
}

/// Does `work` in the current context or, where there is none, in the primary context of device 0:
/// NVIDIA's driver tells a kernel's layout in a context only, while the CUDA runtime looks kernels up
/// before it has one. The context is kept until the guest retains it, which is what comes next, unless it has.
pub(super) fn in_a_context<T>(ctx: &Context<'_>, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    if ctx.current != 0 {
        return work();
    }
    let mut primary = std::ptr::null_mut();
    driver!(ctx, cuDevicePrimaryCtxRetain(&mut primary, 0))?;
    // One reference is enough, and the guest's own, if it has one, is the one that it may end.
    let retained = lock(&ctx.session.primaries).get(&0).is_some_and(|handles| !handles.is_empty());
    if retained || ctx.session.keeps_primary.swap(true, Ordering::AcqRel) {
        driver!(ctx, cuDevicePrimaryCtxRelease_v2(0))?;
    }
    driver!(ctx, cuCtxSetCurrent(primary))?;
    let result = work();
    driver!(ctx, cuCtxSetCurrent(std::ptr::null_mut()))?;
    result
}

/// `vgpuPrimaryRetain`.
pub fn primary_retain(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPrimaryRetain,
) -> Result<cmd::VgpuPrimaryRetainReply, Failure> {
    ctx.reserve(HandleKind::Context, command.ctx)?;
    let mut context = std::ptr::null_mut();
    driver!(ctx, cuDevicePrimaryCtxRetain(&mut context, command.dev))?;
    if command.dev == 0 && ctx.session.keeps_primary.swap(false, Ordering::AcqRel) {
        driver!(ctx, cuDevicePrimaryCtxRelease_v2(0))?;
    }
    ctx.session.ledger.insert(command.ctx, entry(context));
    lock(&ctx.session.primaries).entry(command.dev).or_default().push(command.ctx);
    Ok(cmd::VgpuPrimaryRetainReply {})
}

/// `vgpuPrimaryRelease`.
pub fn primary_release(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPrimaryRelease,
) -> Result<cmd::VgpuPrimaryReleaseReply, Failure> {
    let last = lock(&ctx.session.primaries).get(&command.dev).and_then(|handles| match handles.as_slice() {
        [last] => ctx.session.ledger.get(HandleKind::Context, *last),
        _ => None,
    });
    if let Some(last) = last {
        ctx.session.fences.forget(last.pointer);
    }
    driver!(ctx, cuDevicePrimaryCtxRelease_v2(command.dev))?;
    let released = {
        let mut primaries = lock(&ctx.session.primaries);
        let handles = primaries.entry(command.dev).or_default();
        handles.pop().map(|handle| (handle, handles.is_empty()))
    };
    if let Some((handle, last)) = released {
        let context = ctx.session.ledger.take(HandleKind::Context, handle);
        if let (Some(context), true) = (context, last) {
            ctx.session.forget_context(context.pointer);
        }
    }
    Ok(cmd::VgpuPrimaryReleaseReply {})
}

/// `vgpuPrimaryReset`. The guest's handles stay and name the context that follows; the objects of the
/// one before are gone.
pub fn primary_reset(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPrimaryReset,
) -> Result<cmd::VgpuPrimaryResetReply, Failure> {
    let handles = lock(&ctx.session.primaries).get(&command.dev).cloned().unwrap_or_default();
    for context in handles.iter().filter_map(|handle| ctx.session.ledger.get(HandleKind::Context, *handle)) {
        ctx.session.fences.forget(context.pointer);
    }
    driver!(ctx, cuDevicePrimaryCtxReset_v2(command.dev))?;
    for handle in handles {
        if let Some(before) = ctx.session.ledger.get(HandleKind::Context, handle) {
            ctx.session.forget_context(before.pointer);
        }
        let mut context = std::ptr::null_mut();
        driver!(ctx, cuDevicePrimaryCtxRetain(&mut context, command.dev))?;
        ctx.session.ledger.insert(handle, entry(context));
    }
    Ok(cmd::VgpuPrimaryResetReply {})
}

/// `vgpuContextCreate`.
pub fn context_create(
    ctx: &mut Context<'_>,
    command: cmd::VgpuContextCreate,
) -> Result<cmd::VgpuContextCreateReply, Failure> {
    ctx.reserve(HandleKind::Context, command.ctx)?;
    let mut context = std::ptr::null_mut();
    driver!(ctx, cuCtxCreate_v2(&mut context, command.flags, command.dev))?;
    // The driver has made it current on this thread, where another batch's context belongs.
    driver!(ctx, cuCtxSetCurrent(ctx.current as cuda::CUcontext))?;
    ctx.session.ledger.insert(command.ctx, entry(context));
    Ok(cmd::VgpuContextCreateReply {})
}

/// `vgpuContextDestroy`.
pub fn context_destroy(
    ctx: &mut Context<'_>,
    command: cmd::VgpuContextDestroy,
) -> Result<cmd::VgpuContextDestroyReply, Failure> {
    // Primary contexts are released.
    if lock(&ctx.session.primaries).values().flatten().any(|primary| *primary == command.ctx) {
        return Err(Failure::Cuda(CUresult::INVALID_CONTEXT));
    }
    let context = ctx.take(HandleKind::Context, command.ctx)?;
    ctx.session.fences.forget(context as usize);
    if let Err(error) = driver!(ctx, cuCtxDestroy_v2(context.cast())) {
        ctx.session.ledger.insert(command.ctx, entry(context.cast()));
        return Err(error);
    }
    ctx.session.forget_context(context as usize);
    Ok(cmd::VgpuContextDestroyReply {})
}
