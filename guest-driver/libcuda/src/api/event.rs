//! Events: creation and recording are sent without waiting, so their arguments are checked here. Captures
//! see what is done with events first.

use vgpu_protocol::cmd::CuEventQuery;
use vgpu_protocol::cuda::{CUcontext, CUevent, CUresult, CUstream};
use vgpu_protocol::{Handle, HandleKind};

use super::memory::forget_export;
use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::stream::find;
use crate::stub;

const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;
/// `CU_EVENT_BLOCKING_SYNC` and the two above.
const FLAGS: u32 = 7;
/// `CU_EVENT_RECORD_EXTERNAL`, which matters in graphs only.
const RECORD_EXTERNAL: u32 = 1;

/// An event of several processes has no time.
pub unsafe fn cuEventCreate(out: *mut CUevent, flags: u32) -> Result {
    if flags & !FLAGS != 0 || flags & (INTERPROCESS | DISABLE_TIMING) == INTERPROCESS {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as for the caller.
    unsafe { raw::cuEventCreate(out, flags)? };
    if flags & INTERPROCESS != 0 {
        // SAFETY: the call has succeeded, so there is a handle.
        driver()?.shared_events.add(unsafe { out.read() } as u64);
    }
    Ok(())
}

/// What this process does with an event of several has been done when its call returns: the others may be
/// told by other means, and then look.
pub(super) fn settle_shared(event: CUevent) -> Result {
    if !driver()?.shared_events.contains(event as u64) {
        return Ok(());
    }
    match stub::create(&CuEventQuery { hEvent: Handle(event as u64) }) {
        Ok(_) | Err(CUresult::NOT_READY) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An event records a stream of its own context only.
fn check_record(event: CUevent, stream: CUstream) -> Result {
    let event = stub::handle(HandleKind::Event, event as u64)?;
    match driver()?.session.handles().owner(event) {
        Some(owner) if owner == find(stream as u64)?.context.handle => Ok(()),
        _ => Err(CUresult::INVALID_HANDLE),
    }
}

pub unsafe fn cuEventRecord(event: CUevent, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuEventRecordWithFlags(event, stream, 0) }
}

pub unsafe fn cuEventRecordWithFlags(event: CUevent, stream: CUstream, flags: u32) -> Result {
    let driver = driver()?;
    stub::handle(HandleKind::Event, event as u64)?;
    if flags & !RECORD_EXTERNAL != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    if driver.graphs.record_event(event as u64, stream as u64, flags)? {
        return Ok(());
    }
    check_record(event, stream)?;
    driver.recorded_events.note(event as u64);
    // SAFETY: handles are no pointers to anything.
    unsafe { raw::cuEventRecord(event, stream)? };
    settle_shared(event)
}

pub unsafe fn cuCtxRecordEvent(context: CUcontext, event: CUevent) -> Result {
    // SAFETY: handles are no pointers to anything.
    unsafe { raw::cuCtxRecordEvent(context, event)? };
    settle_shared(event)
}

pub unsafe fn cuCtxWaitEvent(context: CUcontext, event: CUevent) -> Result {
    // SAFETY: as above.
    unsafe { raw::cuCtxWaitEvent(context, event)? };
    settle_shared(event)
}

pub unsafe fn cuEventQuery(event: CUevent) -> Result {
    driver()?.graphs.check_event(event as u64)?;
    // SAFETY: as above.
    unsafe { raw::cuEventQuery(event) }
}

pub unsafe fn cuEventSynchronize(event: CUevent) -> Result {
    driver()?.graphs.check_event(event as u64)?;
    // SAFETY: as above.
    unsafe { raw::cuEventSynchronize(event) }
}

pub unsafe fn cuEventDestroy(event: CUevent) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuEventDestroy_v2(event) }
}

pub unsafe fn cuEventDestroy_v2(event: CUevent) -> Result {
    let driver = driver()?;
    // SAFETY: as above.
    unsafe { raw::cuEventDestroy_v2(event)? };
    forget_export(event as u64)?;
    driver.graphs.forget_event(event as u64);
    driver.recorded_events.forget(event as u64);
    driver.shared_events.take(event as u64);
    Ok(())
}

pub unsafe fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuEventElapsedTime_v2(milliseconds, start, end) }
}

pub unsafe fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: CUevent, end: CUevent) -> Result {
    let graphs = &driver()?.graphs;
    graphs.check_event(start as u64)?;
    graphs.check_event(end as u64)?;
    // SAFETY: as for the caller.
    unsafe { raw::cuEventElapsedTime(milliseconds, start, end) }
}
