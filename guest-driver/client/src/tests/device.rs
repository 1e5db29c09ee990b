//! A broker and a worker for tests: threads of this process that speak the other side of the protocol.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};
use rustix::net::{
    accept, bind, listen, recvmsg, sendmsg, socket, AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType,
};
use vgpu_protocol::broker::{BrokerOp, BrokerReply, BrokerRequest, SessionOpened};
use vgpu_protocol::session::{
    BatchHeader, CommandHeader, ReplyHeader, AVAIL_OFFSET, COMMAND_OFFSET, COMMAND_SIZE, HEARTBEAT_OFFSET, HOME_SIZE,
    QUEUE_SIZE, REPLY_DONE, REPLY_OFFSET, REPLY_SIZE, USED_OFFSET,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::broker::Broker;
use crate::sys::Shared;
use crate::wait::tests::{map_home, test_memory};

/// A batch as the device sees it.
pub struct Batch {
    pub slot: usize,
    pub header: BatchHeader,
    /// Opcode and payload of each command.
    pub commands: Vec<(u16, Vec<u8>)>,
}

/// The device's end of a queue.
pub struct Device {
    pub home: Shared,
    avail: u16,
    used: u16,
}

impl Device {
    fn new(memory: &OwnedFd) -> Self {
        Device { home: map_home(memory.as_fd()), avail: 0, used: 0 }
    }

    /// Waits for the next batch.
    pub fn next(&mut self) -> Batch {
        while self.home.load_u16(AVAIL_OFFSET + 2) == self.avail {
            self.beat();
            std::thread::yield_now();
        }
        let head = self.home.load_u16(AVAIL_OFFSET + 4 + 2 * usize::from(self.avail % QUEUE_SIZE));
        self.avail = self.avail.wrapping_add(1);
        self.read(usize::from(head / 2))
    }

    /// Shows that the worker lives.
    pub fn beat(&self) {
        self.home.store_u32(HEARTBEAT_OFFSET, self.home.load_u32(HEARTBEAT_OFFSET).wrapping_add(1));
    }

    fn read(&self, slot: usize) -> Batch {
        let mut bytes = vec![0; COMMAND_SIZE];
        self.home.read(COMMAND_OFFSET + slot * COMMAND_SIZE, &mut bytes);
        let (header, rest) = BatchHeader::read_from_prefix(&bytes).unwrap();
        let mut rest = &rest[..header.bytes as usize];
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let (command, behind) = CommandHeader::read_from_prefix(rest).unwrap();
            let (payload, next) = behind.split_at(command.length as usize);
            commands.push((command.opcode, payload.to_vec()));
            rest = next;
        }
        assert_eq!(commands.len(), header.count as usize);
        Batch { slot, header, commands }
    }

    /// Writes a reply as it is told, without making it valid.
    pub fn write_reply(&self, slot: usize, header: ReplyHeader, body: &[u8]) {
        let at = REPLY_OFFSET + slot * REPLY_SIZE;
        self.home.write(at + size_of::<ReplyHeader>(), body);
        self.home.write(at + 4, &header.as_bytes()[4..]);
        self.home.store_u32(at, header.status);
    }

    /// Puts a descriptor into the used ring.
    pub fn use_head(&mut self, head: u32) {
        let entry = [head.to_le_bytes(), (REPLY_SIZE as u32).to_le_bytes()].concat();
        self.home.write(USED_OFFSET + 4 + 8 * usize::from(self.used % QUEUE_SIZE), &entry);
        self.used = self.used.wrapping_add(1);
        self.home.store_u16(USED_OFFSET + 2, self.used);
    }

    /// Answers a batch as a good device does.
    pub fn answer(&mut self, batch: &Batch, header: ReplyHeader, body: &[u8]) {
        let header =
            ReplyHeader { status: REPLY_DONE, sequence: batch.header.sequence, bytes: body.len() as u32, ..header };
        self.write_reply(batch.slot, header, body);
        self.use_head(2 * batch.slot as u32);
    }
}

/// Starts a broker for one client whose device `worker` plays; the client's connection to it.
pub fn connect(worker: impl FnOnce(Device) + Send + 'static) -> Broker {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("vgpu-client-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = std::env::temp_dir().join(name);
    let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    let (ready, home) = channel();
    std::thread::spawn(move || serve(accept(listener).unwrap(), ready));
    std::thread::spawn(move || {
        if let Ok(memory) = home.recv_timeout(Duration::from_secs(10)) {
            worker(Device::new(&memory));
        }
    });
    let broker = Broker::connect_to(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    broker
}

fn serve(client: OwnedFd, ready: Sender<OwnedFd>) {
    let mut bytes = [0; 256];
    loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let length =
            recvmsg(&client, &mut parts, &mut RecvAncillaryBuffer::default(), RecvFlags::empty()).unwrap().bytes;
        if length == 0 {
            return;
        }
        let (request, body) = BrokerRequest::read_from_prefix(&bytes[..length]).unwrap();
        match BrokerOp::from_wire(request.op) {
            Some(BrokerOp::Open) => {
                let home = test_memory(HOME_SIZE);
                let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
                let opened = SessionOpened { home_offset: 0, home_address: 0x10_0000, queue: 1, interrupts: 0 };
                reply(&client, opened.as_bytes(), &[&home, &event(), &event()]);
                ready.send(home).unwrap();
            }
            Some(BrokerOp::MapChunk) => {
                let length = u64::read_from_bytes(&body[8..16]).unwrap() as usize;
                reply(&client, &[], &[&test_memory(length)]);
            }
            _ => reply(&client, &[], &[]),
        }
    }
}

fn reply(client: &OwnedFd, body: &[u8], descriptors: &[&OwnedFd]) {
    let header = BrokerReply { error: 0, bytes: body.len() as u32 };
    let borrowed: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    sendmsg(client, &[IoSlice::new(header.as_bytes()), IoSlice::new(body)], &mut ancillary, SendFlags::empty())
        .unwrap();
}
