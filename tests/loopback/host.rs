//! What matters where the driver is a host's own.

use vgpu_protocol::cuda::{CUlaunchAttribute, CUresult, WireCopy, WireEdge, WireEnd, MEMORYTYPE_HOST};
use vgpu_protocol::session::STAGING_OFFSET;
use vgpu_protocol::{cmd, Handle, HandleKind};
use zerocopy::IntoBytes;

use crate::backend::{executable, mock_driver, Backend};
use crate::client::Client;
use crate::vm::{arena, home, Vm, CHUNKS};

const CLUSTER_DIMENSION: u32 = 4;
const LAUNCH_COMPLETION_EVENT: u32 = 12;
const DEVICE_UPDATABLE_KERNEL_NODE: u32 = 13;

/// An attribute whose value is these words.
fn attribute(id: u32, words: &[u32]) -> CUlaunchAttribute {
    let mut attribute = CUlaunchAttribute::with_word(id, 0);
    for (place, word) in attribute.value.chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    attribute
}

fn event(handle: Handle) -> CUlaunchAttribute {
    attribute(LAUNCH_COMPLETION_EVENT, &[handle.0 as u32, (handle.0 >> 32) as u32])
}

fn add_params(address: u64, value: u32) -> Vec<u8> {
    [address.to_le_bytes().as_slice(), &u64::from(value).to_le_bytes()].concat()
}

/// The number at a device address.
fn read(client: &mut Client, vm: &Vm, src: u64) -> u32 {
    client.call(vm, &cmd::VgpuCopyDtoHWait { dst: client.staging(), src, size: 4, stream: Handle::NULL });
    vm.load(home(1) + STAGING_OFFSET as u64)
}

#[test]
fn test_launch_attributes_reach_the_driver_and_events_by_its_own_pointers() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }).dptr;
    let add = client.kernel(&vm, "add");
    let params = add_params(memory, 5);
    let known = client.mint(HandleKind::Event);
    client.call(&vm, &cmd::CuEventCreate { phEvent: known, Flags: 0 });
    let attributes = [attribute(CLUSTER_DIMENSION, &[2, 3, 1]), event(known)];
    let launch = client.launch(add, &params);
    client.call(&vm, &cmd::VgpuLaunch { attributes: attributes.as_bytes(), ..launch.clone() });
    assert_eq!(read(&mut client, &vm, memory), 30);

    let mut latched = |attributes: &[u8]| {
        let batch = client.batch(0).with(&cmd::VgpuLaunch { attributes, ..launch.clone() });
        let sent = client.send_batch(&vm, &batch);
        client.wait(&vm, sent).0.latched
    };
    let forged = event(Handle(known.0 + 1));
    assert_eq!(latched(forged.as_bytes()), CUresult::INVALID_HANDLE.0);
    assert_eq!(latched(event(add).as_bytes()), CUresult::INVALID_HANDLE.0, "a function is no event");
    let node = attribute(DEVICE_UPDATABLE_KERNEL_NODE, &[1]);
    assert_eq!(latched(node.as_bytes()), CUresult::NOT_SUPPORTED.0);
    assert_eq!(latched(&forged.as_bytes()[..71]), CUresult::INVALID_VALUE.0);
    assert_eq!(latched([attribute(0, &[]); 65].as_bytes()), CUresult::INVALID_VALUE.0);
    assert_eq!(read(&mut client, &vm, memory), 30, "none of these was launched");
}

/// A dependency on a node.
fn after(nodes: &[u32]) -> Vec<u8> {
    nodes.iter().flat_map(|node| WireEdge { node: *node, ..WireEdge::default() }.as_bytes().to_vec()).collect()
}

#[test]
fn test_graphs_reach_the_driver_by_its_own_pointers() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }).dptr;
    let function = client.kernel(&vm, "add");
    let graph = client.mint(HandleKind::GraphExec);
    client.call(&vm, &cmd::VgpuGraphBegin { graph });
    let (five, seven) = (add_params(memory, 5), add_params(memory, 7));
    let kernel = cmd::VgpuGraphKernel {
        graph,
        node: 0,
        after: &[],
        function,
        grid_x: 1,
        grid_y: 1,
        grid_z: 1,
        block_x: 1,
        block_y: 1,
        block_z: 1,
        shared: 0,
        attributes: &[],
        params: &five,
    };
    client.call(&vm, &kernel);
    let both = after(&[0, 1]);
    client.call(&vm, &cmd::VgpuGraphEmpty { graph, node: 1, after: &both[..16] });
    client.call(&vm, &cmd::VgpuGraphKernel { node: 2, after: &both, params: &seven, ..kernel.clone() });
    client.call(&vm, &cmd::VgpuGraphInstantiate { graph, flags: 0 });
    let launch = cmd::VgpuGraphLaunch { graph, stream: Handle::NULL };
    client.call(&vm, &launch);
    client.call(&vm, &launch);
    assert_eq!(read(&mut client, &vm, memory), 24);
    let one = add_params(memory, 1);
    client.call(&vm, &cmd::VgpuGraphKernel { node: 2, after: &[], params: &one, ..kernel.clone() });
    client.call(&vm, &launch);
    assert_eq!(read(&mut client, &vm, memory), 30);
    client.call(&vm, &cmd::VgpuGraphDestroy { graph });
    let sent = client.send_batch(&vm, &client.batch(0).with(&launch));
    assert_eq!(client.wait(&vm, sent).0.latched, CUresult::INVALID_HANDLE.0);
}

#[test]
fn test_a_graph_with_a_bad_node_is_not_instantiated() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let known = client.mint(HandleKind::Event);
    client.call(&vm, &cmd::CuEventCreate { phEvent: known, Flags: 0 });
    let (ahead, cut) = (after(&[0]), after(&[0])[..7].to_vec());
    let end = |base: u64| WireEnd { kind: MEMORYTYPE_HOST.into(), base, ..WireEnd::default() };
    let foreign = WireCopy { dst: end(0x1000), src: end(arena(1)), extent: [8, 1, 1] };
    for case in 0..5 {
        let graph = client.mint(HandleKind::GraphExec);
        client.call(&vm, &cmd::VgpuGraphBegin { graph });
        let batch = match case {
            0 => client.batch(0).with(&cmd::VgpuGraphEmpty { graph, node: 1, after: &[] }),
            1 => client.batch(0).with(&cmd::VgpuGraphEmpty { graph, node: 0, after: &ahead }),
            2 => client.batch(0).with(&cmd::VgpuGraphEmpty { graph, node: 0, after: &cut }),
            3 => {
                let event = Handle(known.0 + 1);
                client.batch(0).with(&cmd::VgpuGraphEvent { graph, node: 0, after: &[], event, record: 1 })
            }
            _ => client.batch(0).with(&cmd::VgpuGraphCopy { graph, node: 0, after: &[], copy: foreign }),
        };
        let sent = client.send_batch(&vm, &batch);
        client.wait(&vm, sent);
        let batch = client.batch(0).with(&cmd::VgpuGraphInstantiate { graph, flags: 0 });
        let sent = client.send_batch(&vm, &batch);
        assert_ne!(client.wait(&vm, sent).0.result, CUresult::SUCCESS.0, "case {case}");
    }
}

#[test]
fn test_large_parameters_are_read_from_the_sessions_memory_only() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }).dptr;
    let add = client.kernel(&vm, "add");
    let mut params = add_params(memory, 5);
    params.resize(32_764, 0);
    vm.write(home(1) + STAGING_OFFSET as u64 + 64, &params);
    let launch = cmd::VgpuLaunchLarge {
        function: add,
        grid_x: 1,
        grid_y: 1,
        grid_z: 1,
        block_x: 1,
        block_y: 1,
        block_z: 1,
        shared: 0,
        stream: Handle::NULL,
        attributes: &[],
        params: client.staging() + 64,
        params_size: 32_764,
    };
    client.call(&vm, &launch);
    assert_eq!(read(&mut client, &vm, memory), 5);
    for (params, params_size) in [(arena(1), 16), (0, 16), (u64::MAX, 16), (launch.params, 32_765), (launch.params, 8)]
    {
        let batch = client.batch(0).with(&cmd::VgpuLaunchLarge { params, params_size, ..launch.clone() });
        let sent = client.send_batch(&vm, &batch);
        assert_eq!(client.wait(&vm, sent).0.latched, CUresult::INVALID_VALUE.0, "{params:#x} {params_size}");
    }
}

#[test]
fn test_shared_memory_is_registered_again_after_a_reset() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let va = arena(1) + (4 << 20);
    vm.map(1, va, &[(CHUNKS, 2 << 20)]);
    let params = add_params(va, 1);
    for expected in [1, 2] {
        let add = client.kernel(&vm, "add");
        let batch = client.batch(0).with(&client.launch(add, &params)).with(&cmd::CuCtxSynchronize {});
        let sent = client.send_batch(&vm, &batch);
        let (header, _) = client.wait(&vm, sent);
        assert_eq!((header.result, header.latched), (0, 0));
        assert_eq!(vm.load(CHUNKS), expected);
        client.call(&vm, &cmd::VgpuPrimaryReset { dev: 0 });
    }
}

#[test]
fn test_memory_of_a_session_is_limited() {
    let backend = Backend::start_with(&["--memory", "1M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    assert_eq!(client.call(&vm, &cmd::VgpuDeviceInfo { dev: 0 }).info.total_memory, 1 << 20);
    let half = cmd::CuMemAllocV2 { bytesize: 1 << 19 };
    let first = client.call(&vm, &half).dptr;
    client.call(&vm, &half);
    assert_eq!(client.result(&vm, &half), CUresult::OUT_OF_MEMORY.0);
    let left = client.call(&vm, &cmd::CuMemGetInfoV2 {});
    assert_eq!((left.free, left.total), (0, 1 << 20));
    client.call(&vm, &cmd::CuMemFreeV2 { dptr: first });
    client.call(&vm, &half);
    assert_eq!(client.result(&vm, &half), CUresult::OUT_OF_MEMORY.0);
    client.call(&vm, &cmd::VgpuPrimaryReset { dev: 0 });
    assert_eq!(client.call(&vm, &cmd::CuMemGetInfoV2 {}).free, 1 << 20, "nothing of the context before is left");
}

#[test]
fn test_devices_are_chosen_as_the_driver_names_them() {
    // The starts of UUIDs are enough, as for CUDA_VISIBLE_DEVICES.
    let uuid = |text: &[u8]| text.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let whole = format!("GPU-{}", uuid(b"mock-gpu-uuid-01"));
    let instance = format!("MIG-{}", uuid(b"mock-gpu-uuid-m0"));
    for (chosen, names) in [
        ("2".into(), vec!["mock GPU 2"]),
        (format!("2,{whole}"), vec!["mock GPU 2", "mock GPU 1"]),
        (instance, vec!["mock GPU MIG 1g"]),
    ] {
        let backend = Backend::start_in(&[("MOCK_DEVICES", "3")], &["--device", &chosen]);
        let mut vm = Vm::start(&backend.socket());
        let mut client = Client::open(&mut vm, 1);
        for (dev, name) in (0..).zip(&names) {
            let info = client.call(&vm, &cmd::VgpuDeviceInfo { dev }).info;
            assert_eq!(info.device_count as usize, names.len());
            assert!(info.name.starts_with(&[name.as_bytes(), b"\0"].concat()), "{chosen}");
            let ctx = client.mint(HandleKind::Context);
            client.call(&vm, &cmd::VgpuPrimaryRetain { dev, ctx });
        }
        let beyond = cmd::VgpuDeviceInfo { dev: names.len() as i32 };
        assert_eq!(client.result(&vm, &beyond), CUresult::INVALID_DEVICE.0);
    }
}

/// What a worker's driver finds in its environment of MPS.
fn mps_of(backend: &Backend) -> Vec<String> {
    let worker = backend.workers()[0];
    let environment = std::fs::read_to_string(format!("/proc/{worker}/environ")).unwrap();
    let mut variables: Vec<String> =
        environment.split('\0').filter(|line| line.starts_with("CUDA_MPS_")).map(str::to_owned).collect();
    variables.sort();
    variables
}

#[test]
fn test_mps_is_what_the_options_say() {
    let stray = [("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "1"), ("CUDA_MPS_PIPE_DIRECTORY", "/elsewhere")];
    let backend = Backend::start_in(&stray, &[]);
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    assert_eq!(mps_of(&backend), [""; 0], "the backend's own environment does not decide");
    let pipes = tempfile::tempdir().unwrap();
    let pipes = pipes.path().to_str().unwrap();
    let options = ["--mps-pipe-directory", pipes, "--mps-active-threads", "25", "--mps-memory-limit", "0=2G"];
    let backend = Backend::start_in(&stray, &options);
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let expected = [
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25".to_owned(),
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=2G".to_owned(),
        format!("CUDA_MPS_PIPE_DIRECTORY={pipes}"),
    ];
    assert_eq!(mps_of(&backend), expected);
}

#[test]
fn test_drivers_that_cannot_serve_are_named_at_start() {
    let start = |variable: &str, value: &str| {
        let mut command = executable();
        let output = command.args(["--socket-path", "/nonexistent/socket", "--gpu"]).arg(mock_driver());
        let output = output.env(variable, value).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, message) = start("MOCK_VERSION", "11080");
    assert_eq!(code, Some(3));
    assert!(message.contains("CUDA 11.8") && message.contains("12.0"), "{message}");
    let (code, message) = start("MOCK_PAGEABLE_ACCESS", "1");
    assert_eq!(code, Some(3));
    assert!(message.contains("--allow-pageable-access"), "{message}");
}
