//! Streams, and what the special stream handles stand for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vgpu_protocol::cuda::{CUresult, StreamAttributes, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD};

use super::current::{current, per_thread_stream};
use super::queue::Queue;
use super::state::driver;
use super::{Context, Result};

/// How a stream relates to the legacy default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum StreamKind {
    /// The legacy default stream itself.
    Legacy,
    /// Waits for the legacy default stream's earlier work, and the other way round.
    Blocking,
    /// Independent of it.
    NonBlocking,
}

/// One stream of a context.
pub(in crate::driver) struct Stream {
    pub(super) kind: StreamKind,
    pub(super) context: Weak<Context>,
    pub(super) queue: Queue,
    /// Unique in the process's life.
    pub(in crate::driver) id: u64,
    attributes: Mutex<StreamAttributes>,
}

impl Stream {
    pub(super) fn new(kind: StreamKind, context: Weak<Context>, priority: i32) -> Stream {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let attributes = Mutex::new(StreamAttributes::new(priority));
        let id = CREATED.fetch_add(1, Ordering::Relaxed) + 1;
        Stream { kind, context, queue: Queue::new(), id, attributes }
    }

    /// `CU_STREAM_NON_BLOCKING` or nothing.
    pub(in crate::driver) fn flags(&self) -> u32 {
        u32::from(self.kind == StreamKind::NonBlocking)
    }

    /// What `cuStreamSetAttribute` can set: hints, kept for those who ask.
    pub(in crate::driver) fn attributes(&self) -> MutexGuard<'_, StreamAttributes> {
        self.attributes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream's handle has gone; what it has to do is still done.
    pub(in crate::driver) fn end(self: &Arc<Self>) {
        if let Some(context) = self.context.upgrade() {
            context.forget_stream(self);
        }
    }
}

/// A stream with its context: where an operation is to run.
pub(in crate::driver) struct Target {
    pub(in crate::driver) context: Arc<Context>,
    pub(in crate::driver) stream: Arc<Stream>,
}

impl Target {
    /// The stream behind a handle: 0 and 1 are the current context's legacy default stream, 2 is the
    /// calling thread's. A context with a sticky error gives that error.
    pub(in crate::driver) fn of(handle: u64) -> Result<Target> {
        match handle {
            0 | CU_STREAM_LEGACY => Target::legacy(),
            CU_STREAM_PER_THREAD => {
                let context = current()?;
                let stream = per_thread_stream(&context)?;
                Ok(Target { context, stream })
            }
            _ => {
                let stream = driver()?.streams.get(handle).ok_or(CUresult::INVALID_HANDLE)?;
                let context = stream.context.upgrade().ok_or(CUresult::INVALID_HANDLE)?;
                context.check()?;
                Ok(Target { context, stream })
            }
        }
    }

    /// The current context's legacy default stream.
    pub(in crate::driver) fn legacy() -> Result<Target> {
        let context = current()?;
        let stream = context.legacy();
        Ok(Target { context, stream })
    }
}

/// A thread's default stream in one context; ends with the thread.
pub(super) struct PerThreadStream {
    pub(super) stream: Arc<Stream>,
}

impl PerThreadStream {
    pub(super) fn new(context: &Arc<Context>) -> PerThreadStream {
        PerThreadStream { stream: context.add_stream(StreamKind::Blocking, 0) }
    }
}

impl Drop for PerThreadStream {
    fn drop(&mut self) {
        self.stream.end();
    }
}
