//! Input that no sane guest sends.

use std::time::{Duration, Instant};

use vgpu_fuzz::{rounds, Random};
use vgpu_protocol::control::{
    ControlHeader, ControlOp, ControlReply, ControlStatus, SessionCreate, SessionMap, SessionUnmap, MAX_RANGES,
};
use vgpu_protocol::cuda::{
    CUresult, WireCopy, WireEnd, CUDA_RESOURCE_DESC, MEMORYTYPE_ARRAY, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST,
};
use vgpu_protocol::session::{
    BatchHeader, ReplyHeader, AVAIL_OFFSET, DESC_OFFSET, HOME_SIZE, QUEUE_SIZE, REPLY_OFFSET, SLOTS, STAGING_OFFSET,
    STAGING_SIZE, USED_OFFSET,
};
use vgpu_protocol::{cmd, Handle, HandleKind, FUNCTIONS};
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::{eventually, Backend, LIMIT};
use crate::client::{store_avail, Client};
use crate::vm::{arena, home, Ring, Vm, CHUNKS, SIZE, START};

/// A number at which checks go wrong, or an address about a session's memory.
fn edge(random: &mut Random) -> u64 {
    match random.below(3) {
        0 => arena(1).wrapping_add(random.next() % (4 << 20)),
        _ => random.edge(),
    }
}

#[test]
fn test_random_control_requests_are_answered() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _queue = vm.start_queue(1, 0);
    let mut random = Random::new(1);
    for _ in rounds("control_requests", 3000) {
        let header = ControlHeader { op: random.below(8) as u32, queue: random.below(18) as u32 };
        let mut request = header.as_bytes().to_vec();
        for _ in 0..random.below(8) {
            let word = edge(&mut random);
            request.extend(word.to_le_bytes());
        }
        request.truncate(request.len() - random.below(3));
        let reply = vm.control_bytes(&request);
        let (header, rest) = ControlReply::read_from_prefix(&reply).unwrap();
        assert_eq!(rest.len(), header.bytes as usize);
    }
    assert_eq!(vm.create(1), ControlStatus::Ok);
}

#[test]
fn test_truncated_control_requests_are_malformed() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _client = Client::open(&mut vm, 1);
    let map = SessionMap { va: arena(1) + (2 << 20), count: 1, reserved: 0 };
    let requests: [(ControlOp, Vec<u8>); 3] = [
        (ControlOp::SessionCreate, Vm::request(2).as_bytes().to_vec()),
        (ControlOp::SessionMap, [map.as_bytes(), &[0; 16]].concat()),
        (ControlOp::SessionUnmap, SessionUnmap { va: arena(1), length: 1 }.as_bytes().to_vec()),
    ];
    for (op, body) in requests {
        let queue = if op == ControlOp::SessionCreate { 2 } else { 1 };
        for length in 0..body.len() {
            assert_eq!(vm.control(op, queue, &body[..length]).0, ControlStatus::Malformed, "{op:?} of {length} bytes");
        }
        assert_eq!(vm.control(op, queue, &[body, vec![0]].concat()).0, ControlStatus::Malformed, "{op:?} with excess");
    }
    for length in 0..8 {
        let reply = vm.control_bytes(&[1; 8][..length]);
        assert_eq!(ControlReply::read_from_bytes(&reply).unwrap().status, ControlStatus::Malformed as u32);
    }
}

#[test]
fn test_sessions_get_only_memory_of_the_vm() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let _queue = vm.start_queue(1, 0);
    let good = Vm::request(1);
    let mut refused = |request: SessionCreate, status: ControlStatus| {
        assert_eq!(vm.control(ControlOp::SessionCreate, 1, request.as_bytes()).0, status, "{request:?}");
    };
    refused(SessionCreate { api_hash: 1, ..good }, ControlStatus::Version);
    refused(SessionCreate { home: START + SIZE, ..good }, ControlStatus::BadAddress);
    refused(SessionCreate { home: START + SIZE - 4096, ..good }, ControlStatus::BadAddress);
    refused(SessionCreate { home: good.home + 1, ..good }, ControlStatus::BadAddress);
    refused(SessionCreate { home: u64::MAX - 4095, ..good }, ControlStatus::BadAddress);
    refused(SessionCreate { arena_base: 0, ..good }, ControlStatus::BadAddress);
    assert_eq!(vm.control(ControlOp::SessionCreate, 0, good.as_bytes()).0, ControlStatus::BadQueue);
    assert_eq!(vm.control(ControlOp::SessionCreate, 16, good.as_bytes()).0, ControlStatus::BadQueue);
    assert_eq!(vm.create(2), ControlStatus::BadQueue, "ring not started");
    assert_eq!(vm.create(1), ControlStatus::Ok);

    let va = arena(1) + (2 << 20);
    let granule = 2 << 20;
    assert_eq!(vm.map(1, va, &[(START + SIZE, granule)]), ControlStatus::BadAddress);
    assert_eq!(vm.map(1, va, &[(CHUNKS, granule), (START + SIZE - 4096, granule)]), ControlStatus::BadAddress);
    assert_eq!(vm.map(1, va, &[(CHUNKS + 1, granule)]), ControlStatus::Malformed);
    assert_eq!(vm.map(1, va, &[(CHUNKS, 0)]), ControlStatus::Malformed);
    assert_eq!(vm.map(1, va, &[]), ControlStatus::Malformed);
    assert_eq!(vm.map(1, va, &[(CHUNKS, u64::MAX - 4095), (CHUNKS, 8192)]), ControlStatus::Malformed);
    assert_eq!(vm.map(1, arena(1), &[(CHUNKS, granule)]), ControlStatus::BadAddress, "over the home");
    assert_eq!(vm.map(1, arena(2), &[(CHUNKS, granule)]), ControlStatus::BadAddress, "another session's arena");
    assert_eq!(vm.map(1, va, &vec![(CHUNKS, 4096); MAX_RANGES]), ControlStatus::Ok);
    assert_eq!(vm.map(1, va, &[(CHUNKS, granule)]), ControlStatus::BadAddress, "mapped already");
}

#[test]
fn test_forged_handles_never_reach_the_driver() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let stream = client.mint(HandleKind::Stream);
    let event = client.mint(HandleKind::Event);
    client.call(&vm, &cmd::CuStreamCreate { phStream: stream, Flags: 0 });
    client.call(&vm, &cmd::CuEventCreate { phEvent: event, Flags: 0 });
    let invalid = CUresult::INVALID_HANDLE.0;
    let stale = Handle::new(stream.kind(), stream.generation() + 1, stream.index());
    let elsewhere = Handle::new(stream.kind(), stream.generation(), stream.index() + 1000);
    for forged in [event, stale, elsewhere, Handle(0x7f00_dead_beef), Handle(u64::MAX), Handle(3)] {
        assert_eq!(client.result(&vm, &cmd::CuStreamQuery { hStream: forged }), invalid, "{forged:?}");
        assert_eq!(client.result(&vm, &cmd::CuStreamSynchronize { hStream: forged }), invalid, "{forged:?}");
        let (header, _) = client.ask(&vm, &cmd::CuStreamDestroyV2 { hStream: forged });
        assert_eq!(header.latched, invalid, "{forged:?}");
    }
    for null in [0, 1, 2] {
        assert_eq!(client.ask(&vm, &cmd::CuStreamDestroyV2 { hStream: Handle(null) }).0.latched, invalid);
        assert_eq!(client.result(&vm, &cmd::CuStreamQuery { hStream: Handle(null) }), 0, "a stream that always exists");
    }
    let again = cmd::CuStreamCreate { phStream: stream, Flags: 0 };
    assert_eq!(client.ask(&vm, &again).0.latched, invalid, "a handle in use");
    let absurd = cmd::CuStreamCreate { phStream: Handle::new(stream.kind(), 0, u32::MAX), Flags: 0 };
    assert_eq!(client.ask(&vm, &absurd).0.latched, invalid, "an index without end");
    client.context = Handle::new(HandleKind::Context as u8, 9, 9);
    assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), CUresult::INVALID_CONTEXT.0);
}

#[test]
fn test_host_addresses_outside_the_session_are_refused() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let dptr = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 4096 }).dptr;
    let end = arena(1) + HOME_SIZE as u64;
    for host in [0, 0x40_0000, arena(1), end - 8, end, arena(2), u64::MAX - 8, dptr] {
        let copy = cmd::VgpuCopyDtoHWait { dst: host, src: dptr, size: 16, stream: Handle::NULL };
        assert_eq!(client.result(&vm, &copy), CUresult::INVALID_VALUE.0, "{host:#x}");
        let copy = cmd::VgpuCopyHtoD { dst: dptr, src: host, size: 16, stream: Handle::NULL };
        assert_eq!(client.ask(&vm, &copy).0.latched, CUresult::INVALID_VALUE.0, "{host:#x}");
    }
    let short = cmd::VgpuCopyDtoHWait { dst: client.staging(), src: dptr, size: u64::MAX, stream: Handle::NULL };
    assert_eq!(client.result(&vm, &short), CUresult::INVALID_VALUE.0);
    let add = client.kernel(&vm, "add");
    let (header, _) = client.ask(&vm, &client.launch(add, &[0; 11]));
    assert_eq!(header.latched, CUresult::INVALID_VALUE.0, "a parameter block that is too short");
}

#[test]
fn test_boxes_and_objects_outside_the_session_are_refused() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let dptr = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 4096 }).dptr;
    let (invalid, stream) = (CUresult::INVALID_VALUE.0, Handle::NULL);
    let end = |kind: u64, base: u64, pitch: u64, height: u64| WireEnd { kind, base, pitch, height, at: [0; 3] };
    let (host, device) = (u64::from(MEMORYTYPE_HOST), u64::from(MEMORYTYPE_DEVICE));
    let good = WireCopy { dst: end(host, client.staging(), 64, 4), src: end(device, dptr, 64, 4), extent: [16, 4, 2] };
    client.call(&vm, &cmd::VgpuCopyBoxWait { copy: good, stream });
    let last = arena(1) + HOME_SIZE as u64;
    let wrong = [
        end(host, 0x40_0000, 64, 4),
        end(host, last - 64, 64, 4),
        end(host, client.staging(), u64::MAX, 4),
        end(host, client.staging(), 1 << 40, 4),
        end(host, client.staging(), 8, 4),
        WireEnd { at: [0, 0, u64::MAX], ..good.dst },
        WireEnd { at: [1 << 40, 0, 0], ..end(host, client.staging(), 1 << 41, 4) },
        end(9, client.staging(), 64, 4),
    ];
    for dst in wrong {
        let copy = WireCopy { dst, ..good };
        assert_eq!(client.result(&vm, &cmd::VgpuCopyBoxWait { copy, stream }), invalid, "{dst:?}");
        let copy = WireCopy { dst: good.src, src: dst, ..good };
        assert_eq!(client.ask(&vm, &cmd::VgpuCopyBox { copy, stream }).0.latched, invalid, "{dst:?}");
    }
    for extent in [[0, 1, 1], [u64::MAX, 1, 1], [16, u64::MAX, u64::MAX], [1 << 21, 2, 1]] {
        let copy = WireCopy { extent, ..good };
        assert_eq!(client.result(&vm, &cmd::VgpuCopyBoxWait { copy, stream }), invalid, "{extent:?}");
    }
    let inline = cmd::VgpuCopyBoxInline { copy: WireCopy { dst: good.src, ..good }, stream, data: &[0; 127] };
    assert_eq!(client.ask(&vm, &inline).0.latched, invalid, "a byte is missing");
    let forged = WireCopy { dst: end(MEMORYTYPE_ARRAY.into(), dptr, 64, 4), ..good };
    let refused = client.result(&vm, &cmd::VgpuCopyBoxWait { copy: forged, stream });
    assert_eq!(refused, CUresult::INVALID_HANDLE.0, "no array");
    for object in [0, 1, dptr, u64::MAX] {
        assert_eq!(client.ask(&vm, &cmd::VgpuTexObjectDestroy { object }).0.latched, invalid, "{object:#x}");
        assert_eq!(client.ask(&vm, &cmd::VgpuSurfObjectDestroy { object }).0.latched, invalid, "{object:#x}");
        let mut resource = CUDA_RESOURCE_DESC::default();
        resource.res[0] = object;
        let surface = client.result(&vm, &cmd::VgpuSurfObjectCreate { resource });
        assert_eq!(surface, CUresult::INVALID_HANDLE.0, "{object:#x}");
        resource.resType = 7;
        assert_eq!(client.result(&vm, &cmd::VgpuSurfObjectCreate { resource }), invalid, "an unknown kind");
    }
}

#[test]
fn test_all_opcodes_are_answered() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    for opcode in 0..=u16::MAX {
        let lane = u32::from(opcode);
        let header = BatchHeader { sequence: 1, context: client.context.0, lane, count: 1, bytes: 8, flags: 0 };
        let bytes = [header.as_bytes(), &u64::from(opcode).to_le_bytes()].concat();
        let sent = client.send_bytes(&vm, &bytes);
        let (reply, _) = client.wait(&vm, sent);
        if usize::from(opcode) > FUNCTIONS.len() {
            assert_eq!(reply.result, CUresult::NOT_SUPPORTED.0);
        }
    }
}

/// Batches made of valid headers and random contents, random edges, or a mutated good batch.
fn random_batch(random: &mut Random, client: &Client) -> Vec<u8> {
    let mut body = Vec::new();
    let count = 1 + random.below(3);
    for _ in 0..count {
        let opcode = 1 + random.below(FUNCTIONS.len()) as u64;
        let words = random.below(9);
        body.extend((opcode | (words as u64 * 8) << 32).to_le_bytes());
        for _ in 0..words {
            let word = match random.below(4) {
                0 => Handle::new(1 + random.below(14) as u8, 1, random.below(8) as u32).0,
                1 => client.context.0,
                _ => edge(random),
            };
            body.extend(word.to_le_bytes());
        }
    }
    let header = BatchHeader {
        sequence: random.next(),
        context: if random.below(8) == 0 { random.next() } else { client.context.0 },
        lane: random.below(4) as u32,
        count: count as u32,
        bytes: body.len() as u32,
        flags: 0,
    };
    let mut bytes = [header.as_bytes(), &body].concat();
    match random.below(10) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            let at = random.below(bytes.len());
            bytes[at] ^= random.next() as u8;
        }
        2 => bytes = random.bytes(64),
        _ => {}
    }
    bytes
}

/// The functions that a batch names, as far as it can be read.
fn names(batch: &[u8]) -> Vec<&'static str> {
    let mut rest = batch.get(size_of::<BatchHeader>()..).unwrap_or_default();
    let mut names = Vec::new();
    while let Some((opcode, behind)) = rest.split_first_chunk::<2>() {
        names.push(vgpu_protocol::opcode_name(u16::from_le_bytes(*opcode)));
        let length = behind.get(2..6).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        rest = behind.get(6 + length as usize..).unwrap_or_default();
    }
    names
}

#[test]
fn test_random_batches_are_answered_and_the_worker_lives() {
    let backend = Backend::start_with(&["--log-level", "error"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let mut worker = backend.workers();
    let mut random = Random::new(7);
    let mut sent = std::collections::VecDeque::new();
    // Of host functions that were sent, the client is to run some; what comes behind them waits for it.
    let mut waits_for_client = false;
    for _ in rounds("batches", 100_000) {
        let bytes = random_batch(&mut random, &client);
        let names = names(&bytes);
        waits_for_client |= names.iter().any(|name| name.contains("HostFunction") || name.contains("MemOp"));
        sent.push_back((client.send_bytes(&vm, &bytes), names));
        if sent.len() < 32 {
            continue;
        }
        let (one, names) = sent.pop_front().unwrap();
        let start = Instant::now();
        while !client.is_done(&vm, one) && (!waits_for_client || start.elapsed() < Duration::from_secs(1)) {
            assert!(start.elapsed() < LIMIT, "no reply: {names:?}");
            std::thread::yield_now();
        }
        if !client.is_done(&vm, one) {
            assert_eq!(backend.workers(), worker, "no forged handle has reached the driver");
            println!("waits for its client: {names:?}");
            client = Client::open(&mut vm, 1);
            (worker, waits_for_client) = (backend.workers(), false);
            sent.clear();
        }
    }
    assert_eq!(backend.workers(), worker, "no forged handle has reached the driver");
}

#[test]
fn test_wild_descriptors_are_returned_and_the_ring_goes_on() {
    const WRITABLE_OR_INDIRECT: u16 = 6;
    let backend = Backend::start_with(&["--log-level", "off"]);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let mut random = Random::new(3);
    let table = home(1) + DESC_OFFSET as u64;
    // The other half of the descriptors is wild.
    client.slots = SLOTS / 2;
    let mut longest = Duration::ZERO;
    for _ in rounds("descriptors", 2000) {
        for index in 64..128u64 {
            // next, write, indirect; or none of them.
            let flags = random.below(8) as u16;
            // Replies to nonsense land in the staging area: elsewhere the client would break its own ring.
            let (start, size) = match flags & WRITABLE_OR_INDIRECT {
                0 => (0, HOME_SIZE),
                _ => (STAGING_OFFSET, STAGING_SIZE),
            };
            let address = match random.below(3) {
                0 => home(1) + (start + random.below(size)) as u64,
                1 => home(2),
                _ => edge(&mut random),
            };
            let mut descriptor = address.to_le_bytes().to_vec();
            descriptor.extend((edge(&mut random) as u32).to_le_bytes());
            descriptor.extend(flags.to_le_bytes());
            descriptor.extend((64 + random.below(72) as u16).to_le_bytes());
            vm.write(table + index * 16, &descriptor);
        }
        let heads = home(1) + AVAIL_OFFSET as u64 + 4;
        for _ in 0..3 {
            let head =
                if random.below(8) == 0 { 64 + random.next() as u16 % 4096 } else { 64 + random.below(64) as u16 };
            vm.write(heads + u64::from(client.avail % QUEUE_SIZE) * 2, &head.to_le_bytes());
            client.avail = client.avail.wrapping_add(1);
        }
        store_avail(&vm, 1, client.avail);
        client.queue.kick.write(1).unwrap();
        let asked = Instant::now();
        assert_eq!(client.result(&vm, &cmd::CuMemGetInfoV2 {}), 0, "a good request behind the bad ones");
        longest = longest.max(asked.elapsed());
    }
    println!("FUZZ descriptors a good request behind them took {longest:?} at most");
    assert_eq!(vm.destroy(1), ControlStatus::Ok);
    let mut again = Client::open(&mut vm, 1);
    assert_eq!(again.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
}

/// Cuts `total` bytes from `start` into parts of different lengths, with descriptors of no length among them:
/// `zeros` & 1 before, & 2 behind each part.
fn cut(start: u64, total: usize, parts: usize, skew: usize, zeros: usize, flags: u16) -> Vec<(u64, usize, u16)> {
    let step = total / parts;
    // The cuts but the first and the last move by up to a byte a part.
    let cut_at = |i: usize| if i == parts { total } else { i * step + (i * skew).min(step.saturating_sub(1)) };
    let mut pieces = Vec::new();
    for i in 0..parts {
        let (from, to) = (cut_at(i), cut_at(i + 1));
        if zeros & 1 != 0 {
            pieces.push((start, 0, flags));
        }
        pieces.push((start + from as u64, to - from, flags));
        if zeros & 2 != 0 {
            pieces.push((start, 0, flags));
        }
    }
    pieces
}

#[test]
fn test_batches_split_over_descriptors_are_served() {
    // Descriptors of the ring from which on the client keeps none.
    const FIRST: u16 = 64;
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let batch = client.batch(0).with(&cmd::CuMemFreeV2 { dptr: 1 }).with(&cmd::CuMemGetInfoV2 {});
    let bytes = batch.bytes(5);
    let (command, reply) = (home(1) + 0x10_0000, home(1) + 0x10_2000);
    vm.write(command, &bytes);
    let layouts = (0..1024).map(|i| (1 + i % 8, 1 + i / 8 % 8, i / 64 % 4, i / 256));
    let mut expected = None;
    for (read, write, zeros, skew) in layouts {
        vm.write(reply, &[0xee; 256]);
        vm.write(reply, &[0; 4]);
        let mut pieces = cut(command, bytes.len(), read, skew, zeros, 0);
        pieces.extend(cut(reply, 48 + 32, write, skew, zeros, 2));
        for (index, (address, length, flags)) in (FIRST..).zip(&pieces) {
            let next = u16::from(usize::from(index - FIRST) + 1 < pieces.len());
            let mut descriptor = address.to_le_bytes().to_vec();
            descriptor.extend((*length as u32).to_le_bytes());
            descriptor.extend((flags | next).to_le_bytes());
            descriptor.extend((index + 1).to_le_bytes());
            vm.write(home(1) + DESC_OFFSET as u64 + u64::from(index) * 16, &descriptor);
        }
        vm.write(home(1) + AVAIL_OFFSET as u64 + 4 + u64::from(client.avail % QUEUE_SIZE) * 2, &FIRST.to_le_bytes());
        client.avail = client.avail.wrapping_add(1);
        store_avail(&vm, 1, client.avail);
        client.queue.kick.write(1).unwrap();
        eventually("the reply", || (vm.load(reply) == 1).then_some(()));
        let header = ReplyHeader::read_from_bytes(&vm.read(reply, size_of::<ReplyHeader>())).unwrap();
        let layout = format!("{read} x {write}, zeros {zeros}, skew {skew}");
        assert_eq!((header.result, header.latched, header.sequence, header.bytes), (0, 1, 5, 16), "{layout}");
        let body = vm.read(reply + size_of::<ReplyHeader>() as u64, 16);
        assert_eq!(&body, expected.get_or_insert_with(|| body.clone()), "{layout}");
    }
}

#[test]
fn test_reply_that_does_not_fit_is_not_written() {
    let backend = Backend::start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let batch = client.batch(0).with(&cmd::VgpuDeviceInfo { dev: 0 });
    let bytes = batch.bytes(1);
    let command = home(1) + 0x10_0000;
    let reply = home(1) + REPLY_OFFSET as u64 + 62 * 8192;
    vm.write(command, &bytes);
    vm.write(reply, &[0; 4096]);
    let read = (command, u32::try_from(bytes.len()).unwrap());
    let offsets = [DESC_OFFSET as u64, AVAIL_OFFSET as u64, USED_OFFSET as u64];
    vm.offer(&Ring { start: home(1), offsets, size: QUEUE_SIZE }, client.avail, 124, read, (reply, 100));
    client.queue.kick.write(1).unwrap();
    client.avail = client.avail.wrapping_add(1);
    eventually("the reply", || (vm.load(reply) == 1).then_some(()));
    assert_eq!(vm.load(reply + 4), CUresult::INVALID_VALUE.0);
    assert_eq!(vm.read(reply + 100, 3000), vec![0; 3000]);
}
