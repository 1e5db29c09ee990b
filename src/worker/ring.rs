//! The session's virtqueue, as the device sees it. Only the home can be addressed through it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{fence, AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vgpu_protocol::session::{
    ReplyHeader, AVAIL_OFFSET, COMMAND_SIZE, DESC_OFFSET, HEARTBEAT_OFFSET, QUEUE_SIZE, REPLY_DONE, REPLY_SIZE,
    STATE_OFFSET, STATE_RUNNING, USED_OFFSET,
};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};
use zerocopy::{Immutable, IntoBytes};

/// Most bytes of a batch: what a command slot holds, for any split over descriptors.
const MAX_BATCH: usize = COMMAND_SIZE;

/// A descriptor chain that awaits its reply.
#[derive(Debug)]
pub struct Pending {
    head: u16,
    /// Writable pieces: address and length.
    reply: Vec<(GuestAddress, usize)>,
}

impl Pending {
    /// Room for outputs behind the reply's header, bytes.
    pub fn capacity(&self) -> usize {
        self.room().saturating_sub(size_of::<ReplyHeader>())
    }

    fn room(&self) -> usize {
        self.reply.iter().fold(0usize, |sum, (_, length)| sum.saturating_add(*length)).min(REPLY_SIZE)
    }
}

/// The ring.
pub struct Ring {
    /// The home as a VM's memory, for the crate that knows virtqueues.
    memory: GuestMemoryMmap,
    /// The same.
    region: Arc<GuestRegionMmap>,
    home: GuestAddress,
    queue: Mutex<Queue>,
    /// Copy of the queue's index for looking without the lock.
    next_avail: AtomicU16,
    call: Mutex<Option<File>>,
    stopped: AtomicBool,
    /// Batches whose commands are being run, on any thread.
    active: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Ring {
    /// The ring of a home; it is stopped at first. `None` if the home's address is absurd.
    pub fn new(region: Arc<GuestRegionMmap>) -> Option<Ring> {
        let home = region.start_addr().raw_value();
        let memory = GuestMemoryMmap::from_arc_regions(vec![region.clone()]).ok()?;
        let mut queue = Queue::new(QUEUE_SIZE).ok()?;
        let at = |offset: usize| home.checked_add(offset as u64).map(GuestAddress);
        queue.try_set_desc_table_address(at(DESC_OFFSET)?).ok()?;
        queue.try_set_avail_ring_address(at(AVAIL_OFFSET)?).ok()?;
        queue.try_set_used_ring_address(at(USED_OFFSET)?).ok()?;
        Some(Ring {
            memory,
            region,
            home: GuestAddress(home),
            queue: Mutex::new(queue),
            next_avail: AtomicU16::new(0),
            call: Mutex::default(),
            stopped: AtomicBool::new(true),
            active: AtomicUsize::new(0),
        })
    }

    /// Serves the ring from avail index `index` on.
    pub fn start(&self, index: u16, event_idx: bool, call: Option<OwnedFd>) {
        let mut queue = lock(&self.queue);
        if queue.next_avail() != index {
            queue.set_next_avail(index);
            queue.set_next_used(index);
        }
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        self.next_avail.store(index, Ordering::Relaxed);
        *lock(&self.call) = call.map(File::from);
        self.store(STATE_OFFSET, STATE_RUNNING);
        self.stopped.store(false, Ordering::Release);
    }

    /// Takes no more batches. Returns the index of the next one.
    pub fn stop(&self) -> u16 {
        let queue = lock(&self.queue);
        self.stopped.store(true, Ordering::Release);
        queue.next_avail()
    }

    /// Whether the ring is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Counts a batch whose commands are run from now on, unless the ring is stopped.
    pub fn begin(&self) -> bool {
        let _queue = lock(&self.queue);
        let open = !self.is_stopped();
        if open {
            self.active.fetch_add(1, Ordering::AcqRel);
        }
        open
    }

    /// A batch counted by [`Ring::pop`] or [`Ring::begin`] runs no more.
    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether no batch runs.
    pub fn is_quiet(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }

    /// Replaces the eventfd of completions.
    pub fn set_call(&self, call: Option<OwnedFd>) {
        let call = call.map(File::from);
        let mut current = lock(&self.call);
        *current = call;
        // A completion may have been signalled on the old one just before.
        signal(&mut current);
    }

    /// Whether a batch can be taken; costs one read.
    pub fn has_work(&self) -> bool {
        let address = MemoryRegionAddress(AVAIL_OFFSET as u64 + 2);
        let index: Result<u16, _> = self.region.load(address, Ordering::Acquire);
        !self.is_stopped() && index.is_ok_and(|i| u16::from_le(i) != self.next_avail.load(Ordering::Relaxed))
    }

    /// Takes the next chain and copies what is readable of it into `batch`; it counts as running. A
    /// chain that holds more than a batch may, or points outside the home, yields an empty batch.
    pub fn pop(&self, batch: &mut Vec<u8>) -> Option<Pending> {
        batch.clear();
        let mut queue = lock(&self.queue);
        if self.is_stopped() {
            return None;
        }
        let chain = queue.iter(&self.memory).ok().and_then(|mut iter| iter.next())?;
        self.next_avail.store(queue.next_avail(), Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::AcqRel);
        drop(queue);
        let mut pending = Pending { head: chain.head_index(), reply: Vec::with_capacity(1) };
        for descriptor in chain {
            let length = descriptor.len() as usize;
            if descriptor.is_write_only() {
                pending.reply.push((descriptor.addr(), length));
            } else if self.append(batch, descriptor.addr(), length).is_none() {
                batch.clear();
                break;
            }
        }
        Some(pending)
    }

    fn append(&self, batch: &mut Vec<u8>, address: GuestAddress, length: usize) -> Option<()> {
        let start = batch.len();
        let end = start.checked_add(length).filter(|end| *end <= MAX_BATCH)?;
        batch.resize(end, 0);
        self.region.read_slice(batch.get_mut(start..)?, self.in_home(address)?).ok()
    }

    /// A guest's address as a place in the home, which may lie behind its end.
    fn in_home(&self, address: GuestAddress) -> Option<MemoryRegionAddress> {
        address.checked_offset_from(self.home).map(MemoryRegionAddress)
    }

    /// Says that a batch is done, without a reply.
    pub fn complete_in_silence(&self, pending: &Pending) {
        self.used(pending, 0);
    }

    /// Answers a batch: outputs and header first, then the status word, then the used ring.
    pub fn complete(&self, pending: &Pending, mut header: ReplyHeader, outputs: &[u8]) {
        header.status = 0;
        header.bytes = u32::try_from(outputs.len()).unwrap_or(0);
        let written = self.write_reply(pending, header, outputs).unwrap_or(0);
        self.used(pending, written);
    }

    /// Gives a chain back, with so many bytes written to it.
    fn used(&self, pending: &Pending, written: u32) {
        let needed = {
            let mut queue = lock(&self.queue);
            if let Err(error) = queue.add_used(&self.memory, pending.head, written) {
                log::debug!("used ring: {error}");
            }
            queue.needs_notification(&self.memory).unwrap_or(true)
        };
        if needed {
            self.signal();
        }
    }

    fn write_reply(&self, pending: &Pending, header: ReplyHeader, outputs: &[u8]) -> Option<u32> {
        let total = size_of::<ReplyHeader>() + outputs.len();
        if pending.room() < total {
            return None;
        }
        let mut pieces = header.as_bytes().iter().chain(outputs).copied();
        if let [(address, _)] = pending.reply.as_slice() {
            let at = self.in_home(*address)?;
            self.region.write_slice(header.as_bytes(), at).ok()?;
            let behind = at.checked_add(size_of::<ReplyHeader>() as u64)?;
            self.region.write_slice(outputs, behind).ok()?;
        } else {
            for (address, length) in &pending.reply {
                let piece: Vec<u8> = pieces.by_ref().take(*length).collect();
                self.memory.write_slice(&piece, *address).ok()?;
            }
        }
        self.publish(pending)?;
        u32::try_from(total).ok()
    }

    /// Stores the status word, behind everything else.
    fn publish(&self, pending: &Pending) -> Option<()> {
        let status = REPLY_DONE.to_le_bytes();
        let (first, length) = pending.reply.iter().find(|(_, length)| *length > 0)?;
        if first.0 % 4 == 0 && *length >= status.len() {
            return self.region.store(REPLY_DONE, self.in_home(*first)?, Ordering::Release).ok();
        }
        fence(Ordering::Release);
        let mut rest = status.as_slice();
        for (address, length) in &pending.reply {
            let (head, tail) = rest.split_at(rest.len().min(*length));
            self.memory.write_slice(head, *address).ok()?;
            rest = tail;
        }
        Some(())
    }

    /// Asks for doorbells. Returns whether a batch came meanwhile.
    pub fn enable_doorbell(&self) -> bool {
        lock(&self.queue).enable_notification(&self.memory).unwrap_or(false)
    }

    /// Goes without doorbells while the ring is being looked at.
    pub fn disable_doorbell(&self) {
        let _ = lock(&self.queue).disable_notification(&self.memory);
    }

    /// Shows the client that this process is alive.
    pub fn beat(&self, count: u32) {
        if !self.is_stopped() {
            self.store(HEARTBEAT_OFFSET, count);
        }
    }

    /// Reads a word of the home that the client writes; 0 if the home cannot be read.
    pub fn load(&self, offset: usize) -> u32 {
        self.region.load(MemoryRegionAddress(offset as u64), Ordering::Acquire).unwrap_or(0)
    }

    /// Writes a word of the home, behind everything that was written before.
    pub fn store(&self, offset: usize, value: u32) {
        if self.region.store(value, MemoryRegionAddress(offset as u64), Ordering::Release).is_err() {
            log::debug!("the home is not addressable");
        }
    }

    /// Writes a structure into the home.
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        if self.region.write_slice(value.as_bytes(), MemoryRegionAddress(offset as u64)).is_err() {
            log::debug!("the home is not addressable");
        }
    }

    /// Wakes a client that sleeps.
    pub fn signal(&self) {
        signal(&mut lock(&self.call));
    }
}

fn signal(call: &mut Option<File>) {
    if let Some(call) = call {
        if let Err(error) = call.write(&1u64.to_ne_bytes()) {
            log::debug!("cannot signal a completion: {error}");
        }
    }
}
