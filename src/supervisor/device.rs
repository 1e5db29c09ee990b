//! The vhost-user device: features, config space and the control queue.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};

use vgpu_protocol::control::{DeviceConfig, CONTROL_QUEUE_SIZE, MAGIC, PROTOCOL_VERSION};
use vgpu_protocol::session::{ARENA_SIZE, QUEUE_SIZE};
use vgpu_protocol::{DeviceInfo, API_HASH};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringT};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{new_event_consumer_and_notifier, EventConsumer, EventFlag, EventNotifier};
use zerocopy::IntoBytes;

use super::memory::{self, VmMemory};
use super::requests::Requests;
use super::table::SessionTable;
use super::vring::ObservedVring;

/// One connection's device.
pub struct Device {
    table: Arc<SessionTable>,
    config: DeviceConfig,
    requests: Arc<Requests>,
    exit_fd: Mutex<Option<RawFd>>,
}

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
        let requests = Requests::new(table.clone(), memory, devices);
        Device { table, config, requests, exit_fd: Mutex::default() }
    }

    /// Names the vrings that the daemon made, in the order of queues.
    pub fn attach(&self, vrings: Vec<ObservedVring>) {
        for (index, vring) in vrings.iter().enumerate() {
            vring.observe(index, self.table.clone());
        }
        self.requests.attach(vrings);
    }

    /// The eventfd that the crate took over and never closes; to be closed after the daemon.
    pub fn take_exit_fd(&self) -> Option<RawFd> {
        lock(&self.exit_fd).take()
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

    /// Session rings have stopped when the crate marked them so; requests of the control queue may
    /// still be under way.
    fn stop_vring(&self, index: u32) -> io::Result<()> {
        if index == 0 {
            self.requests.settle();
            if let Some(vring) = self.requests.control_ring() {
                self.table.control_stopped(vring.queue_next_avail());
            }
        }
        Ok(())
    }

    /// Never an error: that would end the thread and leave the queue dead.
    fn handle_event(&self, event: u16, _set: EventSet, vrings: &[ObservedVring], _thread: usize) -> io::Result<()> {
        if let (0, Some(vring)) = (event, vrings.first()) {
            if let Err(error) = self.requests.serve(vring) {
                log::debug!("control queue: {error}");
            }
        }
        Ok(())
    }
}
