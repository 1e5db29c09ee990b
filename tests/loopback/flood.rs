//! Much of the same: every function with wrong lengths, bytes that change while they are read, and
//! requests for as long as wanted.

use std::sync::atomic::{AtomicBool, Ordering};

use vgpu_fuzz::{rounds, Random};
use vgpu_protocol::session::{BatchHeader, COMMAND_OFFSET, COMMAND_SIZE, SLOTS};
use vgpu_protocol::{cmd, Handle, HandleKind, FUNCTIONS};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::IntoBytes;

use crate::backend::Backend;
use crate::client::Client;
use crate::vm::{home, Vm};

fn command(opcode: u16, payload: &[u8], context: Handle) -> Vec<u8> {
    let length = payload.len() as u64;
    let mut body = (u64::from(opcode) | length << 32).to_le_bytes().to_vec();
    body.extend(payload);
    let bytes = body.len() as u32;
    let header = BatchHeader { sequence: 1, context: context.0, lane: 0, count: 1, bytes, flags: 0 };
    [header.as_bytes(), &body].concat()
}

#[test]
fn test_every_function_with_every_length_and_wrong_contents_is_answered() {
    let backend = Backend::start_with(&["--log-level", "off"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let worker = backend.workers();
    let stale = Handle::new(HandleKind::Stream as u8, 7, 3).0.to_le_bytes();
    let mut sent = std::collections::VecDeque::new();
    for opcode in 1..=FUNCTIONS.len() as u16 {
        for length in (0..=96).step_by(8).chain([1, 7, 9, 15, 17, 4000]) {
            for word in [[0; 8], [0xff; 8], stale] {
                let payload: Vec<u8> = word.iter().copied().cycle().take(length).collect();
                sent.push_back(client.send_bytes(&vm, &command(opcode, &payload, client.context)));
                if sent.len() == 32 {
                    client.wait(&vm, sent.pop_front().unwrap());
                }
            }
        }
    }
    sent.into_iter().for_each(|one| drop(client.wait(&vm, one)));
    assert_eq!(backend.workers(), worker, "nothing unknown has reached the driver");
}

#[test]
fn test_bytes_that_change_while_they_are_read_do_no_harm() {
    let backend = Backend::start_with(&["--log-level", "off"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let worker = backend.workers();
    let stream = client.mint(HandleKind::Stream);
    client.call(&vm, &cmd::CuStreamCreate { phStream: stream, Flags: 0 });
    let done = AtomicBool::new(false);
    let memory = vm.memory.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(13);
            while !done.load(Ordering::Relaxed) {
                // In the header and the first commands of any slot.
                let at = COMMAND_OFFSET + random.below(SLOTS) * COMMAND_SIZE + random.below(96);
                memory.write_slice(&[random.next() as u8], GuestAddress(home(1) + at as u64)).unwrap();
            }
        });
        let mut sent = std::collections::VecDeque::new();
        for _ in rounds("flipped_bytes", 20_000) {
            let batch = client.batch(0).with(&cmd::CuStreamQuery { hStream: stream });
            sent.push_back(client.send_batch(&vm, &batch));
            if sent.len() == 32 {
                let one = sent.pop_front().unwrap();
                // A flipped byte may have made it another batch, whose reply goes unrecognised.
                let start = std::time::Instant::now();
                while !client.is_done(&vm, one) && start.elapsed().as_millis() < 20 {
                    std::hint::spin_loop();
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(backend.workers(), worker);
    assert_eq!(vm.destroy(1), vgpu_protocol::control::ControlStatus::Ok);
    let mut again = Client::open(&mut vm, 1);
    assert_eq!(again.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
}

/// Resident memory of a process, bytes.
fn resident(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn test_requests_without_end_take_no_memory() {
    // The mock driver remembers all that it ever gave out.
    let backend = Backend::start_on(std::path::Path::new("soft"), &["--memory", "256M"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let worker = backend.workers()[0];
    let (stream, event) = (client.mint(HandleKind::Stream), client.mint(HandleKind::Event));
    let mut before = 0;
    for round in rounds("soak", 300) {
        let alloc = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 4096 });
        let mut batch = client.batch(0);
        for _ in 0..64 {
            batch = batch
                .with(&cmd::CuStreamCreate { phStream: stream, Flags: 0 })
                .with(&cmd::CuEventCreate { phEvent: event, Flags: 0 })
                .with(&cmd::CuEventRecord { hEvent: event, hStream: stream })
                .with(&cmd::CuEventDestroyV2 { hEvent: event })
                .with(&cmd::CuStreamDestroyV2 { hStream: stream });
        }
        let batch = batch.with(&cmd::CuMemFreeV2 { dptr: alloc.dptr }).with(&cmd::CuMemGetInfoV2 {});
        let sent = client.send_batch(&vm, &batch);
        assert_eq!(client.wait(&vm, sent).0.latched, 0);
        if round == 150 {
            before = resident(worker);
        }
    }
    let grown = resident(worker).saturating_sub(before);
    assert!(grown <= 1 << 20, "{grown} bytes after the first 150 rounds");
}
