//! Several devices of a host, of which some reach each other's memory.

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{cmd, Command, Handle, HandleKind, ATTRIBUTE_UNKNOWN};

use crate::backend::Backend;
use crate::client::{Batch, Client};
use crate::vm::Vm;

/// What a command that is sent with a context current is answered.
fn in_context<'a, C: Command<'a>>(client: &mut Client, vm: &Vm, context: Handle, command: &C) -> CUresult {
    let sent = client.send_batch(vm, &Batch::new(0, context).with(command));
    CUresult(client.wait(vm, sent).0.result)
}

fn primary(client: &mut Client, vm: &Vm, dev: i32) -> Handle {
    let ctx = client.mint(HandleKind::Context);
    client.call(vm, &cmd::VgpuPrimaryRetain { dev, ctx });
    ctx
}

#[test]
fn test_peers_of_a_host_are_those_that_its_driver_names() {
    let backend = Backend::start_in(&[("MOCK_DEVICES", "3")], &[]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let reached = |client: &mut Client, dev| {
        client.call(&vm, &cmd::VgpuDeviceInfo { dev }).info.peers.map(|peer| peer.can_access)[..4].to_vec()
    };
    assert_eq!([0, 1, 2].map(|dev| reached(&mut client, dev)), [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]);
    let peers = client.call(&vm, &cmd::VgpuDeviceInfo { dev: 0 }).info.peers;
    assert_eq!(peers[1].attributes, [3, 1, 1, 1, ATTRIBUTE_UNKNOWN]);
    assert_eq!(peers[2].attributes, [3, 0, 0, 0, ATTRIBUTE_UNKNOWN]);
    assert_eq!((peers[0].attributes, peers[3].attributes), ([ATTRIBUTE_UNKNOWN; 5], [ATTRIBUTE_UNKNOWN; 5]));
}

#[test]
fn test_peer_access_is_the_drivers_and_for_contexts_of_the_session_only() {
    let backend = Backend::start_in(&[("MOCK_DEVICES", "3")], &[]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let [first, second, third] = [0, 1, 2].map(|dev| primary(&mut client, &vm, dev));
    let mut enable = |context, peer, flags| {
        in_context(&mut client, &vm, context, &cmd::CuCtxEnablePeerAccess { peerContext: peer, Flags: flags })
    };
    assert_eq!(enable(first, second, 0), CUresult::SUCCESS);
    assert_eq!(enable(first, second, 0), CUresult::PEER_ACCESS_ALREADY_ENABLED);
    assert_eq!(enable(second, first, 0), CUresult::SUCCESS, "the other direction is another matter");
    assert_eq!(enable(first, third, 0), CUresult::PEER_ACCESS_UNSUPPORTED);
    assert_eq!(enable(first, first, 0), CUresult::PEER_ACCESS_UNSUPPORTED);
    let worker = backend.workers();
    let wrong_kind = Handle::new(HandleKind::Stream as u8, 1, 1);
    for forged in [Handle(0x7f00_dead_beef), Handle(u64::MAX), Handle(second.0 + 64), wrong_kind] {
        assert_eq!(enable(first, forged, 0), CUresult::INVALID_CONTEXT, "{forged:?}");
    }
    assert_eq!(enable(first, Handle::NULL, 0), CUresult::INVALID_CONTEXT);
    let mut disable =
        |context, peer| in_context(&mut client, &vm, context, &cmd::CuCtxDisablePeerAccess { peerContext: peer });
    assert_eq!(disable(first, Handle(0x7f00_dead_beef)), CUresult::INVALID_CONTEXT);
    assert_eq!(disable(first, second), CUresult::SUCCESS);
    assert_eq!(disable(first, second), CUresult::PEER_ACCESS_NOT_ENABLED);
    assert_eq!(backend.workers(), worker, "no forged context has reached the driver");
}

#[test]
fn test_software_gpus_are_as_many_as_asked_for() {
    let backend = Backend::start_on(std::path::Path::new("soft"), &["--gpus", "3", "--memory", "128M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let all = [0, 1, 2].map(|dev| client.call(&vm, &cmd::VgpuDeviceInfo { dev }).info);
    assert_eq!(all.map(|info| (info.device_count, info.total_memory)), [(3, 128 << 20); 3]);
    assert!(all[0].uuid != all[1].uuid && all[1].uuid != all[2].uuid && all[0].uuid != all[2].uuid);
    assert_eq!(all[1].peers.map(|peer| peer.can_access)[..4], [1, 0, 1, 0]);
    assert_eq!(client.result(&vm, &cmd::VgpuDeviceInfo { dev: 3 }), CUresult::INVALID_DEVICE.0);
    // Each has its memory to itself.
    let contexts = [0, 1, 2].map(|dev| primary(&mut client, &vm, dev));
    let take = cmd::CuMemAllocV2 { bytesize: 100 << 20 };
    let mut taken = |context| in_context(&mut client, &vm, context, &take);
    assert_eq!(contexts.map(&mut taken), [CUresult::SUCCESS; 3]);
    assert_eq!(contexts.map(&mut taken), [CUresult::OUT_OF_MEMORY; 3]);
}
