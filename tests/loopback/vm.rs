//! A VM in a few lines: a memfd as guest memory, and a vhost-user frontend.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use vgpu_protocol::control::{
    ControlHeader, ControlOp, ControlReply, ControlStatus, MapRange, SessionCreate, SessionMap, CONTROL_QUEUE_SIZE,
};
use vgpu_protocol::session::{ARENA_SIZE, AVAIL_OFFSET, DESC_OFFSET, HOME_SIZE, QUEUE_SIZE, USED_OFFSET};
use vgpu_protocol::API_HASH;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use vmm_sys_util::eventfd::EventFd;
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::{eventually, Backend};

/// Guest-physical start and size of the memory: room for the homes of 63 sessions.
pub const START: u64 = 1 << 32;
pub const SIZE: u64 = 132 << 20;
/// The control queue's buffers: of each slot the request, and behind it the reply.
const REQUESTS: u64 = START + 0x1_0000;
const SLOT: u64 = 0x2_0000;
const REPLY: u64 = 0x1_0000;
/// First guest-physical address that tests use for chunks.
pub const CHUNKS: u64 = START + (32 << 20);

const FEATURES: u64 = 1 << 32 | 1 << 29;

/// Where a virtqueue lies: descriptors, avail ring and used ring.
pub struct Ring {
    pub start: u64,
    pub offsets: [u64; 3],
    pub size: u16,
}

const CONTROL: Ring = Ring { start: START, offsets: [0, 0x1000, 0x2000], size: CONTROL_QUEUE_SIZE };

pub struct Queue {
    pub kick: EventFd,
    pub call: EventFd,
}

impl Queue {
    fn new() -> Queue {
        let make = || EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).unwrap();
        Queue { kick: make(), call: make() }
    }
}

pub struct Vm {
    pub frontend: Frontend,
    pub memory: GuestMemoryMmap,
    pub control: Queue,
    /// Whose process a session's client is said to be.
    pub user: u32,
    next: u16,
    seen: u16,
    /// Lengths of replies that nobody has looked at, by descriptor.
    answers: HashMap<u32, u32>,
}

/// Guest memory as QEMU makes it.
pub fn sealed_memory() -> File {
    let fd = memfd_create("vm", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    file.set_len(SIZE).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
    file
}

pub fn home(queue: u32) -> u64 {
    START + (1 + u64::from(queue)) * HOME_SIZE as u64
}

pub fn arena(queue: u32) -> u64 {
    0x2000_0000_0000 + u64::from(queue) * ARENA_SIZE
}

fn session_ring(number: u32) -> Ring {
    let offsets = [DESC_OFFSET as u64, AVAIL_OFFSET as u64, USED_OFFSET as u64];
    Ring { start: home(number), offsets, size: QUEUE_SIZE }
}

pub fn connect(socket: &Path) -> Frontend {
    let mut frontend = Frontend::connect(socket, 64).unwrap();
    frontend.set_owner().unwrap();
    let offered = frontend.get_features().unwrap();
    let protocol = frontend.get_protocol_features().unwrap();
    assert!(!protocol.contains(VhostUserProtocolFeatures::STATUS), "the crate cannot serve it");
    frontend.set_protocol_features(protocol).unwrap();
    frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    let wanted = FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    assert_eq!(offered & wanted, wanted);
    frontend.set_features(wanted).unwrap();
    frontend
}

pub fn region(file: &File) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: START,
        memory_size: SIZE,
        userspace_addr: START,
        mmap_offset: 0,
        mmap_handle: file.as_raw_fd(),
    }
}

/// Descriptors that a backend holds while it serves a VM without sessions. Between two VMs they are fewer.
pub fn idle_descriptors(backend: &Backend) -> usize {
    let _vm = Vm::start(&backend.socket());
    eventually("the workers end", || backend.workers().is_empty().then_some(()));
    backend.descriptors()
}

impl Vm {
    pub fn start(socket: &Path) -> Vm {
        Vm::with_memory(socket, sealed_memory())
    }

    pub fn with_memory(socket: &Path, file: File) -> Vm {
        let frontend = connect(socket);
        frontend.set_mem_table(&[region(&file)]).unwrap();
        let mapping = MmapRegion::from_file(FileOffset::new(file, 0), SIZE as usize).unwrap();
        let region = GuestRegionMmap::new(mapping, GuestAddress(START)).unwrap();
        let memory = GuestMemoryMmap::from_regions(vec![region]).unwrap();
        let (control, answers) = (Queue::new(), HashMap::new());
        let mut vm = Vm { frontend, memory, control, user: 0, next: 0, seen: 0, answers };
        let control = Queue::new();
        vm.start_ring(0, &CONTROL, 0, &control);
        vm.control = control;
        vm
    }

    fn start_ring(&mut self, index: usize, ring: &Ring, base: u16, queue: &Queue) {
        self.try_start_ring(index, ring, base, queue).unwrap();
    }

    fn try_start_ring(&mut self, index: usize, ring: &Ring, base: u16, queue: &Queue) -> vhost::Result<()> {
        let Ring { size, .. } = *ring;
        let [desc, avail, used] = ring.offsets.map(|offset| ring.start + offset);
        self.frontend.set_vring_num(index, size)?;
        self.frontend.set_vring_base(index, base)?;
        let config = VringConfigData {
            queue_max_size: size,
            queue_size: size,
            flags: 0,
            desc_table_addr: desc,
            avail_ring_addr: avail,
            used_ring_addr: used,
            log_addr: None,
        };
        self.frontend.set_vring_addr(index, &config)?;
        self.frontend.set_vring_kick(index, &queue.kick)?;
        self.frontend.set_vring_call(index, &queue.call)?;
        self.frontend.set_vring_enable(index, true)
    }

    /// Starts a session's ring, at index 0 or where it stopped.
    pub fn start_queue(&mut self, number: u32, base: u16) -> Queue {
        let queue = Queue::new();
        self.start_ring(number as usize, &session_ring(number), base, &queue);
        queue
    }

    /// The same, of a backend that may be out of descriptors.
    pub fn try_start_queue(&mut self, number: u32) -> Option<Queue> {
        let queue = Queue::new();
        self.try_start_ring(number as usize, &session_ring(number), 0, &queue).ok()?;
        Some(queue)
    }

    pub fn stop_queue(&mut self, number: u32) -> u16 {
        u16::try_from(self.frontend.get_vring_base(number as usize).unwrap()).unwrap()
    }

    pub fn restart_control(&mut self, base: u16) {
        let queue = Queue::new();
        self.start_ring(0, &CONTROL, base, &queue);
        self.control = queue;
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    pub fn load(&self, address: u64) -> u32 {
        self.memory.load(GuestAddress(address), Ordering::Acquire).unwrap()
    }

    fn descriptor(&self, table: u64, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.write(table + u64::from(index) * 16, &bytes);
    }

    /// Puts a chain of two descriptors on a ring.
    pub fn offer(&self, ring: &Ring, avail: u16, head: u16, read: (u64, u32), write: (u64, u32)) {
        let [desc, heads, _] = ring.offsets.map(|offset| ring.start + offset);
        self.descriptor(desc, head, read.0, read.1, 1, head + 1);
        self.descriptor(desc, head + 1, write.0, write.1, 2, 0);
        self.write(heads + 4 + u64::from(avail % ring.size) * 2, &head.to_le_bytes());
        self.memory.store(avail.wrapping_add(1), GuestAddress(heads + 2), Ordering::Release).unwrap();
    }

    /// Sends raw bytes to the control queue, in one of 8 slots.
    pub fn post(&mut self, slot: u16, request: &[u8]) {
        let address = REQUESTS + u64::from(slot) * SLOT;
        self.write(address, request);
        let length = u32::try_from(request.len()).unwrap();
        self.offer(&CONTROL, self.next, 2 * slot, (address, length), (address + REPLY, 4096));
        self.control.kick.write(1).unwrap();
        self.next = self.next.wrapping_add(1);
    }

    /// What has come back in a slot, once it has.
    pub fn answer(&mut self, slot: u16) -> Option<Vec<u8>> {
        let used: u16 = self.memory.load(GuestAddress(START + 0x2002), Ordering::Acquire).unwrap();
        while used.wrapping_sub(self.seen) as i16 > 0 {
            let element = START + 0x2004 + u64::from(self.seen % CONTROL_QUEUE_SIZE) * 8;
            self.answers.insert(self.load(element), self.load(element + 4));
            self.seen = self.seen.wrapping_add(1);
        }
        let written = self.answers.remove(&u32::from(2 * slot))?;
        Some(self.read(REQUESTS + u64::from(slot) * SLOT + REPLY, written as usize))
    }

    /// Sends raw bytes to the control queue; what comes back.
    pub fn control_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        self.post(0, request);
        eventually("the control queue's answer", || self.answer(0))
    }

    pub fn control(&mut self, op: ControlOp, queue: u32, body: &[u8]) -> (ControlStatus, Vec<u8>) {
        let header = ControlHeader { op: op as u32, queue };
        let reply = self.control_bytes(&[header.as_bytes(), body].concat());
        let (header, rest) = ControlReply::read_from_prefix(&reply).unwrap();
        assert_eq!(rest.len(), header.bytes as usize);
        (ControlStatus::from_wire(header.status), rest.to_vec())
    }

    pub fn request(queue: u32) -> SessionCreate {
        SessionCreate {
            home: home(queue),
            arena_base: arena(queue),
            arena_size: ARENA_SIZE,
            api_hash: API_HASH,
            pid: std::process::id(),
            uid: 0,
            nice: 0,
            reserved: 0,
        }
    }

    pub fn create(&mut self, queue: u32) -> ControlStatus {
        let request = SessionCreate { uid: self.user, ..Vm::request(queue) };
        self.control(ControlOp::SessionCreate, queue, request.as_bytes()).0
    }

    pub fn destroy(&mut self, queue: u32) -> ControlStatus {
        self.control(ControlOp::SessionDestroy, queue, &[]).0
    }

    pub fn map(&mut self, queue: u32, va: u64, ranges: &[(u64, u64)]) -> ControlStatus {
        let mut body = SessionMap { va, count: u32::try_from(ranges.len()).unwrap(), reserved: 0 }.as_bytes().to_vec();
        for (address, length) in ranges {
            body.extend_from_slice(MapRange { address: *address, length: *length }.as_bytes());
        }
        self.control(ControlOp::SessionMap, queue, &body).0
    }
}
