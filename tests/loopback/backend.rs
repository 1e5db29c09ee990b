//! A backend process with the mock driver.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{getuid, kill_process, setrlimit, Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;

pub const LIMIT: Duration = Duration::from_secs(20);

/// Waits for something that must come; a test that waits in vain fails.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = start.elapsed();
        assert!(waited < LIMIT, "in vain: {what}");
        // Most answers come at once: long runs make millions of them.
        match waited < Duration::from_micros(30) {
            true => std::hint::spin_loop(),
            false => std::thread::sleep(Duration::from_micros(200).min(waited)),
        }
    }
}

pub fn executable() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vhost-user-vgpu"))
}

/// A backend with a driver, which may lie where only we can read it.
pub fn executable_with(gpu: &Path) -> Command {
    with_gpu(executable(), gpu)
}

fn with_gpu(mut command: Command, gpu: &Path) -> Command {
    command.arg("--gpu").arg(gpu).args(["--user", &getuid().as_raw().to_string()]);
    command
}

/// The mock driver, which `cargo test` builds as an example.
pub fn mock_driver() -> PathBuf {
    mock("libmock_cuda.so")
}

/// What tells the state of the mock driver's GPUs.
pub fn mock_nvml() -> PathBuf {
    mock("libmock_nvml.so")
}

fn mock(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_vhost-user-vgpu")).with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: run cargo test without --test, or cargo build --examples", path.display());
    path
}

pub struct Backend {
    child: Child,
    dir: TempDir,
}

impl Backend {
    pub fn start() -> Backend {
        Backend::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> Backend {
        Backend::start_on(&mock_driver(), options)
    }

    pub fn start_on(gpu: &Path, options: &[&str]) -> Backend {
        let mut command = executable_with(gpu);
        command.args(options);
        Backend::run(command)
    }

    /// A backend whose software GPU compiles each kernel before it launches it. The profile of the tests builds
    /// none with LLVM: `VGPU_TEST_BACKEND` names one.
    pub fn start_compiling(options: &[&str]) -> Backend {
        let path = std::env::var_os("VGPU_TEST_BACKEND").expect("VGPU_TEST_BACKEND names a backend with LLVM");
        let mut command = with_gpu(Command::new(path), Path::new("soft"));
        command.args(["--soft-tier", "llvm"]).args(options);
        Backend::run(command)
    }

    /// A backend with more in its environment.
    pub fn start_in(environment: &[(&str, &str)], options: &[&str]) -> Backend {
        Backend::start_on_in(&mock_driver(), environment, options)
    }

    /// A backend on another driver, with more in its environment.
    pub fn start_on_in(gpu: &Path, environment: &[(&str, &str)], options: &[&str]) -> Backend {
        let mut command = executable_with(gpu);
        command.args(options).envs(environment.iter().copied());
        Backend::run(command)
    }

    /// A backend that may open so many files.
    pub fn start_with_descriptors(most: u64) -> Backend {
        let mut command = executable_with(&mock_driver());
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        // SAFETY: the hook makes a system call.
        unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) };
        Backend::run(command)
    }

    fn run(mut command: Command) -> Backend {
        let dir = tempfile::tempdir().unwrap();
        let child = command
            .arg("--socket-path")
            .arg(dir.path().join("socket"))
            .args(["--drain-timeout", "2"])
            .stderr(File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let backend = Backend { child, dir };
        eventually("the backend listens", || UnixStream::connect(backend.socket()).ok());
        backend
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: exit code and what was said on standard error.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let status = eventually("the backend ends", || self.child.try_wait().unwrap());
        (status.code(), std::fs::read_to_string(self.dir.path().join("log")).unwrap())
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Process ids of the workers.
    pub fn workers(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(
                children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| is_worker(*pid)),
            );
        }
        pids
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process serves a session, by its command line.
fn is_worker(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"worker")
}

/// Waits until processes have ended (they may stay as zombies of whoever inherited them).
pub fn gone(pids: &[i32]) {
    for pid in pids {
        eventually("a worker ends", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
}

pub fn run(options: &[&str]) -> Output {
    executable().args(options).output().unwrap()
}
