//! Which files a process may open (landlock).

use std::path::PathBuf;

use landlock::{
    path_beneath_rules, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, ABI,
};

use crate::args::Executor;
use crate::gpu::Gpu;

/// A file, or a folder with all in it, and what may be done there. One that does not exist has no effect.
pub type Rule = (PathBuf, BitFlags<AccessFs>);

/// What is refused unless a rule allows it: everything that the kernel can refuse, and at least
/// what its first version with landlock could.
const REQUIRED: ABI = ABI::V1;
const WANTED: ABI = ABI::V6;

/// Folders with libraries, settings and devices' descriptions, of which a host's driver reads some.
const SYSTEM: [&str; 8] = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/proc", "/sys"];
/// Where a host's driver meets its kernel module, itself in other processes, and the MPS server.
const DRIVER: [&str; 8] = [
    "/dev/dri",
    "/dev/nvidia-caps",
    "/dev/nvidia-caps-imex-channels",
    "/dev/null",
    "/dev/shm",
    "/dev/zero",
    "/run/nvidia-persistenced",
    "/tmp/nvidia-mps",
];
const DEVICE_PREFIX: &str = "nvidia";
/// What the software GPU takes its identity and its number of threads from, and the dynamic linker.
const SOFT: [&str; 5] = ["/etc/ld.so.cache", "/etc/machine-id", "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup"];

/// For the process that starts workers, and workers until they are ready: their own code, and what
/// their executor opens.
pub fn of_launcher(executor: &Executor) -> Vec<Rule> {
    let read = AccessFs::from_read(WANTED);
    let mut rules: Vec<Rule> = own_code().into_iter().map(|path| (path, read)).collect();
    rules.extend(SOFT.map(|path| (path.into(), AccessFs::ReadFile | AccessFs::ReadDir)));
    rules.push(("/dev/null".into(), AccessFs::ReadFile | AccessFs::WriteFile));
    // A worker sets its share of the processors there (autogroup).
    rules.push(("/proc".into(), AccessFs::WriteFile.into()));
    rules.extend(of_worker(executor));
    rules
}

/// For the supervisor: it opens nothing, and removes its sockets.
pub fn of_supervisor(folders: &[PathBuf]) -> Vec<Rule> {
    folders.iter().map(|folder| (folder.clone(), AccessFs::RemoveFile.into())).collect()
}

/// For a worker, or for what asks NVML.
pub fn of_worker(executor: &Executor) -> Vec<Rule> {
    let read = AccessFs::from_read(WANTED);
    let devices = AccessFs::from_read(WANTED) | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
    let devices = devices | AccessFs::Truncate | AccessFs::IoctlDev;
    if executor.gpu == Gpu::Soft {
        return Vec::new();
    }
    let mut rules: Vec<Rule> = SYSTEM.map(|path| (path.into(), read)).into();
    rules.extend(DRIVER.map(|path| (path.into(), devices)));
    rules.extend(device_nodes().into_iter().map(|path| (path, devices)));
    rules.extend(library_folders().into_iter().map(|path| (path, read)));
    if let Gpu::Library(path) = &executor.gpu {
        rules.push((path.clone(), read));
    }
    rules.extend(executor.nvml_library().map(|path| (path.to_path_buf(), read)));
    rules.extend(executor.mps.pipe_directory.clone().map(|path| (path, devices)));
    rules.extend(executor.compute_cache.clone().map(|path| (path, cache())));
    rules
}

/// What a driver does in its cache of compiled kernels.
fn cache() -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::Refer;
    read | write | AccessFs::RemoveFile | AccessFs::RemoveDir
}

/// The files of which this process's code consists: the executable and its libraries.
fn own_code() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut files: Vec<PathBuf> =
        maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..))).map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    files
}

fn device_nodes() -> Vec<PathBuf> {
    let nodes = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    nodes.filter(|node| node.file_name().to_string_lossy().starts_with(DEVICE_PREFIX)).map(|node| node.path()).collect()
}

fn library_folders() -> Vec<PathBuf> {
    std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).collect()
}

/// Refuses the calling thread, and what it starts, all files but those of `rules`, every TCP port, and
/// sockets without a file of other processes; unless it is one that `signals`, also signals to others.
pub fn restrict(rules: &[Rule], signals: bool) -> Result<(), RulesetError> {
    let scopes = if signals { Scope::AbstractUnixSocket.into() } else { Scope::from_all(WANTED) };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(scopes)?
        .create()?;
    for (path, access) in rules {
        ruleset = ruleset.add_rules(path_beneath_rules([path], *access))?;
    }
    ruleset.restrict_self().map(drop)
}
