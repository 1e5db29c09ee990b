//! The vhost-user device: features, config space and the control queue.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use vgpu_protocol::control::{DeviceConfig, CONTROL_QUEUE_SIZE, MAGIC, PROTOCOL_VERSION};
use vgpu_protocol::session::{ARENA_SIZE, QUEUE_SIZE};
use vgpu_protocol::{DeviceInfo, API_HASH};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringT};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{DescriptorChain, QueueOwnedT, Reader, Writer};
use vm_memory::{GuestAddressSpace, GuestMemoryLoadGuard, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{new_event_consumer_and_notifier, EventConsumer, EventFlag, EventNotifier};
use zerocopy::IntoBytes;

use super::control::{Control, MAX_REQUEST};
use super::memory::{self, VmMemory};
use super::table::SessionTable;
use super::vring::ObservedVring;

/// One connection's device.
pub struct Device {
    table: Arc<SessionTable>,
    memory: VmMemory,
    config: DeviceConfig,
    devices: Arc<[DeviceInfo]>,
    vrings: OnceLock<Vec<ObservedVring>>,
    /// Held while control requests are carried out.
    busy: Mutex<()>,
    exit_fd: Mutex<Option<RawFd>>,
}

type Chain = DescriptorChain<GuestMemoryLoadGuard<GuestMemoryMmap<()>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Device {
    /// A device with `sessions` session queues.
    pub fn new(table: Arc<SessionTable>, memory: VmMemory, sessions: u32, devices: Arc<[DeviceInfo]>) -> Self {
        let config = DeviceConfig {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            sessions,
            api_hash: API_HASH,
            features: 0,
            arena_limit: ARENA_SIZE,
        };
        let (vrings, busy, exit_fd) = Default::default();
        Device { table, memory, config, devices, vrings, busy, exit_fd }
    }

    /// Names the vrings that the daemon made, in the order of queues.
    pub fn attach(&self, vrings: Vec<ObservedVring>) {
        for (index, vring) in vrings.iter().enumerate() {
            vring.observe(index, self.table.clone());
        }
        let _ = self.vrings.set(vrings);
    }

    /// The eventfd that the crate took over and never closes; to be closed after the daemon.
    pub fn take_exit_fd(&self) -> Option<RawFd> {
        lock(&self.exit_fd).take()
    }

    fn serve_control(&self, vring: &ObservedVring) -> Result<(), virtio_queue::Error> {
        let _busy = lock(&self.busy);
        loop {
            vring.disable_notification()?;
            while let Some(chain) = self.next_request(vring)? {
                let head = chain.head_index();
                let written = self.answer(chain);
                vring.add_used(head, written)?;
                if vring.needs_notification()? {
                    if let Err(error) = vring.signal_used_queue() {
                        log::debug!("cannot signal the control queue: {error}");
                    }
                }
            }
            if !vring.enable_notification()? {
                return Ok(());
            }
        }
    }

    fn next_request(&self, vring: &ObservedVring) -> Result<Option<Chain>, virtio_queue::Error> {
        let mut state = vring.get_mut();
        if !state.is_enabled() {
            return Ok(None);
        }
        let mut iter = state.get_queue_mut().iter(self.memory.memory())?;
        Ok(iter.next())
    }

    /// Carries out the request of a chain; returns the number of bytes written.
    fn answer(&self, chain: Chain) -> u32 {
        let memory = self.memory.memory();
        let mut request = Vec::new();
        let read = Reader::new(&*memory, chain.clone()).ok().and_then(|reader| {
            let mut limited = io::Read::take(reader, MAX_REQUEST as u64 + 1);
            io::Read::read_to_end(&mut limited, &mut request).ok()
        });
        if read.is_none() {
            request.clear();
        }
        let control = Control {
            table: &self.table,
            vrings: self.vrings.get().map_or(&[], Vec::as_slice),
            devices: &self.devices,
        };
        let reply = control.answer(&request);
        let written = Writer::new(&*memory, chain).ok().and_then(|mut writer| {
            let fits = writer.available_bytes().min(reply.len());
            let part = reply.get(..fits)?;
            io::Write::write_all(&mut writer, part).ok().map(|()| fits)
        });
        written.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = ObservedVring;

    fn num_queues(&self) -> usize {
        1 + self.config.sessions as usize
    }

    fn max_queue_size(&self) -> usize {
        usize::from(QUEUE_SIZE.max(CONTROL_QUEUE_SIZE).max(1024))
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        // Not STATUS: the crate ends the connection at GET_STATUS.
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let start = offset as usize;
        let mut bytes = vec![0; size as usize];
        for (to, from) in bytes.iter_mut().zip(self.config.as_bytes().iter().skip(start)) {
            *to = *from;
        }
        bytes
    }

    fn update_memory(&self, memory: VmMemory) -> io::Result<()> {
        memory::check(&memory).inspect_err(|error| log::error!("{error}"))
    }

    /// Only the control queue is polled here; workers own the others.
    fn queues_per_thread(&self) -> Vec<u64> {
        vec![1]
    }

    fn exit_event(&self, _thread_index: usize) -> Option<(EventConsumer, EventNotifier)> {
        let pair = new_event_consumer_and_notifier(EventFlag::CLOEXEC | EventFlag::NONBLOCK);
        let pair = pair.inspect_err(|error| log::error!("cannot make an eventfd: {error}")).ok()?;
        *lock(&self.exit_fd) = Some(pair.0.as_raw_fd());
        Some(pair)
    }

    /// Session rings have stopped when the crate marked them so; the control queue's thread may
    /// still be at work.
    fn stop_vring(&self, index: u32) -> io::Result<()> {
        if index == 0 {
            let _idle = lock(&self.busy);
            if let Some(vring) = self.vrings.get().and_then(|v| v.first()) {
                self.table.control_stopped(vring.queue_next_avail());
            }
        }
        Ok(())
    }

    /// Never an error: that would end the thread and leave the queue dead.
    fn handle_event(&self, event: u16, _set: EventSet, vrings: &[ObservedVring], _thread: usize) -> io::Result<()> {
        if let (0, Some(vring)) = (event, vrings.first()) {
            if let Err(error) = self.serve_control(vring) {
                log::debug!("control queue: {error}");
            }
        }
        Ok(())
    }
}
