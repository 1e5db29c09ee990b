//! Streams: creation is noted, properties are answered from the note.

use std::ffi::c_void;

use vgpu_protocol::cuda::attribute::MEM_SYNC_DOMAIN_COUNT;
use vgpu_protocol::cuda::{
    CUcontext, CUdevResource, CUevent, CUlaunchAttributeValue, CUresult, CUstream, CUstreamCallback,
};
use vgpu_protocol::HandleKind;

use super::event::settle_shared;
use super::Result;
use crate::context;
use crate::driver::driver;
use crate::exports::raw;
use crate::hostfunc::Work;
use crate::stream::{find, priorities, Stream};
use crate::stub::{self, give};

/// `CU_STREAM_NON_BLOCKING`, the only flag.
const NON_BLOCKING: u32 = 1;

/// Priorities from the highest to the lowest.
fn range() -> std::result::Result<std::ops::RangeInclusive<i32>, CUresult> {
    let (lowest, highest) = priorities()?;
    Ok(highest.min(lowest)..=lowest.max(highest))
}

fn note(handle: CUstream, flags: u32, priority: i32) -> Result {
    let (handle, context) = (handle as u64, context::required()?);
    driver()?.streams.add(handle, Stream { flags, context, id: handle }, priority);
    Ok(())
}

pub unsafe fn cuStreamCreate(out: *mut CUstream, flags: u32) -> Result {
    if flags > NON_BLOCKING {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the pointer, which `raw` has checked before it is read.
    unsafe {
        raw::cuStreamCreate(out, flags)?;
        note(*out, flags, 0)
    }
}

pub unsafe fn cuStreamCreateWithPriority(out: *mut CUstream, flags: u32, priority: i32) -> Result {
    if flags > NON_BLOCKING {
        return Err(CUresult::INVALID_VALUE);
    }
    let range = range()?;
    let priority = priority.clamp(*range.start(), *range.end());
    // SAFETY: the caller vouches for the pointer, which `raw` has checked before it is read.
    unsafe {
        raw::cuStreamCreateWithPriority(out, flags, priority)?;
        note(*out, flags, priority)
    }
}

pub unsafe fn cuStreamDestroy_v2(stream: CUstream) -> Result {
    if (stream as u64) <= vgpu_protocol::cuda::CU_STREAM_PER_THREAD {
        return Err(CUresult::INVALID_HANDLE);
    }
    driver()?.graphs.forget_stream(stream as u64);
    // SAFETY: a handle is no pointer to anything.
    unsafe { raw::cuStreamDestroy_v2(stream)? };
    driver()?.streams.remove(stream as u64);
    Ok(())
}

pub unsafe fn cuStreamDestroy(stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuStreamDestroy_v2(stream) }
}

pub unsafe fn cuStreamGetPriority(stream: CUstream, priority: *mut i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(priority, driver()?.streams.attributes(&find(stream as u64)?).priority) }
}

pub unsafe fn cuStreamGetFlags(stream: CUstream, flags: *mut u32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(flags, find(stream as u64)?.flags) }
}

pub unsafe fn cuStreamGetDevice(stream: CUstream, device: *mut i32) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(device, find(stream as u64)?.context.device) }
}

pub unsafe fn cuStreamGetId(stream: CUstream, id: *mut u64) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(id, find(stream as u64)?.id) }
}

/// There are no green contexts.
pub unsafe fn cuStreamGetCtx_v2(stream: CUstream, pctx: *mut CUcontext, green: *mut *mut c_void) -> Result {
    let context = find(stream as u64)?.context.raw();
    stub::check_out(pctx)?;
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        give(green, std::ptr::null_mut())?;
        give(pctx, context)
    }
}

pub unsafe fn cuStreamGetCtx(stream: CUstream, pctx: *mut CUcontext) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pctx, find(stream as u64)?.context.raw()) }
}

pub unsafe fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: u32) -> Result {
    let driver = driver()?;
    stub::handle(HandleKind::Event, event as u64)?;
    match driver.graphs.wait_event(stream as u64, event as u64, flags)? {
        true => Ok(()),
        false => {
            // SAFETY: handles are no pointers to anything.
            unsafe { raw::cuStreamWaitEvent(stream, event, flags)? };
            settle_shared(event)
        }
    }
}

pub unsafe fn cuStreamQuery(stream: CUstream) -> Result {
    driver()?.graphs.check_stream(stream as u64)?;
    // SAFETY: as above.
    unsafe { raw::cuStreamQuery(stream) }
}

pub unsafe fn cuStreamSynchronize(stream: CUstream) -> Result {
    driver()?.graphs.check_stream(stream as u64)?;
    // SAFETY: as above.
    unsafe { raw::cuStreamSynchronize(stream) }
}

/// None: streams of green contexts cannot be made.
pub unsafe fn cuStreamGetGreenCtx(stream: CUstream, green: *mut *mut c_void) -> Result {
    find(stream as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(green, std::ptr::null_mut()) }
}

/// All that the stream's device has.
pub unsafe fn cuStreamGetDevResource(stream: CUstream, resource: *mut CUdevResource, kind: i32) -> Result {
    driver()?;
    // SAFETY: as for the caller.
    unsafe { super::cuDeviceGetDevResource(find(stream as u64)?.context.device, resource, kind) }
}

pub unsafe fn cuStreamAddCallback(
    stream: CUstream,
    callback: CUstreamCallback,
    user_data: *mut c_void,
    flags: u32,
) -> Result {
    let driver = driver()?;
    if callback.is_none() || flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    driver.graphs.refuse_captured(stream as u64)?;
    let handle = stub::handle(HandleKind::Stream, stream as u64)?;
    driver.host_functions.enqueue(driver.session, handle, Work::Callback(callback, stream), user_data)
}

pub unsafe fn cuStreamGetAttribute(stream: CUstream, attribute: i32, value: *mut CUlaunchAttributeValue) -> Result {
    let attributes = driver()?.streams.attributes(&find(stream as u64)?);
    let known = attributes.get(attribute.cast_unsigned()).ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(value, known) }
}

pub unsafe fn cuStreamSetAttribute(stream: CUstream, attribute: i32, value: *const CUlaunchAttributeValue) -> Result {
    let driver = driver()?;
    let known = find(stream as u64)?;
    // SAFETY: the caller vouches for the pointer.
    let given = unsafe { stub::input(value)? };
    let domains = driver.attribute(known.context.device, MEM_SYNC_DOMAIN_COUNT)?;
    let mut attributes = driver.streams.attributes(&known);
    let set = attributes.set(attribute.cast_unsigned(), &given, range()?, domains);
    set.ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: as for the caller.
    unsafe { raw::cuStreamSetAttribute(stream, attribute, value)? };
    driver.streams.set_attributes(&known, attributes);
    Ok(())
}

pub unsafe fn cuStreamCopyAttributes(to: CUstream, from: CUstream) -> Result {
    let (target, source) = (find(to as u64)?, find(from as u64)?);
    if !std::ptr::eq(target.context, source.context) {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: handles are no pointers to anything.
    unsafe { raw::cuStreamCopyAttributes(to, from)? };
    let streams = &driver()?.streams;
    streams.set_attributes(&target, streams.attributes(&source));
    Ok(())
}
