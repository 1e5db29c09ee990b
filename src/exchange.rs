//! What a worker asks of the supervisor: to keep what its session shares with the other sessions of the VM,
//! and for what those share. A socket pair of its own, one request and one answer at a time.
//!
//! A token is random and stands for one thing of one session, so that a guest can neither guess nor make one;
//! what it stands for never leaves the host.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use vgpu_protocol::cuda::{IpcToken, IPC_HANDLE_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::channel::{receive, send};

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Device memory of `cuMemAlloc`.
    Memory = 1,
    /// An event.
    Event = 2,
    /// Physical memory.
    Physical = 3,
    /// A memory pool.
    Pool = 4,
    /// Memory of a pool.
    PoolPointer = 5,
}

/// The driver's handle, and the descriptor that goes with it, if one does.
#[derive(Debug)]
pub struct Shared {
    /// What the driver knows it by; zeros where a descriptor says all.
    pub handle: [u8; IPC_HANDLE_SIZE],
    /// To be passed on.
    pub descriptor: Option<OwnedFd>,
}

/// What all sessions of a VM together may have so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Resource {
    /// Device memory, bytes.
    Memory = 0,
    /// Pinned and managed memory, bytes.
    Pinned = 1,
    /// Contexts.
    Contexts = 2,
    /// Streams.
    Streams = 3,
    /// Modules and libraries.
    Modules = 4,
    /// What those were loaded from, bytes.
    ModuleBytes = 5,
}

impl Resource {
    /// All of them, in the order of their numbers.
    pub const ALL: [Resource; 6] = [
        Resource::Memory,
        Resource::Pinned,
        Resource::Contexts,
        Resource::Streams,
        Resource::Modules,
        Resource::ModuleBytes,
    ];
}

/// An amount of each [`Resource`].
pub type Amounts<T> = [T; Resource::ALL.len()];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    /// Keep `handle` and the descriptor; the answer names the token.
    Export = 1,
    /// What `token` stands for.
    Import = 2,
    /// End a token of this session.
    Forget = 3,
    /// Whether the worker `number` serves a session of this VM.
    Lives = 4,
    /// The session has `number` of the resource `kind` from now on, if the VM may have that much.
    Have = 5,
    /// Another [`launches_in_portion`] of the VM. The answer comes when it is their time.
    Launch = 6,
}

/// Launches that a session takes at a time of those that its VM may make in a second: a hundredth.
pub fn launches_in_portion(rate: u32) -> u32 {
    (rate / 100).max(1)
}

impl Op {
    /// The operation of a number on the wire.
    pub fn from_wire(number: u32) -> Option<Op> {
        let all = [Op::Export, Op::Import, Op::Forget, Op::Lives, Op::Have, Op::Launch];
        all.into_iter().find(|op| *op as u32 == number)
    }
}

/// A request, and an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Message {
    /// Of a request an [`Op`]; of an answer 1 for success, 0 for an error.
    pub word: u32,
    /// A [`Kind`] or a [`Resource`].
    pub kind: u32,
    /// A worker's process, or an amount.
    pub number: u64,
    /// What stands for it in the guest.
    pub token: IpcToken,
    /// What the driver knows it by.
    pub handle: [u8; IPC_HANDLE_SIZE],
}

impl Message {
    /// A message with nothing but its word.
    pub fn new(word: u32) -> Message {
        let (token, handle) = (IpcToken { bytes: [0; 32] }, [0; IPC_HANDLE_SIZE]);
        Message { word, kind: 0, number: 0, token, handle }
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Exchange(Mutex<OwnedFd>);

impl Exchange {
    /// Takes the descriptor that the supervisor has sent.
    pub fn new(socket: OwnedFd) -> Exchange {
        Exchange(Mutex::new(socket))
    }

    /// Shares something; `None` when the session shares too much already.
    pub fn export(&self, kind: Kind, shared: &Shared) -> Option<IpcToken> {
        let message = Message { kind: kind as u32, handle: shared.handle, ..Message::new(Op::Export as u32) };
        self.ask(&message, shared.descriptor.as_ref()).map(|(answer, _)| answer.token)
    }

    /// What another session shares, or this one.
    pub fn import(&self, kind: Kind, token: IpcToken) -> Option<Shared> {
        let message = Message { kind: kind as u32, token, ..Message::new(Op::Import as u32) };
        self.ask(&message, None).map(|(answer, descriptor)| Shared { handle: answer.handle, descriptor })
    }

    /// Ends a token of this session's.
    pub fn forget(&self, token: IpcToken) {
        // One that is not there needs no end.
        let _ = self.ask(&Message { token, ..Message::new(Op::Forget as u32) }, None);
    }

    /// Whether a worker serves a session of this VM.
    pub fn lives(&self, process: u32) -> bool {
        self.ask(&Message { number: process.into(), ..Message::new(Op::Lives as u32) }, None).is_some()
    }

    /// Says how much the session has of a resource; whether the VM may have that much.
    pub fn have(&self, resource: Resource, amount: u64) -> bool {
        let message = Message { kind: resource as u32, number: amount, ..Message::new(Op::Have as u32) };
        self.ask(&message, None).is_some()
    }

    /// Waits until the session may make another portion of the VM's launches.
    pub fn await_launches(&self) {
        // Without a supervisor this process ends.
        let _ = self.ask(&Message::new(Op::Launch as u32), None);
    }

    fn ask(&self, message: &Message, descriptor: Option<&OwnedFd>) -> Option<(Message, Option<OwnedFd>)> {
        let socket = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
        let mut answer = Message::new(0);
        let received = send(&socket, message.as_bytes(), &descriptors)
            .and_then(|()| receive(&socket, answer.as_mut_bytes()))
            .inspect_err(|error| log::error!("the supervisor does not answer: {error}"));
        let (length, fds) = received.ok()?;
        (length == size_of::<Message>() && answer.word == 1).then(|| (answer, fds.into_iter().next()))
    }
}
