//! The process that starts workers, so that the supervisor need not be able to start anything.
//!
//! It is a copy of the supervisor, made while that has one thread. What it starts are children of the
//! supervisor, which waits for them and stops them.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, PoisonError};

use rustix::io::FdFlags;
use rustix::process::{set_parent_process_death_signal, Pid, Signal};

use super::cache;
use crate::args::{Executor, Mode, Mps};
use crate::channel::{receive, send, socket_pair};
use crate::sandbox::User;
use crate::sys::{start, Image};

/// Why there is no launcher: it has said so itself on standard error.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// the process cannot be made
    #[error("cannot start a process of its own: {0}")]
    Start(#[from] io::Error),
    /// the sandbox cannot be had
    #[error("the process that starts workers has ended")]
    Ended,
}

/// What is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// What it is.
    pub mode: Mode,
    /// So much nicer than this process.
    pub nice: u8,
    /// The user of the VM for whom a worker works.
    pub user: u32,
}

impl Start {
    /// For nobody in particular.
    pub fn new(mode: Mode) -> Start {
        Start { mode, nice: 0, user: 0 }
    }

    fn to_bytes(self) -> [u8; 6] {
        let [a, b, c, d] = self.user.to_ne_bytes();
        [self.mode as u8, self.nice, a, b, c, d]
    }

    fn from_bytes([mode, nice, user @ ..]: [u8; 6]) -> Option<Start> {
        Some(Start { mode: Mode::from_wire(mode)?, nice, user: u32::from_ne_bytes(user) })
    }
}

/// The supervisor's end.
pub struct Launcher(Mutex<OwnedFd>);

impl Launcher {
    /// Makes the process, in its sandbox. The calling process must have one thread. What it starts inherits `log`.
    pub fn start(executor: &Executor, user: &User, log: OwnedFd) -> Result<Launcher, LauncherError> {
        let (near, far) = socket_pair()?;
        rustix::io::fcntl_setfd(&log, FdFlags::empty()).map_err(io::Error::from)?;
        let images = Images::new(executor, &log)?;
        let supervisors = near.as_raw_fd();
        crate::sys::fork(|| {
            // With this copy open, it would not see the end of a supervisor that is killed before it asks to be.
            drop(crate::sys::own(supervisors));
            let served = confine(executor, user).and_then(|()| serve(&far, &images));
            match served {
                Ok(()) => 0,
                Err(error) => {
                    log::error!("the process that starts workers: {error}");
                    1
                }
            }
        })?;
        drop((far, log));
        let (length, _) = receive(&near, &mut [0])?;
        if length == 0 {
            return Err(LauncherError::Ended);
        }
        Ok(Launcher(Mutex::new(near)))
    }

    /// Starts a process of ours with the given standard input (of a worker) or output (of others).
    pub fn launch(&self, start: Start, fd: &OwnedFd) -> io::Result<Pid> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        send(&socket, &start.to_bytes(), &[fd.as_fd()])?;
        let mut pid = [0; 4];
        match receive(&socket, &mut pid)? {
            (4, _) => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        match i32::from_ne_bytes(pid) {
            pid @ 1.. => Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            error => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
        }
    }
}

/// What is executed in each mode.
struct Images {
    /// Our own executable.
    file: File,
    /// What workers get, but for their user's cache.
    worker: Executor,
    log: i32,
    probe: Image,
    check: Image,
    monitor: Image,
}

impl Images {
    fn new(executor: &Executor, log: &OwnedFd) -> io::Result<Images> {
        let (file, log) = (File::open("/proc/self/exe")?, log.as_raw_fd());
        // Only what serves a user has a cache.
        let without = Executor { compute_cache: None, ..executor.clone() };
        Ok(Images {
            probe: image(&file, Mode::Probe, &without, log)?,
            check: image(&file, Mode::Check, &without, log)?,
            monitor: image(&file, Mode::Monitor, &without, log)?,
            worker: executor.clone(),
            file,
            log,
        })
    }

    /// A worker for a user of the VM.
    fn worker(&self, user: u32) -> io::Result<Image> {
        let compute_cache = self.worker.compute_cache.as_deref().and_then(|folder| cache::of_user(folder, user));
        image(&self.file, Mode::Worker, &Executor { compute_cache, ..self.worker.clone() }, self.log)
    }
}

fn image(file: &File, mode: Mode, executor: &Executor, log: i32) -> io::Result<Image> {
    let mut arguments = vec!["vhost-user-vgpu".into(), mode.to_string()];
    arguments.extend(executor.to_arguments());
    arguments.push(format!("--log-memory={log}"));
    let arguments = arguments.into_iter().map(CString::new).collect::<Result<_, _>>()?;
    Ok(Image::new(file.try_clone()?, arguments, environment(executor)?))
}

/// The environment of what is started: our own, which GPUs a driver shows, and how it shares them.
fn environment(executor: &Executor) -> io::Result<Vec<CString>> {
    let mut given: Vec<(OsString, OsString)> = Vec::new();
    given.extend(executor.device.iter().map(|device| ("CUDA_VISIBLE_DEVICES".into(), device.into())));
    given.extend(executor.mps.environment());
    // Compiled kernels of one user must not become code of another.
    match &executor.compute_cache {
        Some(folder) => {
            given.extend([("CUDA_CACHE_PATH".into(), folder.into()), ("CUDA_CACHE_DISABLE".into(), "0".into())])
        }
        None => given.extend(executor.sandboxed().then(|| ("CUDA_CACHE_DISABLE".into(), "1".into()))),
    }
    // What decides over memory and processors of a GPU is said on the command line, or not at all.
    let is_given = |name: &OsString| given.iter().any(|(other, _)| other == name);
    let others = std::env::vars_os().filter(|(name, _)| !is_given(name) && !Mps::is_variable(name));
    let all = others.chain(given.iter().cloned());
    let lines = all.map(|(name, value)| CString::new([name.into_vec(), value.into_vec()].join(&b'=')));
    Ok(lines.collect::<Result<_, _>>()?)
}

/// Gives up all but starting processes.
fn confine(executor: &Executor, user: &User) -> io::Result<()> {
    executor.sandbox.enter_launcher(user, executor).map_err(io::Error::other)?;
    executor.compute_cache.as_deref().map_or(Ok(()), cache::check)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(rustix::thread::set_name(c"launcher")?)
}

/// Starts what the supervisor asks for until it is gone.
fn serve(socket: &OwnedFd, images: &Images) -> io::Result<()> {
    let null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    send(socket, &[0], &[])?;
    loop {
        let mut request = [0; 6];
        let (length, fds) = receive(socket, &mut request)?;
        let Some(fd) = fds.first().filter(|_| length == request.len()) else { return Ok(()) };
        let (fd, null): (BorrowedFd<'_>, _) = (fd.as_fd(), null.as_fd());
        let started = match Start::from_bytes(request) {
            Some(Start { mode: Mode::Worker, nice, user }) => {
                images.worker(user).and_then(|image| start(&image, nice, fd, null))
            }
            Some(Start { mode: Mode::Probe, nice, .. }) => start(&images.probe, nice, null, fd),
            Some(Start { mode: Mode::Check, nice, .. }) => start(&images.check, nice, null, fd),
            Some(Start { mode: Mode::Monitor, nice, .. }) => start(&images.monitor, nice, fd, null),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
        let answer = started.unwrap_or_else(|error| -error.raw_os_error().unwrap_or(libc::EIO));
        send(socket, &answer.to_ne_bytes(), &[])?;
    }
}
