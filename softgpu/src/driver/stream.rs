//! Streams.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    CUcontext, CUdevResource, CUevent, CUlaunchAttributeValue, CUresult, CUstream, CUstreamCallback,
};

use super::abi::{guard, out, values, StreamCall};
use super::context::PRIORITIES;
use super::core::{current, driver, Result, StreamKind, Target};
use super::device::put_resource;

const NON_BLOCKING: u32 = 1;
/// Memory synchronisation domains of the device.
const SYNC_DOMAINS: i32 = 1;

/// Creates a stream; flag 1 makes it independent of the legacy default stream.
pub unsafe extern "C" fn cuStreamCreate(phStream: *mut CUstream, Flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let stream = unsafe { out(phStream) }?;
        stream.write(current()?.create_stream(kind_of(Flags)?, 0) as CUstream);
        Ok(())
    })
}

/// As `cuStreamCreate`, with a priority, which is moved into the range that there is.
pub unsafe extern "C" fn cuStreamCreateWithPriority(phStream: *mut CUstream, flags: u32, priority: i32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let stream = unsafe { out(phStream) }?;
        let priority = priority.clamp(PRIORITIES[1], PRIORITIES[0]);
        stream.write(current()?.create_stream(kind_of(flags)?, priority) as CUstream);
        Ok(())
    })
}

fn kind_of(flags: u32) -> Result<StreamKind> {
    match flags {
        0 => Ok(StreamKind::Blocking),
        NON_BLOCKING => Ok(StreamKind::NonBlocking),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// Writes a property of a stream.
///
/// # Safety
/// `place` is null or writable.
unsafe fn tell<T>(place: *mut T, stream: CUstream, property: impl FnOnce(&Target) -> T) -> CUresult {
    guard(|| {
        // SAFETY: as the caller says.
        let place = unsafe { out(place) }?;
        place.write(property(&Target::of(stream as u64)?));
        Ok(())
    })
}

/// A stream's priority.
pub unsafe extern "C" fn cuStreamGetPriority(hStream: CUstream, priority: *mut i32) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { tell(priority, hStream, |target| target.stream.attributes().priority) }
}

/// A stream's flags.
pub unsafe extern "C" fn cuStreamGetFlags(hStream: CUstream, flags: *mut u32) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { tell(flags, hStream, |target| target.stream.flags()) }
}

/// A stream's device: the only one.
pub unsafe extern "C" fn cuStreamGetDevice(hStream: CUstream, device: *mut i32) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { tell(device, hStream, |_| 0) }
}

/// A stream's number.
pub unsafe extern "C" fn cuStreamGetId(hStream: CUstream, streamId: *mut u64) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { tell(streamId, hStream, |target| target.stream.id) }
}

/// A stream's context.
pub unsafe extern "C" fn cuStreamGetCtx(hStream: CUstream, pctx: *mut CUcontext) -> CUresult {
    // SAFETY: null or writable, by the driver API's contract.
    unsafe { tell(pctx, hStream, |target| target.context.handle as CUcontext) }
}

/// As `cuStreamGetCtx`; there are no green contexts.
pub unsafe extern "C" fn cuStreamGetCtx_v2(
    hStream: CUstream,
    pCtx: *mut CUcontext,
    pGreenCtx: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (context, green) = unsafe { (out(pCtx)?, out(pGreenCtx)?) };
        context.write(Target::of(hStream as u64)?.context.handle as CUcontext);
        green.write(std::ptr::null_mut());
        Ok(())
    })
}

/// All that the stream's device has.
pub unsafe extern "C" fn cuStreamGetDevResource(
    hStream: CUstream,
    resource: *mut CUdevResource,
    kind: i32,
) -> CUresult {
    guard(|| {
        Target::of(hStream as u64)?;
        // SAFETY: null or writable, by the driver API's contract.
        unsafe { put_resource(resource, kind) }
    })
}

/// An attribute of a stream.
pub unsafe extern "C" fn cuStreamGetAttribute(
    hStream: CUstream,
    attr: i32,
    value_out: *mut CUlaunchAttributeValue,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(value_out) }?;
        let value = Target::of(hStream as u64)?.stream.attributes().get(attr.cast_unsigned());
        place.write(value.ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    })
}

/// Sets an attribute of a stream; all of them are hints.
pub unsafe extern "C" fn cuStreamSetAttribute(
    hStream: CUstream,
    attr: i32,
    value: *const CUlaunchAttributeValue,
) -> CUresult {
    guard(|| {
        // SAFETY: null or readable, by the driver API's contract.
        let value = unsafe { values(value, 1) }?.first().ok_or(CUresult::INVALID_VALUE)?;
        let range = PRIORITIES[1]..=PRIORITIES[0];
        let target = Target::of(hStream as u64)?;
        let set = target.stream.attributes().set(attr.cast_unsigned(), value, range, SYNC_DOMAINS);
        set.ok_or(CUresult::INVALID_VALUE)
    })
}

/// Gives a stream the attributes of another one of its context.
pub unsafe extern "C" fn cuStreamCopyAttributes(dst: CUstream, src: CUstream) -> CUresult {
    guard(|| {
        let (to, from) = (Target::of(dst as u64)?, Target::of(src as u64)?);
        if to.context.handle != from.context.handle {
            return Err(CUresult::INVALID_VALUE);
        }
        let attributes = *from.stream.attributes();
        *to.stream.attributes() = attributes;
        Ok(())
    })
}

/// Calls a function in stream order, whatever has become of the context.
pub unsafe extern "C" fn cuStreamAddCallback(
    hStream: CUstream,
    callback: CUstreamCallback,
    userData: *mut c_void,
    flags: u32,
) -> CUresult {
    guard(|| {
        driver()?.graphs.refuse_captured(hStream as u64)?;
        let target = Target::of(hStream as u64)?;
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the function may be called with these arguments from any thread, by the driver API's
        // contract.
        let call = unsafe { StreamCall::new(callback, hStream, userData) }?;
        target.context.submit_callback(&target.stream, move |status| call.call(status))
    })
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
