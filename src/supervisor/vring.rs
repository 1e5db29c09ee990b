//! Vrings whose changes are told to the session table.
//!
//! vhost-user-backend polls the queues of its own threads and shows a backend only those. Session
//! queues belong to workers instead, so their state (kick and call eventfds, start, stop) is picked
//! up here, where the crate sets it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::{Error as QueueError, QueueT};

use super::memory::VmMemory;

/// What a session queue looks like after a change.
#[derive(Debug)]
pub struct RingState {
    /// Set up, enabled, and with a kick eventfd.
    pub live: bool,
    /// Avail index to go on from, as the frontend said.
    pub index: u16,
    /// VIRTIO_RING_F_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// The guest's doorbell.
    pub kick: Option<OwnedFd>,
    /// The guest's interrupt.
    pub call: Option<OwnedFd>,
}

/// What hears of a vring's changes.
pub trait Observer: Send + Sync {
    /// The ring of queue `index` changed.
    fn changed(&self, index: usize, vring: &ObservedVring);
    /// Its call eventfd was replaced.
    fn call_replaced(&self, index: usize, vring: &ObservedVring);
}

/// The queue's number, and who hears of its changes.
type Observed = Option<(usize, Arc<dyn Observer>)>;

/// A vring with an observer.
#[derive(Clone)]
pub struct ObservedVring {
    inner: VringMutex<VmMemory>,
    observer: Arc<Mutex<Observed>>,
}

thread_local! {
    static MADE: RefCell<Vec<ObservedVring>> = const { RefCell::new(Vec::new()) };
}

/// Runs `make`, which creates a daemon, and returns the vrings that the daemon made for itself.
pub fn collect<T>(make: impl FnOnce() -> T) -> (T, Vec<ObservedVring>) {
    MADE.take();
    let made = make();
    (made, MADE.take())
}

impl ObservedVring {
    /// Names the observer; `index` is the queue's number.
    pub fn observe(&self, index: usize, observer: Arc<dyn Observer>) {
        *self.lock_observer() = Some((index, observer));
    }

    /// Ends the observation: the daemon is being taken down.
    pub fn forget(&self) {
        *self.lock_observer() = None;
    }

    /// The state as a worker needs it; descriptors are duplicates.
    pub fn state(&self) -> io::Result<RingState> {
        let state = self.inner.get_ref();
        let kick = state.get_kick().as_ref().map(|k| k.try_clone()).transpose()?;
        let call = state.get_call().as_ref().map(|c| c.try_clone()).transpose()?;
        let queue = state.get_queue();
        Ok(RingState {
            live: queue.ready() && state.is_enabled() && kick.is_some(),
            index: queue.next_avail(),
            event_idx: queue.event_idx_enabled(),
            kick: kick.map(|k| crate::sys::own(k.into_raw_fd())),
            call: call.map(|c| crate::sys::own(c.into_raw_fd())),
        })
    }

    fn lock_observer(&self) -> MutexGuard<'_, Observed> {
        self.observer.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn tell(&self, event: impl FnOnce(&dyn Observer, usize)) {
        let observer = self.lock_observer().clone();
        if let Some((index, observer)) = observer {
            event(observer.deref(), index);
        }
    }

    fn changed(&self) {
        self.tell(|observer, index| observer.changed(index, self));
    }
}

impl<'a> VringStateGuard<'a, VmMemory> for ObservedVring {
    type G = MutexGuard<'a, VringState<VmMemory>>;
}

impl<'a> VringStateMutGuard<'a, VmMemory> for ObservedVring {
    type G = MutexGuard<'a, VringState<VmMemory>>;
}

impl VringT<VmMemory> for ObservedVring {
    fn new(mem: VmMemory, max_queue_size: u16) -> Result<Self, QueueError> {
        let vring = ObservedVring { inner: VringMutex::new(mem, max_queue_size)?, observer: Arc::default() };
        MADE.with_borrow_mut(|made| made.push(vring.clone()));
        Ok(vring)
    }

    fn set_enabled(&self, enabled: bool) {
        self.inner.set_enabled(enabled);
        self.changed();
    }

    fn set_queue_ready(&self, ready: bool) {
        self.inner.set_queue_ready(ready);
        self.changed();
    }

    fn set_kick(&self, file: Option<File>) {
        self.inner.set_kick(file);
        self.changed();
    }

    fn set_call(&self, file: Option<File>) {
        self.inner.set_call(file);
        self.tell(|observer, index| observer.call_replaced(index, self));
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, VmMemory>>::G {
        self.inner.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, VmMemory>>::G {
        self.inner.get_mut()
    }

    fn add_used(&self, desc_index: u16, len: u32) -> Result<(), QueueError> {
        self.inner.add_used(desc_index, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.inner.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        self.inner.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        self.inner.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        self.inner.needs_notification()
    }

    fn set_queue_info(&self, desc_table: u64, avail_ring: u64, used_ring: u64) -> Result<(), QueueError> {
        self.inner.set_queue_info(desc_table, avail_ring, used_ring)
    }

    fn queue_next_avail(&self) -> u16 {
        self.inner.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.inner.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, idx: u16) {
        self.inner.set_queue_next_used(idx);
    }

    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        self.inner.queue_used_idx()
    }

    fn set_queue_size(&self, num: u16) {
        self.inner.set_queue_size(num);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.inner.set_queue_event_idx(enabled);
    }

    fn read_kick(&self) -> io::Result<bool> {
        // A kick that cannot be read must not end the thread that serves the control queue.
        match self.inner.read_kick() {
            Err(error) => {
                log::debug!("cannot read the control queue's kick: {error}");
                Ok(false)
            }
            enabled => enabled,
        }
    }

    fn set_err(&self, file: Option<File>) {
        self.inner.set_err(file);
    }
}
