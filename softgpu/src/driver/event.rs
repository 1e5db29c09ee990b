//! Events.

use std::sync::Arc;

use vgpu_protocol::cuda::{CUevent, CUresult, CUstream};

use super::abi::{guard, out};
use super::core::{current, driver, Event, Result, Target};

/// Creates an event; flag 1 is blocking synchronisation (always so here), flag 2 disables timing.
pub unsafe extern "C" fn cuEventCreate(phEvent: *mut CUevent, Flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let event = unsafe { out(phEvent) }?;
        event.write(Event::create(&current()?, Flags)? as CUevent);
        Ok(())
    })
}

/// Captures the stream's work so far.
pub unsafe extern "C" fn cuEventRecord(hEvent: CUevent, hStream: CUstream) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuEventRecordWithFlags(hEvent, hStream, 0) }
}

/// As `cuEventRecord`; flag 1 makes a node of it in a stream that captures.
pub unsafe extern "C" fn cuEventRecordWithFlags(hEvent: CUevent, hStream: CUstream, flags: u32) -> CUresult {
    guard(|| {
        let event = event_of(hEvent)?;
        match driver()?.graphs.record_event(hEvent as u64, hStream as u64, flags)? {
            true => Ok(()),
            false => event.record(&Target::of(hStream as u64)?),
        }
    })
}

/// Success if what the event captured has completed.
pub unsafe extern "C" fn cuEventQuery(hEvent: CUevent) -> CUresult {
    guard(|| {
        let event = event_of(hEvent)?;
        driver()?.graphs.check_event(hEvent as u64)?;
        event.check_context()?;
        match event.is_complete() {
            true => event.check_context(),
            false => Err(CUresult::NOT_READY),
        }
    })
}

/// Waits for what the event captured.
pub unsafe extern "C" fn cuEventSynchronize(hEvent: CUevent) -> CUresult {
    guard(|| {
        let event = event_of(hEvent)?;
        driver()?.graphs.check_event(hEvent as u64)?;
        event.wait();
        event.check_context()
    })
}

/// As `cuEventDestroy_v2`.
pub unsafe extern "C" fn cuEventDestroy(hEvent: CUevent) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuEventDestroy_v2(hEvent) }
}

/// Destroys an event at once, recorded or not.
pub unsafe extern "C" fn cuEventDestroy_v2(hEvent: CUevent) -> CUresult {
    guard(|| {
        driver()?.events.remove(hEvent as u64).ok_or(CUresult::INVALID_HANDLE)?;
        driver()?.graphs.forget_event(hEvent as u64);
        Ok(())
    })
}

/// Milliseconds between two events.
pub unsafe extern "C" fn cuEventElapsedTime(pMilliseconds: *mut f32, hStart: CUevent, hEnd: CUevent) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let milliseconds = unsafe { out(pMilliseconds) }?;
        let (start, end) = (event_of(hStart)?, event_of(hEnd)?);
        driver()?.graphs.check_event(hStart as u64)?;
        driver()?.graphs.check_event(hEnd as u64)?;
        start.check_context()?;
        milliseconds.write(Event::elapsed(&start, &end)?);
        Ok(())
    })
}

/// As `cuEventElapsedTime`.
pub unsafe extern "C" fn cuEventElapsedTime_v2(pMilliseconds: *mut f32, hStart: CUevent, hEnd: CUevent) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuEventElapsedTime(pMilliseconds, hStart, hEnd) }
}

pub(super) fn event_of(event: CUevent) -> Result<Arc<Event>> {
    driver()?.events.get(event as u64).ok_or(CUresult::INVALID_HANDLE)
}
