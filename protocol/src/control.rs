//! The device's config space and the commands of its control queue (queue 0).
//!
//! The guest's broker (`vgpud`) is the only user. A request is one readable buffer starting with a
//! [`ControlHeader`], the reply one writable buffer starting with a [`ControlReply`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `virtio-id` of the device: no Linux driver claims it (PCI 1af4:1067).
pub const VIRTIO_ID: u32 = 39;
/// Version of everything in this crate that the API hash does not cover.
pub const PROTOCOL_VERSION: u32 = 3;
/// [`DeviceConfig::magic`]: "VGPUCUDA".
pub const MAGIC: u64 = u64::from_le_bytes(*b"VGPUCUDA");
/// Entries of the control queue.
pub const CONTROL_QUEUE_SIZE: u16 = 64;
/// Sessions at a time, at most: the crate that serves the rings handles 64 queues.
pub const MAX_SESSIONS: u32 = 63;

/// Config space of the device (virtio 1.3, 4.1.4.6); read once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DeviceConfig {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// Number of session queues (queues 1 to this).
    pub sessions: u32,
    /// `API_HASH` of the backend.
    pub api_hash: u64,
    /// Reserved feature bits, 0.
    pub features: u64,
    /// Largest shared memory of a session, bytes.
    pub arena_limit: u64,
}

/// What a control request asks for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlOp {
    /// [`SessionCreate`]: starts a worker; the queue's ring restarts at index 0.
    SessionCreate = 1,
    /// [`SessionMap`]: adds guest memory to a session's arena.
    SessionMap = 2,
    /// [`SessionUnmap`]: takes it away again.
    SessionUnmap = 3,
    /// No body: ends the session and kills its worker. Done when nothing touches its memory any more.
    SessionDestroy = 4,
    /// No body: [`BackendStatus`] of a GPU is the reply.
    Status = 5,
}

impl ControlOp {
    /// The operation of a number on the wire.
    pub fn from_wire(number: u32) -> Option<Self> {
        [Self::SessionCreate, Self::SessionMap, Self::SessionUnmap, Self::SessionDestroy, Self::Status]
            .into_iter()
            .find(|op| *op as u32 == number)
    }
}

/// Start of a control request.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ControlHeader {
    /// A [`ControlOp`].
    pub op: u32,
    /// The session's queue, 1 to [`DeviceConfig::sessions`]; for `Status` the number of a GPU, from 0.
    pub queue: u32,
}

/// Body of `SessionCreate`. Addresses are guest-physical unless said otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionCreate {
    /// Start of the queue's home; the ring's parts lie at the offsets of `session`.
    pub home: u64,
    /// Virtual address of the shared memory in the client, wanted in the worker too.
    pub arena_base: u64,
    /// Size of the reserved address space, bytes.
    pub arena_size: u64,
    /// The client's `API_HASH`.
    pub api_hash: u64,
    /// The client's process, for messages.
    pub pid: u32,
    /// The client's user, for messages.
    pub uid: u32,
    /// The client's nice value, 0 to 19 (sched(7)): its session's share of the host's processors. What is above has no
    /// more weight than 19, what is negative none but 0's.
    pub nice: i32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// Body of `SessionMap`, followed by `count` [`MapRange`]s that fill `[va, va + sum of len)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionMap {
    /// Virtual address within the session's arena; a multiple of `CHUNK_GRANULE`.
    pub va: u64,
    /// Number of ranges that follow.
    pub count: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A piece of guest memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MapRange {
    /// Guest-physical address, page-aligned.
    pub address: u64,
    /// Bytes, a multiple of the page size.
    pub length: u64,
}

/// Most ranges in one `SessionMap`.
pub const MAX_RANGES: usize = 1024;

/// Body of `SessionUnmap`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionUnmap {
    /// Start, as given to `SessionMap`.
    pub va: u64,
    /// Bytes.
    pub length: u64,
}

/// Start of a control reply.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ControlReply {
    /// A [`ControlStatus`].
    pub status: u32,
    /// Bytes that follow.
    pub bytes: u32,
}

/// How a control request went.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlStatus {
    /// done
    #[error("done")]
    Ok = 0,
    /// the request is malformed
    #[error("the request is malformed")]
    Malformed = 1,
    /// the queue number is out of range or the session is in the wrong state
    #[error("the queue is out of range, or its session is in the wrong state")]
    BadQueue = 2,
    /// the client was built from another API table than the backend
    #[error("guest driver and backend are of different versions")]
    Version = 3,
    /// the address range is taken in the worker; propose another base
    #[error("the address range is taken on the host")]
    BaseTaken = 4,
    /// an address is outside the guest's shared memory
    #[error("an address lies outside the guest's shared memory")]
    BadAddress = 5,
    /// the host cannot start or reach the worker
    #[error("the host could not start the worker")]
    Host = 6,
    /// a limit of the backend is reached
    #[error("a limit of the backend is reached")]
    Limit = 7,
}

impl ControlStatus {
    /// The status of a number on the wire; unknown numbers read as `Host`.
    pub fn from_wire(number: u32) -> Self {
        use ControlStatus::*;
        [Ok, Malformed, BadQueue, Version, BaseTaken, BadAddress, Host, Limit]
            .into_iter()
            .find(|s| *s as u32 == number)
            .unwrap_or(Host)
    }
}

/// A figure of [`Sensors`], or a session's memory as far as it goes, that nobody knows.
pub const UNKNOWN: u32 = u32::MAX;

/// What a GPU says of its state, as NVML has it; [`UNKNOWN`] where it says nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sensors {
    /// Time in which kernels ran, percent.
    pub utilization: u32,
    /// Time in which memory was read or written, percent.
    pub memory_utilization: u32,
    /// Degrees Celsius.
    pub temperature: u32,
    /// Milliwatts.
    pub power: u32,
    /// What the power is kept to, milliwatts.
    pub power_limit: u32,
    /// `nvmlPstates_t`: 0 is the fastest.
    pub performance_state: u32,
    /// By `nvmlClockType_t` (graphics, multiprocessors, memory, video), MHz.
    pub clocks: [u32; 4],
    /// The most that each can be, MHz.
    pub max_clocks: [u32; 4],
}

impl Sensors {
    /// Nothing is known.
    pub const NONE: Sensors = Sensors {
        utilization: UNKNOWN,
        memory_utilization: UNKNOWN,
        temperature: UNKNOWN,
        power: UNKNOWN,
        power_limit: UNKNOWN,
        performance_state: UNKNOWN,
        clocks: [UNKNOWN; 4],
        max_clocks: [UNKNOWN; 4],
    };
}

/// Reply body of `Status`. Also handed out by the broker.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BackendStatus {
    /// NUL-terminated name of the GPU.
    pub gpu_name: [u8; 64],
    /// GPU memory that sessions may use, bytes.
    pub memory_total: u64,
    /// GPU memory in use by all sessions, bytes.
    pub memory_used: u64,
    /// Of that, what the session of each queue has, by queue number; `u64::MAX`: not known.
    pub session_memory: [u64; MAX_SESSIONS as usize + 1],
    /// Sessions with a live worker.
    pub sessions: u32,
    /// GPUs that there are.
    pub device_count: u32,
    /// How busy, warm and fast the GPU is.
    pub sensors: Sensors,
    /// Release of the host's driver, NUL-terminated; empty: [`crate::DRIVER_RELEASE`].
    pub driver_release: [u8; 32],
    /// Driver version that the GPU reports, e.g. 13000.
    pub driver_version: u32,
    /// Compute capability, major * 10 + minor.
    pub capability: u32,
    /// Its UUID.
    pub uuid: [u8; 16],
}
