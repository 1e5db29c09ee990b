//! How threads sleep until the device completes something: one of them, the watcher, sleeps on the device's
//! signal and wakes the others, which then look for themselves.
//!
//! Nobody misses anything: whoever sleeps behind a watcher has looked after that one asked for the signal, so
//! whatever it did not see yet is signalled. `tests/loom` tries this in every order.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard};

#[derive(Default)]
struct State {
    watched: bool,
    /// Counts watchers that are through.
    round: u64,
}

/// Where the threads of a session sleep.
#[derive(Default)]
pub struct Park {
    state: Mutex<State>,
    changed: Condvar,
}

impl Park {
    /// Sleeps until something may have been completed, unless `done` says yes first: returns whether it did.
    /// `ask` asks the device for a signal at its next completion, `sleep` waits for that signal; a thread
    /// that does not watch sleeps for `limit` at most.
    pub fn park(
        &self,
        limit: Duration,
        done: &mut impl FnMut() -> bool,
        ask: impl FnOnce(),
        sleep: impl FnOnce(),
    ) -> bool {
        let mut state = self.lock();
        if state.watched {
            let round = state.round;
            drop(state);
            return done() || self.follow(round, limit);
        }
        state.watched = true;
        ask();
        drop(state);
        let is_done = done();
        if !is_done {
            sleep();
        }
        let mut state = self.lock();
        state.watched = false;
        self.end_round(state);
        is_done
    }

    /// Sleeps until the watcher of that round is through.
    fn follow(&self, round: u64, limit: Duration) -> bool {
        let state = self.lock();
        if state.round == round {
            drop(self.changed.wait_timeout(state, limit));
        }
        false
    }

    /// Has all threads but the watcher look.
    pub fn wake(&self) {
        self.end_round(self.lock());
    }

    fn end_round(&self, mut state: MutexGuard<'_, State>) {
        state.round = state.round.wrapping_add(1);
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
