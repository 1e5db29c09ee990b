//! How long a kernel's blocks take, so that threads are woken only for launches that have work for them: waking one
//! costs its launch some microseconds, and takes the processor from somebody else's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a thread must have to do to be worth waking.
const WORTH: Duration = Duration::from_micros(20);
/// How long a launch may take before threads are woken whatever launches before it took.
pub(super) const LATE: Duration = Duration::from_micros(200);

/// Times of a block in the last launch (the low half) and the one before it, nanoseconds; 0 when not known.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// How many threads beside the first one a launch of so many blocks is worth.
    pub(super) fn helpers(&self, blocks: u64) -> u64 {
        let [before, last] = self.times();
        // One launch may have lost its processor for a while, two in a row hardly.
        let time = if before == 0 { last } else { before.min(last) };
        match time {
            0 => u64::MAX,
            time => (u64::from(time).saturating_mul(blocks) / WORTH.as_nanos() as u64).saturating_sub(1),
        }
    }

    /// Notes that `threads` took `elapsed` for so many blocks.
    pub(super) fn note(&self, blocks: u64, threads: u64, elapsed: Duration) {
        let all = elapsed.as_nanos().saturating_mul(threads.into());
        let time = u32::try_from(all / u128::from(blocks.max(1))).unwrap_or(u32::MAX).max(1);
        let [_, before] = self.times();
        self.0.store(u64::from(before) << 32 | u64::from(time), Relaxed);
    }

    fn times(&self) -> [u32; 2] {
        let both = self.0.load(Relaxed);
        [(both >> 32) as u32, both as u32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_wanted_for_work_that_is_worth_it() {
        let pace = Pace::default();
        assert_eq!(pace.helpers(2), u64::MAX, "nothing is known yet");
        pace.note(8, 1, WORTH);
        assert_eq!([8, 16, 32].map(|blocks| pace.helpers(blocks)), [0, 1, 3]);
        (0..2).for_each(|_| pace.note(8, 2, WORTH));
        assert_eq!(pace.helpers(8), 1, "both worked all the time");
    }

    #[test]
    fn one_launch_that_takes_longer_than_others_does_not_count() {
        let pace = Pace::default();
        let helpers = |time| {
            pace.note(1, 1, time);
            pace.helpers(1)
        };
        let (short, long) = (WORTH / 10, WORTH * 100);
        assert_eq!([short, long, short, long, long, short].map(helpers), [0, 0, 0, 0, 99, 0]);
        (0..2).for_each(|_| pace.note(1, u64::MAX, Duration::MAX));
        assert_eq!(pace.helpers(u64::MAX), u64::MAX / WORTH.as_nanos() as u64 - 1);
        pace.note(0, 0, Duration::ZERO);
        assert_eq!(pace.helpers(1), 0);
    }
}
