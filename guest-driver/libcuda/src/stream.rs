//! What the guest answers about streams by itself.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

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
pub struct Streams(RwLock<HashMap<u64, Stream>>);

impl Streams {
    /// Notes a new stream.
    pub fn add(&self, handle: u64, stream: Stream) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(handle, stream);
    }

    /// Forgets a destroyed stream.
    pub fn remove(&self, handle: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }
}

/// A stream's properties by its handle; the default streams belong to the current context.
pub fn find(handle: u64) -> Result<Stream, CUresult> {
    if handle <= CU_STREAM_PER_THREAD {
        return Ok(Stream { flags: 0, priority: 0, context: context::required()?, id: handle });
    }
    stub::handle(HandleKind::Stream, handle)?;
    let table = driver()?.streams.0.read().unwrap_or_else(PoisonError::into_inner);
    table.get(&handle).copied().ok_or(CUresult::INVALID_HANDLE)
}
