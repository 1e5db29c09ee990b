//! Functions of the application that run in stream order (`cuLaunchHostFunc`, `cuStreamAddCallback`).
//!
//! The worker holds the stream until the function has run. One thread here, started with the first
//! function, waits for those that become due, runs them and says so.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vgpu_client::{block_signals, DueFunctions, Session};
use vgpu_protocol::cmd::VgpuHostFunction;
use vgpu_protocol::cuda::{CUhostFn, CUresult, CUstream, CUstreamCallback};
use vgpu_protocol::Handle;

use crate::stub;

/// What is to run.
pub enum Work {
    /// `cuLaunchHostFunc`.
    Function(CUhostFn),
    /// `cuStreamAddCallback`: also called after an error, with that.
    Callback(CUstreamCallback, CUstream),
    /// What a graph leaves to be done behind its launches.
    Then(Box<dyn FnOnce() + Send>),
}

/// What host nodes of a graph run, at every launch.
pub type Repeated = Arc<dyn Fn() + Send + Sync>;

struct Entry {
    work: Work,
    user_data: *mut c_void,
}

// SAFETY: the application hands the pointer over to be used on another thread.
unsafe impl Send for Entry {}

impl Entry {
    fn run(self, status: CUresult) {
        match self.work {
            // SAFETY: the application passed this function for this argument.
            Work::Function(Some(function)) => unsafe { function(self.user_data) },
            // SAFETY: as above.
            Work::Callback(Some(callback), stream) => unsafe { callback(stream, status, self.user_data) },
            Work::Function(None) | Work::Callback(None, _) => {}
            Work::Then(then) => then(),
        }
    }
}

/// Functions that were enqueued and have not run.
#[derive(Default)]
pub struct HostFunctions {
    waiting: Mutex<HashMap<u64, Entry>>,
    repeated: Mutex<HashMap<u64, Repeated>>,
    next_id: AtomicU64,
    started: AtomicBool,
}

impl HostFunctions {
    /// Enqueues work on a stream.
    pub fn enqueue(
        &'static self,
        session: &'static Session,
        stream: Handle,
        work: Work,
        user_data: *mut c_void,
    ) -> Result<(), CUresult> {
        self.start(session)?;
        let always = u32::from(matches!(work, Work::Callback(..)));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.table().insert(id, Entry { work, user_data });
        let posted = stub::post(&VgpuHostFunction { stream, id, always });
        if posted.is_err() {
            self.table().remove(&id);
        }
        posted.map(drop)
    }

    /// Adds a function that may run any number of times; the id by which the worker asks for it.
    pub fn add_repeated(&'static self, session: &'static Session, work: Repeated) -> Result<u64, CUresult> {
        self.start(session)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.repeated().insert(id, work);
        Ok(id)
    }

    /// Removes a function that no launch runs any more.
    pub fn remove_repeated(&self, id: u64) {
        self.repeated().remove(&id);
    }

    fn repeated(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Repeated>> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Entry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&'static self, session: &'static Session) -> Result<(), CUresult> {
        if self.started.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let thread = std::thread::Builder::new().name("vgpu-callback".into());
        thread.spawn(move || self.serve(session.due_functions())).map(drop).map_err(|_| {
            self.started.store(false, Ordering::Release);
            CUresult::OPERATING_SYSTEM
        })
    }

    fn serve(&self, mut due: DueFunctions) {
        block_signals();
        while let Ok(next) = due.wait() {
            let entry = self.table().remove(&next.id);
            match entry {
                Some(entry) => entry.run(CUresult(next.status)),
                None => {
                    let repeated = self.repeated().get(&next.id).cloned();
                    if let Some(work) = repeated {
                        work();
                    }
                }
            }
            due.has_run();
        }
    }
}
