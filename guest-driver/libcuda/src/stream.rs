//! What the guest answers about streams by itself.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use vgpu_protocol::cmd::CuCtxGetStreamPriorityRange;
use vgpu_protocol::cuda::{CUresult, StreamAttributes, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD};
use vgpu_protocol::HandleKind;

use crate::context::{self, Context};
use crate::driver::driver;
use crate::stub;

/// A stream's properties.
#[derive(Clone, Copy)]
pub struct Stream {
    /// Flags of its creation.
    pub flags: u32,
    /// Its context.
    pub context: &'static Context,
    /// Unique number.
    pub id: u64,
}

/// The streams that the application created, and the attributes of those and of the default streams.
#[derive(Default)]
pub struct Streams {
    created: RwLock<HashMap<u64, Stream>>,
    /// By context and stream, as far as they were set.
    attributes: RwLock<HashMap<(u64, u64), StreamAttributes>>,
    /// Lowest and highest priority; the same on every device of a host.
    priorities: OnceLock<(i32, i32)>,
}

impl Streams {
    /// Notes a new stream.
    pub fn add(&self, handle: u64, stream: Stream, priority: i32) {
        self.created.write().unwrap_or_else(PoisonError::into_inner).insert(handle, stream);
        if priority != 0 {
            self.set_attributes(&stream, StreamAttributes::new(priority));
        }
    }

    /// Forgets a destroyed stream.
    pub fn remove(&self, handle: u64) {
        let stream = self.created.write().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        if let Some(stream) = stream {
            let mut attributes = self.attributes.write().unwrap_or_else(PoisonError::into_inner);
            attributes.remove(&(stream.context.handle.0, handle));
        }
    }

    /// Forgets what was set for the streams of a context that has ended.
    pub fn forget_context(&self, context: u64) {
        self.created.write().unwrap_or_else(PoisonError::into_inner).retain(|_, s| s.context.handle.0 != context);
        self.attributes.write().unwrap_or_else(PoisonError::into_inner).retain(|(owner, _), _| *owner != context);
    }

    /// A stream's attributes.
    pub fn attributes(&self, stream: &Stream) -> StreamAttributes {
        let attributes = self.attributes.read().unwrap_or_else(PoisonError::into_inner);
        attributes.get(&(stream.context.handle.0, stream.id)).copied().unwrap_or(StreamAttributes::new(0))
    }

    /// Notes a stream's attributes.
    pub fn set_attributes(&self, stream: &Stream, to: StreamAttributes) {
        let mut attributes = self.attributes.write().unwrap_or_else(PoisonError::into_inner);
        attributes.insert((stream.context.handle.0, stream.id), to);
    }
}

/// A stream's properties by its handle; the default streams belong to the current context.
pub fn find(handle: u64) -> Result<Stream, CUresult> {
    if handle <= CU_STREAM_PER_THREAD {
        // Null is the legacy default stream here, as its per-thread twin has replaced it already.
        return Ok(Stream { flags: 0, context: context::required()?, id: handle.max(CU_STREAM_LEGACY) });
    }
    stub::handle(HandleKind::Stream, handle)?;
    let table = driver()?.streams.created.read().unwrap_or_else(PoisonError::into_inner);
    table.get(&handle).copied().ok_or(CUresult::INVALID_HANDLE)
}

/// The range of stream priorities, lowest first: asked for once, since a driver wants a context for
/// the answer.
pub fn priorities() -> Result<(i32, i32), CUresult> {
    context::required()?;
    let known = &driver()?.streams.priorities;
    if let Some(range) = known.get() {
        return Ok(*range);
    }
    let reply = stub::create(&CuCtxGetStreamPriorityRange {})?;
    Ok(*known.get_or_init(|| (reply.leastPriority, reply.greatestPriority)))
}
