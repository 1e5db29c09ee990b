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
mod quotas;
mod ring;
mod session;
mod sharing;
mod wait;
mod waiters;
mod watch;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use vgpu_protocol::DriverApi;

pub use probe::probe;
pub use quotas::Totals;

use self::control::Control;
use self::output::Output;
use crate::args::Executor;
use crate::channel::Channel;
use crate::sandbox::SandboxError;
use crate::{exit, gpu, logging};

/// Serves one session until the supervisor is gone.
pub fn run(args: &Executor) -> ExitCode {
    let (output, messages) = match Output::capture() {
        Ok(captured) => captured,
        Err(error) => return exit::fail(exit::RUNTIME, format_args!("cannot set up a worker: {error}")),
    };
    crate::sys::speak_on(&messages);
    logging::start_worker(args.log_level, Some(messages), args.log_memory);
    crate::sys::end_on_sigbus();
    crate::sys::end_on_forbidden_call();
    let time = args.quotas.kernel_time.map_or(Ok(()), crate::sys::end_after_processor_time);
    if let Err(error) = time.and_then(|()| confine()) {
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
    let api = match start_confined(args) {
        Ok(api) => api,
        Err((code, message)) => {
            log::error!("{message}");
            return ExitCode::from(code);
        }
    };
    if let Err(error) = output.watch() {
        log::error!("cannot set up a worker: {error}");
        return ExitCode::from(exit::RUNTIME);
    }
    match Control::new(args, api, output).serve(&channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("worker: {error}");
            ExitCode::from(exit::RUNTIME)
        }
    }
}

/// A worker has its share of the processors and cannot gain rights.
fn confine() -> std::io::Result<()> {
    let nice = rustix::process::getpriority_process(None)?;
    if nice > 0 {
        // With autogroups (sched(7)) it is this value that counts beside other sessions.
        if let Err(error) = set_autogroup_nice(nice) {
            log::debug!("the session's share among autogroups is not {nice}: {error}");
        }
    }
    rustix::thread::set_no_new_privs(true)?;
    Ok(rustix::thread::set_name(c"worker")?)
}

fn set_autogroup_nice(nice: i32) -> std::io::Result<()> {
    /// The kernel lets these values be changed ten times a second, for all processes together.
    const PAUSE: Duration = Duration::from_millis(50);
    const TRIES: usize = 5;
    // Not truncated, which landlock would refuse.
    let mut file = File::options().write(true).open("/proc/self/autogroup")?;
    let mut tries = 1;
    loop {
        match file.write_all(nice.to_string().as_bytes()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && tries < TRIES => std::thread::sleep(PAUSE),
            done => return done,
        }
        tries += 1;
    }
}

/// Starts the executor and gives up what it does not need; else an exit code and a message.
fn start_confined(args: &Executor) -> Result<DriverApi, (u8, String)> {
    let unconfined = |error: SandboxError| (exit::SANDBOX, error.to_string());
    args.sandbox.enter_worker(args).map_err(unconfined)?;
    let api = gpu::start(args).map_err(|error| (exit::NO_GPU, error.to_string()))?;
    args.sandbox.seal_worker(args).map_err(unconfined)?;
    Ok(api)
}
