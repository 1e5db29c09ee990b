//! A burst and a rate, by the generic cell rate algorithm (ITU-T I.371), in memory that processes may share.

use std::sync::atomic::{AtomicU64, Ordering};

use log::Level;
use rustix::time::{clock_gettime, ClockId};

const SECOND: u64 = 1_000_000_000;

/// So many lines at once, and so many a second.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Lines at once.
    pub burst: u64,
    /// Lines a second.
    pub rate: u64,
}

/// What processes that are limited together share: memory that begins as zeros.
#[repr(C)]
#[derive(Debug)]
pub struct Shared {
    /// By level, when the next line would be in step, nanoseconds of the monotonic clock: what somebody can cause
    /// often does not keep errors out of the log that are told at another level.
    due: [AtomicU64; 3],
    /// Lines that were left out and not told of yet.
    pub(crate) left_out: AtomicU64,
}

impl Shared {
    /// Nothing has been written yet.
    pub const fn new() -> Shared {
        Shared { due: [const { AtomicU64::new(0) }; 3], left_out: AtomicU64::new(0) }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Shared::new()
    }
}

impl Limit {
    /// Whether a line may be written at `now`; it counts if so.
    pub(crate) fn take(self, shared: &Shared, level: Level, now: u64) -> bool {
        let Some(due) = (level as usize).checked_sub(1).and_then(|index| shared.due.get(index)) else { return true };
        let interval = SECOND / self.rate.max(1);
        // Room for the last line of a burst is what the ones before it have taken.
        let room = interval.saturating_mul(self.burst.saturating_sub(1));
        let next = |due: u64| (due.saturating_sub(now) <= room).then(|| due.max(now).saturating_add(interval));
        due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// The time of the monotonic clock, which is the same in all processes, nanoseconds.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(SECOND).saturating_add(nanoseconds.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limit: Limit, shared: &Shared, level: Level, now: u64) -> usize {
        (0..1000).filter(|_| limit.take(shared, level, now)).count()
    }

    #[test]
    fn a_burst_is_written_and_then_so_many_lines_a_second() {
        let (limit, shared) = (Limit { burst: 5, rate: 2 }, Shared::new());
        let start = 7 * SECOND;
        assert_eq!(taken(limit, &shared, Level::Warn, start), 5);
        assert_eq!(taken(limit, &shared, Level::Warn, start + SECOND / 4), 0);
        assert_eq!(taken(limit, &shared, Level::Warn, start + SECOND), 2);
        assert_eq!(taken(limit, &shared, Level::Warn, start + 60 * SECOND), 5, "a pause makes up for a burst");
    }

    #[test]
    fn levels_do_not_take_each_others_lines() {
        let (limit, shared) = (Limit { burst: 5, rate: 1 }, Shared::new());
        for level in [Level::Info, Level::Warn, Level::Error] {
            assert_eq!(taken(limit, &shared, level, SECOND), 5, "{level}");
        }
        assert_eq!(taken(limit, &shared, Level::Debug, SECOND), 1000, "not limited");
    }

    #[test]
    fn whatever_the_shared_memory_holds_a_line_is_written_or_not() {
        let limit = Limit { burst: u64::MAX, rate: u64::MAX };
        let shared = Shared::new();
        for value in [0, SECOND, u64::MAX] {
            shared.due.iter().for_each(|due| due.store(value, Ordering::Relaxed));
            let _ = limit.take(&shared, Level::Warn, u64::MAX);
            let _ = Limit { burst: 0, rate: 0 }.take(&shared, Level::Warn, 0);
        }
    }
}
