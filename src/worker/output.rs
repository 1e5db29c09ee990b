//! Text that kernels print: the driver writes it to standard output (or error), which is a pipe here.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{poll, PollFd, PollFlags};
use rustix::pipe::{pipe_with, PipeFlags};

use super::session::lock;

/// Text kept for the client, bytes. The oldest goes first, as in the driver's own buffer.
const KEPT: usize = 1 << 20;

/// The collected text.
pub struct Output {
    pipe: Mutex<File>,
    text: Mutex<VecDeque<u8>>,
    any: AtomicBool,
}

impl Output {
    /// Puts a pipe in place of standard output and error. What used to be standard error is
    /// returned, for messages of our own.
    pub fn capture() -> io::Result<(Arc<Output>, File)> {
        let messages: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        let (from, to) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::stdio::dup2_stdout(&to)?;
        rustix::stdio::dup2_stderr(&to)?;
        // Only this end: the driver's writes must wait rather than fail.
        rustix::io::ioctl_fionbio(&from, true)?;
        let output = Output { pipe: Mutex::new(from.into()), text: Mutex::default(), any: AtomicBool::new(false) };
        Ok((Arc::new(output), messages.into()))
    }

    /// Keeps the pipe from running full, for the rest of the process's life.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let pipe = lock(&self.pipe).try_clone()?;
        let output = self.clone();
        std::thread::Builder::new().name("output".into()).spawn(move || loop {
            match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], None) {
                Ok(_) => output.drain(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return log::error!("text of kernels is lost: {error}"),
            }
        })?;
        Ok(())
    }

    /// Takes in what has been written so far.
    pub fn drain(&self) {
        let mut pipe = lock(&self.pipe);
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut bytes) {
            let mut text = lock(&self.text);
            text.extend(bytes.get(..length).unwrap_or_default());
            let surplus = text.len().saturating_sub(KEPT);
            text.drain(..surplus);
            self.any.store(true, Ordering::Release);
        }
    }

    /// Whether there is text.
    pub fn has_text(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes up to `most` bytes; whether there is more.
    pub fn take(&self, most: usize) -> (Vec<u8>, bool) {
        let mut text = lock(&self.text);
        let length = text.len().min(most);
        let taken = text.drain(..length).collect();
        let more = !text.is_empty();
        self.any.store(more, Ordering::Release);
        (taken, more)
    }
}
