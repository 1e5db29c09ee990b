//! Threads for commands that block: as many as there are such commands at a time, kept for later.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::executor::{Batch, Executor};
use super::session::{lock, Session};

/// Hears that a lane's blocking command has been answered.
pub type OnDone = dyn Fn(u32) + Send + Sync;

/// The pool.
pub struct Waiters {
    sender: Sender<Batch>,
    shared: Arc<Shared>,
}

struct Shared {
    session: Arc<Session>,
    receiver: Mutex<Receiver<Batch>>,
    idle: AtomicUsize,
    on_done: Box<OnDone>,
}

impl Waiters {
    /// A pool without threads.
    pub fn new(session: Arc<Session>, on_done: Box<OnDone>) -> Self {
        let (sender, receiver) = channel();
        let shared = Shared { session, receiver: Mutex::new(receiver), idle: AtomicUsize::new(0), on_done };
        Waiters { sender, shared: Arc::new(shared) }
    }

    /// Has a batch finished by a thread of its own.
    pub fn hand_over(&self, batch: Batch) -> io::Result<()> {
        // An idle thread is claimed here, so that two batches never count on the same one.
        let claimed = self.shared.idle.fetch_update(Ordering::AcqRel, Ordering::Acquire, |idle| idle.checked_sub(1));
        if claimed.is_err() {
            let shared = self.shared.clone();
            std::thread::Builder::new().name("waiter".into()).spawn(move || shared.serve())?;
        }
        self.sender.send(batch).map_err(io::Error::other)
    }
}

impl Shared {
    fn serve(&self) {
        let mut executor = Executor::new(self.session.clone(), Duration::ZERO);
        loop {
            let Ok(batch) = lock(&self.receiver).recv() else { return };
            executor.finish(&batch);
            self.session.ring.end();
            self.idle.fetch_add(1, Ordering::AcqRel);
            (self.on_done)(batch.lane());
        }
    }
}
