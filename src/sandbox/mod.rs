//! What the backend's processes may do, and giving up everything else.
//!
//! Three things are given up, in this order: privileges (user, capabilities, the network, gaining any
//! of them again), files (landlock) and system calls (seccomp). Each process does so as early as it can:
//! the launcher before it starts anything, the supervisor before it reads a byte from a VM, a worker
//! before it has heard of its session.

mod files;
mod privileges;
mod syscalls;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

pub use privileges::User;
pub use syscalls::X32;

use crate::args::Executor;
use crate::gpu::Gpu;

/// How much is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sandbox {
    /// Privileges, files and system calls
    Full,
    /// Privileges and system calls: for kernels without landlock
    Seccomp,
    /// Nothing
    None,
}

/// What cannot be given up, and what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// there is no such user
    #[error("--user {0}: there is no such user")]
    NoSuchUser(String),
    /// another user is asked for without the right to become it
    #[error("--user {0}: only root can become another user")]
    NotRoot(String),
    /// the operating system keeps us privileged
    #[error("cannot {what}: {source}; --user root keeps the user, --sandbox=none all privileges")]
    Privileges {
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// no landlock
    #[error(
        "cannot restrict access to files: {0}; the kernel needs landlock (Linux 5.13, in the list of `lsm=`, not \
         blocked by a container's profile); --sandbox=seccomp does without, --sandbox=none without any protection"
    )]
    Files(#[from] landlock::RulesetError),
    /// no seccomp
    #[error(
        "cannot restrict system calls: {0}; the kernel needs CONFIG_SECCOMP_FILTER, and a container's profile must \
         allow seccomp(2); --sandbox=none does without any protection"
    )]
    SystemCalls(#[from] seccompiler::Error),
    /// the machine's architecture is not known
    #[error("system calls cannot be restricted on this architecture; --sandbox=none does without any protection")]
    Architecture(#[from] seccompiler::BackendError),
    /// it was put up and does not hold
    #[error("the sandbox lets through what it forbids ({0}); --sandbox=none does without any protection")]
    Leaks(String),
}

impl Sandbox {
    /// For the process that starts workers: it may start this executable, and open what executors need.
    pub fn enter_launcher(self, user: &User, executor: &Executor) -> Result<(), SandboxError> {
        self.give_up_privileges(user, false)?;
        self.restrict_files(|| files::of_launcher(executor))
    }

    /// For the supervisor, which has opened its sockets, in `folders`, and started the launcher. Call it
    /// before the first thread is started.
    pub fn enter_supervisor(self, user: &User, folders: &[PathBuf]) -> Result<(), SandboxError> {
        // The sockets' files are removed at the end, from folders that may be root's.
        self.give_up_privileges(user, self == Sandbox::Full && !folders.is_empty())?;
        if self != Sandbox::Full {
            return Ok(());
        }
        // It stops its workers.
        Ok(files::restrict(&files::of_supervisor(folders), true)?)
    }

    /// For the supervisor, when all that is left to do is to serve.
    pub fn seal_supervisor(self) -> Result<(), SandboxError> {
        self.restrict_calls(syscalls::restrict_supervisor)
    }

    /// For a worker that is about to load its executor.
    pub fn enter_worker(self, executor: &Executor) -> Result<(), SandboxError> {
        match executor.gpu {
            Gpu::Soft => Ok(()),
            Gpu::Host | Gpu::Library(_) => self.restrict_files(|| files::of_worker(executor)),
        }
    }

    /// For a worker whose executor is ready.
    pub fn seal_worker(self, executor: &Executor) -> Result<(), SandboxError> {
        match executor.gpu {
            Gpu::Soft => {
                self.restrict_files(|| files::of_worker(executor))?;
                self.restrict_calls(syscalls::restrict_soft_worker)
            }
            Gpu::Host | Gpu::Library(_) => self.restrict_calls(syscalls::restrict_host_worker),
        }
    }

    fn give_up_privileges(self, user: &User, keeps_folder: bool) -> Result<(), SandboxError> {
        if self == Sandbox::None {
            return Ok(());
        }
        privileges::give_up(user, keeps_folder)
    }

    fn restrict_files(self, rules: impl FnOnce() -> Vec<files::Rule>) -> Result<(), SandboxError> {
        if self != Sandbox::Full {
            return Ok(());
        }
        Ok(files::restrict(&rules(), false)?)
    }

    fn restrict_calls(self, restrict: impl FnOnce() -> Result<(), SandboxError>) -> Result<(), SandboxError> {
        if self == Sandbox::None {
            return Ok(());
        }
        restrict()
    }
}

/// Enters a worker's sandbox and tries what is forbidden in there. The last try ends the process with
/// [`crate::exit::SECCOMP`]; every other exit code says that the sandbox is not what it should be.
pub fn check(executor: &Executor) -> ExitCode {
    // What it says then is no trouble to anybody.
    crate::sys::speak_on(&std::io::stdout());
    crate::sys::end_on_forbidden_call();
    let sandbox = executor.sandbox;
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid().into());
    let tried = sandbox.enter_worker(executor).and_then(|()| sandbox.seal_worker(executor));
    match tried.and_then(|()| try_forbidden(sandbox, &executor.gpu, parent)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::exit::fail(crate::exit::SANDBOX, error),
    }
}

fn try_forbidden(sandbox: Sandbox, gpu: &Gpu, parent: i64) -> Result<(), SandboxError> {
    let leak = |what: &str| Err(SandboxError::Leaks(what.into()));
    // Nobody's driver reads logs.
    let no_files = sandbox == Sandbox::Full || *gpu == Gpu::Soft;
    if no_files && std::fs::read_dir("/var").is_ok() {
        return leak("open(2)");
    }
    if std::net::TcpListener::bind("127.0.0.1:0").is_ok() {
        return leak("socket(2)");
    }
    if std::process::Command::new("/proc/self/exe").arg("--version").spawn().is_ok() {
        return leak("clone(2)");
    }
    if let Some(way) = crate::sys::reach_others(parent, *gpu != Gpu::Soft) {
        return leak(way);
    }
    crate::sys::call_bpf();
    leak("bpf(2)")
}
