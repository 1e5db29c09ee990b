//! Streams.

use vgpu_protocol::cuda::{CUevent, CUresult, CUstream};

use super::abi::{guard, out};
use super::core::{current, driver, StreamKind, Target};

const NON_BLOCKING: u32 = 1;

/// Creates a stream; flag 1 makes it independent of the legacy default stream.
pub unsafe extern "C" fn cuStreamCreate(phStream: *mut CUstream, Flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let stream = unsafe { out(phStream) }?;
        let kind = match Flags {
            0 => StreamKind::Blocking,
            NON_BLOCKING => StreamKind::NonBlocking,
            _ => return Err(CUresult::INVALID_VALUE),
        };
        stream.write(current()?.create_stream(kind) as CUstream);
        Ok(())
    })
}

/// As `cuStreamCreate`: there is one priority, to which every other is clamped.
pub unsafe extern "C" fn cuStreamCreateWithPriority(phStream: *mut CUstream, flags: u32, _priority: i32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuStreamCreate(phStream, flags) }
}

/// Makes later work of the stream wait for what the event captured.
pub unsafe extern "C" fn cuStreamWaitEvent(hStream: CUstream, hEvent: CUevent, Flags: u32) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        let event = driver()?.events.get(hEvent as u64).ok_or(CUresult::INVALID_HANDLE)?;
        match driver()?.graphs.wait_event(hStream as u64, hEvent as u64, Flags)? {
            true => Ok(()),
            false => event.hold(&target),
        }
    })
}

/// Success if all work of the stream has completed.
pub unsafe extern "C" fn cuStreamQuery(hStream: CUstream) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        driver()?.graphs.check_stream(hStream as u64)?;
        match target.context.is_idle(&target.stream) {
            true => target.context.check(),
            false => Err(CUresult::NOT_READY),
        }
    })
}

/// Waits for the work of the stream.
pub unsafe extern "C" fn cuStreamSynchronize(hStream: CUstream) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        driver()?.graphs.check_stream(hStream as u64)?;
        target.synchronise()
    })
}

/// As `cuStreamDestroy_v2`.
pub unsafe extern "C" fn cuStreamDestroy(hStream: CUstream) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuStreamDestroy_v2(hStream) }
}

/// Destroys a stream at once; what it has to do is still done.
pub unsafe extern "C" fn cuStreamDestroy_v2(hStream: CUstream) -> CUresult {
    guard(|| {
        driver()?.graphs.forget_stream(hStream as u64);
        let stream = driver()?.streams.remove(hStream as u64).ok_or(CUresult::INVALID_HANDLE)?;
        stream.end();
        Ok(())
    })
}
