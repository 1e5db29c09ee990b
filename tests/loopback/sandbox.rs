//! What the backend's processes have given up.

use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::process::getuid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::backend::{executable, executable_with, gone, mock_driver, Backend};
use crate::client::Client;
use crate::vm::{Vm, CHUNKS};

/// A field of a process's status, such as `Seccomp`.
fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_string()
}

fn start(options: &[&str]) -> Backend {
    Backend::start_on(Path::new("soft"), options)
}

#[test]
fn test_every_process_is_confined() {
    let backend = start(&[]);
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let workers = backend.workers();
    assert_eq!(workers.len(), 1);
    for pid in workers.into_iter().chain([backend.pid() as i32]) {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let thread: i32 = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
            assert_eq!((status(thread, "NoNewPrivs").as_str(), status(thread, "Seccomp").as_str()), ("1", "2"));
            assert_eq!(u64::from_str_radix(&status(thread, "CapPrm"), 16).unwrap(), 0);
        }
    }
}

#[test]
fn test_a_worker_keeps_no_descriptor_of_the_vms_memory() {
    let backend = start(&[]);
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let (va, length) = (crate::vm::arena(1) + (2 << 20), 2 << 20);
    assert_eq!(vm.map(1, va, &[(CHUNKS, length)]), vgpu_protocol::control::ControlStatus::Ok);
    let worker = backend.workers()[0];
    let open = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
    let files: Vec<_> = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect();
    assert!(files.len() > 3 && !files.iter().any(|file| file.to_string_lossy().contains("memfd:vm")), "{files:?}");
    // Home and chunk are mapped, and nothing else of the VM.
    let maps = std::fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
    let mapped: u64 = maps.lines().filter(|line| line.contains("memfd:vm")).map(size).sum();
    assert_eq!(mapped, 2 * length);
}

/// Bytes of a line of `/proc/PID/maps`.
fn size(line: &str) -> u64 {
    let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    u64::from_str_radix(to, 16).unwrap() - u64::from_str_radix(from, 16).unwrap()
}

#[test]
fn test_what_a_driver_compiles_is_kept_for_its_user_only() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start_with(&["--compute-cache", folder.path().to_str().unwrap()]);
    let mut vm = Vm::start(&backend.socket());
    for (queue, user) in [(1, 7), (2, 7), (3, 8)] {
        vm.user = user;
        Client::open(&mut vm, queue).kernel(&vm, "add");
    }
    let told = |user: &str| std::fs::read_to_string(folder.path().join(user).join("image")).unwrap();
    assert_eq!(told("7"), "compiled, sees 0 users\nfound, sees 0 users\n");
    assert_eq!(told("8"), "compiled, sees 0 users\n");
    assert_eq!(folder.path().read_dir().unwrap().count(), 2, "neither probe nor monitor writes there");
}

#[test]
fn test_a_cache_that_cannot_be_is_named_at_start() {
    let start = |gpu: &Path, folder: &str| {
        let mut command = executable_with(gpu);
        let output =
            command.args(["--socket-path", "/nonexistent/socket", "--compute-cache", folder]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let message = start(&mock_driver(), "/nonexistent");
    assert!(message.contains("--compute-cache /nonexistent") && message.contains("may write"), "{message}");
    let message = start(Path::new("soft"), "/tmp");
    assert!(message.contains("--compute-cache") && message.contains("--gpu host"), "{message}");
}

fn executable_with_driver(gpu: &Path) -> std::process::Command {
    let mut command = executable();
    command.arg("check").arg("--gpu").arg(gpu);
    command
}

#[test]
fn test_a_call_that_the_sandbox_forbids_ends_the_process_with_its_own_code() {
    let driver = mock_driver();
    let all = ["full", "seccomp"].map(|sandbox| [Path::new("soft"), &driver].map(|gpu| (sandbox, gpu)));
    for (sandbox, gpu) in all.into_iter().flatten() {
        let output = executable_with_driver(gpu).args(["--sandbox", sandbox]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(148), "{text}");
        assert!(text.contains(&format!("system call {:04}", libc::SYS_bpf)), "{text}");
    }
    let open = executable().args(["check", "--sandbox", "none"]).output().unwrap();
    assert_eq!(open.status.code(), Some(4), "it lets through what it should forbid");
}

/// Has a command start without a system call that the kernel of some machine lacks.
fn without(command: &mut std::process::Command, call: libc::c_long) {
    let rules = [(call, Vec::new())].into();
    let (missing, allow) = (SeccompAction::Errno(libc::ENOSYS as u32), SeccompAction::Allow);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter: BpfProgram = SeccompFilter::new(rules, allow, missing, architecture).unwrap().try_into().unwrap();
    // SAFETY: the filter is ready; applying it makes system calls only.
    unsafe { command.pre_exec(move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other)) };
}

#[test]
fn test_without_landlock_the_backend_does_not_start_unless_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = executable();
    command.arg("--socket-path").arg(dir.path().join("s"));
    without(&mut command, libc::SYS_landlock_create_ruleset);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("landlock") && text.contains("--sandbox=seccomp"), "{text}");

    let mut command = executable();
    command.args(["check", "--sandbox", "seccomp"]);
    without(&mut command, libc::SYS_landlock_create_ruleset);
    assert_eq!(command.output().unwrap().status.code(), Some(148));
}

#[test]
fn test_root_becomes_another_user_and_still_removes_its_socket() {
    if !getuid().is_root() {
        let output = executable().args(["--socket-path", "x", "--user", "root"]).output().unwrap();
        assert_eq!(output.status.code(), Some(4));
        return;
    }
    let mut backend = start(&["--user", "4711"]);
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let workers = backend.workers();
    for pid in workers.iter().copied().chain([backend.pid() as i32]) {
        assert_eq!(status(pid, "Uid").split_whitespace().collect::<Vec<_>>(), ["4711"; 4]);
        assert_eq!(status(pid, "Gid").split_whitespace().collect::<Vec<_>>(), ["4711"; 4]);
    }
    assert_eq!(status(workers[0], "CapEff"), "0000000000000000");
    backend.signal(rustix::process::Signal::TERM);
    assert_eq!(backend.end().0, Some(0));
    assert!(!backend.socket().exists());
    gone(&workers);
}
