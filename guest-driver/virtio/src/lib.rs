//! How the guest's broker reaches the virtual GPU: as a userspace virtio driver of the PCI function
//! ([`pci`]), or, without a VM, as the frontend of the backend's vhost-user socket ([`loopback`]).
//!
//! Both give the same [`Transport`]: the device's config, the control queue, session queues that
//! are opened and closed, and shared memory that the device can reach.

// What guests, clients and devices send must never end a process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]

pub mod loopback;
mod memory;
pub mod pci;
mod ring;
pub mod sys;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

pub use memory::SharedMemory;
use vgpu_protocol::control::DeviceConfig;

/// Longest control request: a `SessionMap` with as many ranges as fit, bytes.
pub const MAX_REQUEST: usize = 32 << 10;
/// Longest control reply, bytes.
pub const MAX_REPLY: usize = 4 << 10;

/// Why the transport cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The device or its backend is gone, or broke the protocol: nothing works from here on.
    #[error("the device does not work any more: {0}")]
    Device(String),
    /// No memory that the device can reach. The session or request fails, the device lives on.
    #[error("no memory that the device can reach: {0}")]
    NoMemory(String),
    /// Set-up failed; the text says what to do.
    #[error("{0}")]
    SetUp(String),
}

impl TransportError {
    /// A failed system call that set-up needs: `what` was to be done.
    fn set_up(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| TransportError::SetUp(format!("{what}: {error}"))
    }
}

/// What a session's client and the broker need of an open session queue.
#[derive(Debug)]
pub struct QueueAccess {
    /// The queue's home: fresh memory, all zero.
    pub home: SharedMemory,
    /// Eventfd that the client writes to.
    pub doorbell: OwnedFd,
    /// What becomes readable with completions: an eventfd or a socket.
    pub completion: OwnedFd,
    /// Whether the device signals `completion`.
    pub interrupts: bool,
    /// Whether the broker must watch `doorbell` and pass it on with [`Transport::bell`].
    pub relay: bool,
}

/// Rings the device's bell for the queue of that number, on any thread.
pub type Bell = Box<dyn Fn(u32) + Send>;

/// A device as the broker uses it, on several threads. Queues are numbered as in virtio: 0 is the control queue.
pub trait Transport: Send + Sync {
    /// The device's config space, as read at start.
    fn config(&self) -> &DeviceConfig;

    /// PCI address of the device ("0000:00:03.0"), or "loopback".
    fn location(&self) -> &str;

    /// Session queues that can be opened: 1 to this number.
    fn sessions(&self) -> u32;

    /// Sends a control request of at most [`MAX_REQUEST`] bytes, waits for the reply, which must come within
    /// `limit`, and writes it to `reply`; returns its length in bytes. No other call waits for this one.
    fn control(&self, request: &[u8], reply: &mut [u8], limit: Duration) -> Result<usize, TransportError>;

    /// Gives a queue a fresh home, ready for `SessionCreate`.
    fn open_queue(&self, queue: u32) -> Result<QueueAccess, TransportError>;

    /// Takes the home back after `SessionDestroy`. Whoever still has it mapped loses it or keeps
    /// memory that no one else uses.
    fn close_queue(&self, queue: u32, home: SharedMemory) -> Result<(), TransportError>;

    /// What rings the device's bell for a queue, where clients cannot do so themselves.
    fn bell(&self) -> Option<Bell>;

    /// Gets zeroed memory that the device can reach; `length` is a multiple of `CHUNK_GRANULE`.
    fn allocate(&self, length: u64) -> Result<SharedMemory, TransportError>;

    /// Takes memory back that the backend does not use any more.
    fn release(&self, memory: SharedMemory) -> Result<(), TransportError>;

    /// A descriptor whose other end hangs up when something happens to the device, if there is one;
    /// [`Transport::check`] then says what.
    fn watch(&self) -> Option<BorrowedFd<'_>>;

    /// Whether the device is still there, as far as can be told without asking the backend.
    fn check(&self) -> Result<(), TransportError>;

    /// Leaves the device as it was found. Nothing is sent to a device that has failed.
    fn shut_down(&mut self);
}
