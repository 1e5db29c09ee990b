//! The flusher: a thread, started when the queue first falls behind, that submits what was gathered.

use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::time::Duration;

use super::{lock, Session};
use crate::sys;

/// Pause of the flusher while the queue is full.
const FLUSH_PAUSE: Duration = Duration::from_micros(50);

impl Session {
    /// Sees to it that what was gathered is submitted even if the application never calls again.
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
                self.gathered.store(false, Ordering::Release);
                self.flush_now();
            }
        }
    }

    fn flush_loop(&self) {
        sys::block_signals();
        loop {
            let mut asleep = lock(&self.asleep);
            while !self.gathered.swap(false, Ordering::AcqRel) {
                asleep = self.flush.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            }
            drop(asleep);
            self.flush_now();
        }
    }

    fn flush_now(&self) {
        while self.waiter.alive().is_ok() {
            let mut stream = lock(&self.stream);
            if self.reap(&mut stream).is_err() || !stream.has_open() {
                return;
            }
            if let Ok((_, kick)) = stream.submit(&self.home, false) {
                drop(stream);
                return self.kick(kick);
            }
            drop(stream);
            std::thread::sleep(FLUSH_PAUSE);
        }
    }
}
