//! Command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use vgpu_protocol::control::MAX_SESSIONS;

use crate::exchange::{Amounts, Resource};
use crate::gpu::{Capability, Gpu};
use crate::sandbox::Sandbox;

/// vhost-user backend that gives a QEMU guest a virtual PCI GPU for CUDA.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What a worker process is started with; not for users.
    #[command(subcommand)]
    pub internal: Option<Internal>,

    #[command(flatten)]
    pub serve: Serve,
}

/// Modes in which the executable starts itself.
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// Serves one session; standard input is the supervisor's socket.
    #[command(hide = true)]
    Worker(Executor),
    /// Writes what the GPU is to standard output.
    #[command(hide = true)]
    Probe(Executor),
    /// Tries what a worker's sandbox forbids.
    #[command(hide = true)]
    Check(Executor),
    /// Tells what GPUs say of their state; standard input is the supervisor's socket.
    #[command(hide = true)]
    Monitor(Executor),
}

/// The same, to ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// [`Internal::Worker`].
    Worker = 1,
    /// [`Internal::Probe`].
    Probe = 2,
    /// [`Internal::Check`].
    Check = 3,
    /// [`Internal::Monitor`].
    Monitor = 4,
}

impl Mode {
    /// The mode of that number.
    pub fn from_wire(number: u8) -> Option<Mode> {
        [Mode::Worker, Mode::Probe, Mode::Check, Mode::Monitor].into_iter().find(|mode| *mode as u8 == number)
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Worker => "worker",
            Mode::Probe => "probe",
            Mode::Check => "check",
            Mode::Monitor => "monitor",
        })
    }
}

/// Options of the backend.
#[derive(Debug, Args)]
pub struct Serve {
    /// Listen on this Unix socket; a stale socket file is replaced
    #[arg(long, value_name = "PATH", conflicts_with = "fd", required_unless_present_any = ["fd", "print_capabilities"])]
    pub socket_path: Option<PathBuf>,

    /// Listen on this inherited socket (systemd passes 3)
    #[arg(long, value_name = "FD")]
    pub fd: Option<i32>,

    /// Print the backend's capabilities as JSON and exit
    #[arg(long)]
    pub print_capabilities: bool,

    /// Number of session queues: CUDA processes of the guest at a time
    #[arg(long, value_name = "N", default_value_t = 15)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SESSIONS)))]
    pub sessions: u32,

    /// How long a stopping VM waits for work of a host GPU to end before the session is killed, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub drain_timeout: u64,

    /// Tell figures in Prometheus' text format to readers of this Unix socket
    #[arg(long, value_name = "PATH")]
    pub metrics: Option<PathBuf>,

    /// What the VM is called in metrics; the socket's name unless given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Whom to become when started as root: a name or a number; nobody unless given
    #[arg(long, value_name = "USER", overrides_with = "user")]
    pub user: Option<String>,

    #[command(flatten)]
    pub executor: Executor,
}

impl Serve {
    /// What the VM is called.
    pub fn vm_name(&self) -> String {
        let socket = || self.socket_path.as_ref()?.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        self.name.clone().or_else(socket).unwrap_or_default()
    }
}

/// What executes the guest's commands.
#[derive(Clone, Debug, Args)]
pub struct Executor {
    /// `soft` (software GPU), `host` (the host's libcuda.so.1) or the path of a CUDA driver library
    #[arg(long, value_name = "soft|host|PATH", default_value = "soft")]
    pub gpu: Gpu,

    /// How many software GPUs a session has, at most 8; they share the processors
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub gpus: u8,

    /// Device memory per session: 4G of each software GPU, all of a host GPU's unless given
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,

    /// Which of the host's GPUs to use, as in CUDA_VISIBLE_DEVICES: numbers, UUIDs, MIG UUIDs
    #[arg(long, value_name = "N|UUID[,…]")]
    pub device: Option<String>,

    /// NVML, which tells load, temperature and the like of a host's GPUs: a path, or `none`; libnvidia-ml.so.1 with
    /// `--gpu host` unless given
    #[arg(long, value_name = "PATH|none")]
    pub nvml: Option<PathBuf>,

    #[command(flatten)]
    pub mps: Mps,

    /// Let a host's driver keep what it compiles from PTX in this folder, each user of the VM in one of its own, so that
    /// later sessions of that user need not compile it again; `CUDA_CACHE_MAXSIZE` of the backend limits each
    #[arg(long, value_name = "DIR")]
    pub compute_cache: Option<PathBuf>,

    /// Serve a host GPU whose kernels can read all of a worker's memory (HMM or ATS)
    #[arg(long)]
    pub allow_pageable_access: bool,

    /// CUDA version that the software GPU's driver reports
    #[arg(long, value_name = "MAJOR.MINOR", default_value = "13.0", value_parser = parse_version)]
    pub cuda_version: i32,

    /// Compute capability that the software GPU reports; it decides which PTX of a program is taken
    #[arg(long, value_name = "MAJOR.MINOR", default_value = "8.0")]
    pub compute_capability: Capability,

    /// Which kernels the software GPU compiles: `interpreter` none, `auto` those that run for long, `llvm` all
    #[arg(long, value_name = "interpreter|auto|llvm", default_value = "auto")]
    pub soft_tier: vgpu_softgpu::Tier,

    /// Check kernels of the software GPU as compute-sanitizer does; reports go to the program's standard output
    #[arg(long, env = "VGPU_SOFT_CHECK", value_parser = clap::builder::FalseyValueParser::new())]
    pub soft_check: bool,

    /// Write PTX and IR of the software GPU's kernels to this folder, and what LLVM makes of them; needs --sandbox none
    #[arg(long, value_name = "DIR")]
    pub soft_dump: Option<PathBuf>,

    /// How long a kernel may run on the software GPU, seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub kernel_timeout: Option<f64>,

    /// How long a call of a host's driver that does not wait for the GPU may take before the session ends, seconds
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds)]
    pub call_timeout: f64,

    #[command(flatten)]
    pub quotas: Quotas,

    #[command(flatten)]
    pub totals: Totals,

    /// How long an idle session looks for new work before it sleeps, microseconds
    #[arg(long, value_name = "US", default_value_t = 50)]
    pub busy_poll: u64,

    /// What the backend's processes give up before they serve
    #[arg(long, value_name = "full|seccomp|none", default_value = "full")]
    pub sandbox: Sandbox,

    /// error, warn, info, debug or trace; RUST_LOG wins
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: log::LevelFilter,

    /// Inherited memory by which workers' log lines are limited together; not for users
    #[arg(long, hide = true)]
    pub log_memory: Option<i32>,
}

impl Executor {
    /// Whether anything is given up.
    pub fn sandboxed(&self) -> bool {
        self.sandbox != Sandbox::None
    }

    /// The library that tells the state of GPUs, if one does.
    pub fn nvml_library(&self) -> Option<&Path> {
        match (&self.nvml, &self.gpu) {
            (Some(path), _) if path.as_os_str() == "none" => None,
            (Some(path), _) => Some(path),
            (None, Gpu::Host) => Some(Path::new("libnvidia-ml.so.1")),
            (None, _) => None,
        }
    }

    /// How long a call of a host's driver may take.
    pub fn call_time(&self) -> Duration {
        Duration::from_secs_f64(self.call_timeout)
    }

    /// The command line that gives these options. `device` is left out: it goes by the environment.
    pub fn to_arguments(&self) -> Vec<String> {
        let version = format!("{}.{}", self.cuda_version / 1000, self.cuda_version % 1000 / 10);
        let sandbox = self.sandbox.to_possible_value().map_or_else(String::new, |value| value.get_name().into());
        let mut arguments = vec![
            format!("--gpu={}", self.gpu),
            format!("--gpus={}", self.gpus),
            format!("--cuda-version={version}"),
            format!("--compute-capability={}", self.compute_capability),
            format!("--soft-tier={}", self.soft_tier),
            format!("--busy-poll={}", self.busy_poll),
            format!("--sandbox={sandbox}"),
            format!("--call-timeout={}", self.call_timeout),
            format!("--log-level={}", self.log_level),
        ];
        let Quotas { pinned, contexts, streams, modules, module_bytes, launch_rate, kernel_time } = self.quotas;
        arguments.extend([
            format!("--max-pinned={pinned}"),
            format!("--max-contexts={contexts}"),
            format!("--max-streams={streams}"),
            format!("--max-modules={modules}"),
            format!("--max-module-bytes={module_bytes}"),
        ]);
        arguments.extend(self.totals.to_arguments());
        arguments.extend(launch_rate.map(|rate| format!("--max-launch-rate={rate}")));
        arguments.extend(kernel_time.map(|seconds| format!("--max-kernel-time={seconds}")));
        arguments.extend(self.kernel_timeout.map(|seconds| format!("--kernel-timeout={seconds}")));
        arguments.extend(self.memory.map(|memory| format!("--memory={memory}")));
        arguments.extend(self.nvml.iter().map(|path| format!("--nvml={}", path.display())));
        arguments.extend(self.mps.to_arguments());
        arguments.extend(self.compute_cache.as_ref().map(|folder| format!("--compute-cache={}", folder.display())));
        arguments.extend(self.soft_check.then(|| "--soft-check".into()));
        arguments.extend(self.soft_dump.as_ref().map(|folder| format!("--soft-dump={}", folder.display())));
        arguments.extend(self.allow_pageable_access.then(|| "--allow-pageable-access".into()));
        arguments
    }
}

/// How sessions share a GPU by NVIDIA's Multi-Process Service (MPS), each with a variable of its driver.
#[derive(Clone, Debug, Args)]
pub struct Mps {
    /// Where the control daemon of MPS listens, if not where the driver looks by itself
    #[arg(long = "mps-pipe-directory", value_name = "PATH")]
    pub pipe_directory: Option<PathBuf>,

    /// Share of the GPU's multiprocessors that a session may use under MPS, percent
    #[arg(long = "mps-active-threads", value_name = "PERCENT")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub active_threads: Option<u32>,

    /// GPU memory that a session may use under MPS, as in CUDA_MPS_PINNED_DEVICE_MEM_LIMIT: `0=4G,1=8G`
    #[arg(long = "mps-memory-limit", value_name = "N=SIZE[,…]")]
    pub memory_limit: Option<String>,
}

impl Mps {
    const VARIABLE: &str = "CUDA_MPS_";

    /// Whether a variable is MPS's.
    pub fn is_variable(name: &OsStr) -> bool {
        name.as_encoded_bytes().starts_with(Self::VARIABLE.as_bytes())
    }

    /// The driver's variables.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let pipes = self.pipe_directory.clone().map(|path| ("PIPE_DIRECTORY", path.into()));
        let threads = self.active_threads.map(|percent| ("ACTIVE_THREAD_PERCENTAGE", percent.to_string().into()));
        let memory = self.memory_limit.as_ref().map(|limit| ("PINNED_DEVICE_MEM_LIMIT", limit.into()));
        let all = [pipes, threads, memory].into_iter().flatten();
        all.map(|(name, value)| (format!("{}{name}", Self::VARIABLE).into(), value)).collect()
    }

    fn to_arguments(&self) -> Vec<String> {
        let directory = self.pipe_directory.iter().map(|path| format!("--mps-pipe-directory={}", path.display()));
        let threads = self.active_threads.iter().map(|percent| format!("--mps-active-threads={percent}"));
        let memory = self.memory_limit.iter().map(|limit| format!("--mps-memory-limit={limit}"));
        directory.chain(threads).chain(memory).collect()
    }
}

/// What a session may have besides GPU memory. Whatever exceeds it is out of memory.
#[derive(Clone, Copy, Debug, Args)]
pub struct Quotas {
    /// Pinned and managed memory per session
    #[arg(long = "max-pinned", value_name = "SIZE", default_value = "64G", value_parser = parse_size)]
    pub pinned: u64,

    /// Contexts per session
    #[arg(long = "max-contexts", value_name = "N", default_value_t = 64)]
    pub contexts: u32,

    /// Streams per session
    #[arg(long = "max-streams", value_name = "N", default_value_t = 4096)]
    pub streams: u32,

    /// Modules, and as many libraries, per session
    #[arg(long = "max-modules", value_name = "N", default_value_t = 16384)]
    pub modules: u32,

    /// Bytes of modules and libraries, as they are sent, per session
    #[arg(long = "max-module-bytes", value_name = "SIZE", default_value = "4G", value_parser = parse_size)]
    pub module_bytes: u64,

    /// Launches of kernels and graphs per second and session; what comes faster waits
    #[arg(long = "max-launch-rate", value_name = "N", value_parser = clap::value_parser!(u32).range(100..))]
    pub launch_rate: Option<u32>,

    /// Processor time that the software GPU may spend on a session, of all cores together, seconds; then it ends
    #[arg(long = "max-kernel-time", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub kernel_time: Option<u64>,
}

/// What all sessions of a VM may have together, besides what each may have.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Totals {
    /// Device memory of all sessions of the VM together
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub vm_memory: Option<u64>,

    /// Pinned and managed memory of all sessions of the VM together
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub vm_pinned: Option<u64>,

    /// Contexts of all sessions of the VM together
    #[arg(long, value_name = "N")]
    pub vm_contexts: Option<u64>,

    /// Streams of all sessions of the VM together
    #[arg(long, value_name = "N")]
    pub vm_streams: Option<u64>,

    /// Modules and libraries of all sessions of the VM together
    #[arg(long, value_name = "N")]
    pub vm_modules: Option<u64>,

    /// Bytes of modules and libraries, as they are sent, of all sessions of the VM together
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub vm_module_bytes: Option<u64>,

    /// Launches of kernels and graphs per second of all sessions of the VM together; what comes faster waits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..))]
    pub vm_launch_rate: Option<u32>,
}

impl Totals {
    /// How a resource's option is called, and how much there may be.
    fn of(&self, resource: Resource) -> (&'static str, Option<u64>) {
        match resource {
            Resource::Memory => ("--vm-memory", self.vm_memory),
            Resource::Pinned => ("--vm-pinned", self.vm_pinned),
            Resource::Contexts => ("--vm-contexts", self.vm_contexts),
            Resource::Streams => ("--vm-streams", self.vm_streams),
            Resource::Modules => ("--vm-modules", self.vm_modules),
            Resource::ModuleBytes => ("--vm-module-bytes", self.vm_module_bytes),
        }
    }

    /// How much there may be of each resource.
    pub fn amounts(&self) -> Amounts<Option<u64>> {
        Resource::ALL.map(|resource| self.of(resource).1)
    }

    /// Whether there is a limit on a resource.
    pub fn limits(&self, resource: Resource) -> bool {
        self.of(resource).1.is_some()
    }

    fn to_arguments(self) -> Vec<String> {
        let amounts = Resource::ALL.map(|resource| self.of(resource));
        let rate = ("--vm-launch-rate", self.vm_launch_rate.map(u64::from));
        amounts.into_iter().chain([rate]).filter_map(|(name, most)| Some(format!("{name}={}", most?))).collect()
    }
}

/// Reads a CUDA version such as `12.8`, as 1000 * major + 10 * minor.
fn parse_version(text: &str) -> Result<i32, String> {
    let version = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match version {
        Some((major @ 12..=13, minor @ 0..=9)) => Ok(1000 * major + 10 * minor),
        _ => Err("expected a version from 12.0 to 13.9, such as 12.8".into()),
    }
}

/// Reads a positive number of seconds.
fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0.01 to 1000000".into()),
    }
}

/// Reads a size such as `512M` or `2G`, in bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        unit => return Err(format!("unknown unit '{unit}': use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number with an optional unit, such as 2G".to_string())?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes >= 1 << 20 => Ok(bytes),
        Some(_) => Err("at least 1M is needed".into()),
        None => Err("the size is too large".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_sizes_with_units() {
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("1048576"), Ok(1 << 20));
        for bad in ["", "G", "2X", "-1G", "99999999999T", "1K"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn test_cuda_versions() {
        assert_eq!((parse_version("12.8"), parse_version("13.0")), (Ok(12080), Ok(13000)));
        for bad in ["", "12", "11.8", "14.0", "12.10", "12.-1", "12.8.1"] {
            assert!(parse_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn test_capabilities_are_a_number_and_a_digit() {
        assert_eq!("13.0".parse(), Ok(Capability { major: 13, minor: 0 }));
        assert_eq!(Capability { major: 8, minor: 6 }.to_string(), "8.6");
        for bad in ["", "8", "80", "8.10", "-8.0", "8.-1", "8.0a", "1.0", "+8.0", "100.0"] {
            assert!(bad.parse::<Capability>().is_err(), "{bad}");
        }
    }

    #[test]
    fn test_a_socket_is_required() {
        assert!(Cli::try_parse_from(["vhost-user-vgpu"]).is_err());
        assert!(Cli::try_parse_from(["vhost-user-vgpu", "--socket-path", "s", "--fd", "3"]).is_err());
        assert!(Cli::try_parse_from(["vhost-user-vgpu", "--fd", "3", "--sessions", "64"]).is_err());
        assert!(Cli::try_parse_from(["vhost-user-vgpu", "--print-capabilities"]).is_ok());
    }
}
