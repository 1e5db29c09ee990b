//! What can be set before `cuInit`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::state;
use vgpu_engine::engine::Tier;
use vgpu_engine::memory::DEVICES_MAX;

/// Settings of the software GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of devices, 1 to 8, which share the threads.
    pub devices: usize,
    /// Memory of each device, bytes.
    pub memory_bytes: u64,
    /// Threads that execute kernels, which is the number of multiprocessors; 0 means one per core.
    pub threads: usize,
    /// Compute capability (major, minor).
    pub capability: (i32, i32),
    /// CUDA version that the driver reports (1000 * major + 10 * minor), so that programs for an older
    /// driver can be tried.
    pub cuda_version: i32,
    /// Which kernels are compiled; without the feature `llvm` none is.
    pub tier: Tier,
    /// Whether launches are checked as by `compute-sanitizer`, in the interpreter.
    pub check: bool,
    /// A folder for the PTX of all modules and what is made of it.
    pub dump: Option<PathBuf>,
    /// The first device's UUID; `None` derives one from the host, stable over restarts.
    pub uuid: Option<[u8; 16]>,
    /// How long a kernel may run before it is `CUDA_ERROR_LAUNCH_TIMEOUT`; `None`: for ever.
    pub kernel_timeout: Option<Duration>,
    /// PCI domain, bus and device number that the first device claims; the others claim the buses after it.
    pub pci: (i32, i32, i32),
}

/// Compute capability as `8.0`, for programs that load the software GPU themselves.
const CAPABILITY_VARIABLE: &str = "VGPU_SOFT_COMPUTE_CAPABILITY";

/// How many devices there are, for programs that load the software GPU themselves.
const DEVICES_VARIABLE: &str = "VGPU_SOFT_GPUS";

/// Names the tier for programs that load the software GPU themselves: `interpreter`, `auto` or `llvm`.
const TIER_VARIABLE: &str = "VGPU_SOFT_TIER";

/// `1`: launches are checked, for programs that load the software GPU themselves.
const CHECK_VARIABLE: &str = "VGPU_SOFT_CHECK";

/// The folder to dump to, for programs that load the software GPU themselves.
const DUMP_VARIABLE: &str = "VGPU_SOFT_DUMP";

impl Default for Config {
    fn default() -> Config {
        Config {
            devices: std::env::var(DEVICES_VARIABLE).ok().and_then(|n| n.parse().ok()).filter(is_possible).unwrap_or(1),
            memory_bytes: 4 << 30,
            threads: 0,
            capability: std::env::var(CAPABILITY_VARIABLE).ok().and_then(|text| capability(&text)).unwrap_or((8, 0)),
            cuda_version: 13000,
            tier: std::env::var(TIER_VARIABLE).ok().and_then(|tier| tier.parse().ok()).unwrap_or_default(),
            check: std::env::var(CHECK_VARIABLE).is_ok_and(|value| !matches!(value.as_str(), "" | "0")),
            dump: std::env::var_os(DUMP_VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from),
            uuid: None,
            kernel_timeout: None,
            pci: (0, 1, 0),
        }
    }
}

/// Reads `MAJOR.MINOR`.
fn capability(text: &str) -> Option<(i32, i32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Why the configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// the software GPU is in use already; configure it before cuInit
    #[error("the software GPU is in use already; configure it before cuInit")]
    Initialised,
    /// the software GPU needs at least 64 MiB of memory
    #[error("the software GPU needs at least 64 MiB of memory")]
    MemoryTooSmall,
    /// there are 1 to 8 software GPUs
    #[error("there are 1 to {DEVICES_MAX} software GPUs")]
    Devices,
}

fn is_possible(devices: &usize) -> bool {
    (1..=DEVICES_MAX).contains(devices)
}

const MEMORY_MIN: u64 = 64 << 20;

static CONFIG: Mutex<Option<Config>> = Mutex::new(None);

/// Sets the device up; without it `cuInit` takes the defaults.
pub fn configure(config: Config) -> Result<(), ConfigError> {
    if config.memory_bytes < MEMORY_MIN {
        return Err(ConfigError::MemoryTooSmall);
    }
    if !is_possible(&config.devices) {
        return Err(ConfigError::Devices);
    }
    let mut place = CONFIG.lock().unwrap_or_else(PoisonError::into_inner);
    if state::driver().is_ok() {
        return Err(ConfigError::Initialised);
    }
    *place = Some(config);
    Ok(())
}

/// What [`configure`] has set.
pub(in crate::driver) fn current() -> Config {
    CONFIG.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// A version 8 (vendor-defined) UUID (RFC 9562) from the device's name and number and the host's identity.
pub(super) fn derived_uuid(name: &str, ordinal: i32) -> [u8; 16] {
    let host = ["/etc/machine-id", "/proc/sys/kernel/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let number = if ordinal == 0 { String::new() } else { format!("\0{ordinal}") };
    let seed = format!("{name}\0{}{number}", host.trim());
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&fnv1a(seed.bytes()).to_be_bytes());
    uuid[8..].copy_from_slice(&fnv1a(seed.bytes().rev()).to_be_bytes());
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_differ_by_name() {
        assert_eq!(derived_uuid("a", 0), derived_uuid("a", 0));
        assert_ne!(derived_uuid("a", 0), derived_uuid("b", 0));
        assert_ne!(derived_uuid("a", 0), derived_uuid("a", 1), "of another device");
        assert_eq!((derived_uuid("a", 0)[6] >> 4, derived_uuid("a", 0)[8] >> 6), (8, 2));
    }
}
