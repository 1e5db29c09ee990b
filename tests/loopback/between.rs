//! Two sessions of one VM: nothing of one is of use to the other.

use std::path::Path;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::STAGING_OFFSET;
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::backend::Backend;
use crate::client::Client;
use crate::vm::{home, Vm};

const INVALID: u32 = CUresult::INVALID_HANDLE.0;

/// Two sessions on the software GPU.
fn two(backend: &Backend) -> (Vm, Client, Client) {
    let mut vm = Vm::start(&backend.socket());
    let (first, second) = (Client::open(&mut vm, 1), Client::open(&mut vm, 2));
    (vm, first, second)
}

fn soft() -> Backend {
    Backend::start_on(Path::new("soft"), &["--memory", "256M"])
}

#[test]
fn test_handles_of_another_session_mean_nothing() {
    let backend = soft();
    let (vm, mut owner, mut other) = two(&backend);
    // Away from the numbers that the other session has itself.
    for _ in 0..50 {
        owner.mint(HandleKind::Stream);
    }
    let stream = owner.mint(HandleKind::Stream);
    let event = owner.mint(HandleKind::Event);
    owner.call(&vm, &cmd::CuStreamCreate { phStream: stream, Flags: 0 });
    owner.call(&vm, &cmd::CuEventCreate { phEvent: event, Flags: 0 });
    let (module, function) = owner.endless_kernel(&vm);

    assert_eq!(other.result(&vm, &cmd::CuStreamQuery { hStream: stream }), INVALID);
    assert_eq!(other.result(&vm, &cmd::CuEventQuery { hEvent: event }), INVALID);
    let name = cmd::VgpuModuleGetFunction { function, module, name: b"spin", params_size: 0 };
    assert_eq!(other.result(&vm, &name), INVALID);
    assert_eq!(other.ask(&vm, &other.launch(function, &[])).0.latched, INVALID);
    assert_eq!(other.ask(&vm, &cmd::CuModuleUnload { hmod: module }).0.latched, INVALID);
    other.context = Handle::new(HandleKind::Context as u8, 1, 4000);
    assert_eq!(other.result(&vm, &cmd::CuMemGetInfoV2 {}), CUresult::INVALID_CONTEXT.0);
    assert_eq!(owner.result(&vm, &cmd::CuStreamQuery { hStream: stream }), 0, "its owner still has it");
}

#[test]
fn test_memory_of_another_session_is_out_of_reach() {
    let backend = soft();
    let (vm, mut owner, mut other) = two(&backend);
    let secret = owner.call(&vm, &cmd::CuMemAllocV2 { bytesize: 4 << 20 }).dptr;
    vm.write(home(1) + STAGING_OFFSET as u64, &[0x5a; 64]);
    owner.call(&vm, &cmd::VgpuCopyHtoD { dst: secret, src: owner.staging(), size: 64, stream: Handle::NULL });
    owner.call(&vm, &cmd::CuCtxSynchronize {});
    // Staging and reply area of the other session, at the addresses that they have there.
    for src in [owner.staging(), owner.staging() - (1 << 20)] {
        let copy = cmd::VgpuCopyHtoD { dst: secret, src, size: 64, stream: Handle::NULL };
        assert_ne!(other.ask(&vm, &copy).0.latched, 0, "{src:#x}");
    }
    let read = cmd::VgpuCopyDtoHWait { dst: other.staging(), src: secret, size: 64, stream: Handle::NULL };
    assert_ne!(other.result(&vm, &read), 0);
    assert_eq!(vm.read(home(2) + STAGING_OFFSET as u64, 64), [0; 64]);
    let again = cmd::VgpuCopyDtoHWait { dst: owner.staging(), src: secret, size: 64, stream: Handle::NULL };
    assert_eq!(owner.result(&vm, &again), 0);
}

#[test]
fn test_fresh_memory_reads_as_zero() {
    let backend = soft();
    let (vm, mut client, _) = two(&backend);
    let pattern = vec![0xa5; 64 << 10];
    let (staging, size) = (home(1) + STAGING_OFFSET as u64, pattern.len() as u64);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let dptr = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 1 << 20 }).dptr;
        vm.write(staging, &pattern);
        client.call(&vm, &cmd::VgpuCopyDtoHWait { dst: client.staging(), src: dptr, size, stream: Handle::NULL });
        assert_eq!(vm.read(staging, pattern.len()), vec![0; pattern.len()], "{seen:x?} and then {dptr:#x}");
        vm.write(staging, &pattern);
        client.call(&vm, &cmd::VgpuCopyHtoD { dst: dptr, src: client.staging(), size, stream: Handle::NULL });
        client.call(&vm, &cmd::CuCtxSynchronize {});
        client.call(&vm, &cmd::CuMemFreeV2 { dptr });
        seen.push(dptr);
    }
}
