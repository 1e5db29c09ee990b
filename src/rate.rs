//! Keeps events to a rate, by the generic cell rate algorithm (ITU-T I.371).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So much of a time's events may come at once.
const BURST: Duration = Duration::from_millis(100);

/// At most so many events a second.
#[derive(Debug)]
pub struct Rate {
    interval: Duration,
    /// When the next event would be in step.
    due: Mutex<Option<Instant>>,
}

impl Rate {
    /// That many events a second.
    pub fn new(per_second: u32) -> Rate {
        Rate { interval: Duration::from_secs(1) / per_second.max(1), due: Mutex::default() }
    }

    /// Counts `count` events that come at `now`; how long they must wait for it.
    pub fn take(&self, count: u32, now: Instant) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let step = due.unwrap_or(now).max(now);
        *due = step.checked_add(self.interval.saturating_mul(count));
        step.saturating_duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_events_beyond_a_burst_wait_for_their_turn() {
        let (rate, now) = (Rate::new(1000), Instant::now());
        let wait = |count| rate.take(count, now);
        assert_eq!([wait(60), wait(41), wait(10), wait(1)], [0, 0, 1, 11].map(Duration::from_millis));
        let later = now + Duration::from_secs(10);
        assert_eq!(rate.take(1, later), Duration::ZERO, "a pause makes up for a burst");
        assert_eq!(rate.take(100, later), Duration::ZERO);
        assert_eq!(rate.take(1, later), Duration::from_millis(1), "and for no more");
    }
}
