//! What a session's virtqueue carries: the layout of its home, batches, replies.
//!
//! The *home* is one 2 MiB piece of guest memory per session queue. It holds the split virtqueue
//! (virtio 1.3, 2.7) at fixed offsets, [`SLOTS`] pairs of command and reply slots, and a staging
//! area. Slot `i` uses descriptor `2 i` (readable: a batch) chained to `2 i + 1` (writable: its
//! reply). Everything in the home is shared with the other side and read once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Size of a home, bytes.
pub const HOME_SIZE: usize = 2 << 20;
/// Entries of a session's virtqueue.
pub const QUEUE_SIZE: u16 = 128;
/// Batches that can be under way.
pub const SLOTS: usize = QUEUE_SIZE as usize / 2;
/// Offset of the [`HomeHeader`].
pub const HEADER_OFFSET: usize = 0;
/// Offset of the descriptor table.
pub const DESC_OFFSET: usize = 0x1000;
/// Offset of the avail ring.
pub const AVAIL_OFFSET: usize = 0x2000;
/// Offset of the used ring.
pub const USED_OFFSET: usize = 0x3000;
/// Offset of the reply slots.
pub const REPLY_OFFSET: usize = 0x4000;
/// Size of one reply slot, bytes.
pub const REPLY_SIZE: usize = 8 << 10;
/// Offset of the command slots.
pub const COMMAND_OFFSET: usize = REPLY_OFFSET + SLOTS * REPLY_SIZE;
/// Size of one command slot, bytes.
pub const COMMAND_SIZE: usize = 8 << 10;
/// Offset of the staging area, which the client divides as it likes.
pub const STAGING_OFFSET: usize = COMMAND_OFFSET + SLOTS * COMMAND_SIZE;
/// Size of the staging area, bytes.
pub const STAGING_SIZE: usize = HOME_SIZE - STAGING_OFFSET;

/// Where a client tries to put its shared memory, in this order: the same address in its own
/// process and in its worker. The home lies at the base, arena chunks follow.
pub const ARENA_BASES: [u64; 4] = [0x2000_0000_0000, 0x2800_0000_0000, 0x3000_0000_0000, 0x1000_0000_0000];
/// Address space reserved for a session's shared memory, bytes.
pub const ARENA_SIZE: u64 = 64 << 30;
/// Arena chunks are multiples of this, bytes.
pub const CHUNK_GRANULE: u64 = 2 << 20;

/// Start of the home: the worker's sign of life.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HomeHeader {
    /// Incremented by the worker at least every [`HEARTBEAT_MS`], whatever it is busy with.
    pub heartbeat: u32,
    /// [`STATE_RUNNING`], or [`STATE_DEAD`] when the session will never answer again.
    pub state: u32,
    /// Why it is dead: a `CUresult`.
    pub error: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// Offset of [`HomeHeader::heartbeat`] in the home.
pub const HEARTBEAT_OFFSET: usize = HEADER_OFFSET;
/// Offset of [`HomeHeader::state`] in the home.
pub const STATE_OFFSET: usize = HEADER_OFFSET + 4;
/// Offset of [`HomeHeader::error`] in the home.
pub const ERROR_OFFSET: usize = HEADER_OFFSET + 8;
/// The worker serves the queue.
pub const STATE_RUNNING: u32 = 1;
/// The session ended on the host's side; every call fails.
pub const STATE_DEAD: u32 = 2;
/// Longest time between two heartbeats, milliseconds.
pub const HEARTBEAT_MS: u64 = 100;

/// A function of the application that is to run before its stream goes on: `cuLaunchHostFunc`,
/// `cuStreamAddCallback`, a graph's host node.
///
/// The home lists those that are due in a ring of its own, which passes no command: a stream that waits
/// for one may keep the worker from taking any more commands. The worker writes entry `n mod`
/// [`DUE_FUNCTIONS`] and then counts it at [`DUE_OFFSET`]; the client runs them in that order and counts
/// those it has run at [`RUN_OFFSET`]. Both counts start at 0 and wrap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DueFunction {
    /// What `vgpuHostFunction` or the graph's node named.
    pub id: u64,
    /// A `CUresult`: what has become of the stream.
    pub status: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// Entries of the ring of due functions.
pub const DUE_FUNCTIONS: u32 = 64;
/// Offset of the count of functions that became due, a `u32`.
pub const DUE_OFFSET: usize = HEADER_OFFSET + 0x400;
/// Offset of the count of functions that have run, a `u32`.
pub const RUN_OFFSET: usize = HEADER_OFFSET + 0x440;
/// Offset of the first [`DueFunction`].
pub const DUE_ENTRIES_OFFSET: usize = HEADER_OFFSET + 0x480;

/// Offset of the [`DueFunction`] with this number.
pub const fn due_entry(number: u32) -> usize {
    DUE_ENTRIES_OFFSET + (number % DUE_FUNCTIONS) as usize * size_of::<DueFunction>()
}

const _: () = assert!(due_entry(DUE_FUNCTIONS - 1) + size_of::<DueFunction>() <= DESC_OFFSET);

/// Start of a batch. Commands follow, each a [`CommandHeader`] and its payload.
///
/// Only the last command of a batch may be one that waits (sync or blocking).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BatchHeader {
    /// Counts the client's batches from 1.
    pub sequence: u64,
    /// Handle of the context that is current for these commands, 0 for none.
    pub context: u64,
    /// The guest thread that sends: its number within the session.
    pub lane: u32,
    /// Number of commands.
    pub count: u32,
    /// Size of the commands, bytes.
    pub bytes: u32,
    /// 0 or [`BATCH_POSTED`].
    pub flags: u32,
}

/// [`BatchHeader::flags`] of a batch whose reply nobody waits for. If there is nothing to tell, which is the rule,
/// no reply is written: the used ring says that the batch is done, with a length of 0 (virtio 1.3, 2.7.8).
pub const BATCH_POSTED: u32 = 1;

/// Start of a command.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CommandHeader {
    /// Position in the API table, from 1.
    pub opcode: u16,
    /// Reserved, 0.
    pub flags: u16,
    /// Size of the payload, bytes; a multiple of 8.
    pub length: u32,
}

/// Start of a reply; the outputs of the batch's last command follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReplyHeader {
    /// [`REPLY_DONE`] once everything else is written (stored last, with release order).
    pub status: u32,
    /// `CUresult` of the last command if that one waits, else 0.
    pub result: u32,
    /// First error of an earlier command whose caller did not wait, else 0. Told once.
    pub latched: u32,
    /// 1 if kernels printed text that has not been fetched (`vgpuReadOutput`).
    pub output: u32,
    /// Size of the outputs, bytes.
    pub bytes: u32,
    /// Opcode of the command that caused `latched`.
    pub latched_opcode: u32,
    /// The batch's sequence number.
    pub sequence: u64,
}

/// [`ReplyHeader::status`] of a batch that was dealt with.
pub const REPLY_DONE: u32 = 1;
