//! What the guest answers about streams by itself.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

use vgpu_protocol::cmd::CuCtxGetStreamPriorityRange;
use vgpu_protocol::cuda::{CUresult, CU_STREAM_PER_THREAD};
use vgpu_protocol::HandleKind;

use crate::context::{self, Context};
use crate::driver::driver;
use crate::stub;

/// A stream's properties.
#[derive(Clone, Copy)]
pub struct Stream {
    /// Flags of its creation.
    pub flags: u32,
    /// Its priority.
    pub priority: i32,
    /// Its context.
    pub context: &'static Context,
    /// Unique number.
    pub id: u64,
}

/// The streams that the application created.
#[derive(Default)]
pub struct Streams {
    by_handle: RwLock<HashMap<u64, Stream>>,
    /// Lowest and highest priority; the same on every device of a host.
    priorities: OnceLock<(i32, i32)>,
}

impl Streams {
    /// Notes a new stream.
    pub fn add(&self, handle: u64, stream: Stream) {
        self.by_handle.write().unwrap_or_else(PoisonError::into_inner).insert(handle, stream);
    }

    /// Forgets a destroyed stream.
    pub fn remove(&self, handle: u64) {
        self.by_handle.write().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }
}

/// A stream's properties by its handle; the default streams belong to the current context.
pub fn find(handle: u64) -> Result<Stream, CUresult> {
    if handle <= CU_STREAM_PER_THREAD {
        return Ok(Stream { flags: 0, priority: 0, context: context::required()?, id: handle });
    }
    stub::handle(HandleKind::Stream, handle)?;
    let table = driver()?.streams.by_handle.read().unwrap_or_else(PoisonError::into_inner);
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
