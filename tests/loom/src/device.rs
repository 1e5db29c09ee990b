//! The worker's side of the queue: each function does, in the same order, what the one it names does.

use loom::sync::atomic::{fence, AtomicBool, Ordering};
use loom::sync::Mutex;
use vgpu_protocol::session::{
    BatchHeader, ReplyHeader, BATCH_POSTED, COMMAND_OFFSET, COMMAND_SIZE, REPLY_DONE, REPLY_OFFSET, REPLY_SIZE,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::sync::Signal;
use crate::sys::{avail_entry, used_entry, Shared, AVAIL_EVENT, AVAIL_INDEX, USED_EVENT, USED_INDEX};

/// A batch that was taken: its slot, its number, and whether nobody waits for it.
#[derive(Clone, Copy)]
pub struct Taken {
    slot: usize,
    sequence: u64,
    posted: bool,
}

#[derive(Default)]
struct Queue {
    next_avail: u16,
    next_used: u16,
}

/// The worker's ring, with what wakes either side.
#[derive(Default)]
pub struct Device {
    queue: Mutex<Queue>,
    /// Doorbell and wake-up of the dispatcher, which sleeps on both at once.
    pub doorbell: Signal,
    /// Completions.
    pub call: Signal,
    rung: AtomicBool,
    finished: Mutex<Vec<Taken>>,
}

impl Device {
    /// `Ring::pop`.
    pub fn pop(&self, home: &Shared) -> Option<Taken> {
        let mut queue = self.queue.lock().unwrap();
        if home.half(AVAIL_INDEX).load(Ordering::Acquire) == queue.next_avail {
            return None;
        }
        let slot = usize::from(home.half(avail_entry(queue.next_avail)).load(Ordering::Relaxed)) / 2;
        queue.next_avail += 1;
        drop(queue);
        let mut header = [0; size_of::<BatchHeader>()];
        home.read(COMMAND_OFFSET + slot * COMMAND_SIZE, &mut header);
        let header = BatchHeader::read_from_bytes(&header).unwrap();
        Some(Taken { slot, sequence: header.sequence, posted: header.flags & BATCH_POSTED != 0 })
    }

    /// `Ring::complete` and `Ring::complete_in_silence`, with `Queue::add_used` and `Queue::needs_notification` of
    /// virtio-queue.
    pub fn complete(&self, home: &Shared, taken: Taken) {
        let mut written = 0;
        if !taken.posted {
            let at = REPLY_OFFSET + taken.slot * REPLY_SIZE;
            let header = ReplyHeader { sequence: taken.sequence, ..ReplyHeader::default() };
            home.write(at, header.as_bytes());
            home.word(at).store(REPLY_DONE, Ordering::Release);
            written = size_of::<ReplyHeader>() as u32;
        }
        let needed = {
            let mut queue = self.queue.lock().unwrap();
            let entry = used_entry(queue.next_used);
            home.word(entry).store(2 * taken.slot as u32, Ordering::Relaxed);
            home.word(entry + 4).store(written, Ordering::Relaxed);
            queue.next_used += 1;
            home.half(USED_INDEX).store(queue.next_used, Ordering::Release);
            fence(Ordering::SeqCst);
            home.half(USED_EVENT).load(Ordering::Relaxed) == queue.next_used.wrapping_sub(1)
        };
        if needed {
            self.call.set();
        }
    }

    /// `Bell::lane_finished`: another thread has done what a batch waited for.
    pub fn finish(&self, taken: Taken) {
        self.finished.lock().unwrap().push(taken);
        // A store, there: loom would let it come before a swap that has not seen it.
        self.rung.swap(true, Ordering::AcqRel);
        self.doorbell.set();
    }

    /// `Dispatcher::run` until `count` batches have been answered: those that `waits` says so about go to `hand_over`
    /// and come back by [`Device::finish`].
    pub fn run(&self, home: &Shared, count: usize, waits: impl Fn(u64) -> bool, hand_over: impl Fn(Taken)) {
        let mut answered = 0;
        loop {
            if self.rung.swap(false, Ordering::AcqRel) {
                for taken in std::mem::take(&mut *self.finished.lock().unwrap()) {
                    self.complete(home, taken);
                    answered += 1;
                }
            }
            while let Some(taken) = self.pop(home) {
                if waits(taken.sequence) {
                    hand_over(taken);
                } else {
                    self.complete(home, taken);
                    answered += 1;
                }
            }
            if answered == count {
                return;
            }
            if !self.enable_doorbell(home) {
                self.doorbell.wait();
            }
        }
    }

    /// `Queue::enable_notification` of virtio-queue: whether a batch came meanwhile.
    fn enable_doorbell(&self, home: &Shared) -> bool {
        let queue = self.queue.lock().unwrap();
        home.half(AVAIL_EVENT).store(queue.next_avail, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        home.half(AVAIL_INDEX).load(Ordering::Relaxed) != queue.next_avail
    }
}
