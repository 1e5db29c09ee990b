//! A virtual GPU of one's own: a backend process and a broker thread for the life of a value.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use vgpu_protocol::broker::SOCKET_VARIABLE;
use vgpu_virtio::loopback::Loopback;
use vgpud::{socket, Server, ServerError};

use crate::{locate, sys};

/// How long the backend may take to open its socket.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end when asked to.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Start of the private folder's name; the process id follows.
const FOLDER_PREFIX: &str = "vgpu-run-";
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// What the backend is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many software GPUs there are, at most 8; they share the processors.
    #[arg(long, value_name = "N", default_value = "1")]
    pub gpus: u8,

    /// GPU memory, as in 512M or 4G: 4G of each software GPU, all of a host GPU's unless given.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,

    /// Compute capability that the software GPU reports.
    #[arg(long, value_name = "MAJOR.MINOR", default_value = "8.0")]
    pub compute_capability: String,

    /// GPU that executes: soft (in software), host (the machine's own), or a libcuda.
    #[arg(long, value_name = "soft|host|PATH", default_value = "soft")]
    pub gpu: String,

    /// CUDA version that the software GPU's driver reports, as in 12.8.
    #[arg(long, value_name = "MAJOR.MINOR", default_value = "13.0")]
    pub cuda_version: String,

    /// What the backend's processes give up: full, seccomp or none.
    #[arg(long, value_name = "full|seccomp|none", default_value = "full")]
    pub sandbox: String,

    /// Which kernels the software GPU compiles: interpreter (none), auto (those that run for long), llvm (all).
    #[arg(long, value_name = "interpreter|auto|llvm", default_value = "auto")]
    pub soft_tier: String,

    /// Check kernels of the software GPU as compute-sanitizer does; reports go to the program's standard output.
    #[arg(long)]
    pub soft_check: bool,

    /// Write PTX and IR of the software GPU's kernels to this folder, and what LLVM makes of them; without a sandbox.
    #[arg(long, value_name = "DIR")]
    pub dump_ir: Option<PathBuf>,

    /// Folder where a host's driver keeps what it compiles from PTX; made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub compute_cache: Option<PathBuf>,

    /// What backend and broker log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: log::LevelFilter,
}

/// A running backend with its broker. Dropping it ends both and removes their files.
pub struct LocalGpu {
    // Fields are dropped in this order: the sessions end before the backend does.
    broker: Broker,
    _backend: Backend,
    folder: TempDir,
}

impl LocalGpu {
    /// Starts a backend and a broker in a private folder.
    pub fn start(options: &Options) -> Result<Self> {
        sweep(&std::env::temp_dir());
        let prefix = format!("{FOLDER_PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot create a temporary folder")?;
        link_libraries(folder.path())?;
        let (backend, connection) = Backend::start(options, &folder.path().join("backend.sock"))?;
        let broker = Broker::start(connection, &folder.path().join("vgpud.sock"))?;
        Ok(Self { broker, _backend: backend, folder })
    }

    /// The environment in which programs find this GPU.
    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        let mut paths = self.folder.path().join("lib").into_os_string();
        if let Some(old) = std::env::var_os(LIBRARY_PATH).filter(|old| !old.is_empty()) {
            paths.push(":");
            paths.push(old);
        }
        [(SOCKET_VARIABLE, self.folder.path().join("vgpud.sock").into_os_string()), (LIBRARY_PATH, paths)]
    }

    /// Ends everything; tells why the GPU stopped working before that, if it did.
    pub fn stop(mut self) -> Result<()> {
        Ok(self.broker.stop()?)
    }
}

/// Removes the folders of processes that were killed before they could.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another user's folder stays: it cannot be removed, nor should it.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Gives the libraries the names that programs ask for.
fn link_libraries(folder: &Path) -> Result<()> {
    let folder = folder.join("lib");
    std::fs::create_dir(&folder)?;
    let libcuda = locate::LIBCUDA.find()?;
    symlink(&libcuda, folder.join(locate::LIBCUDA.soname))?;
    symlink(&libcuda, folder.join(locate::LIBCUDA.link_name))?;
    // Few programs need the management library.
    if let Ok(nvml) = locate::LIBNVML.find() {
        symlink(&nvml, folder.join(locate::LIBNVML.soname))?;
        symlink(&nvml, folder.join(locate::LIBNVML.link_name))?;
    }
    Ok(())
}

/// A folder's whole path; it is made if it is missing.
fn folder_at(path: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path.canonicalize()?)
}

struct Backend {
    process: Child,
}

impl Backend {
    /// Starts the backend and connects to it.
    fn start(options: &Options, socket: &Path) -> Result<(Self, UnixStream)> {
        let program = locate::backend()?;
        let mut command = Command::new(&program);
        command
            .args([OsStr::new("--socket-path"), socket.as_os_str()])
            .args(["--gpu", &options.gpu])
            .args(["--gpus", &options.gpus.to_string()])
            // Program and worker belong to one user here: no boundary to guard between them.
            .args(["--user", &rustix::process::getuid().as_raw().to_string()])
            .arg("--allow-pageable-access")
            .args(["--cuda-version", &options.cuda_version])
            .args(["--compute-capability", &options.compute_capability])
            .args(["--soft-tier", &options.soft_tier])
            .args(["--log-level", &options.log_level.as_str().to_lowercase()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A Ctrl-C at the terminal is for the program, not for its GPU.
            .process_group(0);
        match &options.dump_ir {
            Some(folder) => {
                command.arg("--soft-dump").arg(folder_at(folder)?).args(["--sandbox", "none"]);
            }
            None => drop(command.args(["--sandbox", &options.sandbox])),
        }
        if let Some(folder) = &options.compute_cache {
            command.arg("--compute-cache").arg(folder_at(folder)?);
        }
        if options.soft_check {
            command.arg("--soft-check");
        }
        if let Some(memory) = &options.memory {
            command.args(["--memory", memory]);
        }
        sys::end_with_parent(&mut command, Signal::KILL);
        let process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut backend = Self { process };
        let connection = backend.connect(socket)?;
        Ok((backend, connection))
    }

    /// Connects as soon as the backend listens.
    fn connect(&mut self, socket: &Path) -> Result<UnixStream> {
        let start = Instant::now();
        loop {
            let error = match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if let Some(status) = self.process.try_wait()? {
                bail!("the backend ended at once ({status}); its messages are above");
            }
            if start.elapsed() > START_LIMIT {
                bail!("the backend does not serve its socket within {} s: {error}", START_LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < END_LIMIT {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Broker {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Broker {
    fn start(backend: UnixStream, path: &Path) -> Result<Self> {
        let transport = Loopback::start(backend)?;
        let listener = socket::listen(path, 0o600, None).with_context(|| path.display().to_string())?;
        let mut server = Server::new(listener, Box::new(transport))?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = std::thread::Builder::new().name("broker".into()).spawn(move || server.run(stopped.as_fd()))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    fn stop(&mut self) -> Result<(), ServerError> {
        // The thread sees the other end close.
        self.stop = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(served)) => served,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_processes_are_removed_and_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        let own = format!("{FOLDER_PREFIX}{}-x", std::process::id());
        let dead = format!("{FOLDER_PREFIX}{}-x", u32::MAX);
        let names = [own.as_str(), &dead, "vgpu-run-notes", "else"];
        names.iter().for_each(|name| std::fs::create_dir(parent.path().join(name)).unwrap());
        sweep(parent.path());
        assert_eq!(names.map(|name| parent.path().join(name).exists()), [true, false, true, true]);
    }
}
