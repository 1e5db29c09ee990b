//! Checks which libraries programs get when they ask for CUDA.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::trial::Trial;
use super::Finding;
use crate::locate::{Library, LIBCUDA, LIBNVML};

const CACHE: &str = "ldconfig cache";

/// A string that our libraries contain, and no other's: the variable that names the broker's socket.
const MARK: &[u8] = vgpu_protocol::broker::SOCKET_VARIABLE.as_bytes();

const INSTALL: &str =
    "run the guest package's install.sh again; it registers /usr/lib/x86_64-linux-gnu/vgpu with ldconfig";

/// The checks, on what the trial's process loaded.
pub fn check(trial: &Trial) -> Vec<Finding> {
    let mut findings = vec![check_loaded(&LIBCUDA, trial.libcuda.as_deref())];
    findings.push(match check_loaded(&LIBNVML, trial.nvml.as_deref()) {
        finding if trial.nvml.is_none() => Finding::warn(finding.check, "programs do not find it", INSTALL),
        finding => finding,
    });
    findings.extend(ldconfig().as_deref().map(check_cache));
    findings
}

fn check_loaded(library: &Library, path: Option<&str>) -> Finding {
    let name = library.soname;
    match path {
        None => Finding::fail(name, "programs do not find it", INSTALL),
        Some(path) if is_ours(Path::new(path)) => Finding::ok(name, path),
        Some(path) => Finding::fail(
            name,
            format!("programs get {path}, which is not of this project"),
            format!("remove it from the library path (LD_LIBRARY_PATH, /etc/ld.so.conf.d; dpkg -S {path} names its package), then ldconfig"),
        ),
    }
}

fn is_ours(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.windows(MARK.len()).any(|window| window == MARK))
}

/// The dynamic linker's cache as text.
fn ldconfig() -> Option<String> {
    let output = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .iter()
        .find_map(|program| Command::new(program).arg("-p").output().ok())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Programs that look into the cache themselves take any libcuda they see there.
fn check_cache(cache: &str) -> Finding {
    let listed: BTreeSet<&str> = cache
        .lines()
        .filter(|line| line.trim_start().starts_with("libcuda.so"))
        .filter_map(|line| line.split_once("=> "))
        .map(|(_, path)| path.trim())
        .collect();
    let foreign: Vec<&str> = listed.iter().copied().filter(|path| !is_ours(Path::new(path))).collect();
    match (listed.is_empty(), foreign.is_empty()) {
        (true, _) => Finding::skip(CACHE, "no libcuda is registered; LD_LIBRARY_PATH has to name its folder"),
        (false, true) => Finding::ok(CACHE, listed.into_iter().collect::<Vec<_>>().join(", ")),
        (false, false) => Finding::warn(
            CACHE,
            format!("{} is not of this project; some programs may take it", foreign.join(", ")),
            "remove the package that it belongs to (dpkg -S PATH), then ldconfig",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn library(folder: &Path, name: &str, bytes: &[u8]) -> String {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    #[test]
    fn foreign_libraries_are_told_from_ours() {
        let folder = tempfile::tempdir().unwrap();
        let ours = library(folder.path(), "libcuda.so.1", b"\0\0VGPU_SOCKET\0");
        let foreign = library(folder.path(), "libcuda.so.535", b"something else");
        assert_eq!(check_loaded(&LIBCUDA, Some(&ours)).status, Status::Ok);
        assert_eq!(check_loaded(&LIBCUDA, Some(&foreign)).status, Status::Fail);
        assert_eq!(check_loaded(&LIBCUDA, None).status, Status::Fail);

        let line = |path: &str| format!("\tlibcuda.so.1 (libc6,x86-64) => {path}\n");
        assert_eq!(check_cache(&line(&ours)).status, Status::Ok);
        let finding = check_cache(&(line(&ours) + &line(&foreign)));
        assert_eq!(finding.status, Status::Warn);
        assert!(finding.detail.contains(&foreign));
        assert_eq!(check_cache("\tlibc.so.6 (libc6) => /lib/libc.so.6\n").status, Status::Skip);
    }
}
