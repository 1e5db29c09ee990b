//! The flusher: a thread, started when the queue first falls behind, that submits what was gathered.

use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::time::Duration;

use super::{lock, Session};
use crate::sys;

/// How long commands may be gathered. The device has half a queue of batches to work on meanwhile, and each look at the
/// queue is taken from the application's processors.
const FLUSH_PAUSE: Duration = Duration::from_micros(200);

impl Session {
    /// Sees to it that what was gathered is submitted even if the application never calls again. Wakes nobody while
    /// the flusher is awake.
    pub(super) fn wake_flusher(&'static self) {
        if self.gathered.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(lock(&self.asleep));
        self.flush.notify_one();
        if !self.flusher.swap(true, Ordering::AcqRel) {
            let thread = std::thread::Builder::new().name("vgpu-flush".into());
            if thread.spawn(|| self.flush_loop()).is_err() {
                self.flusher.store(false, Ordering::Release);
                self.flush_until_empty();
            }
        }
    }

    fn flush_loop(&self) {
        sys::block_signals();
        loop {
            let mut asleep = lock(&self.asleep);
            while !self.gathered.load(Ordering::Acquire) {
                asleep = self.flush.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
            drop(asleep);
            self.flush_until_empty();
        }
    }

    /// Submits what has been gathered at each of its looks, until the application submits by itself again.
    fn flush_until_empty(&self) {
        loop {
            std::thread::sleep(FLUSH_PAUSE);
            // Before the look: what is gathered after it wakes this thread again.
            self.gathered.store(false, Ordering::SeqCst);
            if !self.flush_open() {
                return;
            }
            self.gathered.store(true, Ordering::SeqCst);
        }
    }

    /// Submits the open batch if there is one and a slot for it; whether there was one.
    fn flush_open(&self) -> bool {
        let mut stream = lock(&self.stream);
        if self.waiter.alive().is_err() || self.reap(&mut stream).is_err() || !stream.has_open() {
            return false;
        }
        let submitted = stream.submit(&self.home, false);
        drop(stream);
        if let Ok((_, kick)) = submitted {
            self.kick(kick);
        }
        true
    }
}
