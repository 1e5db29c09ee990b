//! Log lines on standard error, of which a VM can cause so many and no more.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use log::LevelFilter;
use vgpu_logging::{Limit, Limits, Shared};

pub use vgpu_logging::tell_left_out;

/// The supervisor speaks of all sessions.
const SUPERVISOR: Limit = Limit { burst: 1000, rate: 2 };
/// A worker's session is what a guest can start again and again.
const WORKER: Limit = Limit { burst: 100, rate: 1 };
const ALL_WORKERS: Limit = Limit { burst: 1000, rate: 2 };

/// Starts the supervisor's; the descriptor is for [`start_worker`].
pub fn start_supervisor(level: LevelFilter) -> io::Result<OwnedFd> {
    let fd = crate::sys::sealed_memory(c"log", size_of::<Shared>())?;
    let shared = crate::sys::map_log(&fd)?;
    vgpu_logging::start(level, None, Limits { own: SUPERVISOR, all: None, shared: Some(shared) });
    Ok(fd)
}

/// Starts a worker's, on `messages` if that is not standard error, with the descriptor that it has inherited.
pub fn start_worker(level: LevelFilter, messages: Option<File>, inherited: Option<i32>) {
    let shared = inherited.map(|fd| crate::sys::map_log(&crate::sys::own(fd)));
    let (shared, error) = match shared.transpose() {
        Ok(shared) => (shared, None),
        Err(error) => (None, Some(error)),
    };
    vgpu_logging::start(level, messages, Limits { own: WORKER, all: Some(ALL_WORKERS), shared });
    if let Some(error) = error {
        log::warn!("log lines are limited for this process alone: {error}");
    }
}
