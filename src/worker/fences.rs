//! Fences: events that tell when a stream has got to a place, without a thread that waits for it.

use std::sync::Mutex;

use vgpu_protocol::cuda::{CUevent, CUresult, CUstream};
use vgpu_protocol::DriverApi;

use super::context::Failure;
use super::ledger::Pointer;
use super::session::lock;

/// A place in a stream, by a number that is never used again.
pub type Fence = u64;

#[derive(Debug)]
struct Open {
    fence: Fence,
    context: Pointer,
    event: Pointer,
}

#[derive(Debug, Default)]
struct State {
    last: Fence,
    open: Vec<Open>,
    /// Events that are not in use: context and event.
    idle: Vec<(Pointer, Pointer)>,
}

/// The fences of a session.
#[derive(Debug, Default)]
pub struct Fences(Mutex<State>);

/// Answers of the driver that leave nothing to wait for.
fn is_ready(result: CUresult) -> Result<bool, Failure> {
    match result {
        CUresult::SUCCESS => Ok(true),
        CUresult::NOT_READY => Ok(false),
        error => Err(Failure::Cuda(error)),
    }
}

impl Fences {
    /// Puts a fence behind all that was sent to a stream of `context`, which is current.
    pub fn record(&self, api: &DriverApi, context: Pointer, stream: CUstream) -> Result<Fence, Failure> {
        const DISABLE_TIMING: u32 = 2;
        let (Some(create), Some(record)) = (api.cuEventCreate, api.cuEventRecord) else {
            return Err(Failure::NOT_SUPPORTED);
        };
        let mut state = lock(&self.0);
        let event = match state.idle.iter().position(|(owner, _)| *owner == context) {
            Some(index) => state.idle.swap_remove(index).1,
            None => {
                let mut event: CUevent = std::ptr::null_mut();
                // SAFETY: the output is a local.
                Failure::check(unsafe { create(&mut event, DISABLE_TIMING) })?;
                event as Pointer
            }
        };
        // SAFETY: the event is ours and alive, the stream comes from the ledger.
        if let Err(error) = Failure::check(unsafe { record(event as CUevent, stream) }) {
            state.idle.push((context, event));
            return Err(error);
        }
        state.last += 1;
        let fence = state.last;
        state.open.push(Open { fence, context, event });
        Ok(fence)
    }

    /// Whether the stream has got there. An error is that of the stream's work; a fence of a context
    /// that has ended is passed. With `flush` the driver does what it keeps for a synchronisation, which a
    /// query is none: it writes out what kernels print and gives back memory that pools hold.
    pub fn is_passed(&self, api: &DriverApi, fence: Fence, flush: bool) -> Result<bool, Failure> {
        let mut state = lock(&self.0);
        let Some(index) = state.open.iter().position(|open| open.fence == fence) else { return Ok(true) };
        let (Some(query), Some(open)) = (api.cuEventQuery, state.open.get(index)) else { return Ok(true) };
        // SAFETY: the event is alive: it leaves the table before its context ends.
        let mut passed = is_ready(unsafe { query(open.event as CUevent) });
        if let (Ok(true), true, Some(synchronize)) = (passed, flush, api.cuEventSynchronize) {
            // SAFETY: as above; it does not wait, as the event has been reached.
            passed = is_ready(unsafe { synchronize(open.event as CUevent) });
        }
        if passed != Ok(false) {
            let open = state.open.swap_remove(index);
            state.idle.push((open.context, open.event));
        }
        passed
    }

    /// Forgets the fences of a context that is about to end, and their events with it.
    pub fn forget(&self, context: Pointer) {
        let mut state = lock(&self.0);
        state.open.retain(|open| open.context != context);
        state.idle.retain(|(owner, _)| *owner != context);
    }
}
