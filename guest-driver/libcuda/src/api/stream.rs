//! Streams: creation is noted, properties are answered from the note.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUcontext, CUevent, CUresult, CUstream, CUstreamCallback};
use vgpu_protocol::HandleKind;

use super::Result;
use crate::context;
use crate::driver::driver;
use crate::exports::raw;
use crate::hostfunc::Work;
use crate::stream::{find, priorities, Stream};
use crate::stub::{self, give};

/// `CU_STREAM_NON_BLOCKING`, the only flag.
const NON_BLOCKING: u32 = 1;

fn note(handle: CUstream, flags: u32, priority: i32) -> Result {
    let (handle, context) = (handle as u64, context::required()?);
    driver()?.streams.add(handle, Stream { flags, priority, context, id: handle });
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
    let (lowest, highest) = priorities()?;
    let priority = priority.clamp(highest.min(lowest), lowest.max(highest));
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
    unsafe { give(priority, find(stream as u64)?.priority) }
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

pub unsafe fn cuStreamGetCtx(stream: CUstream, pctx: *mut CUcontext) -> Result {
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pctx, find(stream as u64)?.context.raw()) }
}

pub unsafe fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: u32) -> Result {
    let driver = driver()?;
    stub::handle(HandleKind::Event, event as u64)?;
    match driver.graphs.wait_event(stream as u64, event as u64, flags)? {
        true => Ok(()),
        // SAFETY: handles are no pointers to anything.
        false => unsafe { raw::cuStreamWaitEvent(stream, event, flags) },
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
