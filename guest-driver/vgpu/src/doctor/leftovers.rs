//! Looks for libraries that are forced into every program: what an older virtual GPU left behind
//! crashes programs that have nothing to do with CUDA.

use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;

const PRELOAD_FILE: &str = "preload file";
const PRELOAD_VARIABLE: &str = "LD_PRELOAD";
const LEFTOVERS: &str = "leftover libraries";

/// Folders in which libraries are installed.
const LIBRARY_FOLDERS: [&str; 7] = [
    "usr/lib",
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/local/lib",
    "usr/local/lib/x86_64-linux-gnu",
    "opt/vgpu/lib",
    "opt/vgpu/lib64",
];

/// Files that set variables for every login.
const ENVIRONMENT_FILES: [&str; 4] = ["etc/environment", "etc/profile", "etc/bash.bashrc", "etc/default/locale"];

/// The checks.
pub fn check() -> Vec<Finding> {
    let root = Path::new("/");
    vec![check_preload_file(root), check_variable(root, std::env::var("LD_PRELOAD").ok().as_deref()), check_files(root)]
}

/// Whether a library belongs to a virtual GPU, this one or an older one: none may be preloaded.
fn is_gpu_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("libvgpu") || name.starts_with("libcuda") || name.starts_with("libnvidia-ml")
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split([' ', '\t', ':']))
        .filter(|entry| !entry.is_empty())
}

fn check_preload_file(root: &Path) -> Finding {
    let path = root.join("etc/ld.so.preload");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let listed: Vec<&str> = entries(&text).collect();
    let exists = |entry: &str| root.join(entry.trim_start_matches('/')).exists();
    let remove =
        |entry: &str| format!("sed -i '\\|{entry}|d' {} (as root, from a shell that is already open)", path.display());
    if let Some(entry) = listed.iter().find(|entry| is_gpu_library(entry)) {
        let detail = format!("{} forces {entry} into every program: lspci, sshd and others can crash", path.display());
        return Finding::fail(PRELOAD_FILE, detail, remove(entry));
    }
    if let Some(entry) = listed.iter().find(|entry| !exists(entry)) {
        let detail = format!("{} names {entry}, which does not exist: every program complains", path.display());
        return Finding::fail(PRELOAD_FILE, detail, remove(entry));
    }
    match listed.is_empty() {
        true => Finding::ok(PRELOAD_FILE, format!("{} is empty or absent", path.display())),
        false => Finding::warn(
            PRELOAD_FILE,
            format!("{} forces {} into every program", path.display(), listed.join(", ")),
            "nothing of this project needs it: find out whose it is",
        ),
    }
}

fn check_variable(root: &Path, current: Option<&str>) -> Finding {
    if let Some(value) = current.filter(|value| entries(value).any(is_gpu_library)) {
        return Finding::fail(PRELOAD_VARIABLE, format!("this environment has LD_PRELOAD={value}"), "unset LD_PRELOAD");
    }
    let mut files: Vec<PathBuf> = ENVIRONMENT_FILES.iter().map(|file| root.join(file)).collect();
    for folder in ["etc/profile.d", "etc/environment.d"] {
        let listed = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        files.extend(listed.map(|entry| entry.path()));
    }
    let sets_it = |file: &&PathBuf| fs::read_to_string(file).is_ok_and(|text| text.lines().any(sets_gpu_preload));
    match files.iter().find(sets_it) {
        Some(file) => Finding::fail(
            PRELOAD_VARIABLE,
            format!("{} sets it for every login", file.display()),
            format!("remove the LD_PRELOAD line from {}, then log in again", file.display()),
        ),
        None => Finding::ok(PRELOAD_VARIABLE, "not set to a GPU library"),
    }
}

fn sets_gpu_preload(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    let Some((_, value)) = line.split_once("LD_PRELOAD") else { return false };
    value.split(['=', ' ', ':', '"', '\'']).any(is_gpu_library)
}

fn check_files(root: &Path) -> Finding {
    let found =
        LIBRARY_FOLDERS.iter().flat_map(|folder| fs::read_dir(root.join(folder)).into_iter().flatten()).flatten();
    let files: Vec<String> = found
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libvgpu")))
        .map(|path| path.display().to_string())
        .collect();
    match files.is_empty() {
        true => Finding::ok(LEFTOVERS, "none"),
        false => Finding::warn(
            LEFTOVERS,
            format!("{} is not of this project", files.join(", ")),
            format!("rm {}; ldconfig (as root)", files.join(" ")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_clean_machine_is_clean() {
        let root = root(&[("etc/environment", "PATH=/usr/bin\n"), ("etc/ld.so.preload", "# nothing\n")]);
        assert_eq!(check_preload_file(root.path()).status, Status::Ok);
        assert_eq!(check_variable(root.path(), None).status, Status::Ok);
        assert_eq!(check_files(root.path()).status, Status::Ok);
    }

    #[test]
    fn a_preloaded_gpu_library_fails_and_the_fix_names_it() {
        for library in ["/opt/vgpu/lib/libvgpu-cuda.so", "/usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1"] {
            let root = root(&[("etc/ld.so.preload", library), (&library[1..], "")]);
            let finding = check_preload_file(root.path());
            assert_eq!(finding.status, Status::Fail);
            assert!(finding.fix.unwrap().contains(library));
        }
    }

    #[test]
    fn a_preloaded_file_that_does_not_exist_fails_and_another_library_warns() {
        let missing = root(&[("etc/ld.so.preload", "/usr/lib/libgone.so\n")]);
        assert_eq!(check_preload_file(missing.path()).status, Status::Fail);
        let other = root(&[("etc/ld.so.preload", "/usr/lib/libjemalloc.so\n"), ("usr/lib/libjemalloc.so", "")]);
        assert_eq!(check_preload_file(other.path()).status, Status::Warn);
    }

    #[test]
    fn preload_variables_are_found_where_they_are_set() {
        let lines = ["export LD_PRELOAD=/opt/vgpu/lib/libvgpu-cuda.so", "LD_PRELOAD=\"/a/libfoo.so /b/libcuda.so.1\""];
        for line in lines {
            for file in ["etc/environment", "etc/profile.d/vgpu.sh"] {
                let root = root(&[(file, line)]);
                let finding = check_variable(root.path(), None);
                assert_eq!(finding.status, Status::Fail);
                assert!(finding.detail.contains(file));
            }
        }
        let root = root(&[("etc/environment", "#LD_PRELOAD=/x/libcuda.so\nLD_PRELOAD=/usr/lib/libeatmydata.so\n")]);
        assert_eq!(check_variable(root.path(), Some("/usr/lib/libeatmydata.so")).status, Status::Ok);
        assert_eq!(check_variable(root.path(), Some("/x/libvgpu-nvml.so")).status, Status::Fail);
    }

    #[test]
    fn libraries_of_an_older_virtual_gpu_are_named() {
        let root = root(&[("usr/lib64/libvgpu-cuda.so.1", "")]);
        let finding = check_files(root.path());
        assert_eq!(finding.status, Status::Warn);
        assert!(finding.detail.contains("libvgpu-cuda.so.1"));
    }
}
