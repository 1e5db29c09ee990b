//! What the broker does with requests, good and hostile, and with a device that fails.

mod common;

use std::os::fd::{AsFd, OwnedFd};

use common::*;
use vgpu_protocol::broker::{
    BrokerError, BrokerOp, BrokerReply, BrokerStatus, OpenSession, SessionOpened, SessionStatus,
};
use vgpu_protocol::control::{ControlOp, ControlStatus};
use vgpu_protocol::session::{ARENA_SIZE, HOME_SIZE, STATE_DEAD, STATE_OFFSET};
use vgpu_protocol::API_HASH;
use vgpu_virtio::sys::Mapping;
use vgpud::{Broker, Peer};
use zerocopy::{FromBytes, IntoBytes};

const PEER: Peer = Peer { pid: 4711, uid: 1000 };

struct Client<'a> {
    broker: &'a mut Broker,
    session: Option<u32>,
}

impl Client<'_> {
    fn send(&mut self, message: &[u8]) -> Result<(Vec<u8>, Vec<OwnedFd>), BrokerError> {
        let response = self.broker.handle(PEER, &mut self.session, message);
        let (header, body) = BrokerReply::read_from_prefix(&response.bytes).unwrap();
        assert_eq!(header.bytes as usize, body.len());
        match BrokerError::from_wire(header.error) {
            None => Ok((body.to_vec(), response.fds)),
            Some(error) => {
                assert!(body.is_empty() && response.fds.is_empty(), "an error carries nothing");
                Err(error)
            }
        }
    }

    fn open(&mut self) -> Result<(SessionOpened, Vec<OwnedFd>), BrokerError> {
        let (body, fds) = self.send(&open_request())?;
        Ok((SessionOpened::read_from_bytes(&body).unwrap(), fds))
    }
}

fn setup() -> (FakeDevice, Broker) {
    let device = FakeDevice::new();
    (device.clone(), Broker::new(Box::new(device)))
}

fn client(broker: &mut Broker) -> Client<'_> {
    Client { broker, session: None }
}

#[test]
fn opening_gives_a_queue_and_three_descriptors() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    let (opened, fds) = client.open().unwrap();
    assert_eq!((opened.queue, opened.home_offset, opened.interrupts), (1, 0, 0));
    assert_eq!(client.session, Some(1));
    assert_eq!(fds.len(), 3);
    assert!(Mapping::new(fds[0].as_fd(), 0, HOME_SIZE).is_ok());
    assert_eq!(device.events(), [Event::OpenQueue(1), Event::Control(ControlOp::SessionCreate, 1)]);
}

#[test]
fn sessions_get_queues_until_there_are_none() {
    let (_, mut broker) = setup();
    for queue in 1..=SESSIONS {
        assert_eq!(client(&mut broker).open().unwrap().0.queue, queue);
    }
    assert_eq!(client(&mut broker).open().unwrap_err(), BrokerError::Busy);
    broker.end(2);
    assert_eq!(client(&mut broker).open().unwrap().0.queue, 2);
}

#[test]
fn another_version_is_told_so() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    let mut message = open_request();
    message[4] ^= 1;
    assert_eq!(client.send(&message).unwrap_err(), BrokerError::Version);
    let open = OpenSession { api_hash: API_HASH ^ 1, arena_base: BASE, arena_size: ARENA_SIZE };
    assert_eq!(client.send(&request(BrokerOp::Open, open.as_bytes())).unwrap_err(), BrokerError::Version);
    assert_eq!(device.events(), []);
}

#[test]
fn a_taken_base_leaves_the_queue_free_for_the_next_try() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    device.answer(Answer::Refuse(ControlOp::SessionCreate, ControlStatus::BaseTaken));
    assert_eq!(client.open().unwrap_err(), BrokerError::BaseTaken);
    device.answer(Answer::Good);
    assert_eq!(client.open().unwrap().0.queue, 1);
}

#[test]
fn arenas_out_of_bounds_are_malformed() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    for (arena_base, arena_size) in [
        (0, ARENA_SIZE),
        (BASE + 1, ARENA_SIZE),
        (BASE, ARENA_SIZE + 2 * MIB),
        (BASE, 2 * MIB),
        (BASE, 0),
        (BASE, ARENA_SIZE - 1),
        (1 << 47, ARENA_SIZE),
        (u64::MAX - 2 * MIB + 1, ARENA_SIZE),
    ] {
        let open = OpenSession { api_hash: API_HASH, arena_base, arena_size };
        let message = request(BrokerOp::Open, open.as_bytes());
        assert_eq!(client.send(&message).unwrap_err(), BrokerError::Malformed, "{arena_base:#x} {arena_size:#x}");
    }
    assert_eq!(device.events(), []);
}

#[test]
fn chunks_come_and_go() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    client.open().unwrap();
    device.events();
    let va = BASE + 2 * MIB;
    assert_eq!(client.send(&map_request(va, 4 * MIB)).unwrap().1.len(), 1);
    assert_eq!(device.events(), [Event::Allocate(4 * MIB), Event::Control(ControlOp::SessionMap, 1)]);
    client.send(&unmap_request(va, 4 * MIB)).unwrap();
    assert_eq!(device.events(), [Event::Control(ControlOp::SessionUnmap, 1), Event::Release(4 * MIB)]);
    assert_eq!(client.send(&unmap_request(va, 4 * MIB)).unwrap_err(), BrokerError::Malformed);
}

#[test]
fn chunks_outside_the_free_arena_are_malformed() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    assert_eq!(client.send(&map_request(BASE + 2 * MIB, 2 * MIB)).unwrap_err(), BrokerError::Malformed, "no session");
    client.open().unwrap();
    client.send(&map_request(BASE + 8 * MIB, 4 * MIB)).unwrap();
    device.events();
    for (va, length) in [
        (BASE, 2 * MIB),
        (BASE - 2 * MIB, 2 * MIB),
        (BASE + 2 * MIB, 0),
        (BASE + 2 * MIB + 4096, 2 * MIB),
        (BASE + 2 * MIB, 2 * MIB + 4096),
        (BASE + 2 * MIB, 8 * MIB),
        (BASE + 10 * MIB, 2 * MIB),
        (BASE + 8 * MIB, 4 * MIB),
        (BASE + ARENA_SIZE, 2 * MIB),
        (BASE + ARENA_SIZE - 2 * MIB, 4 * MIB),
        (u64::MAX - 2 * MIB + 1, 4 * MIB),
    ] {
        assert_eq!(client.send(&map_request(va, length)).unwrap_err(), BrokerError::Malformed, "{va:#x} {length:#x}");
    }
    for (va, length) in [(BASE, 2 * MIB), (BASE + 8 * MIB, 2 * MIB), (BASE + 10 * MIB, 2 * MIB)] {
        assert_eq!(client.send(&unmap_request(va, length)).unwrap_err(), BrokerError::Malformed);
    }
    assert_eq!(device.events(), []);
}

#[test]
fn a_session_gets_no_more_memory_than_the_limit() {
    let (_, mut broker) = setup();
    let mut client = client(&mut broker);
    client.open().unwrap();
    client.send(&map_request(BASE + 2 * MIB, 60 * MIB)).unwrap();
    assert_eq!(client.send(&map_request(BASE + 62 * MIB, 6 * MIB)).unwrap_err(), BrokerError::NoMemory);
    client.send(&map_request(BASE + 62 * MIB, 4 * MIB)).unwrap();
}

#[test]
fn memory_that_the_backend_refuses_is_released() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    client.open().unwrap();
    device.events();
    device.answer(Answer::Refuse(ControlOp::SessionMap, ControlStatus::Limit));
    assert_eq!(client.send(&map_request(BASE + 2 * MIB, 2 * MIB)).unwrap_err(), BrokerError::NoMemory);
    let map = Event::Control(ControlOp::SessionMap, 1);
    assert_eq!(device.events(), [Event::Allocate(2 * MIB), map, Event::Release(2 * MIB)]);
}

#[test]
fn memory_that_the_backend_may_still_have_stays_until_the_session_ends() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    client.open().unwrap();
    client.send(&map_request(BASE + 2 * MIB, 2 * MIB)).unwrap();
    device.events();
    // As after a crash of the worker.
    device.answer(Answer::Refuse(ControlOp::SessionUnmap, ControlStatus::BadQueue));
    assert_eq!(client.send(&unmap_request(BASE + 2 * MIB, 2 * MIB)).unwrap_err(), BrokerError::Backend);
    device.answer(Answer::Refuse(ControlOp::SessionMap, ControlStatus::Host));
    assert_eq!(client.send(&map_request(BASE + 4 * MIB, 4 * MIB)).unwrap_err(), BrokerError::Backend);
    let (unmap, map) = (Event::Control(ControlOp::SessionUnmap, 1), Event::Control(ControlOp::SessionMap, 1));
    assert_eq!(device.events(), [unmap, Event::Allocate(4 * MIB), map]);
    device.answer(Answer::Good);
    assert_eq!(client.send(&map_request(BASE + 8 * MIB, 60 * MIB)).unwrap_err(), BrokerError::NoMemory, "it counts");
    broker.end(1);
    let destroy = Event::Control(ControlOp::SessionDestroy, 1);
    let events = [destroy, Event::Release(2 * MIB), Event::Release(4 * MIB), Event::CloseQueue(1)];
    assert_eq!(device.events(), events, "it has taken no other session along");
}

#[test]
fn a_session_ends_before_its_memory_is_released() {
    let (device, mut broker) = setup();
    let mut client = client(&mut broker);
    client.open().unwrap();
    client.send(&map_request(BASE + 2 * MIB, 2 * MIB)).unwrap();
    device.events();
    broker.end(1);
    let destroy = Event::Control(ControlOp::SessionDestroy, 1);
    assert_eq!(device.events(), [destroy, Event::Release(2 * MIB), Event::CloseQueue(1)]);
}

#[test]
fn memory_of_a_session_that_does_not_end_is_never_reused() {
    let (device, mut broker) = setup();
    client(&mut broker).open().unwrap();
    device.events();
    device.answer(Answer::Refuse(ControlOp::SessionDestroy, ControlStatus::Host));
    broker.end(1);
    assert_eq!(device.events(), [Event::Control(ControlOp::SessionDestroy, 1)]);
    device.answer(Answer::Good);
    assert_eq!(client(&mut broker).open().unwrap().0.queue, 2);
}

#[test]
fn a_failing_device_marks_homes_dead_and_answers_with_an_error() {
    for answer in [Answer::Silence, Answer::Short, Answer::WrongLength] {
        let (device, mut broker) = setup();
        let mut client = client(&mut broker);
        let (_, fds) = client.open().unwrap();
        let home = Mapping::new(fds[0].as_fd(), 0, HOME_SIZE).unwrap();
        device.answer(answer);
        assert_eq!(client.send(&request(BrokerOp::Status, &[0; 8])).unwrap_err(), BrokerError::Device, "{answer:?}");
        assert_eq!(home.read::<u32>(STATE_OFFSET), STATE_DEAD);
        device.answer(Answer::Good);
        device.events();
        assert_eq!(client.send(&map_request(BASE + 2 * MIB, 2 * MIB)).unwrap_err(), BrokerError::Device);
        broker.shut_down();
        assert_eq!(device.events(), [], "a device that failed is left alone");
    }
}

#[test]
fn status_lists_the_sessions() {
    let (_, mut broker) = setup();
    let mut first = client(&mut broker);
    first.open().unwrap();
    first.send(&map_request(BASE + 2 * MIB, 4 * MIB)).unwrap();
    client(&mut broker).open().unwrap();
    let (body, _) = client(&mut broker).send(&request(BrokerOp::Status, &[0; 8])).unwrap();
    let (status, rest) = BrokerStatus::read_from_prefix(&body).unwrap();
    assert_eq!((status.queues, status.sessions, &status.location[..5]), (SESSIONS, 2, &b"fake\0"[..]));
    let sessions = <[SessionStatus]>::ref_from_bytes(rest).unwrap();
    let seen: Vec<_> = sessions.iter().map(|s| (s.queue, s.pid, s.uid, s.shared_bytes)).collect();
    assert_eq!(seen, [(1, 4711, 1000, 6 * MIB), (2, 4711, 1000, 2 * MIB)]);
}

#[test]
fn any_bytes_in_any_order_are_answered() {
    let (device, mut broker) = setup();
    let mut random = vgpu_fuzz::Random::new(0x9e37_79b9_7f4a_7c15);
    let templates = [
        open_request(),
        map_request(BASE + 2 * MIB, 2 * MIB),
        unmap_request(BASE + 2 * MIB, 2 * MIB),
        request(BrokerOp::Status, &[0; 8]),
    ];
    let mut sessions = [None; 8];
    for _ in vgpu_fuzz::rounds("broker", 100_000) {
        let mut message = templates[random.below(templates.len())].clone();
        if random.below(2) == 0 {
            let at = random.below(message.len());
            message[at] = random.next() as u8;
        }
        if random.below(8) == 0 {
            message.truncate(random.below(message.len() + 1));
        }
        let session = &mut sessions[random.below(8)];
        let response = broker.handle(PEER, session, &message);
        assert!(response.bytes.len() >= 8);
        if random.below(64) == 0 {
            if let Some(queue) = session.take() {
                broker.end(queue);
            }
        }
    }
    // Nothing was done to a queue that does not exist, and the broker still works.
    let in_range = |event: &Event| !matches!(event, Event::Control(_, queue) if *queue > SESSIONS);
    assert!(device.events().iter().all(in_range));
    sessions.iter_mut().filter_map(Option::take).for_each(|queue| broker.end(queue));
    assert!(client(&mut broker).open().is_ok());
}
