//! The broker's main thread: a poll loop over the listening socket, the clients and the device.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::Timespec;
use vgpu_protocol::broker::MAX_MESSAGE;
use vgpu_virtio::{Transport, TransportError};

use crate::broker::{Broker, Peer};
use crate::relay::Relay;
use crate::socket::{self, Received};

/// Connections at a time, and of these, one user's.
const MAX_CLIENTS: usize = 512;
const MAX_CLIENTS_PER_USER: usize = 128;
/// Time between two looks at a device that sessions depend on.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The device needs to be set up anew.
    #[error(transparent)]
    Device(#[from] TransportError),
    /// The poll loop itself failed.
    #[error("cannot wait for requests: {0}")]
    Poll(#[from] io::Error),
}

/// What an event of the poll loop is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Listener,
    Stop,
    Device,
    Client(u32),
}

impl Token {
    fn encode(self) -> EventData {
        let (kind, number) = match self {
            Token::Listener => (0, 0),
            Token::Stop => (1, 0),
            Token::Device => (2, 0),
            Token::Client(id) => (3, id),
        };
        EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn decode(data: EventData) -> Self {
        let number = data.u64() as u32;
        match data.u64() >> 32 {
            0 => Token::Listener,
            1 => Token::Stop,
            2 => Token::Device,
            _ => Token::Client(number),
        }
    }
}

struct Client {
    socket: OwnedFd,
    peer: Peer,
    session: Option<u32>,
}

/// The broker behind its socket.
pub struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    broker: Broker,
    /// Where doorbells have to be passed on.
    relay: Option<Relay>,
    clients: BTreeMap<u32, Client>,
    next_client: u32,
    /// Given up to turn a connection away when there are no descriptors left.
    spare: Option<OwnedFd>,
}

impl Server {
    /// Serves `transport` to those who connect to `listener`.
    pub fn new(listener: OwnedFd, transport: Box<dyn Transport>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let broker = Broker::new(transport);
        epoll::add(&epoll, &listener, Token::Listener.encode(), EventFlags::IN)?;
        if let Some(device) = broker.watch() {
            epoll::add(&epoll, device, Token::Device.encode(), EventFlags::IN)?;
        }
        let relay = broker.bell().map(Relay::start).transpose()?;
        Ok(Self { epoll, listener, broker, relay, clients: BTreeMap::new(), next_client: 0, spare: spare_descriptor() })
    }

    /// Serves until `stop` becomes readable. All sessions have ended when it returns.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        epoll::add(&self.epoll, stop, Token::Stop.encode(), EventFlags::IN).map_err(io::Error::from)?;
        let served = self.serve();
        self.broker.shut_down();
        served
    }

    fn serve(&mut self) -> Result<(), ServerError> {
        let mut events = Vec::with_capacity(64);
        let mut checked = Instant::now();
        loop {
            let interval = Timespec::try_from(CHECK_INTERVAL).ok().filter(|_| self.broker.needs_checks());
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), interval.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if self.broker.has_failed() {
                // Its registers may be gone as well.
                self.relay = None;
            }
            if self.broker.needs_checks() && checked.elapsed() >= CHECK_INTERVAL {
                self.broker.check()?;
                checked = Instant::now();
            }
            for event in &events {
                match Token::decode(event.data) {
                    Token::Stop => return Ok(()),
                    Token::Listener => self.accept(),
                    Token::Device => self.broker.check()?,
                    Token::Client(id) => self.read(id),
                }
            }
        }
    }

    fn accept(&mut self) {
        let (socket, peer) = match socket::accept(self.listener.as_fd()) {
            Ok(Some(connection)) => connection,
            Ok(None) => return,
            Err(error) => {
                warn!("cannot accept a connection: {error}");
                return self.turn_away();
            }
        };
        let of_user = self.clients.values().filter(|client| client.peer.uid == peer.uid).count();
        if self.clients.len() >= MAX_CLIENTS || of_user >= MAX_CLIENTS_PER_USER {
            return warn!("process {} of user {}: too many connections", peer.pid, peer.uid);
        }
        while self.clients.contains_key(&self.next_client) {
            self.next_client = self.next_client.wrapping_add(1);
        }
        let id = self.next_client;
        self.next_client = id.wrapping_add(1);
        if let Err(error) = epoll::add(&self.epoll, &socket, Token::Client(id).encode(), EventFlags::IN) {
            return warn!("process {}: {error}", peer.pid);
        }
        self.clients.insert(id, Client { socket, peer, session: None });
    }

    /// Closes a connection that there is no room for: left waiting, it would wake the loop for ever.
    fn turn_away(&mut self) {
        self.spare = None;
        drop(socket::accept(self.listener.as_fd()));
        self.spare = spare_descriptor();
    }

    /// Takes one message, so that a busy client does not keep the others waiting.
    fn read(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut buffer = [0; MAX_MESSAGE];
        // A message that is too long is as malformed as an empty one.
        let length = match socket::receive(client.socket.as_fd(), &mut buffer) {
            Received::Message(length) => length,
            Received::TooLong => 0,
            Received::Nothing => return,
            Received::Closed => return self.close(id),
        };
        let before = client.session;
        let response = self.broker.handle(client.peer, &mut client.session, buffer.get(..length).unwrap_or_default());
        let opened = client.session.filter(|_| before.is_none());
        if let Err(error) = socket::send(client.socket.as_fd(), &response.bytes, &response.fds) {
            debug!("process {}: does not take its reply: {error}", client.peer.pid);
            return self.close(id);
        }
        if let Some(queue) = opened {
            self.watch_doorbell(id, queue);
        }
    }

    fn watch_doorbell(&mut self, id: u32, queue: u32) {
        let Some(doorbell) = self.broker.doorbell(queue) else { return };
        let watched = self.relay.as_ref().map_or(Ok(()), |relay| relay.watch(queue, doorbell));
        if let Err(error) = watched {
            warn!("session {queue}: cannot watch its doorbell: {error}");
            self.close(id);
        }
    }

    fn close(&mut self, id: u32) {
        let Some(client) = self.clients.remove(&id) else { return };
        let Some(queue) = client.session else { return };
        if let (Some(relay), Some(doorbell)) = (&self.relay, self.broker.doorbell(queue)) {
            relay.forget(doorbell);
        }
        info!("session {queue}: process {} left", client.peer.pid);
        self.broker.end(queue);
    }
}

fn spare_descriptor() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}
