//! A frontend that breaks the vhost-user protocol, byte by byte: no message ends the backend, and
//! nothing of a connection stays behind.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vgpu_fuzz::{rounds, Random};
use vgpu_protocol::cmd;
use vgpu_protocol::control::{ControlOp, ControlStatus};
use vhost::vhost_user::VhostUserFrontend;
use vhost::VhostUserMemoryRegionInfo;

use crate::backend::{eventually, Backend};
use crate::client::Client;
use crate::vm::{idle_descriptors, sealed_memory, Vm, SIZE, START};

/// Requests that the protocol knows, and some that it does not (vhost-user specification, "Message types").
const REQUESTS: u32 = 44;
const VERSION: u32 = 1;
const NEED_REPLY: u32 = 8;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_KICK: u32 = 12;
const GET_CONFIG: u32 = 24;
const ADD_MEM_REG: u32 = 37;

fn message(request: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let words = [request, flags, body.len() as u32];
    [words.map(u32::to_le_bytes).concat().as_slice(), body].concat()
}

/// Sends bytes with copies of a descriptor; whether the backend still listens.
fn send(stream: &UnixStream, bytes: &[u8], fd: &OwnedFd, copies: usize) -> bool {
    let fds = vec![fd.as_fd(); copies];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if copies > 0 {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).is_ok()
}

fn connect(backend: &Backend) -> UnixStream {
    let stream = UnixStream::connect(backend.socket()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Body of SET_MEM_TABLE with one region, or of ADD_MEM_REG.
fn region(request: u32) -> Vec<u8> {
    let words = match request {
        SET_MEM_TABLE => [1, START, SIZE, START, 0],
        _ => [0, START, SIZE, START, 0],
    };
    words.map(u64::to_le_bytes).concat()
}

/// A body that is right for a request, as far as it needs one.
fn body(request: u32) -> Vec<u8> {
    match request {
        SET_FEATURES => (1u64 << 32 | 1 << 30 | 1 << 29).to_le_bytes().to_vec(),
        SET_MEM_TABLE | ADD_MEM_REG => region(request),
        SET_VRING_NUM => [0u32, 128].map(u32::to_le_bytes).concat(),
        SET_VRING_ADDR => [0, START, START + 0x2000, START + 0x1000, 0].map(u64::to_le_bytes).concat(),
        SET_VRING_KICK => 0u64.to_le_bytes().to_vec(),
        GET_CONFIG => [[0u32, 64, 0].map(u32::to_le_bytes).concat(), vec![0; 64]].concat(),
        _ => 0u64.to_le_bytes().to_vec(),
    }
}

/// What a connection starts with.
fn greet(stream: &UnixStream, memory: &OwnedFd) {
    assert!(send(stream, &message(SET_OWNER, VERSION, &[]), memory, 0));
    assert!(send(stream, &message(SET_FEATURES, VERSION, &body(SET_FEATURES)), memory, 0));
}

/// The backend serves a good frontend, and holds as many descriptors as before.
fn works(backend: &mut Backend, before: usize) {
    assert!(backend.is_running());
    eventually("all descriptors are closed", || (idle_descriptors(backend) <= before).then_some(()));
}

fn start() -> (Backend, OwnedFd, usize) {
    let backend = Backend::start_with(&["--log-level", "off"]);
    let mut vm = Vm::start(&backend.socket());
    drop(Client::open(&mut vm, 1));
    drop(vm);
    let before = idle_descriptors(&backend);
    (backend, sealed_memory().into(), before)
}

#[test]
fn test_random_messages_end_their_connection_at_most() {
    let (mut backend, memory, before) = start();
    let mut random = Random::new(11);
    let mut connection = None;
    for _ in rounds("messages", 3000) {
        let stream = connection.get_or_insert_with(|| {
            let stream = connect(&backend);
            greet(&stream, &memory);
            stream
        });
        let request = random.below(REQUESTS as usize + 2) as u32;
        let flags = if random.below(8) == 0 { random.next() as u32 } else { VERSION };
        let mut bytes = match random.below(3) {
            0 => message(request, flags, &body(request)),
            1 => {
                let words = random.below(9);
                let body: Vec<u8> = (0..words).flat_map(|_| random.edge().to_le_bytes()).collect();
                message(request, flags, &body)
            }
            _ => {
                let length = random.below(300);
                message(request, flags, &random.bytes(length))
            }
        };
        if random.below(16) == 0 {
            let at = random.below(bytes.len());
            bytes[at] ^= random.next() as u8;
        }
        let copies = [0, 0, 0, 1, 1, 8][random.below(6)];
        if !send(stream, &bytes, &memory, copies) || random.below(16) == 0 {
            connection = None;
        }
    }
    drop(connection);
    works(&mut backend, before);
}

#[test]
fn test_every_request_in_every_wrong_form_ends_its_connection_at_most() {
    let (mut backend, memory, before) = start();
    let mut cases = 0;
    for request in 0..REQUESTS {
        let good = body(request);
        let forms: [(u32, Vec<u8>, usize); 12] = [
            (VERSION, good.clone(), 0),
            (VERSION, good.clone(), 1),
            (VERSION, good.clone(), 9),
            (VERSION | NEED_REPLY, good.clone(), 0),
            (0, good.clone(), 0),
            (VERSION | 4, good.clone(), 0),
            (u32::MAX, good.clone(), 1),
            (VERSION, Vec::new(), 0),
            (VERSION, good[..good.len() - 1].to_vec(), 1),
            (VERSION, [good.clone(), vec![0]].concat(), 1),
            (VERSION, vec![0xff; good.len()], 1),
            (VERSION, vec![0; 4096], 0),
        ];
        for (flags, body, copies) in forms {
            let stream = connect(&backend);
            greet(&stream, &memory);
            send(&stream, &message(request, flags, &body), &memory, copies);
            // A header that promises more than comes.
            send(&stream, &[request, flags, u32::MAX].map(u32::to_le_bytes).concat(), &memory, 0);
            cases += 1;
        }
    }
    assert_eq!(cases, 528);
    works(&mut backend, before);
}

#[test]
fn test_a_message_may_end_at_every_byte() {
    let (mut backend, memory, before) = start();
    for request in [SET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_KICK, GET_CONFIG, ADD_MEM_REG]
    {
        let whole = message(request, VERSION, &body(request));
        for length in 0..whole.len() {
            let stream = connect(&backend);
            greet(&stream, &memory);
            send(&stream, &whole[..length], &memory, usize::from(length > 0));
        }
    }
    works(&mut backend, before);
}

#[test]
fn test_sessions_without_descriptors_are_refused_and_the_others_go_on() {
    let mut backend = Backend::start_with_descriptors(90);
    let mut vm = Vm::start(&backend.socket());
    let mut first = Client::open(&mut vm, 1);
    // Each queue takes two descriptors, each session some more.
    let queues: Vec<_> = (2..=15).map_while(|queue| vm.try_start_queue(queue).map(|kept| (queue, kept))).collect();
    let created: Vec<ControlStatus> = queues.iter().map(|(queue, _)| vm.create(*queue)).collect();
    assert!(queues.len() < 14 || created.contains(&ControlStatus::Host), "it has run out: {created:?}");
    assert!(backend.is_running());
    assert_eq!(first.result(&vm, &cmd::CuMemGetInfoV2 {}), 0);
    drop(vm);
    let mut vm = Vm::start(&backend.socket());
    Client::open(&mut vm, 1);
}

#[test]
fn test_a_silent_connection_is_no_hindrance_when_it_ends() {
    let (mut backend, _, before) = start();
    let mut silent = connect(&backend);
    silent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(silent.read(&mut [0]).is_err(), "nobody speaks first");
    drop(silent);
    works(&mut backend, before);
}

#[test]
fn test_memory_comes_and_goes_under_traffic() {
    let (backend, memory, _) = start();
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let region = |n: u64| VhostUserMemoryRegionInfo {
        guest_phys_addr: START + n * SIZE,
        memory_size: SIZE,
        userspace_addr: START + n * SIZE,
        mmap_offset: 0,
        mmap_handle: memory.as_raw_fd(),
    };
    vm.frontend.add_mem_region(&region(1)).unwrap();
    let before = backend.descriptors();
    for _ in rounds("regions", 100) {
        let batch = client.batch(0).with(&cmd::CuMemGetInfoV2 {});
        let sent = client.send_batch(&vm, &batch);
        vm.frontend.add_mem_region(&region(2)).unwrap();
        vm.frontend.remove_mem_region(&region(2)).unwrap();
        assert_eq!(client.wait(&vm, sent).0.result, 0);
        assert_eq!(vm.control(ControlOp::Status, 0, &[]).0, ControlStatus::Ok);
    }
    eventually("all descriptors are closed", || (backend.descriptors() == before).then_some(()));
}
