//! Which CUDA driver executes the commands, and loading it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

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

impl std::fmt::Display for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Gpu::Soft => f.write_str("soft"),
            Gpu::Host => f.write_str("host"),
            Gpu::Library(path) => path.display().fmt(f),
        }
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
    /// the software GPU cannot be set up like this
    #[error("--memory: {0}")]
    Soft(#[from] vgpu_softgpu::ConfigError),
    /// the driver does not work here
    #[error("--gpu {gpu}: the CUDA driver does not start: {result}")]
    Init {
        /// The choice.
        gpu: Gpu,
        /// What `cuInit` answers.
        result: CUresult,
    },
}

/// Loads and initialises the driver.
pub fn start(executor: &Executor) -> Result<DriverApi, GpuError> {
    let api = load(executor)?;
    match crate::sys::initialize(&api) {
        CUresult::SUCCESS => Ok(api),
        result => Err(GpuError::Init { gpu: executor.gpu.clone(), result }),
    }
}

/// Fills the table of driver entry points.
fn load(executor: &Executor) -> Result<DriverApi, GpuError> {
    match &executor.gpu {
        Gpu::Soft => soft(executor),
        Gpu::Host => library("libcuda.so.1".into()),
        Gpu::Library(path) => library(path.clone()),
    }
}

fn soft(executor: &Executor) -> Result<DriverApi, GpuError> {
    let config = vgpu_softgpu::Config { memory_bytes: executor.memory, ..Default::default() };
    vgpu_softgpu::configure(config)?;
    Ok(vgpu_softgpu::driver_api())
}

fn library(path: PathBuf) -> Result<DriverApi, GpuError> {
    crate::sys::load_driver(&path).map_err(|source| GpuError::Load { name: path.display().to_string(), source })
}
