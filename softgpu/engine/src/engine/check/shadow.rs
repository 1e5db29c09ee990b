//! What has happened to each byte of a block's shared memory.

use super::clocks::{Clocks, Moment, Place};

/// An access to a byte.
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    at: Moment,
    /// Atomic or volatile: such accesses do not race with each other.
    strong: bool,
    /// Index of the micro-operation.
    op: u32,
}

/// A byte's last write and its last reads since then, by two different threads.
#[derive(Clone, Copy, Default)]
struct Byte {
    written: Event,
    read: [Event; 2],
    /// What was written, where that is known.
    value: Option<u8>,
}

/// An access of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) address: u64,
    pub(super) bytes: u32,
    pub(super) thread: u16,
    pub(super) op: u32,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) strong: bool,
    /// What is written, where that is known.
    pub(super) value: Option<u64>,
}

/// What is wrong with an access to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nobody has written what is read.
    Uninitialised,
    /// A write and another access, by different threads and without anything between them that orders them: of
    /// the other one, whether it writes, the micro-operation and the thread.
    Race { writes: bool, op: u32, thread: u16 },
}

/// Shared memory's history. Intervals never repeat, so that nothing has to be cleared for the next block.
#[derive(Default)]
pub(in crate::engine) struct Shadow {
    bytes: Vec<Byte>,
    clocks: Clocks,
    /// The interval in which the block began.
    first: u32,
}

impl Shadow {
    /// Begins a block.
    pub(in crate::engine) fn start(&mut self, threads: u32, bytes: u32) {
        self.clocks.start(threads as usize);
        self.first = self.clocks.interval;
        if self.bytes.len() < bytes as usize {
            self.bytes.resize(bytes as usize, Byte::default());
        }
    }

    /// A barrier of all threads was passed.
    pub(in crate::engine) fn all_meet(&mut self) {
        self.clocks.all_meet();
    }

    /// Lanes of a warp have come to a place.
    pub(in crate::engine) fn leave(&mut self, warp: u32, lanes: u32, place: Place) {
        threads(warp, lanes).for_each(|thread| self.clocks.leave(thread, place));
    }

    /// Lanes of a warp go on from a place.
    pub(in crate::engine) fn take(&mut self, warp: u32, lanes: u32, place: Place) {
        threads(warp, lanes).for_each(|thread| self.clocks.take(thread, place));
    }

    /// A named barrier begins anew.
    pub(in crate::engine) fn clear(&mut self, place: Place) {
        self.clocks.clear(place);
    }

    /// Notes an access that lies in shared memory, and says what is wrong with it.
    pub(super) fn access(&mut self, access: Access) -> Option<Problem> {
        let Access { address, bytes, thread, op, reads, writes, strong, value } = access;
        let now = Event { at: self.clocks.now(thread), strong, op };
        let start = usize::try_from(address).ok()?;
        let first = self.first;
        let mut problem = None;
        for (n, byte) in self.bytes.get_mut(start..start + bytes as usize)?.iter_mut().enumerate() {
            let unordered = |event: &Event| !(self.clocks.knows(thread, event.at) || strong && event.strong);
            let race = |event: &Event, writes| Problem::Race { writes, op: event.op, thread: event.at.thread };
            let is_initialised = byte.written.at.interval >= first && first != 0;
            let new = value.map(|value| (value >> (8 * n)) as u8);
            // Who writes what is there already disturbs nobody.
            let silent = is_initialised && new.is_some() && new == byte.value;
            if reads {
                if !is_initialised {
                    problem = problem.or(Some(Problem::Uninitialised));
                } else if unordered(&byte.written) {
                    problem = problem.or(Some(race(&byte.written, true)));
                }
                if byte.read[0].at.thread != thread {
                    byte.read[1] = byte.read[0];
                }
                byte.read[0] = now;
            }
            if writes {
                if !silent {
                    if unordered(&byte.written) {
                        problem = problem.or(Some(race(&byte.written, true)));
                    } else if let Some(read) = byte.read.iter().find(|event| unordered(event)) {
                        problem = problem.or(Some(race(read, false)));
                    }
                }
                *byte = Byte { written: now, read: [Event::default(); 2], value: new };
            }
        }
        problem
    }
}

/// Lanes of a warp as threads of the block.
fn threads(warp: u32, lanes: u32) -> impl Iterator<Item = u16> {
    (0..32).filter(move |lane| lanes >> lane & 1 != 0).map(move |lane| (warp * 32 + lane) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Access =
        Access { address: 8, bytes: 4, thread: 0, op: 1, reads: true, writes: false, strong: false, value: None };
    const STORE: Access = Access { op: 2, reads: false, writes: true, value: Some(7), ..LOAD };

    fn shadow() -> Shadow {
        let mut shadow = Shadow::default();
        shadow.start(64, 64);
        shadow
    }

    fn by(thread: u16, access: Access) -> Access {
        Access { thread, ..access }
    }

    #[test]
    fn reads_need_a_write_before_them() {
        let mut shadow = shadow();
        assert_eq!(shadow.access(LOAD), Some(Problem::Uninitialised));
        assert_eq!(shadow.access(STORE), None);
        assert_eq!(shadow.access(LOAD), None);
        assert_eq!(shadow.access(Access { address: 10, ..LOAD }), Some(Problem::Uninitialised), "half of it");
        shadow.start(64, 64);
        assert_eq!(shadow.access(LOAD), Some(Problem::Uninitialised), "another block has memory of its own");
    }

    #[test]
    fn accesses_of_two_threads_need_a_barrier_between_them_if_one_writes() {
        let mut shadow = shadow();
        let race = |writes, op, thread| Some(Problem::Race { writes, op, thread });
        shadow.access(STORE);
        assert_eq!(shadow.access(by(1, LOAD)), race(true, 2, 0));
        let other = Access { value: Some(8), ..by(2, STORE) };
        assert_eq!(shadow.access(other), race(true, 2, 0));
        shadow.all_meet();
        assert_eq!(shadow.access(by(1, LOAD)), None);
        assert_eq!(shadow.access(by(3, LOAD)), None, "two may read");
        assert_eq!(shadow.access(by(3, STORE)), race(false, 1, 1), "but not while one writes");
        shadow.all_meet();
        assert_eq!(shadow.access(by(4, STORE)), None);
        assert_eq!(shadow.access(by(5, STORE)), None, "what is there already");
    }

    #[test]
    fn threads_may_meet_in_other_ways() {
        let mut shadow = shadow();
        shadow.access(STORE);
        shadow.leave(0, 1, Place::Warp(0));
        shadow.take(0, 2, Place::Warp(0));
        assert_eq!(shadow.access(by(1, LOAD)), None);
        assert!(shadow.access(by(2, LOAD)).is_some(), "thread 2 was not there");
        let atomic = Access { strong: true, writes: true, value: None, ..LOAD };
        shadow.all_meet();
        assert_eq!(shadow.access(by(7, atomic)), None);
        assert_eq!(shadow.access(by(40, atomic)), None);
        assert!(shadow.access(by(1, LOAD)).is_some(), "a load that is not atomic");
    }
}
