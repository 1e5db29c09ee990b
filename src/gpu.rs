//! Which CUDA driver executes the commands, and loading it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::DriverApi;

use crate::args::Executor;

/// A choice of executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// The software GPU that is built in.
    Soft,
    /// The host's CUDA driver.
    Host,
    /// Another CUDA driver library.
    Library(PathBuf),
}

impl FromStr for Gpu {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "soft" => Gpu::Soft,
            "host" => Gpu::Host,
            path => Gpu::Library(path.into()),
        })
    }
}

impl Gpu {
    /// Whether a CPU stands in for a GPU.
    pub fn is_cpu(&self) -> bool {
        *self == Gpu::Soft
    }
}

impl std::fmt::Display for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Gpu::Soft => f.write_str("soft"),
            Gpu::Host => f.write_str("host"),
            Gpu::Library(path) => path.display().fmt(f),
        }
    }
}

/// Memory of a session's software GPU unless the user says otherwise, bytes.
const SOFT_MEMORY: u64 = 4 << 30;
/// The oldest CUDA version of a host's driver.
const OLDEST_DRIVER: i32 = 12_000;

/// How long a driver's library may take to be loaded, at least and at most; else as long as its calls.
const LOAD_TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// A compute capability, such as 8.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The number before the point.
    pub major: u8,
    /// The digit behind it.
    pub minor: u8,
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// From the first architecture whose PTX today's compilers write, to the end of two digits.
        const MAJOR: std::ops::RangeInclusive<u8> = 5..=99;
        let number = |digits: &str| digits.starts_with(|c: char| c.is_ascii_digit()).then(|| digits.parse().ok())?;
        let parts = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        match parts {
            Some((major, minor)) if MAJOR.contains(&major) && minor < 10 => Ok(Capability { major, minor }),
            _ => Err("expected a compute capability from 5.0 to 99.9, such as 8.0".into()),
        }
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why there is no executor.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// the driver library cannot be loaded
    #[error(
        "cannot load the CUDA driver {name}: {source}; install the NVIDIA driver on this host, \
         or choose the software GPU with --gpu soft"
    )]
    Load {
        /// What was opened.
        name: String,
        /// What the dynamic linker says.
        source: libloading::Error,
    },
    /// it is never loaded
    #[error(
        "--gpu {name}: the library does not come back from being loaded; does a constructor of it, or of what it needs, \
         wait for something, such as a CUDA driver that it calls? Name the driver itself"
    )]
    LoadHangs {
        /// What was opened.
        name: String,
    },
    /// the name led to the library for guests
    #[error(
        "{name} is this project's library for guests, not the driver of a GPU: \
         take its folder out of LD_LIBRARY_PATH, or name the driver with --gpu PATH"
    )]
    GuestLibrary {
        /// What was opened.
        name: String,
    },
    /// the driver is too old
    #[error("--gpu {gpu}: the driver has CUDA {}.{}, and 12.0 is needed", version / 1000, version % 1000 / 10)]
    TooOld {
        /// The choice.
        gpu: Gpu,
        /// As `cuDriverGetVersion` says.
        version: i32,
    },
    /// a kernel could read the worker's memory
    #[error(
        "--gpu {gpu}: kernels of this GPU can read all memory of a process (HMM or ATS), and so a guest the memory of \
         its worker; load nvidia_uvm with uvm_disable_hmm=1, or accept it with --allow-pageable-access"
    )]
    PageableAccess {
        /// The choice.
        gpu: Gpu,
    },
    /// a host has the GPUs that it has
    #[error("--gpus: it is for the software GPU; choose among a host's GPUs with --device")]
    Count,
    /// workers in a sandbox open no files
    #[error("--soft-dump: in their sandbox workers write no files; it needs --sandbox none")]
    Dump,
    /// a host's driver tells nobody when a kernel has started
    #[error(
        "--kernel-timeout: only the software GPU can end a kernel; a host's GPU ends a session's with its process"
    )]
    KernelTimeout,
    /// the software GPU writes no files
    #[error("--compute-cache: only a host's driver keeps what it compiles (--gpu host); the software GPU does not")]
    ComputeCache,
    /// the software GPU cannot be set up like this
    #[error("--memory: {0}")]
    Soft(#[from] vgpu_softgpu::ConfigError),
    /// the driver does not work here
    #[error("--gpu {gpu}: the CUDA driver does not start: {result}{}", hint(*result))]
    Init {
        /// The choice.
        gpu: Gpu,
        /// What `cuInit` answers.
        result: CUresult,
    },
}

impl Executor {
    /// Whether its options go together.
    pub fn check(&self) -> Result<(), GpuError> {
        match self.gpu {
            _ if self.soft_dump.is_some() && self.sandboxed() => Err(GpuError::Dump),
            Gpu::Soft if self.compute_cache.is_some() => Err(GpuError::ComputeCache),
            Gpu::Host | Gpu::Library(_) if self.gpus > 1 => Err(GpuError::Count),
            Gpu::Host | Gpu::Library(_) if self.kernel_timeout.is_some() => Err(GpuError::KernelTimeout),
            _ => Ok(()),
        }
    }

    /// How long its library may take to be loaded.
    fn load_time(&self) -> Duration {
        self.call_time().clamp(LOAD_TIME.0, LOAD_TIME.1)
    }

    /// How long it may take until the driver has started and told what the GPUs are.
    pub fn start_time(&self) -> Duration {
        self.load_time().saturating_add(self.call_time().max(LOAD_TIME.0))
    }
}

/// Loads and initialises the driver.
pub fn start(executor: &Executor) -> Result<DriverApi, GpuError> {
    let api = load(executor)?;
    let gpu = || executor.gpu.clone();
    match crate::sys::initialize(&api) {
        CUresult::SUCCESS => {}
        result => return Err(GpuError::Init { gpu: gpu(), result }),
    }
    let version = crate::sys::driver_version(&api);
    if version < OLDEST_DRIVER {
        return Err(GpuError::TooOld { gpu: gpu(), version });
    }
    if executor.gpu != Gpu::Soft && !executor.allow_pageable_access && crate::sys::reaches_pageable_memory(&api) {
        return Err(GpuError::PageableAccess { gpu: gpu() });
    }
    // The software GPU keeps to its own size by itself.
    let own = executor.memory.filter(|_| executor.gpu != Gpu::Soft);
    let counted = own.is_some() || executor.totals.vm_memory.is_some();
    Ok(if counted { crate::quota::limit(api, own.unwrap_or(u64::MAX)) } else { api })
}

/// What may be done about a driver that does not start.
fn hint(result: CUresult) -> &'static str {
    match result {
        CUresult::NO_DEVICE => {
            "; is there a GPU, do --device and CUDA_VISIBLE_DEVICES name it, and if MIG is on, has it an instance?"
        }
        CUresult::SYSTEM_NOT_READY => "; is the fabric manager or the driver's other service running?",
        CUresult::DEVICE_UNAVAILABLE => "; does its compute mode allow one process only, and has another one got it?",
        CUresult::UNKNOWN | CUresult::ECC_UNCORRECTABLE => "; has the GPU failed? See nvidia-smi, and Xid in dmesg",
        CUresult::STUB_LIBRARY => "; the library is the toolkit's stub for linking, not the driver",
        CUresult::SYSTEM_DRIVER_MISMATCH => "; the library and the kernel module are of different releases",
        CUresult::OPERATING_SYSTEM | CUresult::NOT_PERMITTED => "; may this user open /dev/nvidia*?",
        _ => "",
    }
}

/// Fills the table of driver entry points.
fn load(executor: &Executor) -> Result<DriverApi, GpuError> {
    match &executor.gpu {
        Gpu::Soft => soft(executor),
        Gpu::Host => library("libcuda.so.1".into(), executor.load_time()),
        Gpu::Library(path) => library(path.clone(), executor.load_time()),
    }
}

fn soft(executor: &Executor) -> Result<DriverApi, GpuError> {
    let Capability { major, minor } = executor.compute_capability;
    let config = vgpu_softgpu::Config {
        devices: executor.gpus.into(),
        memory_bytes: executor.memory.unwrap_or(SOFT_MEMORY),
        cuda_version: executor.cuda_version,
        tier: executor.soft_tier,
        check: executor.soft_check,
        dump: executor.soft_dump.clone(),
        capability: (major.into(), minor.into()),
        kernel_timeout: executor.kernel_timeout.map(Duration::from_secs_f64),
        ..Default::default()
    };
    vgpu_softgpu::configure(config)?;
    crate::carrier::set_built_in();
    Ok(vgpu_softgpu::driver_api())
}

fn library(path: PathBuf, limit: Duration) -> Result<DriverApi, GpuError> {
    let name = path.display().to_string();
    // By a signal: while libraries are being loaded, other threads soon wait for the dynamic linker.
    crate::sys::end_unless_cancelled(limit, format!("{}\n", GpuError::LoadHangs { name: name.clone() }));
    let driver = crate::sys::load_driver(&path);
    crate::sys::cancel_end();
    match driver {
        Ok(Some(api)) => Ok(api),
        Ok(None) => Err(GpuError::GuestLibrary { name }),
        Err(source) => Err(GpuError::Load { name, source }),
    }
}
