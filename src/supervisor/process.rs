//! A worker process: start, ask, freeze, kill.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{pidfd_open, pidfd_send_signal, waitid, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use vgpu_protocol::DeviceInfo;
use zerocopy::FromBytes;

use crate::args::Executor;
use crate::channel::{Channel, Reply, Request};

/// A running worker. It is killed when this is dropped.
pub struct Worker {
    channel: Channel,
    pidfd: OwnedFd,
    pid: Pid,
}

impl Worker {
    /// Starts a worker process that answers requests within `answer_time`. The `Child` must be
    /// waited for by the caller.
    pub fn spawn(executor: &Executor, answer_time: Duration) -> io::Result<(Worker, Child)> {
        let (channel, far) = Channel::pair()?;
        channel.set_timeout(answer_time)?;
        let mut command = command("worker", executor);
        crate::sys::map_from_bottom(&mut command);
        let mut child = command.stdin(Stdio::from(far)).stdout(Stdio::null()).spawn()?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok((Worker { channel, pidfd, pid }, child)),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// The process id, for messages.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Asks the worker; an error means that it is dead or hangs, and must be killed.
    pub fn call(&self, request: &Request) -> io::Result<Reply> {
        self.channel.call(request)
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

/// Asks a short-lived process what the GPU is, so that no CUDA driver runs in the supervisor.
/// The inner error is the process's exit status; it has said on standard error what is wrong.
pub fn probe(executor: &Executor) -> io::Result<Result<DeviceInfo, ExitStatus>> {
    let mut child = command("probe", executor).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut bytes = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_end(&mut bytes)?;
    }
    let status = child.wait()?;
    if !status.success() {
        return Ok(Err(status));
    }
    DeviceInfo::read_from_bytes(&bytes).map(Ok).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn command(mode: &str, executor: &Executor) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(mode)
        .args(["--gpu", &executor.gpu.to_string()])
        .args(["--cuda-version", &format!("{}.{}", executor.cuda_version / 1000, executor.cuda_version % 1000 / 10)])
        .args(["--compute-capability", &executor.compute_capability.to_string()])
        .args(["--busy-poll", &executor.busy_poll.to_string()])
        .args(["--log-level", executor.log_level.as_str()]);
    if let Some(memory) = executor.memory {
        command.args(["--memory", &memory.to_string()]);
    }
    if executor.allow_pageable_access {
        command.arg("--allow-pageable-access");
    }
    if let Some(device) = &executor.device {
        command.env("CUDA_VISIBLE_DEVICES", device);
    }
    command
}
