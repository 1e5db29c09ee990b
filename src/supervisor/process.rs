//! A worker process: start, ask, freeze, kill.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{
    kill_process, pidfd_open, pidfd_send_signal, waitid, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions,
};
use vgpu_protocol::DeviceInfo;
use zerocopy::FromBytes;

use super::launcher::{Launcher, Start};
use crate::args::Mode;
use crate::channel::{is_readable, Channel};
use crate::exit;

/// A running worker. It is killed when this is dropped.
pub struct Worker {
    channel: Channel,
    pidfd: OwnedFd,
    pid: Pid,
}

impl Worker {
    /// Starts a worker process. Its end must be waited for by the caller, with [`wait`].
    pub fn spawn(launcher: &Launcher, nice: u8, user: u32) -> io::Result<Worker> {
        let (channel, far) = Channel::pair()?;
        let pid = launcher.launch(Start { mode: Mode::Worker, nice, user }, &far)?;
        // It is a child of this process, and nobody has waited for it yet: the id is its own.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Worker { channel, pidfd, pid })
    }

    /// The process.
    pub fn id(&self) -> Pid {
        self.pid
    }

    /// Its number, for messages.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Where it is asked. An error there means that it is dead or hangs, and must be killed.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Stops all its threads. On return it runs nothing any more, whether frozen or dead.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP);
        loop {
            // NOWAIT: the thread that waits for the child's end must still see it.
            let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(_) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets a frozen worker go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it; it also dies while frozen.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // The process may have ended already.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It was killed, because it did not end in time.
    Late,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Code(code) => write!(f, "exit code {code}"),
            End::Signal(signal) => write!(f, "signal {signal}"),
            End::Late => f.write_str("killed, as it did not end in time"),
        }
    }
}

/// Waits for a child's end.
pub fn wait(pid: Pid) -> io::Result<End> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(End::Signal);
                return Ok(status.exit_status().map(End::Code).or(signal).unwrap_or(End::Code(0)));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks a process that may live for `patience` what the GPUs are, so that no CUDA driver runs in the supervisor.
/// The inner error is how the process ended; unless it was late, it has said on standard error what is wrong.
pub fn probe(launcher: &Launcher, patience: Duration) -> io::Result<Result<Vec<DeviceInfo>, End>> {
    let (ours, output) = pipe_with(PipeFlags::CLOEXEC)?;
    let pid = launcher.launch(Start::new(Mode::Probe), &output)?;
    drop(output);
    let Some(bytes) = read_in_time(&ours, patience)? else {
        let _ = kill_process(pid, Signal::KILL);
        return wait(pid).map(|_| Err(End::Late));
    };
    match wait(pid)? {
        End::Code(0) => {
            let devices: Result<Vec<DeviceInfo>, _> =
                bytes.chunks(size_of::<DeviceInfo>()).map(DeviceInfo::read_from_bytes).collect();
            devices.map(Ok).map_err(|_| io::ErrorKind::InvalidData.into())
        }
        end => Ok(Err(end)),
    }
}

/// All that is written to a pipe until its other end is closed; `None` if that takes too long.
fn read_in_time(pipe: &OwnedFd, patience: Duration) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + patience;
    let (mut bytes, mut part) = (Vec::new(), [0; size_of::<DeviceInfo>()]);
    loop {
        if !is_readable(pipe, deadline)? {
            return Ok(None);
        }
        match rustix::io::read(pipe, &mut part)? {
            0 => return Ok(Some(bytes)),
            length => bytes.extend(part.iter().take(length)),
        }
    }
}

/// Has a short-lived process try what a worker's sandbox forbids; whether it was ended for that.
pub fn check_sandbox(launcher: &Launcher) -> io::Result<bool> {
    let (_ours, output) = pipe_with(PipeFlags::CLOEXEC)?;
    let end = wait(launcher.launch(Start::new(Mode::Check), &output)?)?;
    Ok(end == End::Code(exit::SECCOMP.into()))
}
