//! The broker behind a real socket: lives and deaths of clients, and what hostile ones try.

mod common;

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use common::*;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use vgpu_protocol::broker::{BrokerError, BrokerOp, BrokerReply, BrokerStatus, MAX_MESSAGE};
use vgpu_protocol::control::ControlOp;
use vgpud::{socket, Server, ServerError};
use zerocopy::FromBytes;

struct Service {
    device: FakeDevice,
    path: PathBuf,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgpud.sock");
        let device = FakeDevice::new();
        let listener = socket::listen(&path, 0o600, None).unwrap();
        let mut server = Server::new(listener, Box::new(device.clone())).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || server.run(stopped.as_fd()));
        Self { device, path, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    fn connect(&self) -> OwnedFd {
        socket::connect(&self.path).unwrap()
    }

    fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    /// Sessions, as told over a connection of its own.
    fn sessions(&self) -> u32 {
        let (_, body, _) = ask(self.connect().as_fd(), &request(BrokerOp::Status, &[0; 8])).unwrap();
        BrokerStatus::read_from_prefix(&body).unwrap().0.sessions
    }

    fn wait_for_sessions(&self, count: u32) {
        while self.sessions() != count {
            std::thread::yield_now();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

fn send(socket: BorrowedFd<'_>, message: &[u8]) -> rustix::io::Result<usize> {
    rustix::net::send(socket, message, SendFlags::NOSIGNAL)
}

fn ask(socket: BorrowedFd<'_>, message: &[u8]) -> rustix::io::Result<(u32, Vec<u8>, Vec<OwnedFd>)> {
    send(socket, message)?;
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let length = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if length == 0 {
        return Err(rustix::io::Errno::CONNRESET);
    }
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let fds = rights.flatten().collect();
    let (header, body) = BrokerReply::read_from_prefix(&bytes[..length]).unwrap();
    Ok((header.error, body.to_vec(), fds))
}

#[test]
fn a_client_that_goes_takes_its_session_along() {
    let service = Service::start();
    let client = service.connect();
    let (error, _, fds) = ask(client.as_fd(), &open_request()).unwrap();
    assert_eq!((error, fds.len()), (0, 3));
    assert_eq!(service.sessions(), 1);
    drop(client);
    let events = service.device.await_event(&Event::CloseQueue(1));
    assert!(events.contains(&Event::Control(ControlOp::SessionDestroy, 1)));
    assert_eq!(service.sessions(), 0);
}

#[test]
fn the_doorbell_reaches_the_device_and_ends_with_the_session() {
    let service = Service::start();
    let client = service.connect();
    let (_, _, fds) = ask(client.as_fd(), &open_request()).unwrap();
    let doorbell = &fds[1];
    for _ in 0..3 {
        service.device.events();
        rustix::io::write(doorbell, &1u64.to_ne_bytes()).unwrap();
        service.device.await_event(&Event::Notify(1));
    }
    drop(client);
    service.wait_for_sessions(0);
    service.device.events();
    // The client kept the eventfd: ringing it now must reach no one.
    rustix::io::write(doorbell, &1u64.to_ne_bytes()).unwrap();
    service.wait_for_sessions(0);
    assert!(!service.device.events().contains(&Event::Notify(1)));
}

#[test]
fn doorbells_are_passed_on_while_the_device_takes_long_to_answer() {
    let service = Service::start();
    let client = service.connect();
    let (_, _, fds) = ask(client.as_fd(), &open_request()).unwrap();
    service.device.answer(Answer::Late(2));
    let waiting = service.connect();
    let asker = std::thread::spawn(move || ask(waiting.as_fd(), &open_request()).unwrap().0);
    service.device.await_event(&Event::Control(ControlOp::SessionCreate, 2));
    rustix::io::write(&fds[1], &1u64.to_ne_bytes()).unwrap();
    service.device.await_event(&Event::Notify(1));
    service.device.answer(Answer::Good);
    assert_eq!(asker.join().unwrap(), 0);
}

#[test]
fn a_session_that_starts_slowly_keeps_nobody_waiting() {
    let service = Service::start();
    service.device.answer(Answer::Late(1));
    let slow = service.connect();
    let starting = std::thread::spawn(move || ask(slow.as_fd(), &open_request()).map(|(error, ..)| (error, slow)));
    service.device.await_event(&Event::Control(ControlOp::SessionCreate, 1));
    let client = service.connect();
    assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, 0);
    assert!(service.device.events().contains(&Event::Control(ControlOp::SessionCreate, 2)), "another queue");
    assert_eq!(ask(client.as_fd(), &map_request(BASE + 2 * MIB, 2 * MIB)).unwrap().0, 0);
    assert_eq!(service.sessions(), 1);
    drop(client);
    service.device.await_event(&Event::CloseQueue(2));
    assert!(!starting.is_finished());
    service.device.answer(Answer::Good);
    let (error, _client) = starting.join().unwrap().unwrap();
    assert_eq!(error, 0);
}

#[test]
fn a_session_that_ends_slowly_keeps_nobody_waiting() {
    let service = Service::start();
    let client = service.connect();
    assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, 0);
    service.device.answer(Answer::Late(1));
    drop(client);
    service.device.await_event(&Event::Control(ControlOp::SessionDestroy, 1));
    let other = service.connect();
    assert_eq!(ask(other.as_fd(), &open_request()).unwrap().0, 0);
    assert!(
        service.device.events().contains(&Event::Control(ControlOp::SessionCreate, 2)),
        "the queue is not free yet"
    );
    service.device.answer(Answer::Good);
    service.device.await_event(&Event::CloseQueue(1));
}

#[test]
fn stopping_ends_all_sessions_and_leaves_the_device() {
    let mut service = Service::start();
    let clients = [service.connect(), service.connect()];
    for client in &clients {
        assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, 0);
    }
    service.device.events();
    service.stop();
    let events = service.device.events();
    let destroyed = events.iter().filter(|event| matches!(event, Event::Control(ControlOp::SessionDestroy, _))).count();
    assert_eq!((destroyed, events.last()), (2, Some(&Event::ShutDown)));
}

#[test]
fn messages_that_are_empty_long_or_noise_do_no_harm() {
    let service = Service::start();
    let client = service.connect();
    for length in [1, 7, 8, 9, MAX_MESSAGE, MAX_MESSAGE + 1, 2 * MAX_MESSAGE] {
        let (error, body, _) = ask(client.as_fd(), &vec![0xa5; length]).unwrap();
        assert_ne!(error, 0, "{length} bytes");
        assert!(body.is_empty());
    }
    assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, 0);
}

#[test]
fn descriptors_that_clients_send_are_not_kept() {
    let service = Service::start();
    let client = service.connect();
    let (_read, write) = UnixStream::pair().unwrap();
    let fds = [write.as_fd(); 32];
    let open_descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let flood = |rounds: usize| {
        for _ in 0..rounds {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            let message = request(BrokerOp::Status, &[0; 8]);
            rustix::net::sendmsg(&client, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
            let mut reply = [0; 1024];
            rustix::net::recv(&client, &mut reply[..], RecvFlags::empty()).unwrap();
        }
    };
    flood(200);
    // Other tests of this process open descriptors too, but not thousands.
    assert!(open_descriptors() < 2000);
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let service = Service::start();
    let client = service.connect();
    assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, 0);
    let message = request(BrokerOp::Status, &[0; 8]);
    // The broker closes the connection when a reply does not fit any more; sending then fails.
    while send(client.as_fd(), &message).is_ok() {}
    service.wait_for_sessions(0);
}

#[test]
fn one_user_cannot_take_all_connections() {
    let service = Service::start();
    let clients: Vec<OwnedFd> = (0..200).map(|_| service.connect()).collect();
    let message = request(BrokerOp::Status, &[0; 8]);
    let served = clients.iter().filter(|client| ask(client.as_fd(), &message).is_ok()).count();
    assert_eq!(served, 128);
    drop(clients);
    // Places are free again as soon as the broker has seen the connections close.
    while ask(service.connect().as_fd(), &message).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_second_session_on_a_connection_is_refused() {
    let service = Service::start();
    let client = service.connect();
    assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, 0);
    assert_eq!(ask(client.as_fd(), &open_request()).unwrap().0, BrokerError::Malformed as u32);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let mut service = Service::start();
    let error = socket::listen(&service.path, 0o600, None).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    service.stop();
    assert!(socket::listen(&service.path, 0o600, None).is_ok());
}
