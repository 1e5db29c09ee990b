//! Messages between a CUDA process and the guest's broker (`vgpud`), over a `SOCK_SEQPACKET` Unix
//! socket. One message a packet: a [`BrokerRequest`] header and its body one way, a
//! [`BrokerReply`] and its body the other; file descriptors travel beside the reply.
//!
//! The socket is the session's life: when it closes, the broker ends the session.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::control::{BackendStatus, ControlStatus};

/// Where the broker listens; `VGPU_SOCKET` overrides it in clients.
pub const SOCKET_PATH: &str = "/run/vgpu/vgpud.sock";
/// Environment variable with another socket path.
pub const SOCKET_VARIABLE: &str = "VGPU_SOCKET";
/// Largest message, bytes.
pub const MAX_MESSAGE: usize = 16 << 10;

/// What a client asks for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerOp {
    /// Body [`OpenSession`]; reply body [`SessionOpened`] and three descriptors: the home's memory,
    /// the doorbell (an eventfd to write to), the completion eventfd.
    Open = 1,
    /// Body [`ChunkRequest`]; reply without body and one descriptor: the chunk's memory, to be
    /// mapped at `va` with `MAP_FIXED` inside the reserved range.
    MapChunk = 2,
    /// Body [`ChunkRequest`]; no body back. The client unmaps first.
    UnmapChunk = 3,
    /// Body [`StatusOf`]; reply body [`BrokerStatus`] followed by [`SessionStatus`] entries. Needs no session.
    Status = 4,
}

impl BrokerOp {
    /// The operation of a number on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        [Self::Open, Self::MapChunk, Self::UnmapChunk, Self::Status].into_iter().find(|op| *op as u32 == number)
    }
}

/// Start of a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BrokerRequest {
    /// A [`BrokerOp`].
    pub op: u32,
    /// [`crate::control::PROTOCOL_VERSION`].
    pub version: u32,
}

/// Body of `Open`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OpenSession {
    /// The client's `API_HASH`.
    pub api_hash: u64,
    /// Start of the range that the client has reserved.
    pub arena_base: u64,
    /// Its size, bytes.
    pub arena_size: u64,
}

/// Reply body of `Open`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionOpened {
    /// Offset of the home in its descriptor, bytes.
    pub home_offset: u64,
    /// Guest-physical address of the home: descriptors in the ring use it.
    pub home_address: u64,
    /// The session's queue.
    pub queue: u32,
    /// 1 if the completion eventfd is signalled by the device; 0: the client sleeps and looks.
    pub interrupts: u32,
}

/// Body of `MapChunk` and `UnmapChunk`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ChunkRequest {
    /// Virtual address in the client, a multiple of `CHUNK_GRANULE` inside its reserved range.
    pub va: u64,
    /// Bytes, a multiple of `CHUNK_GRANULE`.
    pub length: u64,
}

/// Start of a reply.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BrokerReply {
    /// A [`BrokerError`] number, 0 for success.
    pub error: u32,
    /// Bytes that follow.
    pub bytes: u32,
}

/// Why the broker refuses.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// the message is malformed
    #[error("the message is malformed")]
    Malformed = 1,
    /// library and broker are of different versions
    #[error("libcuda.so.1, vgpud and the backend are of different versions: install the same release in guest and host, then restart vgpud")]
    Version = 2,
    /// the range is taken in the worker: propose another
    #[error("the address range is taken on the host")]
    BaseTaken = 3,
    /// all session queues are in use
    #[error("all session queues are in use: end a CUDA process, or give the device more queues (num_vqs)")]
    Busy = 4,
    /// no memory that the device can reach
    #[error("no hugepages left for shared memory: raise vm.nr_hugepages")]
    NoMemory = 5,
    /// the device does not answer
    #[error("the device does not answer: is vhost-user-vgpu running on the host?")]
    Device = 6,
    /// the backend refuses
    #[error("the backend refuses the session: its log on the host says why")]
    Backend = 7,
}

impl BrokerError {
    /// The error of a number on the wire; `None` for success.
    pub fn from_wire(number: u32) -> Option<Self> {
        use BrokerError::*;
        match number {
            0 => None,
            n => Some(
                [Malformed, Version, BaseTaken, Busy, NoMemory, Device, Backend]
                    .into_iter()
                    .find(|e| *e as u32 == n)
                    .unwrap_or(Malformed),
            ),
        }
    }

    /// What a client is told when the backend answered `status`.
    pub fn from_control(status: ControlStatus) -> Option<Self> {
        Some(match status {
            ControlStatus::Ok => return None,
            ControlStatus::Version => BrokerError::Version,
            ControlStatus::BaseTaken => BrokerError::BaseTaken,
            ControlStatus::Limit => BrokerError::NoMemory,
            _ => BrokerError::Backend,
        })
    }
}

/// Body of `Status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StatusOf {
    /// Number of the GPU, from 0.
    pub device: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// Reply body of `Status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BrokerStatus {
    /// What the backend says of itself.
    pub backend: BackendStatus,
    /// PCI address of the device, NUL-terminated ("0000:00:03.0"), or "loopback".
    pub location: [u8; 32],
    /// Session queues of the device.
    pub queues: u32,
    /// Entries that follow.
    pub sessions: u32,
    /// The broker's process.
    pub pid: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// One open session.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionStatus {
    /// The client's process, as the socket's credentials say.
    pub pid: u32,
    /// The client's user.
    pub uid: u32,
    /// The session's queue.
    pub queue: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// Shared memory of the session, bytes.
    pub shared_bytes: u64,
}
