//! Waiting for what nobody rings for.

use std::time::{Duration, Instant};

/// How long it is looked for without sleeping.
const SPIN: Duration = Duration::from_micros(50);
/// Sleep between looks: a part of the time waited so far, at least and at most.
const NAP: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));
const NAP_PART: u32 = 8;

/// Waits until something has happened; `false` if it has not until `deadline`.
pub fn until(deadline: Option<Instant>, happened: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !happened() {
        let now = Instant::now();
        let waited = now.saturating_duration_since(start);
        if deadline.is_some_and(|deadline| now >= deadline) {
            return false;
        }
        if waited < SPIN {
            std::hint::spin_loop();
        } else {
            std::thread::sleep((waited / NAP_PART).clamp(NAP.0, NAP.1));
        }
    }
    true
}
