//! Which thread of a block knows of which other thread's work: vector clocks.
//!
//! A barrier of all threads makes everything before it known to everyone, which begins a new interval. Within an
//! interval threads meet at places (a named barrier, a warp's `bar.warp.sync`, a word that is accessed
//! atomically): who comes leaves what it knows there, and who goes on takes along what others have left.

use std::collections::HashMap;

/// Where threads meet other than at a barrier of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::engine) enum Place {
    Barrier(u8),
    Warp(u32),
    /// A word; different ones may be taken for the same, so that there are never many.
    Word(u16),
}

impl Place {
    /// The place of an atomic access, by its generic address.
    pub(in crate::engine) fn word(address: u64) -> Place {
        Place::Word((address >> 2 & 0x3ff) as u16)
    }
}

/// A thread's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// 0: never.
    pub(super) interval: u32,
    pub(super) time: u32,
    pub(super) thread: u16,
}

/// The clocks of a block's threads.
#[derive(Default)]
pub(super) struct Clocks {
    threads: usize,
    pub(super) interval: u32,
    /// Each thread's own time in this interval.
    times: Vec<u32>,
    /// What each thread knows of the others' times, thread by thread; empty until somebody meets.
    known: Vec<u32>,
    places: HashMap<Place, Vec<u32>>,
}

impl Clocks {
    /// Begins a block.
    pub(super) fn start(&mut self, threads: usize) {
        self.threads = threads;
        self.times.resize(threads, 1);
        self.all_meet();
    }

    /// A barrier of all threads.
    pub(super) fn all_meet(&mut self) {
        self.interval += 1;
        self.times.fill(1);
        self.known.clear();
        self.places.clear();
    }

    pub(super) fn now(&self, thread: u16) -> Moment {
        Moment { interval: self.interval, time: self.times[thread as usize], thread }
    }

    /// Whether a thread knows that something has happened.
    pub(super) fn knows(&self, thread: u16, moment: Moment) -> bool {
        if moment.interval != self.interval || moment.thread == thread {
            return true;
        }
        let known = self.known.get(thread as usize * self.threads + moment.thread as usize);
        known.is_some_and(|time| *time >= moment.time)
    }

    /// A thread leaves what it knows.
    pub(super) fn leave(&mut self, thread: u16, place: Place) {
        let (index, threads) = (thread as usize, self.threads);
        let left = self.places.entry(place).or_insert_with(|| vec![0; threads]);
        if let Some(known) = self.known.get(index * threads..(index + 1) * threads) {
            join(left, known);
        }
        left[index] = self.times[index];
        self.times[index] += 1;
    }

    /// Who comes to a place from now on finds nothing there.
    pub(super) fn clear(&mut self, place: Place) {
        self.places.remove(&place);
    }

    /// A thread takes along what others have left.
    pub(super) fn take(&mut self, thread: u16, place: Place) {
        let (index, threads) = (thread as usize, self.threads);
        let Some(left) = self.places.get(&place) else { return };
        if self.known.is_empty() {
            self.known.resize(threads * threads, 0);
        }
        join(&mut self.known[index * threads..(index + 1) * threads], left);
    }
}

fn join(times: &mut [u32], other: &[u32]) {
    for (time, other) in times.iter_mut().zip(other) {
        *time = (*time).max(*other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_known_to_those_who_take_it() {
        let mut clocks = Clocks::default();
        clocks.start(4);
        let before = clocks.now(0);
        assert!(clocks.knows(0, before) && !clocks.knows(1, before));
        clocks.leave(0, Place::Barrier(1));
        let after = clocks.now(0);
        clocks.take(1, Place::Barrier(1));
        assert!(clocks.knows(1, before) && !clocks.knows(1, after) && !clocks.knows(2, before));
        clocks.leave(1, Place::Warp(0));
        clocks.take(2, Place::Warp(0));
        assert!(clocks.knows(2, before), "by way of thread 1");
        clocks.all_meet();
        assert!(clocks.knows(3, after), "everything before a barrier of all");
    }
}
