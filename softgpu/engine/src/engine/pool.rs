//! Threads that help with launches.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A task that helpers may join while its owner waits for them.
type Task = &'static (dyn Fn(u32) + Sync);

struct Entry {
    id: u64,
    task: Task,
    /// Helpers that may still join, and the number of the next one.
    wanted: u32,
    next: u32,
    running: u32,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    last_id: u64,
    closed: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    work: Condvar,
    finished: Condvar,
}

/// Persistent helper threads.
pub(super) struct Pool {
    inner: Arc<Inner>,
    helpers: u32,
}

impl Pool {
    /// Starts `helpers` threads; fewer if the host refuses.
    pub(super) fn new(helpers: u32) -> Pool {
        let inner = Arc::<Inner>::default();
        let started = (0..helpers).take_while(|i| {
            let inner = Arc::clone(&inner);
            let builder = std::thread::Builder::new().name(format!("softgpu-{i}"));
            builder.spawn(move || inner.help()).is_ok()
        });
        Pool { helpers: started.count() as u32, inner }
    }

    /// How many helpers there are.
    pub(super) fn helpers(&self) -> u32 {
        self.helpers
    }

    /// Calls `own` here, which may ask threads that are free to call `task(1)`, `task(2)`, …; returns when all calls
    /// have.
    pub(super) fn run(&self, task: &(dyn Fn(u32) + Sync), own: impl FnOnce(&Team<'_>)) {
        // SAFETY: only the lifetime changes. `Team` takes the entry out of the queue
        // and waits for the helpers that run it before this function returns or unwinds.
        let task: Task = unsafe { std::mem::transmute::<&(dyn Fn(u32) + Sync), Task>(task) };
        own(&Team { inner: &self.inner, task, id: Cell::new(None) });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.lock().closed = true;
        self.inner.work.notify_all();
    }
}

/// A task, and whether helpers have been asked for.
pub(super) struct Team<'a> {
    inner: &'a Inner,
    task: Task,
    id: Cell<Option<u64>>,
}

impl Team<'_> {
    /// Asks for up to `helpers` threads, once.
    pub(super) fn ask(&self, helpers: u32) {
        if helpers > 0 && !self.has_asked() {
            self.id.set(Some(self.inner.add(self.task, helpers)));
        }
    }

    /// Whether they have been asked for.
    pub(super) fn has_asked(&self) -> bool {
        self.id.get().is_some()
    }
}

/// Ends the task: no helper joins it any more and none is left in it.
impl Drop for Team<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.get() else { return };
        let mut state = self.inner.lock();
        if let Some(entry) = state.entry(id) {
            entry.wanted = 0;
        }
        while state.entry(id).is_some_and(|e| e.running > 0) {
            state = self.inner.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.entries.retain(|e| e.id != id);
    }
}

/// Counts a helper out of its task, also if the task panics.
struct Leave<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.inner.lock().entry(self.id) {
            entry.running -= 1;
        }
        self.inner.finished.notify_all();
    }
}

impl State {
    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.id == id)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, task: Task, helpers: u32) -> u64 {
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.entries.push_back(Entry { id, task, wanted: helpers, next: 1, running: 0 });
        drop(state);
        // No more than are wanted: each that wakes takes a processor from somebody.
        (0..helpers).for_each(|_| self.work.notify_one());
        id
    }

    fn help(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(entry) = state.entries.iter_mut().find(|e| e.wanted > 0) else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            entry.wanted -= 1;
            entry.running += 1;
            let (task, number, id) = (entry.task, entry.next, entry.id);
            entry.next += 1;
            drop(state);
            let leave = Leave { inner: self, id };
            task(number);
            drop(leave);
            state = self.lock();
        }
    }
}
