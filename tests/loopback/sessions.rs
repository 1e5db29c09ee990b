//! What a client sees: commands, errors, lanes, text of kernels.

use std::collections::VecDeque;
use std::path::Path;

use vgpu_protocol::control::{BackendStatus, ControlOp, ControlStatus};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{DueFunction, SLOTS, STAGING_OFFSET, STATE_OFFSET, STATE_RUNNING};
use vgpu_protocol::{cmd, Command, Handle, HandleKind};
use zerocopy::FromBytes;

use crate::backend::Backend;
use crate::client::Client;
use crate::vm::{arena, home, Vm, CHUNKS};

fn add_params(address: u64, value: u32) -> Vec<u8> {
    [address.to_le_bytes().as_slice(), &u64::from(value).to_le_bytes()].concat()
}

#[test]
fn test_63_sessions_are_served_at_once() {
    let backend = Backend::start_with(&["--sessions", "63", "--log-level", "error"]);
    let mut vm = Vm::start(&backend.socket());
    let mut clients: Vec<Client> = (1..=63).map(|number| Client::open(&mut vm, number)).collect();
    assert_eq!(backend.workers().len(), 63);
    let sent: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            let batch = client.batch(0).with(&cmd::CuMemAllocV2 { bytesize: 64 });
            client.send_batch(&vm, &batch)
        })
        .collect();
    for (client, sent) in clients.iter().zip(sent) {
        assert_eq!(client.wait(&vm, sent).0.result, 0, "session {}", client.number);
    }
}

#[test]
fn test_program_runs() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    assert_eq!(vm.load(home(1) + STATE_OFFSET as u64), STATE_RUNNING);

    let info = client.call(&vm, &cmd::VgpuDeviceInfo { dev: 0 }).info;
    assert!(info.name.starts_with(b"mock GPU\0"));
    assert_eq!((info.attributes[75], info.device_count, info.driver_version), (75, 1, 13000));

    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }).dptr;
    let add = client.kernel(&vm, "add");
    let stream = client.mint(HandleKind::Stream);
    let params = add_params(memory, 5);
    let batch = client
        .batch(0)
        .with(&cmd::CuStreamCreate { phStream: stream, Flags: 0 })
        .with(&cmd::VgpuCopyHtoDInline { dst: memory, stream, data: &37u32.to_le_bytes() })
        .with(&client.launch_on(add, stream, &params))
        .with(&cmd::VgpuCopyDtoHWait { dst: client.staging(), src: memory, size: 4, stream });
    let sent = client.send_batch(&vm, &batch);
    let (header, _) = client.wait(&vm, sent);
    assert_eq!((header.result, header.latched), (0, 0));
    assert_eq!(vm.load(home(1) + STAGING_OFFSET as u64), 42);
    assert_eq!(client.result(&vm, &cmd::CuStreamDestroyV2 { hStream: stream }), 0);
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
    assert_eq!(vm.destroy(1), ControlStatus::BadQueue);
}

#[test]
fn test_pinned_memory_is_shared_at_equal_addresses() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let va = arena(1) + (4 << 20);
    // Two ranges, in the other order than in the guest's memory.
    assert_eq!(vm.map(1, va, &[(CHUNKS + (2 << 20), 2 << 20), (CHUNKS, 2 << 20)]), ControlStatus::Ok);
    let across = va + (2 << 20) - 4;
    vm.write(CHUNKS + (4 << 20) - 4, &7u32.to_le_bytes());
    vm.write(CHUNKS, &8u32.to_le_bytes());

    let add = client.kernel(&vm, "add");
    let params = add_params(across, 1);
    let batch = client.batch(0).with(&client.launch(add, &params)).with(&cmd::CuCtxSynchronize {});
    let sent = client.send_batch(&vm, &batch);
    assert_eq!(client.wait(&vm, sent).0.result, 0);
    assert_eq!(vm.load(CHUNKS + (4 << 20) - 4), 8);

    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 8 }).dptr;
    let copy = cmd::VgpuCopyHtoD { dst: memory, src: across, size: 8, stream: Handle::NULL };
    let back = cmd::VgpuCopyDtoHWait { dst: va + 64, src: memory, size: 8, stream: Handle::NULL };
    let batch = client.batch(0).with(&copy).with(&back);
    let sent = client.send_batch(&vm, &batch);
    assert_eq!(client.wait(&vm, sent).0.result, 0);
    assert_eq!(vm.read(CHUNKS + (2 << 20) + 64, 8), [8, 0, 0, 0, 8, 0, 0, 0]);

    let unmap = vgpu_protocol::control::SessionUnmap { va, length: 4 << 20 };
    let body = zerocopy::IntoBytes::as_bytes(&unmap);
    assert_eq!(vm.control(ControlOp::SessionUnmap, 1, body).0, ControlStatus::Ok);
    assert_eq!(client.result(&vm, &back), CUresult::INVALID_VALUE.0, "not the session's memory any more");
}

#[test]
fn test_error_of_an_async_command_is_told_once() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let batch = client.batch(0).with(&cmd::CuMemFreeV2 { dptr: 1 }).with(&cmd::CuMemGetInfoV2 {});
    let sent = client.send_batch(&vm, &batch);
    let (header, _) = client.wait(&vm, sent);
    assert_eq!((header.result, header.latched), (0, CUresult::INVALID_VALUE.0));
    assert_eq!(header.latched_opcode, u32::from(cmd::CuMemFreeV2::OPCODE));
    assert_eq!(client.ask(&vm, &cmd::CuMemGetInfoV2 {}).0.latched, 0);
}

#[test]
fn test_failed_load_comes_with_its_log() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    vm.write(home(1) + STAGING_OFFSET as u64, b"junk");
    let module = client.mint(HandleKind::Module);
    let load =
        cmd::VgpuModuleLoad { module, image: client.staging(), size: 4, options: &[], log_size: 100, values_size: 0 };
    let reply = client.call(&vm, &load);
    assert_eq!(reply.result, 218);
    assert_eq!(reply.log, b"line 1: not a mock image");
    let outside = cmd::VgpuModuleLoad { image: arena(1), ..load };
    assert_eq!(client.result(&vm, &outside), CUresult::INVALID_VALUE.0);
}

#[test]
fn test_blocked_lane_does_not_hold_up_others_but_its_own_batches() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let sleep = client.kernel(&vm, "sleep");
    let stream = client.mint(HandleKind::Stream);
    let params = 1500u64.to_le_bytes();
    let event = client.mint(HandleKind::Event);
    let blocked = client
        .batch(1)
        .with(&cmd::CuStreamCreate { phStream: stream, Flags: 0 })
        .with(&cmd::CuEventCreate { phEvent: event, Flags: 0 })
        .with(&client.launch_on(sleep, stream, &params))
        .with(&cmd::CuEventRecord { hEvent: event, hStream: stream })
        .with(&cmd::CuEventSynchronize { hEvent: event });
    let blocked = client.send_batch(&vm, &blocked);
    let behind = client.batch(1).with(&cmd::CuMemGetInfoV2 {});
    let behind = client.send_batch(&vm, &behind);
    let other = client.batch(2).with(&cmd::CuMemGetInfoV2 {});
    let other = client.send_batch(&vm, &other);
    client.wait(&vm, other);
    assert!(!client.is_done(&vm, blocked) && !client.is_done(&vm, behind));
    client.wait(&vm, behind);
    assert!(client.is_done(&vm, blocked));
}

#[test]
fn test_a_piece_of_staging_is_given_back_when_the_stream_has_read_it() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let sleep = client.kernel(&vm, "sleep");
    let dst = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 8 }).dptr;
    let stream = client.mint(HandleKind::Stream);
    let params = 700u64.to_le_bytes();
    let copy = client
        .batch(1)
        .with(&cmd::CuStreamCreate { phStream: stream, Flags: 0 })
        .with(&client.launch_on(sleep, stream, &params))
        .with(&cmd::VgpuCopyHtoD { dst, src: client.staging(), size: 8, stream });
    let copy = client.send_batch(&vm, &copy);
    let wait = client.batch(1).with(&cmd::CuStreamSynchronize { hStream: stream });
    let wait = client.send_batch(&vm, &wait);
    for lane in [2, 3] {
        let other = client.batch(lane).with(&cmd::CuMemGetInfoV2 {});
        let other = client.send_batch(&vm, &other);
        client.wait(&vm, other);
        assert!(!client.is_done(&vm, copy) && !client.is_done(&vm, wait), "lane {lane}");
    }
    assert_eq!(client.wait(&vm, wait).0.result, 0);
    client.wait(&vm, copy);
}

#[test]
fn test_text_of_kernels_is_there_with_the_synchronising_reply() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let print = client.kernel(&vm, "print");
    let batch = client.batch(0).with(&client.launch(print, &[])).with(&cmd::CuCtxSynchronize {});
    let sent = client.send_batch(&vm, &batch);
    assert_eq!(client.wait(&vm, sent).0.output, 1);
    let first = client.call(&vm, &cmd::VgpuReadOutput { size: 7 });
    assert_eq!((first.text.as_slice(), first.more), (b"printed".as_slice(), 1));
    let rest = client.call(&vm, &cmd::VgpuReadOutput { size: 100 });
    assert_eq!((rest.text.as_slice(), rest.more), (b" by a kernel\n".as_slice(), 0));
    assert_eq!(client.ask(&vm, &cmd::CuMemGetInfoV2 {}).0.output, 0);
}

#[test]
fn test_host_function_runs_in_the_client() {
    let backend = Backend::start_on(Path::new("soft"), &["--memory", "256M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    assert_eq!(client.result(&vm, &cmd::VgpuHostFunction { stream: Handle::NULL, id: 77, always: 0 }), 0);
    let wait = client.batch(0).with(&cmd::CuCtxSynchronize {});
    let wait = client.send_batch(&vm, &wait);
    assert_eq!(client.due_function(&vm, 0), DueFunction { id: 77, status: 0, reserved: 0 });
    assert!(!client.is_done(&vm, wait));
    client.functions_have_run(&vm, 1);
    assert_eq!(client.wait(&vm, wait).0.result, 0);
}

#[test]
fn test_more_work_than_the_driver_queues_may_wait_for_a_host_function() {
    // Commands of a batch, batches under way, and a bit more than what a stream of the software GPU holds.
    const COMMANDS: usize = 80;
    const BATCHES: usize = 16_384 / COMMANDS + 20;
    let backend = Backend::start_on(Path::new("soft"), &["--memory", "256M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 4 }).dptr;
    assert_eq!(client.result(&vm, &cmd::VgpuHostFunction { stream: Handle::NULL, id: 5, always: 0 }), 0);
    let fill = cmd::CuMemsetD32Async { dstDevice: memory, ui: 1, N: 1, hStream: Handle::NULL };
    let batch = (0..COMMANDS).fold(client.batch(0), |batch, _| batch.with(&fill));
    let mut sent = VecDeque::new();
    for _ in 0..BATCHES {
        if sent.len() == SLOTS - 2 {
            client.wait(&vm, sent.pop_front().unwrap());
        }
        sent.push_back(client.send_batch(&vm, &batch));
    }
    assert_eq!(client.due_function(&vm, 0).id, 5);
    client.functions_have_run(&vm, 1);
    for one in sent {
        assert_eq!(client.wait(&vm, one).0.latched, 0);
    }
    assert_eq!(client.result(&vm, &cmd::CuCtxSynchronize {}), 0);
}

#[test]
fn test_objects_end_with_their_module_and_context() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let library = client.mint(HandleKind::Library);
    let kernel = client.mint(HandleKind::Kernel);
    vm.write(home(1) + STAGING_OFFSET as u64, b"mock");
    client.call(
        &vm,
        &cmd::VgpuLibraryLoad { library, image: client.staging(), size: 4, options: &[], log_size: 0, values_size: 0 },
    );
    let found = client.call(&vm, &cmd::VgpuLibraryGetKernel { kernel, library, name: b"add", params_size: 64 });
    assert_eq!((found.info.param_count, found.info.param_bytes), (2, 12));
    assert_eq!(found.params, [0u32, 8, 8, 4].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
    client.call(&vm, &cmd::CuLibraryUnload { library });
    let (header, _) = client.ask(&vm, &client.launch(kernel, &[0; 12]));
    assert_eq!(header.latched, CUresult::INVALID_HANDLE.0);

    let stream = client.mint(HandleKind::Stream);
    client.call(&vm, &cmd::CuStreamCreate { phStream: stream, Flags: 0 });
    client.call(&vm, &cmd::VgpuPrimaryRelease { dev: 0 });
    assert_eq!(client.result(&vm, &cmd::CuStreamQuery { hStream: stream }), CUresult::INVALID_HANDLE.0);
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), CUresult::INVALID_CONTEXT.0);
}

#[test]
fn test_sessions_are_separate_and_counted() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut first = Client::open(&mut vm, 1);
    let mut second = Client::open(&mut vm, 15);
    let fault = first.kernel(&vm, "fault");
    first.ask(&vm, &first.launch(fault, &[]));
    assert_eq!(first.result(&vm, &cmd::CuCtxSynchronize {}), CUresult::ILLEGAL_ADDRESS.0);
    assert_eq!(second.result(&vm, &cmd::CuCtxSynchronize {}), 0);
    let (status, body) = vm.control(ControlOp::Status, 0, &[]);
    let figures = BackendStatus::read_from_bytes(&body).unwrap();
    assert_eq!(status, ControlStatus::Ok);
    assert!(figures.gpu_name.starts_with(b"mock GPU\0"));
    assert_eq!((figures.sessions, figures.memory_total, figures.driver_version), (2, 1 << 30, 13000));
}
