//! What a session may have, and the error of what exceeds it. Device memory: see `host`.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, Pid};
use vgpu_protocol::control::{ControlOp, ControlStatus, SessionCreate};
use vgpu_protocol::cuda::{attribute, CUresult};
use vgpu_protocol::session::{STAGING_OFFSET, STATE_DEAD, STATE_OFFSET};
use vgpu_protocol::{cmd, Handle, HandleKind};
use zerocopy::IntoBytes;

use crate::backend::{eventually, Backend};
use crate::client::Client;
use crate::vm::{arena, home, Vm, CHUNKS};

const OUT_OF_MEMORY: u32 = CUresult::OUT_OF_MEMORY.0;

/// The error that a command left behind for the next one that waits.
fn latched(client: &mut Client, vm: &Vm, stream: Handle) -> u32 {
    let batch = client.batch(0).with(&cmd::CuStreamCreate { phStream: stream, Flags: 0 });
    let batch = batch.with(&cmd::CuMemGetInfoV2 {});
    let sent = client.send_batch(vm, &batch);
    client.wait(vm, sent).0.latched
}

#[test]
fn test_streams_and_contexts_beyond_the_quota_are_out_of_memory() {
    let backend = Backend::start_with(&["--max-streams", "3", "--max-contexts", "2"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let streams: Vec<Handle> = (0..4).map(|_| client.mint(HandleKind::Stream)).collect();
    let results: Vec<u32> = streams.iter().map(|stream| latched(&mut client, &vm, *stream)).collect();
    assert_eq!(results, [0, 0, 0, OUT_OF_MEMORY]);
    client.call(&vm, &cmd::CuStreamDestroyV2 { hStream: streams[0] });
    assert_eq!(latched(&mut client, &vm, streams[3]), 0, "there is room again");
    // The primary context is the first.
    let results: Vec<u32> = (0..2)
        .map(|_| {
            let ctx = client.mint(HandleKind::Context);
            client.result(&vm, &cmd::VgpuContextCreate { dev: 0, flags: 0, ctx })
        })
        .collect();
    assert_eq!(results, [0, OUT_OF_MEMORY]);
    let mut other = Client::open(&mut vm, 2);
    let stream = other.mint(HandleKind::Stream);
    assert_eq!(latched(&mut other, &vm, stream), 0, "another session has a quota of its own");
}

#[test]
fn test_modules_and_their_bytes_beyond_the_quota_are_out_of_memory() {
    let backend = Backend::start_with(&["--max-modules", "3", "--max-module-bytes", "1M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    vm.write(home(1) + STAGING_OFFSET as u64, b"mock");
    let load = |client: &mut Client, module, size| {
        let load =
            cmd::VgpuModuleLoad { module, image: client.staging(), size, options: &[], log_size: 0, values_size: 0 };
        let (header, reply) = client.ask(&vm, &load);
        if header.result == 0 {
            reply.unwrap().result as u32
        } else {
            header.result
        }
    };
    let modules: Vec<Handle> = (0..4).map(|_| client.mint(HandleKind::Module)).collect();
    let results: Vec<u32> = modules.iter().map(|module| load(&mut client, *module, 4)).collect();
    assert_eq!(results, [0, 0, 0, OUT_OF_MEMORY]);
    for module in &modules[..3] {
        client.call(&vm, &cmd::CuModuleUnload { hmod: *module });
    }
    assert_eq!(load(&mut client, modules[0], 600 << 10), 0);
    assert_eq!(load(&mut client, modules[1], 600 << 10), OUT_OF_MEMORY);
    client.call(&vm, &cmd::CuModuleUnload { hmod: modules[0] });
    assert_eq!(load(&mut client, modules[1], 600 << 10), 0);
}

#[test]
fn test_pinned_memory_beyond_the_quota_is_refused() {
    let backend = Backend::start_with(&["--max-pinned", "4M"]);
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let chunk = 2u64 << 20;
    let mut map = |n: u64| vm.map(1, arena(1) + (1 + n) * chunk, &[(CHUNKS + n * chunk, chunk)]);
    assert_eq!([map(0), map(1), map(2)], [ControlStatus::Ok, ControlStatus::Ok, ControlStatus::Limit]);
}

#[test]
fn test_what_the_vms_sessions_have_together_is_limited() {
    let options = ["--vm-streams", "3", "--vm-memory", "4M", "--vm-pinned", "4M", "--vm-contexts", "2"];
    let backend = Backend::start_with(&options);
    let mut vm = Vm::start(&backend.socket());
    let (mut one, mut other) = (Client::open(&mut vm, 1), Client::open(&mut vm, 2));
    let streams: Vec<Handle> = (0..3).map(|_| one.mint(HandleKind::Stream)).collect();
    let results = streams[..2].iter().map(|stream| latched(&mut one, &vm, *stream)).collect::<Vec<_>>();
    let (first, second) = (other.mint(HandleKind::Stream), other.mint(HandleKind::Stream));
    assert_eq!((results, latched(&mut other, &vm, first)), (vec![0, 0], 0));
    assert_eq!(latched(&mut other, &vm, second), OUT_OF_MEMORY);
    assert_eq!(latched(&mut one, &vm, streams[2]), OUT_OF_MEMORY, "of whichever session");
    // Both have their primary context.
    let ctx = one.mint(HandleKind::Context);
    assert_eq!(one.result(&vm, &cmd::VgpuContextCreate { dev: 0, flags: 0, ctx }), OUT_OF_MEMORY);

    let allocate = |client: &mut Client, bytesize| client.ask(&vm, &cmd::CuMemAllocV2 { bytesize });
    let memory = allocate(&mut one, 3 << 20).1.unwrap().dptr;
    assert_eq!(allocate(&mut other, 2 << 20).0.result, OUT_OF_MEMORY);
    one.call(&vm, &cmd::CuMemFreeV2 { dptr: memory });
    eventually("the memory is there for the other", || allocate(&mut other, 2 << 20).1);

    let chunk = 2u64 << 20;
    let place = |queue: u32, n: u64| (arena(queue) + (1 + n) * chunk, [(CHUNKS + n * chunk, chunk)]);
    let mut map = |queue, n| {
        let (va, ranges) = place(queue, n);
        vm.map(queue, va, &ranges)
    };
    assert_eq!([map(1, 0), map(2, 1), map(1, 2)], [ControlStatus::Ok, ControlStatus::Ok, ControlStatus::Limit]);
    // What a session had is there for others when it ends.
    vm.destroy(1);
    let (va, ranges) = place(2, 3);
    assert_eq!(vm.map(2, va, &ranges), ControlStatus::Ok);
    assert_eq!(latched(&mut other, &vm, second), 0);
}

#[test]
fn test_a_session_beyond_the_last_queue_is_refused() {
    let backend = Backend::start_with(&["--sessions", "2"]);
    let mut vm = Vm::start(&backend.socket());
    let _first = Client::open(&mut vm, 1);
    let _second = Client::open(&mut vm, 2);
    assert_eq!(vm.create(3), ControlStatus::BadQueue);
}

#[test]
fn test_an_endless_kernel_is_a_launch_timeout_of_its_session_only() {
    let options = ["--memory", "256M", "--kernel-timeout", "0.2"];
    an_endless_kernel_ends(&Backend::start_on(Path::new("soft"), &options));
}

#[test]
#[ignore = "takes a backend with LLVM: scripts/test has one"]
fn test_an_endless_kernel_is_a_launch_timeout_in_machine_code() {
    an_endless_kernel_ends(&Backend::start_compiling(&["--memory", "256M", "--kernel-timeout", "0.2"]));
}

fn an_endless_kernel_ends(backend: &Backend) {
    let mut vm = Vm::start(&backend.socket());
    let (mut endless, mut other) = (Client::open(&mut vm, 1), Client::open(&mut vm, 2));
    let info = endless.call(&vm, &cmd::VgpuDeviceInfo { dev: 0 }).info;
    assert_eq!(info.attributes[attribute::KERNEL_EXEC_TIMEOUT as usize], 1);
    let (_, function) = endless.endless_kernel(&vm);
    let batch = endless.batch(1).with(&endless.launch(function, &[])).with(&cmd::CuCtxSynchronize {});
    let start = Instant::now();
    let sent = endless.send_batch(&vm, &batch);
    let mut served = 0;
    eventually("the kernel is ended", || {
        assert_eq!(other.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
        served += 1;
        endless.is_done(&vm, sent).then_some(())
    });
    assert_eq!(endless.wait(&vm, sent).0.result, CUresult::LAUNCH_TIMEOUT.0);
    assert!(start.elapsed() >= Duration::from_millis(200) && served > 0);
    assert_eq!(endless.result(&vm, &cmd::CuMemGetInfoV2 {}), CUresult::LAUNCH_TIMEOUT.0, "the error sticks");
    assert_eq!(other.result(&vm, &cmd::CuCtxSynchronize {}), 0);
}

#[test]
fn test_launches_keep_to_their_rate() {
    let backend = Backend::start_with(&["--max-launch-rate", "100"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }).dptr;
    let add = client.kernel(&vm, "add");
    let params = [memory.to_le_bytes(), 1u64.to_le_bytes()].concat();
    let launch = client.launch(add, &params);
    let batch = (0..40).fold(client.batch(0), |batch, _| batch.with(&launch)).with(&cmd::CuCtxSynchronize {});
    let start = Instant::now();
    let sent = client.send_batch(&vm, &batch);
    let header = client.wait(&vm, sent).0;
    assert_eq!((header.result, header.latched), (0, 0));
    // A tenth of a second's launches come at once.
    assert!(start.elapsed() >= Duration::from_millis(280), "{:?}", start.elapsed());
}

#[test]
fn test_the_vms_launches_keep_to_their_rate_together() {
    let backend = Backend::start_with(&["--vm-launch-rate", "100"]);
    let mut vm = Vm::start(&backend.socket());
    let mut clients = [Client::open(&mut vm, 1), Client::open(&mut vm, 2)];
    let kernels = clients.each_mut().map(|client| client.kernel(&vm, "empty"));
    let start = Instant::now();
    let sent: Vec<_> = clients
        .iter_mut()
        .zip(kernels)
        .map(|(client, kernel)| {
            let launch = client.launch(kernel, &[]);
            let batch = (0..20).fold(client.batch(0), |batch, _| batch.with(&launch)).with(&cmd::CuCtxSynchronize {});
            client.send_batch(&vm, &batch)
        })
        .collect();
    for (client, sent) in clients.iter().zip(sent) {
        let header = client.wait(&vm, sent).0;
        assert_eq!((header.result, header.latched), (0, 0));
    }
    // A tenth of a second's launches come at once.
    assert!(start.elapsed() >= Duration::from_millis(280), "{:?}", start.elapsed());
}

#[test]
fn test_a_session_ends_when_its_kernel_time_is_used_up() {
    let mut backend = Backend::start_on(Path::new("soft"), &["--memory", "256M", "--max-kernel-time", "1"]);
    let mut vm = Vm::start(&backend.socket());
    let (mut endless, mut other) = (Client::open(&mut vm, 1), Client::open(&mut vm, 2));
    let (_, function) = endless.endless_kernel(&vm);
    let batch = endless.batch(1).with(&endless.launch(function, &[])).with(&cmd::CuCtxSynchronize {});
    endless.send_batch(&vm, &batch);
    eventually("the session ends", || (vm.load(home(1) + STATE_OFFSET as u64) == STATE_DEAD).then_some(()));
    assert_eq!(other.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    backend.signal(rustix::process::Signal::TERM);
    let (_, messages) = backend.end();
    assert!(messages.contains("--max-kernel-time"), "{messages}");
}

#[test]
fn test_a_session_has_the_nice_value_of_its_client_and_never_more_weight_than_others() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let ours = getpriority_process(None).unwrap();
    for (asked, more) in [(7, 7), (0, 0), (-20, 0), (i32::MAX, 19)] {
        let given = (ours + more).min(19);
        let _queue = vm.start_queue(1, 0);
        let request = SessionCreate { nice: asked, ..Vm::request(1) };
        assert_eq!(vm.control(ControlOp::SessionCreate, 1, request.as_bytes()).0, ControlStatus::Ok);
        let worker = backend.workers()[0];
        let tasks = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap();
        let mut nice = tasks.map(|task| {
            let id = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
            getpriority_process(Pid::from_raw(id)).unwrap()
        });
        assert!(nice.all(|nice| nice == given), "{asked}");
        assert_eq!(vm.destroy(1), ControlStatus::Ok);
    }
}

#[test]
fn test_a_nice_session_has_a_smaller_share_among_autogroups() {
    if std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default().trim() != "1" {
        return;
    }
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let request = SessionCreate { nice: 7, ..Vm::request(1) };
    let given = (getpriority_process(None).unwrap() + 7).min(19);
    // The kernel may be busy with those of others.
    eventually("the session's autogroup is nice", || {
        let _queue = vm.start_queue(1, 0);
        assert_eq!(vm.control(ControlOp::SessionCreate, 1, request.as_bytes()).0, ControlStatus::Ok);
        let group = std::fs::read_to_string(format!("/proc/{}/autogroup", backend.workers()[0])).unwrap();
        assert_eq!(vm.destroy(1), ControlStatus::Ok);
        group.trim().ends_with(&format!("nice {given}")).then_some(())
    });
}
