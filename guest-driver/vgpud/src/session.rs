//! What the broker keeps of one session: whose it is, and the memory it shares with the device.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vgpu_protocol::broker::{ChunkRequest, OpenSession, SessionStatus};
use vgpu_protocol::session::{ARENA_SIZE, CHUNK_GRANULE, HOME_SIZE};
use vgpu_virtio::SharedMemory;

use crate::Peer;

/// Chunks of a session, at most: each takes descriptors.
const MAX_CHUNKS: usize = 1024;
/// End of the addresses that user space has (x86-64, four levels).
const ADDRESS_END: u64 = 1 << 47;

/// A session and its shared memory.
pub struct Session {
    /// The client.
    pub peer: Peer,
    /// Memory of the queue's home.
    pub home: SharedMemory,
    /// The doorbell, where the broker must pass it on.
    pub doorbell: Option<Arc<OwnedFd>>,
    arena: Arena,
    chunks: BTreeMap<u64, SharedMemory>,
    /// What its worker may still use, although it should not.
    kept: Vec<SharedMemory>,
}

impl Session {
    /// A session with nothing but its home, which lies at the arena's start.
    pub fn new(peer: Peer, home: SharedMemory, doorbell: Option<OwnedFd>, arena: Arena) -> Self {
        Self { peer, home, doorbell: doorbell.map(Arc::new), arena, chunks: BTreeMap::new(), kept: Vec::new() }
    }

    /// Shared memory, bytes.
    pub fn shared_bytes(&self) -> u64 {
        self.home.length() + self.chunk_bytes()
    }

    fn chunk_bytes(&self) -> u64 {
        self.chunks.values().chain(&self.kept).map(SharedMemory::length).sum()
    }

    /// Whether a chunk may be added: inside the arena, free, and within the limit.
    pub fn admits(&self, chunk: &ChunkRequest, limit: u64) -> Admission {
        let Some(end) = self.arena.end_of(chunk) else { return Admission::Malformed };
        let overlaps = |(va, memory): (&u64, &SharedMemory)| va + memory.length() > chunk.va;
        if self.chunks.range(..end).next_back().is_some_and(overlaps) {
            return Admission::Malformed;
        }
        match self.chunks.len() + self.kept.len() < MAX_CHUNKS
            && chunk.length <= limit.saturating_sub(self.chunk_bytes())
        {
            true => Admission::Granted,
            false => Admission::OverLimit,
        }
    }

    /// Notes a chunk at `va`.
    pub fn add_chunk(&mut self, va: u64, memory: SharedMemory) {
        self.chunks.insert(va, memory);
    }

    /// Size of the chunk that `request` names exactly, if there is one.
    pub fn has_chunk(&self, request: &ChunkRequest) -> bool {
        self.chunks.get(&request.va).is_some_and(|memory| memory.length() == request.length)
    }

    /// Forgets a chunk.
    pub fn remove_chunk(&mut self, va: u64) -> Option<SharedMemory> {
        self.chunks.remove(&va)
    }

    /// Keeps memory that belongs to no chunk until the session ends.
    pub fn keep(&mut self, memory: SharedMemory) {
        self.kept.push(memory);
    }

    /// Gives up all memory: the home, and what else there is.
    pub fn into_memory(self) -> (SharedMemory, impl Iterator<Item = SharedMemory>) {
        (self.home, self.chunks.into_values().chain(self.kept))
    }

    /// The session as told to clients.
    pub fn status(&self, queue: u32) -> SessionStatus {
        SessionStatus { pid: self.peer.pid, uid: self.peer.uid, queue, reserved: 0, shared_bytes: self.shared_bytes() }
    }
}

/// What becomes of a chunk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may be mapped.
    Granted,
    /// It is not a free piece of the arena.
    Malformed,
    /// The session has all the memory it may have.
    OverLimit,
}

/// The address range that a client reserved.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    base: u64,
    end: u64,
}

impl Arena {
    /// Checks the range that a client proposes.
    pub fn new(open: &OpenSession) -> Option<Self> {
        let end = open.arena_base.checked_add(open.arena_size)?;
        let aligned = open.arena_base.is_multiple_of(CHUNK_GRANULE) && open.arena_size.is_multiple_of(CHUNK_GRANULE);
        let sized = open.arena_size > HOME_SIZE as u64 && open.arena_size <= ARENA_SIZE;
        let addressable = open.arena_base != 0 && end <= ADDRESS_END;
        (aligned && sized && addressable).then_some(Self { base: open.arena_base, end })
    }

    /// End of a chunk that lies in the arena behind the home; `None` for any other.
    fn end_of(&self, chunk: &ChunkRequest) -> Option<u64> {
        let end = chunk.va.checked_add(chunk.length)?;
        let aligned = chunk.va.is_multiple_of(CHUNK_GRANULE) && chunk.length.is_multiple_of(CHUNK_GRANULE);
        let inside = chunk.va >= self.base + HOME_SIZE as u64 && end <= self.end;
        (chunk.length != 0 && aligned && inside).then_some(end)
    }
}
