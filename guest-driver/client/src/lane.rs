//! Lanes: every thread that talks to the worker has a number of its own within the session.

use std::cell::Cell;
use std::sync::Mutex;

static FREE: Mutex<Lanes> = Mutex::new(Lanes { next: 1, returned: Vec::new() });

struct Lanes {
    next: u32,
    returned: Vec<u32>,
}

impl Lanes {
    fn take(&mut self) -> u32 {
        self.returned.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// Returns a thread's number when the thread ends.
struct Guard(u32);

impl Drop for Guard {
    fn drop(&mut self) {
        NUMBER.set(0);
        if let Ok(mut lanes) = FREE.lock() {
            lanes.returned.push(self.0);
        }
    }
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static GUARD: Cell<Option<Guard>> = const { Cell::new(None) };
}

/// The calling thread's lane, from 1. During the thread's own teardown it may be a fresh one.
pub fn current() -> u32 {
    match NUMBER.get() {
        0 => assign(),
        lane => lane,
    }
}

fn assign() -> u32 {
    let lane = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    if GUARD.try_with(|guard| guard.set(Some(Guard(lane)))).is_ok() {
        NUMBER.set(lane);
    }
    lane
}

#[cfg(test)]
mod tests {
    #[test]
    fn test_lane_is_stable_within_a_thread_and_differs_between_live_threads() {
        let mine = super::current();
        let other = std::thread::spawn(super::current).join().unwrap();
        assert_ne!(mine, other);
        assert_eq!(mine, super::current());
    }
}
