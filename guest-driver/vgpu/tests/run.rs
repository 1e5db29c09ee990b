//! `vgpu run` as its users see it. Backend and library must be built beside the tool:
//! `cargo build --workspace` before these tests.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const VGPU: &str = env!("CARGO_BIN_EXE_vgpu");

/// A command whose temporary files go to a folder of the test's.
fn vgpu(temporary: &Path) -> Command {
    let folder = Path::new(VGPU).parent().unwrap();
    for part in ["vhost-user-vgpu", "libcuda.so"] {
        assert!(folder.join(part).exists(), "{part} is not in {}: run cargo build --workspace", folder.display());
    }
    let mut command = Command::new(VGPU);
    command.env("TMPDIR", temporary);
    command
}

fn run(temporary: &Path, script: &str) -> Output {
    vgpu(temporary).args(["run", "--memory", "256M", "--", "sh", "-c", script]).output().unwrap()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_exit_code_is_the_programs() {
    let temporary = tempfile::tempdir().unwrap();
    for (script, code) in [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)] {
        let output = run(temporary.path(), script);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(is_empty(temporary.path()), "{script} left files behind");
    }
}

#[test]
fn a_program_that_does_not_exist_is_told_as_in_shells() {
    let temporary = tempfile::tempdir().unwrap();
    let output = vgpu(temporary.path()).args(["run", "--", "/no/such/program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/program"));
    assert!(is_empty(temporary.path()));
}

#[test]
fn the_program_finds_broker_and_library_and_nothing_is_preloaded() {
    let temporary = tempfile::tempdir().unwrap();
    let script = r#"test -S "$VGPU_SOCKET" && test -e "${LD_LIBRARY_PATH%%:*}/libcuda.so.1" && test -z "$LD_PRELOAD""#;
    assert!(run(temporary.path(), script).status.success());
}

#[test]
fn signals_are_passed_on() {
    let temporary = tempfile::tempdir().unwrap();
    let script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = vgpu(temporary.path());
    command.args(["run", "--", "sh", "-c", script]).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_missing_backend_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let output = vgpu(temporary.path()).env("VGPU_BACKEND", "/no/such/backend").args(["run", "--", "true"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/no/such/backend") || text.contains("libcuda.so.1"), "{text}");
    assert!(is_empty(temporary.path()));
}

#[test]
fn smi_and_doctor_say_that_there_is_no_broker() {
    let temporary = tempfile::tempdir().unwrap();
    let socket = temporary.path().join("none.sock");
    let smi = vgpu(temporary.path()).env("VGPU_SOCKET", &socket).arg("smi").output().unwrap();
    assert_eq!(smi.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&smi.stderr).contains("none.sock"));

    let doctor = vgpu(temporary.path()).env("VGPU_SOCKET", &socket).args(["doctor", "--json"]).output().unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let checks = report["checks"].as_array().unwrap();
    let socket = checks.iter().find(|check| check["check"] == "vgpud socket").unwrap();
    assert_eq!((socket["status"].as_str(), socket["fix"].as_str()), (Some("FAIL"), Some("systemctl start vgpud")));
}
