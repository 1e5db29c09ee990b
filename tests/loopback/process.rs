//! The backend as a process: command line, socket, signals, traps of the vhost-user crates.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;

use rustix::fs::{memfd_create, MemfdFlags};
use rustix::process::Signal;
use vgpu_fuzz::rounds;
use vgpu_protocol::cmd;
use vgpu_protocol::control::{ControlStatus, DeviceConfig, MAGIC, PROTOCOL_VERSION};
use vgpu_protocol::API_HASH;
use vhost::vhost_user::message::VhostUserConfigFlags;
use vhost::vhost_user::VhostUserFrontend;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use zerocopy::FromBytes;

use crate::backend::{eventually, executable_with, gone, mock_driver, run, Backend};
use crate::client::Client;
use crate::vm::{connect, idle_descriptors, region, sealed_memory, Vm, SIZE, START};

#[test]
fn test_capabilities_are_json() {
    let output = run(&["--print-capabilities"]);
    assert!(output.status.success());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["type"], "vgpu");
}

#[test]
fn test_exit_codes_tell_usage_from_missing_gpu() {
    let code = |options: &[&str]| run(options).status.code();
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["--socket-path", "x", "--sessions", "64"]), Some(2));
    let missing = run(&["--socket-path", "/nonexistent/socket", "--gpu", "/nonexistent/libcuda.so"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/libcuda.so"));
    let nowhere = run(&["--socket-path", "/nonexistent/socket", "--memory", "256M"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nonexistent/socket"));
}

#[test]
fn test_socket_in_use_is_told_and_a_stale_one_replaced() {
    let backend = Backend::start();
    let path = backend.socket();
    let second = run(&["--socket-path", path.to_str().unwrap(), "--memory", "256M"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
    let _still_there = connect(&path);

    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let mut child = executable_with(&mock_driver()).arg("--socket-path").arg(&stale).spawn().unwrap();
    eventually("the stale socket is replaced", || UnixStream::connect(&stale).ok());
    child.kill().unwrap();
    child.wait().unwrap();

    let file = dir.path().join("file");
    File::create(&file).unwrap();
    let refused = run(&["--socket-path", file.to_str().unwrap(), "--memory", "256M"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(file.exists(), "a file that is no socket stays");
}

#[test]
fn test_sigterm_removes_the_socket_and_ends_workers() {
    let mut backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let workers = backend.workers();
    backend.signal(Signal::TERM);
    let (code, _) = backend.end();
    assert_eq!(code, Some(0));
    assert!(!backend.socket().exists());
    gone(&workers);
}

#[test]
fn test_workers_do_not_outlive_a_killed_backend() {
    let mut backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let _frozen = Client::open(&mut vm, 2);
    vm.stop_queue(2);
    let workers = backend.workers();
    assert_eq!(workers.len(), 2);
    backend.signal(Signal::KILL);
    backend.end();
    gone(&workers);
}

#[test]
fn test_inherited_socket_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let fd = listener.as_raw_fd();
    let mut command = executable_with(&mock_driver());
    command.args(["--fd", "9"]);
    // SAFETY: dup2 may be called between fork and exec.
    unsafe {
        command.pre_exec(move || if libc::dup2(fd, 9) == 9 { Ok(()) } else { Err(std::io::Error::last_os_error()) });
    }
    let mut child = command.spawn().unwrap();
    let vm = Vm::start(&path);
    drop(vm);
    child.kill().unwrap();
    child.wait().unwrap();
    let wrong = run(&["--fd", "77", "--memory", "256M"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--fd 77"));
}

#[test]
fn test_config_space_describes_the_device() {
    let backend = Backend::start_with(&["--sessions", "63"]);
    let mut frontend = connect(&backend.socket());
    let size = size_of::<DeviceConfig>();
    let (_, bytes) = frontend.get_config(0, size as u32, VhostUserConfigFlags::empty(), &vec![0; size]).unwrap();
    let config = DeviceConfig::read_from_bytes(&bytes).unwrap();
    assert_eq!((config.magic, config.version, config.sessions), (MAGIC, PROTOCOL_VERSION, 63));
    assert_eq!(config.api_hash, API_HASH);
    assert_eq!(frontend.get_queue_num().unwrap(), 64, "as many as the crate can serve");
    // QEMU reads the whole config space, however large it made it.
    let (_, bytes) = frontend.get_config(0, 256, VhostUserConfigFlags::empty(), &[0; 256]).unwrap();
    assert_eq!(bytes.len(), 256);
}

#[test]
fn test_reconnecting_leaks_nothing() {
    let backend = Backend::start_with(&["--log-level", "off"]);
    let visit = || {
        let mut vm = Vm::start(&backend.socket());
        let mut client = Client::open(&mut vm, 1);
        assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    };
    visit();
    let before = idle_descriptors(&backend);
    for _ in rounds("reconnects", 20) {
        visit();
    }
    eventually("all descriptors are closed", || (idle_descriptors(&backend) <= before).then_some(()));
}

#[test]
fn test_overflowing_region_address_does_not_end_the_backend() {
    let mut backend = Backend::start();
    let mut frontend = connect(&backend.socket());
    let file = sealed_memory();
    let wild = VhostUserMemoryRegionInfo { userspace_addr: u64::MAX - 4096, ..region(&file) };
    let _ = frontend.add_mem_region(&wild);
    let config = VringConfigData {
        queue_max_size: 64,
        queue_size: 64,
        flags: 0,
        desc_table_addr: u64::MAX - 4096,
        avail_ring_addr: u64::MAX - 2048,
        used_ring_addr: u64::MAX - 1024,
        log_addr: None,
    };
    let _ = frontend.set_vring_addr(0, &config);
    drop(frontend);
    let mut vm = Vm::start(&backend.socket());
    Client::open(&mut vm, 1);
    assert!(backend.is_running());
}

#[test]
fn test_memory_that_can_shrink_is_refused() {
    let mut backend = Backend::start_with(&["--log-level", "error"]);
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let unsealed = File::from(memfd_create("vm", flags).unwrap());
    unsealed.set_len(SIZE).unwrap();
    let frontend = connect(&backend.socket());
    assert!(frontend.set_mem_table(&[region(&unsealed)]).is_err());
    drop(frontend);
    drop(Vm::start(&backend.socket()));
    backend.signal(Signal::TERM);
    assert!(backend.end().1.contains("F_SEAL_SHRINK"));
}

#[test]
fn test_vanished_memory_ends_the_backend_with_its_own_code() {
    let mut backend = Backend::start();
    // A file that takes no seals.
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    let vm = Vm::with_memory(&backend.socket(), file.try_clone().unwrap());
    file.set_len(0).unwrap();
    vm.control.kick.write(1).unwrap();
    let (code, text) = backend.end();
    assert_eq!(code, Some(149));
    assert!(text.contains("SIGBUS"));
}

#[test]
fn test_garbage_on_the_socket_ends_the_connection_only() {
    let mut backend = Backend::start();
    for length in [0usize, 1, 11, 12, 100, 4096] {
        let mut stream = UnixStream::connect(backend.socket()).unwrap();
        let _ = stream.write_all(&vec![0xa5; length]);
        drop(stream);
    }
    assert!(backend.is_running());
    drop(Vm::start(&backend.socket()));
}

#[test]
fn test_bad_control_ring_does_not_end_the_device() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    // An avail index that is far ahead is an error of the ring; the thread must survive it.
    vm.write(START + 0x1002, &0x8000u16.to_le_bytes());
    vm.control.kick.write(1).unwrap();
    vm.control.kick.write(1).unwrap();
    vm.write(START + 0x1002, &0u16.to_le_bytes());
    let _queue = vm.start_queue(1, 0);
    assert_eq!(vm.create(1), ControlStatus::Ok);
}

#[test]
fn test_metrics_are_told_on_a_socket_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics");
    let mut backend = Backend::start_with(&["--metrics", path.to_str().unwrap(), "--name", "guest 1"]);
    let ask = || {
        let mut reader = UnixStream::connect(&path).unwrap();
        reader.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        std::io::read_to_string(reader).unwrap()
    };
    let labels = "gpu=\"mock GPU\",uuid=\"GPU-";
    assert!(ask().contains(&format!("vgpu_sessions{{{labels}")));
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 1 << 20 });
    let text = ask();
    let value = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().rsplit(' ').next().unwrap();
    assert_eq!((value("vgpu_up{"), value("vgpu_sessions{")), ("1", "1"));
    assert!(value("vgpu_memory_used_bytes{").parse::<u64>().unwrap() >= 1 << 20);
    assert!(text.contains("vm=\"guest 1\"}"));
    // A reader that says nothing holds up nobody but other readers.
    let _silent = UnixStream::connect(&path).unwrap();
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    backend.signal(Signal::TERM);
    assert_eq!(backend.end().0, Some(0));
    assert!(!path.exists());
}
