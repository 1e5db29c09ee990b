//! Ends kernels that run for longer than the configured time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The unit in which time is counted. A process that is stopped meanwhile (its VM is paused) counts it
/// as one unit, however long it was.
const TICK: Duration = Duration::from_millis(10);

/// What looks after launches.
pub(super) struct Watchdog {
    /// Ticks that a kernel may take; `None`: as many as it likes.
    limit: Option<u64>,
    state: Mutex<State>,
    /// Notified when there is something to look after.
    busy: Condvar,
}

#[derive(Default)]
struct State {
    tick: u64,
    last: u64,
    /// When launches are over time, and what stops them.
    launches: BTreeMap<u64, (u64, Arc<AtomicBool>)>,
    watched: bool,
}

/// A launch that is looked after, until this is dropped.
pub(super) struct Watched {
    dog: &'static Watchdog,
    number: u64,
}

impl Watchdog {
    pub(super) fn new(limit: Option<Duration>) -> Watchdog {
        let ticks = limit.map(|limit| u64::try_from(limit.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX));
        Watchdog { limit: ticks, state: Mutex::default(), busy: Condvar::new() }
    }

    /// Whether kernels have a limit.
    pub(super) fn is_on(&self) -> bool {
        self.limit.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets `cancel` if what starts now is not over in time. Without a limit, costs nothing.
    pub(super) fn watch(&'static self, cancel: &Arc<AtomicBool>) -> Option<Watched> {
        let limit = self.limit?;
        let mut state = self.lock();
        if !state.watched {
            let thread = std::thread::Builder::new().name("watchdog".into());
            state.watched = thread.spawn(|| self.run()).is_ok();
        }
        state.last += 1;
        // The tick under way does not count.
        let due = state.tick.saturating_add(limit).saturating_add(1);
        let number = state.last;
        state.launches.insert(number, (due, cancel.clone()));
        self.busy.notify_one();
        Some(Watched { dog: self, number })
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            while state.launches.is_empty() {
                state = self.busy.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            std::thread::sleep(TICK);
            state = self.lock();
            state.tick += 1;
            let tick = state.tick;
            for (_, cancel) in state.launches.values().filter(|(due, _)| *due <= tick) {
                cancel.store(true, Ordering::Release);
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dog.lock().launches.remove(&self.number);
    }
}
