//! A host's driver in trouble: what a person is told at start, and a guest later.

use std::fs::File;
use std::io::{BufRead, BufReader};

use vgpu_protocol::control::{ControlOp, ControlStatus};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ERROR_OFFSET, STAGING_OFFSET, STATE_DEAD, STATE_OFFSET};
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::backend::{eventually, executable, executable_with, gone, mock_driver, Backend};
use crate::client::Client;
use crate::vm::{home, Vm};

/// What the backend says when it does not start, and its exit code.
fn refusal(gpu: &str, options: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = executable();
    command.args(["--socket-path", "/nonexistent/socket", "--gpu", gpu]).args(options);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn mock() -> String {
    mock_driver().to_str().unwrap().into()
}

fn scripted(rules: &str, options: &[&str]) -> Backend {
    Backend::start_in(&[("MOCK_SCRIPT", rules)], options)
}

#[test]
fn test_a_driver_that_does_not_start_is_named_with_what_may_be_done() {
    let cases = [
        (CUresult::NO_DEVICE, "MIG"),
        (CUresult::SYSTEM_DRIVER_MISMATCH, "different releases"),
        (CUresult::SYSTEM_NOT_READY, "fabric manager"),
        (CUresult::DEVICE_UNAVAILABLE, "compute mode"),
        (CUresult::OPERATING_SYSTEM, "/dev/nvidia"),
        (CUresult::UNKNOWN, "dmesg"),
    ];
    for (error, hint) in cases {
        let script = format!("cuInit@1={}", error.0);
        let (code, message) = refusal(&mock(), &[], &[("MOCK_SCRIPT", &script)]);
        assert_eq!(code, Some(3), "{error}: {message}");
        assert!(message.contains(&error.to_string()) && message.contains(hint), "{error}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    }
    let (code, message) = refusal("/nonexistent/libcuda.so.1", &[], &[]);
    assert_eq!(code, Some(3));
    assert!(message.contains("/nonexistent/libcuda.so.1") && message.contains("--gpu soft"), "{message}");
}

#[test]
fn test_a_device_that_does_not_exist_or_does_not_answer_is_named() {
    for device in ["7", "GPU-00000000", "MIG-00000000"] {
        let (code, message) = refusal(&mock(), &["--device", device], &[]);
        assert_eq!(code, Some(3), "{message}");
        assert!(message.contains("--device"), "{message}");
    }
    let (code, message) = refusal(&mock(), &[], &[("MOCK_SCRIPT", "cuDeviceGetName@1=46")]);
    assert_eq!(code, Some(3));
    assert!(message.contains("describe the GPU") && message.contains("DEVICE_UNAVAILABLE"), "{message}");
}

#[test]
fn test_a_driver_that_hangs_at_start_is_named() {
    let (code, message) = refusal(&mock(), &["--call-timeout", "0.2"], &[("MOCK_SCRIPT", "cuInit@1=block")]);
    assert_eq!(code, Some(3));
    assert!(message.contains("does not come back"), "{message}");
}

#[test]
fn test_a_library_that_hangs_when_it_is_loaded_is_named() {
    let (code, message) = refusal(&mock(), &["--call-timeout", "0.2"], &[("MOCK_HANGS_WHEN_LOADED", "1")]);
    assert_eq!(code, Some(3));
    assert!(message.contains("from being loaded") && message.contains(&mock()), "{message}");
}

#[test]
fn test_a_backend_killed_at_its_start_leaves_no_process_behind() {
    let calls = Calls::new();
    let mut command = executable_with(&mock_driver());
    command.args(["--socket-path", "/nonexistent/socket"]);
    let environment = [("MOCK_SCRIPT", "cuInit@1=block"), ("MOCK_CALLS", calls.path())];
    let mut backend = command.envs(environment).spawn().unwrap();
    let probe = eventually("its driver hangs", || calls.processes().first().copied());
    backend.kill().unwrap();
    backend.wait().unwrap();
    gone(&[probe]);
}

#[test]
fn test_a_session_whose_driver_does_not_start_is_refused_and_told_on_the_host() {
    let mut backend = scripted("worker:cuInit@1=46", &[]);
    let mut vm = Vm::start(&backend.socket());
    vm.write(home(1), &vec![0; STAGING_OFFSET]);
    let _queue = vm.start_queue(1, 0);
    assert_eq!(vm.create(1), ControlStatus::Host);
    backend.signal(rustix::process::Signal::TERM);
    let (_, messages) = backend.end();
    assert!(messages.contains("DEVICE_UNAVAILABLE"), "{messages}");
}

#[test]
fn test_errors_of_contexts_and_memory_are_those_of_the_driver() {
    let script = "cuDevicePrimaryCtxRetain@2=46,cuDevicePrimaryCtxRetain@3=2,cuCtxCreate_v2@1=2,cuMemAlloc_v2@2=2";
    let backend = scripted(script, &[]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    for expected in [CUresult::DEVICE_UNAVAILABLE, CUresult::OUT_OF_MEMORY, CUresult::SUCCESS] {
        let ctx = client.mint(HandleKind::Context);
        assert_eq!(client.result(&vm, &cmd::VgpuPrimaryRetain { dev: 0, ctx }), expected.0);
    }
    let ctx = client.mint(HandleKind::Context);
    let create = cmd::VgpuContextCreate { dev: 0, flags: 0, ctx };
    assert_eq!(client.result(&vm, &create), CUresult::OUT_OF_MEMORY.0);
    assert_eq!(client.result(&vm, &create), 0, "the handle is free after the failure");
    for expected in [0, CUresult::OUT_OF_MEMORY.0, 0] {
        assert_eq!(client.result(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }), expected);
    }
}

/// An uncorrectable memory error, a lost GPU and the like: told by the call that hits them and by all that
/// follow, in that session only.
#[test]
fn test_errors_of_the_device_stay_with_their_session() {
    for error in [CUresult::ECC_UNCORRECTABLE, CUresult::UNKNOWN, CUresult::HARDWARE_STACK_ERROR] {
        let backend =
            scripted(&format!("cuLaunchKernel@2+={0},cuEventQuery@1+={0},cuMemGetInfo_v2@2+={0}", error.0), &[]);
        let mut vm = Vm::start(&backend.socket());
        let mut client = Client::open(&mut vm, 1);
        let empty = client.kernel(&vm, "empty");
        let mut ask = |launches: usize| {
            let mut batch = client.batch(0);
            for _ in 0..launches {
                batch = batch.with(&client.launch(empty, &[]));
            }
            let sent = client.send_batch(&vm, &batch.with(&cmd::CuMemGetInfoV2 {}));
            let header = client.wait(&vm, sent).0;
            (header.latched, header.result)
        };
        assert_eq!(ask(1), (0, 0));
        assert_eq!(ask(1), (error.0, error.0), "the launch says it, and the call that waits");
        assert_eq!(ask(0), (0, error.0), "it stays");
        let mut other = Client::open(&mut vm, 2);
        other.kernel(&vm, "empty");
        assert_eq!(other.result(&vm, &cmd::CuMemGetInfoV2 {}), 0, "another session has a driver of its own");
        let sent = client.send_batch(&vm, &client.batch(0).with(&cmd::CuStreamSynchronize { hStream: Handle::NULL }));
        assert_eq!(client.wait(&vm, sent).0.result, error.0, "a wait ends with it");
    }
}

#[test]
fn test_a_driver_that_hangs_ends_its_session_only() {
    let mut backend = scripted("cuMemAlloc_v2@2=block,cuStreamSynchronize@1=block", &["--call-timeout", "3"]);
    let mut vm = Vm::start(&backend.socket());
    let mut other = Client::open(&mut vm, 2);
    let mut client = Client::open(&mut vm, 1);
    client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 });
    let hanging = client.send_batch(&vm, &client.batch(0).with(&cmd::CuMemAllocV2 { bytesize: 64 }));
    eventually("the session ends", || (vm.load(home(1) + STATE_OFFSET as u64) == STATE_DEAD).then_some(()));
    assert!(!client.is_done(&vm, hanging));
    assert_eq!(vm.load(home(1) + ERROR_OFFSET as u64), CUresult::UNKNOWN.0);
    // What waits for the GPU may take as long as it likes, and idling is no hanging.
    let sleep = other.kernel(&vm, "sleep");
    let long = 4000u64.to_le_bytes();
    let batch = other.batch(0).with(&other.launch(sleep, &long)).with(&cmd::CuCtxSynchronize {});
    let sent = other.send_batch(&vm, &batch);
    assert_eq!(other.wait(&vm, sent).0.result, 0);
    other.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 });
    backend.signal(rustix::process::Signal::TERM);
    let (_, messages) = backend.end();
    assert!(messages.contains("--call-timeout"), "{messages}");
}

#[test]
fn test_a_busy_driver_is_not_taken_for_dead_when_its_memory_is_asked_for() {
    let backend = scripted("cuMemGetInfo_v2@1=block", &[]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let workers = backend.workers();
    for _ in 0..3 {
        let (status, _) = vm.control(ControlOp::Status, 0, &[]);
        assert_eq!(status, ControlStatus::Ok);
    }
    client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 });
    assert_eq!(backend.workers(), workers);
}

/// A file for the log of calls where workers may write, removed when dropped.
struct Calls(tempfile::NamedTempFile);

impl Calls {
    fn new() -> Calls {
        Calls(tempfile::NamedTempFile::new_in("/dev/shm").unwrap())
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// The process of each call so far.
    fn processes(&self) -> Vec<i32> {
        let lines = BufReader::new(File::open(self.0.path()).unwrap()).lines().map(Result::unwrap);
        lines.filter_map(|line| line.split_once(' ')?.0.parse().ok()).collect()
    }

    /// The calls of a process so far.
    fn of(&self, pid: i32) -> Vec<String> {
        let prefix = format!("{pid} ");
        let lines = BufReader::new(File::open(self.0.path()).unwrap()).lines().map(Result::unwrap);
        lines.filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned)).collect()
    }
}

#[test]
fn test_a_launch_is_one_call_of_the_driver_and_a_wait_few() {
    let log = Calls::new();
    let backend = Backend::start_in(&[("MOCK_CALLS", log.path())], &["--busy-poll", "100000"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let worker = backend.workers()[0];
    let empty = client.kernel_of(&vm, b"mock image", "empty");
    let event = client.mint(HandleKind::Event);
    client.call(&vm, &cmd::CuEventCreate { phEvent: event, Flags: 0 });
    let synchronise = cmd::CuStreamSynchronize { hStream: Handle::NULL };
    client.call(&vm, &synchronise);
    let nothing = client.launch(empty, &[]);
    let mut calls_of = |commands: &dyn Fn(crate::client::Batch) -> crate::client::Batch| {
        let before = log.of(worker).len();
        let sent = client.send_batch(&vm, &commands(client.batch(0)));
        let header = client.wait(&vm, sent).0;
        assert_eq!((header.result, header.latched), (0, 0));
        log.of(worker).split_off(before)
    };
    let launch = |batch: crate::client::Batch| batch.with(&nothing);
    assert_eq!(calls_of(&|batch| launch(launch(launch(batch)))), ["cuLaunchKernel"; 3]);
    let record = |batch: crate::client::Batch| batch.with(&cmd::CuEventRecord { hEvent: event, hStream: Handle::NULL });
    assert_eq!(calls_of(&|batch| record(launch(batch))), ["cuLaunchKernel", "cuEventRecord"]);
    // A wait is a fence and looks at it.
    let mut waited = calls_of(&|batch| launch(batch).with(&synchronise));
    waited.dedup();
    assert_eq!(waited, ["cuLaunchKernel", "cuEventRecord", "cuEventQuery"]);
    assert_eq!(calls_of(&|batch| batch.with(&synchronise)), ["cuStreamSynchronize"], "of an idle stream");
    // Where kernels may print or memory comes from pools, the driver is told that somebody waits.
    client.kernel(&vm, "print");
    let sent = client.send_batch(&vm, &launch(client.batch(0)).with(&synchronise));
    assert_eq!(client.wait(&vm, sent).0.result, 0);
    assert_eq!(log.of(worker).last().map(String::as_str), Some("cuEventSynchronize"));
}
