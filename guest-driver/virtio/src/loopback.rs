//! The transport without a VM: this process is the frontend of the backend's vhost-user socket, and
//! "guest memory" is made of memfds, each a memory region of its own at a made-up address.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use vgpu_protocol::control::{DeviceConfig, CONTROL_QUEUE_SIZE};
use vgpu_protocol::session;
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;
use zerocopy::FromBytes;

use crate::ring::{self, Bell, ControlQueue, CONTROL_SIZE};
use crate::sys::{Mapping, SMALL_PAGE};
use crate::{QueueAccess, SharedMemory, Transport, TransportError};

/// Guest-physical address of the control memory; homes follow it, chunks come after those.
const CONTROL_ADDRESS: u64 = 1 << 32;
const HOMES_ADDRESS: u64 = 2 << 32;
const CHUNKS_ADDRESS: u64 = 3 << 32;

/// Virtio features that both sides must have (virtio 1.3, 6): VERSION_1 and EVENT_IDX.
const FEATURES: u64 = 1 << 32 | 1 << 29;
/// Longest wait for the answer to a message: the backend may have to wait for a session's worker.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);
const PROTOCOL_FEATURES: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::CONFIG)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS);

/// A connection to a `vhost-user-vgpu` socket.
pub struct Loopback {
    memory: Mutex<Memory>,
    config: DeviceConfig,
    sessions: u32,
    control: ControlQueue,
    bell: ControlBell,
}

/// The connection, and what memory it was told of.
struct Memory {
    link: Link,
    /// Regions that the backend can hold, and how many it does hold.
    slots: u64,
    regions: u64,
    next_chunk: u64,
}

impl Loopback {
    /// Connects to the backend's socket and starts its control queue.
    pub fn connect(socket: &Path) -> Result<Self, TransportError> {
        let stream = UnixStream::connect(socket).map_err(TransportError::set_up(format_args!(
            "cannot connect to the backend's socket {}: is vhost-user-vgpu running there",
            socket.display()
        )))?;
        Self::start(stream)
    }

    /// Starts the control queue of the backend that `stream` is connected to.
    pub fn start(stream: UnixStream) -> Result<Self, TransportError> {
        // A backend that hangs must not hang the broker.
        stream.set_read_timeout(Some(MESSAGE_TIMEOUT)).map_err(TransportError::set_up("socket timeout"))?;
        let socket = stream.try_clone().map_err(TransportError::set_up("socket"))?;
        let mut link = Link { frontend: Frontend::from_stream(stream, u64::from(u8::MAX)) };
        let (config, queues) = link.negotiate()?;
        let slots = link.call("memory slots", |f| f.get_max_mem_slots())?;

        let memory = SharedMemory::create(CONTROL_SIZE.next_multiple_of(SMALL_PAGE) as u64, CONTROL_ADDRESS)?;
        let mapping = Mapping::new(memory.fd(), 0, memory.length() as usize)
            .map_err(TransportError::set_up("cannot map the control queue's memory"))?;
        link.add_region(&memory)?;
        let bell = ControlBell { kick: eventfd()?, call: eventfd()?, socket };
        let rings = Rings { desc: ring::DESC_OFFSET, avail: ring::AVAIL_OFFSET, used: ring::USED_OFFSET };
        link.start_queue(0, CONTROL_QUEUE_SIZE, CONTROL_ADDRESS, &rings, &bell.kick, &bell.call)?;
        Ok(Self {
            control: ControlQueue::new(mapping, CONTROL_ADDRESS),
            sessions: config.sessions.min(queues.saturating_sub(1)),
            config,
            bell,
            memory: Mutex::new(Memory { link, slots, regions: 1, next_chunk: CHUNKS_ADDRESS }),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn add(&mut self, length: u64, address: u64) -> Result<SharedMemory, TransportError> {
        if self.regions >= self.slots {
            return Err(TransportError::NoMemory(format!("the backend holds {} memory regions at most", self.slots)));
        }
        let memory = SharedMemory::create(length, address)?;
        self.link.add_region(&memory)?;
        self.regions += 1;
        Ok(memory)
    }
}

impl Transport for Loopback {
    fn config(&self) -> &DeviceConfig {
        &self.config
    }

    fn location(&self) -> &str {
        "loopback"
    }

    fn sessions(&self) -> u32 {
        self.sessions
    }

    fn control(&self, request: &[u8], reply: &mut [u8], limit: Duration) -> Result<usize, TransportError> {
        self.control.exchange(request, reply, limit, &self.bell)
    }

    fn open_queue(&self, queue: u32) -> Result<QueueAccess, TransportError> {
        let size = session::HOME_SIZE as u64;
        let address = HOMES_ADDRESS + u64::from(queue) * size;
        let mut memory = self.memory();
        let home = memory.add(size, address)?;
        let (doorbell, completion) = (eventfd()?, eventfd()?);
        let rings = Rings { desc: session::DESC_OFFSET, avail: session::AVAIL_OFFSET, used: session::USED_OFFSET };
        memory.link.start_queue(queue, session::QUEUE_SIZE, address, &rings, &doorbell, &completion)?;
        Ok(QueueAccess { home, doorbell, completion, interrupts: true, relay: false })
    }

    fn close_queue(&self, queue: u32, home: SharedMemory) -> Result<(), TransportError> {
        self.memory().link.stop_queue(queue)?;
        self.release(home)
    }

    fn bell(&self) -> Option<crate::Bell> {
        None
    }

    fn allocate(&self, length: u64) -> Result<SharedMemory, TransportError> {
        let mut memory = self.memory();
        let address = memory.next_chunk;
        let next = address.checked_add(length).filter(|end| *end < 1 << 62);
        memory.next_chunk = next.ok_or_else(|| TransportError::NoMemory("the address space is used up".into()))?;
        memory.add(length, address)
    }

    fn release(&self, released: SharedMemory) -> Result<(), TransportError> {
        let mut memory = self.memory();
        memory.link.remove_region(&released)?;
        memory.regions -= 1;
        Ok(())
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.socket.as_fd())
    }

    fn check(&self) -> Result<(), TransportError> {
        self.bell.check()
    }

    fn shut_down(&mut self) {
        // The backend ends everything when the connection closes.
    }
}

/// The control queue's eventfds, and the socket that tells when the backend goes.
struct ControlBell {
    kick: OwnedFd,
    call: OwnedFd,
    socket: UnixStream,
}

impl Bell for ControlBell {
    fn ring(&self) {
        // It can only fail when the counter is full, and then the device has its kick.
        let _ = rustix::io::write(&self.kick, &1u64.to_ne_bytes());
    }

    fn wait(&self, limit: Duration) {
        let mut fds = [PollFd::new(&self.call, PollFlags::IN), PollFd::new(&self.socket, PollFlags::RDHUP)];
        let limit = limit.try_into().ok();
        let _ = rustix::event::poll(&mut fds, limit.as_ref());
        let _ = rustix::io::read(&self.call, &mut [0u8; 8]);
    }

    fn check(&self) -> Result<(), TransportError> {
        // What there is to read may be an answer that another thread waits for.
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let _ = rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default()));
        match fds[0].revents().is_empty() {
            true => Ok(()),
            false => Err(TransportError::Device("the backend closed the connection".into())),
        }
    }
}

/// Offsets of a queue's parts from the start of its memory.
struct Rings {
    desc: usize,
    avail: usize,
    used: usize,
}

/// The vhost-user protocol, as far as it is needed here.
struct Link {
    frontend: Frontend,
}

impl Link {
    fn call<T>(
        &mut self,
        what: &str,
        request: impl FnOnce(&mut Frontend) -> vhost::Result<T>,
    ) -> Result<T, TransportError> {
        request(&mut self.frontend).map_err(|error| TransportError::Device(format!("vhost-user, {what}: {error}")))
    }

    /// Agrees on features; gives the config space and the number of queues.
    fn negotiate(&mut self) -> Result<(DeviceConfig, u32), TransportError> {
        self.call("owner", |f| f.set_owner())?;
        let offered = self.call("features", |f| f.get_features())?;
        let wanted = FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        if offered & wanted != wanted {
            return Err(TransportError::SetUp(format!(
                "the socket's backend lacks virtio features {:#x}: is it a vhost-user-vgpu?",
                wanted & !offered
            )));
        }
        let protocol = self.call("protocol features", |f| f.get_protocol_features())?;
        if !protocol.contains(PROTOCOL_FEATURES) {
            return Err(TransportError::SetUp(format!(
                "the backend lacks the vhost-user features {:?}",
                PROTOCOL_FEATURES.difference(protocol)
            )));
        }
        let acked = PROTOCOL_FEATURES | (protocol & VhostUserProtocolFeatures::REPLY_ACK);
        self.call("protocol features", |f| f.set_protocol_features(acked))?;
        if acked.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        let queues = self.call("queue number", |f| f.get_queue_num())?;
        let config = self.read_config()?;
        self.call("features", |f| f.set_features(wanted))?;
        Ok((config, u32::try_from(queues).unwrap_or(0)))
    }

    fn read_config(&mut self) -> Result<DeviceConfig, TransportError> {
        let size = size_of::<DeviceConfig>();
        let (_, bytes) =
            self.call("config", |f| f.get_config(0, size as u32, VhostUserConfigFlags::WRITABLE, &vec![0; size]))?;
        DeviceConfig::read_from_bytes(&bytes)
            .map_err(|_| TransportError::Device("vhost-user, config: the reply has the wrong size".into()))
    }

    fn add_region(&mut self, memory: &SharedMemory) -> Result<(), TransportError> {
        self.call("memory region", |f| f.add_mem_region(&region(memory)).map(drop))
    }

    fn remove_region(&mut self, memory: &SharedMemory) -> Result<(), TransportError> {
        self.call("memory region", |f| f.remove_mem_region(&region(memory)))
    }

    /// Configures and enables a queue whose memory is a region at `address`, at ring index 0.
    fn start_queue(
        &mut self,
        queue: u32,
        size: u16,
        address: u64,
        rings: &Rings,
        kick: &OwnedFd,
        call: &OwnedFd,
    ) -> Result<(), TransportError> {
        let index = queue as usize;
        let addresses = VringConfigData {
            queue_max_size: size,
            queue_size: size,
            flags: 0,
            desc_table_addr: address + rings.desc as u64,
            used_ring_addr: address + rings.used as u64,
            avail_ring_addr: address + rings.avail as u64,
            log_addr: None,
        };
        let (kick, call) = (shared_eventfd(kick)?, shared_eventfd(call)?);
        self.call("queue", |f| {
            f.set_vring_num(index, size)?;
            f.set_vring_addr(index, &addresses)?;
            f.set_vring_base(index, 0)?;
            f.set_vring_call(index, &call)?;
            f.set_vring_kick(index, &kick)?;
            f.set_vring_enable(index, true)?;
            // Its reply shows that everything before it was dealt with.
            f.get_features().map(drop)
        })
    }

    fn stop_queue(&mut self, queue: u32) -> Result<(), TransportError> {
        self.call("queue", |f| {
            f.set_vring_enable(queue as usize, false)?;
            f.get_vring_base(queue as usize).map(drop)
        })
    }
}

/// The region of a piece of memory. Its address in "the frontend" is the guest-physical one: only
/// translations use it.
fn region(memory: &SharedMemory) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: memory.address(),
        memory_size: memory.length(),
        userspace_addr: memory.address(),
        mmap_offset: 0,
        mmap_handle: memory.fd.as_raw_fd(),
    }
}

fn eventfd() -> Result<OwnedFd, TransportError> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| TransportError::NoMemory(format!("eventfd: {error}")))
}

/// The same eventfd in the type that the vhost crate takes.
fn shared_eventfd(fd: &OwnedFd) -> Result<EventFd, TransportError> {
    let copy = fd.try_clone().map_err(|error| TransportError::NoMemory(format!("eventfd: {error}")))?;
    Ok(crate::sys::into_eventfd(copy))
}
