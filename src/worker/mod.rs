//! A worker: the process that owns one session and calls the CUDA driver for it.

mod arena;
mod arena_sys;
mod batch;
mod commands;
mod context;
mod control;
mod dispatch;
mod dispatcher;
mod executor;
mod fences;
mod ffi;
mod hostfunc;
mod ledger;
mod linker;
mod output;
mod probe;
mod ring;
mod session;
mod waiters;

use std::process::ExitCode;

use rustix::process::{set_parent_process_death_signal, Signal};

pub use probe::probe;

use self::control::Control;
use self::output::Output;
use crate::args::Executor;
use crate::channel::Channel;
use crate::{exit, gpu, logging};

/// Serves one session until the supervisor is gone.
pub fn run(args: &Executor) -> ExitCode {
    let (output, messages) = match Output::capture() {
        Ok(captured) => captured,
        Err(error) => return exit::fail(exit::RUNTIME, format_args!("cannot set up a worker: {error}")),
    };
    logging::start(args.log_level, Some(messages));
    crate::sys::end_on_sigbus();
    if let Err(error) = confine().and_then(|()| output.watch()) {
        log::error!("cannot set up a worker: {error}");
        return ExitCode::from(exit::RUNTIME);
    }
    let channel = match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(fd) => Channel::from_descriptor(fd),
        Err(error) => {
            log::error!("a worker is started by the supervisor only: {error}");
            return ExitCode::from(exit::RUNTIME);
        }
    };
    let api = match gpu::start(args) {
        Ok(api) => api,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::from(exit::NO_GPU);
        }
    };
    match Control::new(args, api, output).serve(&channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("worker: {error}");
            ExitCode::from(exit::RUNTIME)
        }
    }
}

/// A worker does not outlive its supervisor and cannot gain rights.
fn confine() -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}
