//! What the client's modules lock and wait with.

pub use loom::sync::{Condvar, Mutex, MutexGuard};

/// An eventfd: a signal stays until somebody has waited for it.
#[derive(Default)]
pub struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Writes to it.
    pub fn set(&self) {
        *self.set.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Waits until it is readable, and reads it.
    pub fn wait(&self) {
        let mut set = self.set.lock().unwrap();
        while !*set {
            set = self.changed.wait(set).unwrap();
        }
        *set = false;
    }
}
