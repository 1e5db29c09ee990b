//! What happens around a session: pause and resume of the VM, reboot, crashes, replaced eventfds.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};
use vgpu_protocol::control::{BackendStatus, ControlHeader, ControlOp, ControlReply, ControlStatus};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ERROR_OFFSET, HEARTBEAT_OFFSET, HOME_SIZE, STATE_DEAD, STATE_OFFSET};
use vgpu_protocol::{cmd, Handle};
use vhost::VhostBackend;
use vmm_sys_util::eventfd::EventFd;
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::{eventually, Backend};
use crate::client::{Client, Sent};
use crate::vm::{arena, home, Vm, CHUNKS};

fn heartbeat(vm: &Vm, queue: u32) -> u32 {
    vm.load(home(queue) + HEARTBEAT_OFFSET as u64)
}

fn is_dead(vm: &Vm, queue: u32) -> bool {
    vm.load(home(queue) + STATE_OFFSET as u64) == STATE_DEAD
}

/// Starts a kernel that takes `milliseconds`, and a command that waits for it on lane 1.
fn sleep(vm: &Vm, client: &mut Client, milliseconds: u64) -> Sent {
    let kernel = client.kernel(vm, "sleep");
    let params = milliseconds.to_le_bytes();
    let batch = client.batch(1).with(&client.launch(kernel, &params)).with(&cmd::CuCtxSynchronize {});
    let sent = client.send_batch(vm, &batch);
    // It has been taken when a batch behind it is answered.
    assert_eq!(client.result(vm, &cmd::CuMemGetInfoV2 {}), 0);
    sent
}

#[test]
fn test_paused_session_goes_on_where_it_stopped() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let waiting = sleep(&vm, &mut client, 200);
    let index = vm.stop_queue(1);
    assert!(client.is_done(&vm, waiting), "what a host GPU has begun is awaited");
    assert_eq!(index, client.avail);
    client.queue = vm.start_queue(1, index);
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0, "context and objects are still there");
}

#[test]
fn test_batches_offered_while_paused_are_served_afterwards() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let index = vm.stop_queue(1);
    let batch = client.batch(0).with(&cmd::CuMemGetInfoV2 {});
    let sent = client.send_batch(&vm, &batch);
    assert!(!client.is_done(&vm, sent));
    client.queue = vm.start_queue(1, index);
    assert_eq!(client.wait(&vm, sent).0.result, 0);
}

#[test]
fn test_lane_that_was_blocked_goes_on_after_a_pause() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let waiting = sleep(&vm, &mut client, 200);
    let behind = client.batch(1).with(&cmd::CuMemGetInfoV2 {});
    let behind = client.send_batch(&vm, &behind);
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    let index = vm.stop_queue(1);
    client.queue = vm.start_queue(1, index);
    assert_eq!(client.wait(&vm, behind).0.result, 0);
    assert!(client.is_done(&vm, waiting));
}

#[test]
fn test_a_host_function_that_is_due_outlasts_a_pause() {
    let backend = Backend::start_on(Path::new("soft"), &["--memory", "256M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    assert_eq!(client.result(&vm, &cmd::VgpuHostFunction { stream: Handle::NULL, id: 5, always: 0 }), 0);
    assert_eq!(client.due_function(&vm, 0).id, 5);
    let index = vm.stop_queue(1);
    assert!(!is_dead(&vm, 1));
    client.queue = vm.start_queue(1, index);
    client.functions_have_run(&vm, 1);
    assert_eq!(client.result(&vm, &cmd::CuCtxSynchronize {}), 0);
}

#[test]
fn test_session_that_does_not_drain_is_ended() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    sleep(&vm, &mut client, 60_000);
    vm.stop_queue(1);
    assert!(is_dead(&vm, 1), "its client is told before the ring has stopped");
    eventually("the worker is gone", || backend.workers().is_empty().then_some(()));
}

#[test]
fn test_software_gpu_freezes_in_an_endless_kernel_and_writes_nothing() {
    freezes_in_an_endless_kernel(&Backend::start_on(Path::new("soft"), &["--memory", "256M"]));
}

#[test]
#[ignore = "takes a backend with LLVM: scripts/test has one"]
fn test_software_gpu_freezes_in_machine_code_and_writes_nothing() {
    freezes_in_an_endless_kernel(&Backend::start_compiling(&["--memory", "256M"]));
}

fn freezes_in_an_endless_kernel(backend: &Backend) {
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let (_, function) = client.endless_kernel(&vm);
    let batch = client.batch(1).with(&client.launch(function, &[])).with(&cmd::CuCtxSynchronize {});
    let endless = client.send_batch(&vm, &batch);
    // The dispatcher has handed the waiting command over once another lane is served.
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);

    let index = vm.stop_queue(1);
    let before = vm.read(home(1), HOME_SIZE);
    let offered = client.batch(2).with(&cmd::CuMemGetInfoV2 {});
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        std::thread::yield_now();
    }
    assert_eq!(vm.read(home(1), HOME_SIZE), before, "nothing of the guest's memory changes while it is stopped");

    client.queue = vm.start_queue(1, index);
    let offered = client.send_batch(&vm, &offered);
    assert_eq!(client.wait(&vm, offered).0.result, 0);
    assert!(!client.is_done(&vm, endless));
    assert_eq!(vm.destroy(1), ControlStatus::Ok, "an endless kernel does not keep a session alive");
}

#[test]
fn test_rebooted_guest_is_not_written_to() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    Client::open(&mut vm, 1);
    vm.stop_queue(1);
    vm.write(home(1), &vec![0; HOME_SIZE]);
    vm.start_queue(1, 0);
    eventually("the old worker is gone", || backend.workers().is_empty().then_some(()));
    assert_eq!(vm.read(home(1), HOME_SIZE), vec![0; HOME_SIZE]);
    assert_eq!(vm.create(1), ControlStatus::Ok);
}

#[test]
fn test_reset_of_the_device_ends_all_sessions() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let index = vm.stop_queue(1);
    assert_eq!(u16::try_from(vm.frontend.get_vring_base(0).unwrap()).unwrap(), 1);
    vm.write(crate::vm::START, &[0; 0x4000]);
    vm.restart_control(0);
    eventually("the worker is gone", || backend.workers().is_empty().then_some(()));
    vm.start_queue(1, index);
    assert_eq!(vm.destroy(1), ControlStatus::BadQueue);
}

#[test]
fn test_control_queue_goes_on_after_a_pause() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let index = vm.stop_queue(1);
    let control = u16::try_from(vm.frontend.get_vring_base(0).unwrap()).unwrap();
    vm.restart_control(control);
    client.queue = vm.start_queue(1, index);
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
}

#[test]
fn test_new_session_on_a_queue_replaces_the_old_one() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _old = Client::open(&mut vm, 1);
    let worker = backend.workers();
    let mut new = Client::open(&mut vm, 1);
    assert_ne!(backend.workers(), worker);
    assert_eq!(new.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
}

#[test]
fn test_replaced_call_eventfd_gets_the_completions() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    for round in 0..20 {
        let call = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).unwrap();
        vm.frontend.set_vring_call(1, &call).unwrap();
        // Whatever was signalled while it was replaced is signalled on the new one.
        let _ = call.read();
        assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
        eventually(&format!("a signal in round {round}"), || call.read().ok());
        client.queue.call = call;
    }
}

#[test]
fn test_crash_of_a_worker_ends_its_session_only() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut first = Client::open(&mut vm, 1);
    let mut second = Client::open(&mut vm, 2);
    let crash = first.kernel(&vm, "crash");
    let _ = first.queue.call.read();
    let batch = first.batch(0).with(&first.launch(crash, &[])).with(&cmd::CuCtxSynchronize {});
    first.send_batch(&vm, &batch);
    eventually("the client is woken", || first.queue.call.read().ok());
    assert!(is_dead(&vm, 1));
    assert_eq!(vm.load(home(1) + ERROR_OFFSET as u64), CUresult::UNKNOWN.0);
    assert_eq!(second.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    assert_eq!(vm.control(ControlOp::SessionMap, 1, &[0; 16]).0, ControlStatus::BadQueue);
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
    let mut again = Client::open(&mut vm, 1);
    assert_eq!(again.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
}

#[test]
fn test_killed_worker_is_noticed_while_paused() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let index = vm.stop_queue(1);
    let worker = Pid::from_raw(backend.workers()[0]).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    eventually("the worker is gone", || backend.workers().is_empty().then_some(()));
    assert!(!is_dead(&vm, 1), "a stopped guest's memory is not touched");
    vm.start_queue(1, index);
    // The launcher reaps the worker and tells the supervisor: that may take longer than the start.
    eventually("its client is told", || is_dead(&vm, 1).then_some(()));
}

#[test]
fn test_heartbeat_moves_while_the_dispatcher_is_busy() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    sleep(&vm, &mut client, 60_000);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 8 }).dptr;
    // The mock's copies wait for the stream, in the dispatcher.
    let copy = cmd::VgpuCopyHtoDInline { dst: memory, stream: Handle::NULL, data: &[0; 8] };
    let batch = client.batch(2).with(&copy);
    client.send_batch(&vm, &batch);
    for _ in 0..3 {
        let seen = heartbeat(&vm, 1);
        eventually("the next beat", || (heartbeat(&vm, 1) != seen).then_some(()));
    }
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
}

#[test]
fn test_a_session_that_starts_slowly_keeps_nobody_waiting() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let calls = folder.path().join("calls");
    let environment = [("MOCK_SCRIPT", "worker:cuInit@1=block-first"), ("MOCK_CALLS", calls.to_str().unwrap())];
    let backend = Backend::start_in(&environment, &[]);
    let mut vm = Vm::start(&backend.socket());
    let _slow = vm.start_queue(1, 0);
    let header = ControlHeader { op: ControlOp::SessionCreate as u32, queue: 1 };
    vm.post(1, &[header.as_bytes(), Vm::request(1).as_bytes()].concat());
    eventually("its driver hangs", || calls.with_extension("blocked").exists().then_some(()));
    let hanging = backend.workers();
    assert_eq!(hanging.len(), 1);

    let mut other = Client::open(&mut vm, 2);
    assert_eq!(other.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    let (status, body) = vm.control(ControlOp::Status, 0, &[]);
    let sessions = BackendStatus::read_from_bytes(&body).unwrap().sessions;
    assert_eq!((status, sessions), (ControlStatus::Ok, 1));
    assert_eq!(vm.destroy(2), ControlStatus::Ok);

    assert_eq!(vm.answer(1), None);
    kill_process(Pid::from_raw(hanging[0]).unwrap(), Signal::KILL).unwrap();
    let reply = eventually("its client is told", || vm.answer(1));
    assert_eq!(ControlReply::read_from_bytes(&reply).unwrap().status, ControlStatus::Host as u32);
    Client::open(&mut vm, 1);
}

#[test]
fn test_a_worker_that_does_not_tell_its_memory_keeps_nobody_waiting() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let told = |vm: &mut Vm| {
        let (status, body) = vm.control(ControlOp::Status, 0, &[]);
        assert_eq!(status, ControlStatus::Ok);
        let status = BackendStatus::read_from_bytes(&body).unwrap();
        (status.sessions, status.memory_used)
    };
    let before = told(&mut vm);
    let worker = Pid::from_raw(backend.workers()[0]).unwrap();
    kill_process(worker, Signal::STOP).unwrap();
    for _ in 0..3 {
        assert_eq!(told(&mut vm), before, "what was known last");
    }
    kill_process(worker, Signal::CONT).unwrap();
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0, "it was not taken for dead");
    assert_eq!(vm.map(1, arena(1) + (4 << 20), &[(CHUNKS, 2 << 20)]), ControlStatus::Ok, "nor its answers for others");
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
}
