//! Events of several processes: a page of counters that all of them map.
//!
//! Recording takes the next number; the event stands for the record taken last, and is complete when
//! that one's work is. A number has a slot, in which is noted how far records have come. With the number
//! goes the process that took it, so that nobody waits for one that has died.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

use rustix::thread::futex;
use rustix::time::Timespec;
use vgpu_engine::memory::{MemoryError, SharedFile, SharedKind, SharedPage};

use super::ipc::lives;

/// Words of the page: the record taken last, a count of completions on which to sleep, then the slots.
const TAKEN: usize = 0;
const PROGRESS: usize = 1;
const SLOTS: usize = 2;
const SLOT_COUNT: u64 = 510;
const PAGE: u64 = 4096;
/// Low bits of a record, below the number: the process. Linux has no larger process ids.
const PROCESS_BITS: u32 = 22;
/// How long a thread sleeps before it looks whether the other process lives.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A record of an event: its number and the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken(u64);

impl Taken {
    fn new(number: u64, process: u32) -> Taken {
        Taken(number << PROCESS_BITS | u64::from(process) & ((1 << PROCESS_BITS) - 1))
    }

    fn number(self) -> u64 {
        self.0 >> PROCESS_BITS
    }

    fn slot(self) -> usize {
        SLOTS + (self.number() % SLOT_COUNT) as usize
    }

    fn lives(self) -> bool {
        lives((self.0 & ((1 << PROCESS_BITS) - 1)) as u32)
    }
}

/// The state of an event that several processes use.
pub(super) struct SharedEvent(SharedPage);

impl SharedEvent {
    /// A new event that was not recorded.
    pub(super) fn create() -> Result<SharedEvent, MemoryError> {
        SharedEvent::open(SharedFile::create(SharedKind::Event, 0, PAGE)?)
    }

    /// An event of another process.
    pub(super) fn open(file: Arc<SharedFile>) -> Result<SharedEvent, MemoryError> {
        SharedPage::map(file).map(SharedEvent)
    }

    pub(super) fn file(&self) -> &Arc<SharedFile> {
        self.0.file()
    }

    /// From now on the event stands for work that [`SharedEvent::complete`] will say is done.
    pub(super) fn take(&self) -> Taken {
        let next = |last| Taken::new(Taken(last).number().wrapping_add(1), std::process::id()).0;
        let mut taken = self.last();
        loop {
            let word = next(taken.0);
            match self.0.word(TAKEN).compare_exchange_weak(taken.0, word, SeqCst, SeqCst) {
                Ok(_) => return Taken(word),
                Err(other) => taken = Taken(other),
            }
        }
    }

    /// The work of a record is done.
    pub(super) fn complete(&self, record: Taken) {
        self.0.word(record.slot()).fetch_max(record.number(), SeqCst);
        self.0.futex(PROGRESS).fetch_add(1, SeqCst);
        // Nothing can go wrong with a word that is mapped.
        let _ = futex::wake(self.0.futex(PROGRESS), futex::Flags::empty(), i32::MAX as u32);
    }

    /// The record that the event stands for now.
    pub(super) fn last(&self) -> Taken {
        Taken(self.0.word(TAKEN).load(SeqCst))
    }

    /// Whether a record's work is done, or never will be because its process has died.
    pub(super) fn is_done(&self, record: Taken) -> bool {
        self.is_complete(record) || !record.lives()
    }

    /// Waits until a record's work is done, unless `cancelled` says that nobody wants that any more.
    pub(super) fn wait(&self, record: Taken, cancelled: impl Fn() -> bool) {
        let progress = self.0.futex(PROGRESS);
        while !cancelled() {
            let seen = progress.load(SeqCst);
            if self.is_complete(record) {
                return;
            }
            let slept = futex::wait(progress, futex::Flags::empty(), seen, Some(&LOOK_EVERY));
            if slept == Err(rustix::io::Errno::TIMEDOUT) && !record.lives() {
                return;
            }
        }
    }

    fn is_complete(&self, record: Taken) -> bool {
        record.number() == 0 || self.0.word(record.slot()).load(SeqCst) >= record.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_event_stands_for_the_last_record_in_all_processes() {
        let event = SharedEvent::create().unwrap();
        let fd = event.file().as_fd().try_clone_to_owned().unwrap();
        let other = SharedEvent::open(SharedFile::open(fd, SharedKind::Event).unwrap()).unwrap();
        assert!(other.is_done(other.last()), "never recorded");
        let (first, second) = (event.take(), event.take());
        assert!(!other.is_done(other.last()));
        event.complete(first);
        assert!(other.is_done(first) && !other.is_done(other.last()));
        let waiting = std::thread::spawn(move || other.wait(other.last(), || false));
        event.complete(second);
        waiting.join().unwrap();
        for _ in 0..3 * SLOT_COUNT {
            event.complete(event.take());
        }
        assert!(event.is_done(event.last()) && event.is_done(first));
    }

    #[test]
    fn a_process_that_died_is_not_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let event = SharedEvent::create().unwrap();
        let record = Taken::new(event.take().number(), child.id());
        event.wait(record, || false);
        assert!(event.is_done(record));
        assert!(event.is_done(Taken::new(record.number(), 0)), "no process at all");
    }
}
