//! A device for tests: it notes what it is asked and answers as it is told.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::event::EventfdFlags;
use vgpu_protocol::broker::{BrokerOp, BrokerRequest, ChunkRequest, OpenSession};
use vgpu_protocol::control::{
    BackendStatus, ControlHeader, ControlOp, ControlReply, ControlStatus, DeviceConfig, MAGIC, PROTOCOL_VERSION,
};
use vgpu_protocol::session::{ARENA_BASES, ARENA_SIZE, HOME_SIZE};
use vgpu_protocol::API_HASH;
use vgpu_virtio::{Bell, QueueAccess, SharedMemory, Transport, TransportError};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub const SESSIONS: u32 = 3;
pub const BASE: u64 = ARENA_BASES[0];
pub const MIB: u64 = 1 << 20;

/// What happened to the device, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Control(ControlOp, u32),
    OpenQueue(u32),
    CloseQueue(u32),
    Allocate(u64),
    Release(u64),
    Notify(u32),
    ShutDown,
}

/// How control requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    Refuse(ControlOp, ControlStatus),
    Short,
    WrongLength,
    Silence,
    /// Requests about this queue have none until another answer is set.
    Late(u32),
}

pub struct State {
    pub events: Vec<Event>,
    pub answer: Answer,
    next_address: u64,
}

/// The device's remote control; the broker has another copy.
#[derive(Clone)]
pub struct FakeDevice(Arc<Mutex<State>>, DeviceConfig);

impl FakeDevice {
    pub fn new() -> Self {
        let config = DeviceConfig {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            sessions: SESSIONS,
            api_hash: API_HASH,
            features: 0,
            arena_limit: 64 * MIB,
        };
        Self(Arc::new(Mutex::new(State { events: Vec::new(), answer: Answer::Good, next_address: 1 << 32 })), config)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// Takes what happened since the last call.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    /// Waits for an event; all that happened since the last look.
    pub fn await_event(&self, event: &Event) -> Vec<Event> {
        let mut events = self.events();
        while !events.contains(event) {
            std::thread::yield_now();
            events.extend(self.events());
        }
        events
    }

    fn memory(&self, length: u64) -> SharedMemory {
        let mut state = self.state();
        let address = state.next_address;
        state.next_address += length;
        SharedMemory::create(length, address).unwrap()
    }
}

pub fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

impl Transport for FakeDevice {
    fn config(&self) -> &DeviceConfig {
        &self.1
    }

    fn location(&self) -> &str {
        "fake"
    }

    fn sessions(&self) -> u32 {
        SESSIONS
    }

    fn control(&self, request: &[u8], reply: &mut [u8], _limit: Duration) -> Result<usize, TransportError> {
        let (header, _) = ControlHeader::read_from_prefix(request).unwrap();
        let op = ControlOp::from_wire(header.op).unwrap();
        let mut state = self.state();
        state.events.push(Event::Control(op, header.queue));
        while state.answer == Answer::Late(header.queue) {
            drop(state);
            std::thread::yield_now();
            state = self.state();
        }
        let status = match state.answer {
            Answer::Silence => return Err(TransportError::Device("no answer".into())),
            Answer::Short => return Ok(4),
            Answer::Refuse(refused, status) if refused == op => status,
            _ => ControlStatus::Ok,
        };
        let body = match op {
            ControlOp::Status => BackendStatus::new_zeroed().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let extra = u32::from(state.answer == Answer::WrongLength);
        let header = ControlReply { status: status as u32, bytes: body.len() as u32 + extra };
        let bytes = [header.as_bytes(), &body].concat();
        reply[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn open_queue(&self, queue: u32) -> Result<QueueAccess, TransportError> {
        self.state().events.push(Event::OpenQueue(queue));
        let home = self.memory(HOME_SIZE as u64);
        Ok(QueueAccess { home, doorbell: eventfd(), completion: eventfd(), interrupts: false, relay: true })
    }

    fn close_queue(&self, queue: u32, _home: SharedMemory) -> Result<(), TransportError> {
        self.state().events.push(Event::CloseQueue(queue));
        Ok(())
    }

    fn bell(&self) -> Option<Bell> {
        let device = self.clone();
        Some(Box::new(move |queue| device.state().events.push(Event::Notify(queue))))
    }

    fn allocate(&self, length: u64) -> Result<SharedMemory, TransportError> {
        self.state().events.push(Event::Allocate(length));
        Ok(self.memory(length))
    }

    fn release(&self, memory: SharedMemory) -> Result<(), TransportError> {
        self.state().events.push(Event::Release(memory.length()));
        Ok(())
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn check(&self) -> Result<(), TransportError> {
        Ok(())
    }

    fn shut_down(&mut self) {
        self.state().events.push(Event::ShutDown);
    }
}

/// A request with a body.
pub fn request(op: BrokerOp, body: &[u8]) -> Vec<u8> {
    let header = BrokerRequest { op: op as u32, version: PROTOCOL_VERSION };
    [header.as_bytes(), body].concat()
}

pub fn open_request() -> Vec<u8> {
    let open = OpenSession { api_hash: API_HASH, arena_base: BASE, arena_size: ARENA_SIZE };
    request(BrokerOp::Open, open.as_bytes())
}

pub fn map_request(va: u64, length: u64) -> Vec<u8> {
    request(BrokerOp::MapChunk, ChunkRequest { va, length }.as_bytes())
}

pub fn unmap_request(va: u64, length: u64) -> Vec<u8> {
    request(BrokerOp::UnmapChunk, ChunkRequest { va, length }.as_bytes())
}
