//! `vgpu run`: a program with a virtual GPU of its own, without a VM.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::local::{LocalGpu, Options};
use crate::sys;

/// Arguments of `vgpu run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,

    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Exit codes of shells for a program that cannot be run.
const EXIT_NOT_FOUND: u8 = 127;
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Added to the number of the signal that ended the program, as shells do.
const EXIT_SIGNAL: i32 = 128;

/// Runs the command; gives its exit code.
pub fn run(args: &Args) -> Result<ExitCode> {
    env_logger::Builder::new().filter_level(args.options.log_level).parse_default_env().init();
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2])?;
    let gpu = LocalGpu::start(&args.options).context("cannot start a virtual GPU")?;
    let Some((program, rest)) = args.command.split_first() else { return Ok(ExitCode::FAILURE) };
    let mut command = Command::new(program);
    command.args(rest).envs(gpu.environment());
    sys::end_with_parent(&mut command, Signal::TERM);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("vgpu: cannot run {}: {error}", Path::new(program).display());
            let found = error.kind() != std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if found { EXIT_NOT_EXECUTABLE } else { EXIT_NOT_FOUND }));
        }
    };
    let status = wait(child, &mut signals)?;
    if let Err(error) = gpu.stop() {
        eprintln!("vgpu: the virtual GPU stopped working while the program ran: {error:#}");
    }
    Ok(exit_code(status))
}

/// Waits for the child's end and passes signals on to it.
fn wait(mut child: Child, signals: &mut Signals) -> Result<ExitStatus> {
    // The child may have ended before the first signal is looked at.
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    for signal in signals.forever() {
        match signal {
            SIGCHLD => {
                if let Some(status) = child.try_wait()? {
                    return Ok(status);
                }
            }
            // The terminal sends these to the child as well.
            SIGINT | SIGQUIT if in_foreground() => {}
            _ => {
                let pid = Pid::from_raw(child.id() as i32);
                if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
        }
    }
    Ok(child.wait()?)
}

/// Whether this process belongs to the terminal's foreground group.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| EXIT_SIGNAL + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
