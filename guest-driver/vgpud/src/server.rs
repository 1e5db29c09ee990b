//! The broker behind its socket: a thread for each connection, so that a request which takes long keeps only
//! its own client waiting, and the main thread, which accepts connections and looks after the device.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;
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
    /// The main thread cannot wait.
    #[error("cannot wait for requests: {0}")]
    Poll(#[from] io::Error),
}

/// A connection, as others than its thread know it.
struct Client {
    socket: Arc<OwnedFd>,
    uid: u32,
}

/// The broker behind its socket.
pub struct Server {
    listener: OwnedFd,
    broker: Broker,
    /// Where doorbells have to be passed on.
    relay: Mutex<Option<Relay>>,
    clients: Mutex<BTreeMap<u64, Client>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Serves `transport` to those who connect to `listener`.
    pub fn new(listener: OwnedFd, transport: Box<dyn Transport>) -> io::Result<Self> {
        let broker = Broker::new(transport);
        let relay = Mutex::new(broker.bell().map(Relay::start).transpose()?);
        Ok(Self { listener, broker, relay, clients: Mutex::default() })
    }

    /// Serves until `stop` becomes readable. All sessions have ended when it returns.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let server = &*self;
        let served = std::thread::scope(|threads| {
            let served = server.serve(threads, stop);
            for client in lock(&server.clients).values() {
                // Its thread sees the end of the connection.
                let _ = rustix::net::shutdown(&client.socket, Shutdown::Both);
            }
            served
        });
        self.broker.shut_down();
        served
    }

    fn serve<'s>(&'s self, threads: &'s Scope<'s, '_>, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let interval = Timespec::try_from(CHECK_INTERVAL).map_err(io::Error::other)?;
        let mut spare = spare_descriptor();
        let mut checked = Instant::now();
        let mut next = 0;
        loop {
            let mut fds = vec![PollFd::new(&stop, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
            fds.extend(self.broker.watch().map(|device| PollFd::from_borrowed_fd(device, PollFlags::RDHUP)));
            // Who is connected may open a session at any time.
            let looks = self.broker.needs_checks() || !lock(&self.clients).is_empty();
            match poll(&mut fds, looks.then_some(&interval)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            let [stopped, connecting, device] =
                [0, 1, 2].map(|index| fds.get(index).is_some_and(|fd| !fd.revents().is_empty()));
            if stopped {
                return Ok(());
            }
            if self.broker.has_failed() {
                // Its registers may be gone as well.
                *lock(&self.relay) = None;
            }
            if device || (self.broker.needs_checks() && checked.elapsed() >= CHECK_INTERVAL) {
                self.broker.check()?;
                checked = Instant::now();
            }
            if connecting {
                match socket::accept(self.listener.as_fd()) {
                    Ok(Some((socket, peer))) => {
                        self.admit(threads, next, socket, peer);
                        next += 1;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        warn!("cannot accept a connection: {error}");
                        // Closed with the descriptor that was kept for it: left waiting, it would wake us for ever.
                        drop(spare);
                        drop(socket::accept(self.listener.as_fd()));
                        spare = spare_descriptor();
                    }
                }
            }
        }
    }

    /// Starts a connection's thread, if there is room for it.
    fn admit<'s>(&'s self, threads: &'s Scope<'s, '_>, id: u64, socket: OwnedFd, peer: Peer) {
        let mut clients = lock(&self.clients);
        let of_user = clients.values().filter(|client| client.uid == peer.uid).count();
        if clients.len() >= MAX_CLIENTS || of_user >= MAX_CLIENTS_PER_USER {
            return warn!("process {} of user {}: too many connections", peer.pid, peer.uid);
        }
        let socket = Arc::new(socket);
        let (served, name) = (socket.clone(), "client".into());
        let thread = std::thread::Builder::new().name(name).spawn_scoped(threads, move || {
            self.attend(&served, peer);
            lock(&self.clients).remove(&id);
        });
        match thread {
            Ok(_) => drop(clients.insert(id, Client { socket, uid: peer.uid })),
            Err(error) => warn!("process {}: cannot start a thread for it: {error}", peer.pid),
        }
    }

    /// Answers a client's messages, one after the other, for as long as it is there.
    fn attend(&self, socket: &OwnedFd, peer: Peer) {
        let mut session = None;
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            // A message that is too long is as malformed as an empty one.
            let length = match socket::receive(socket.as_fd(), &mut buffer) {
                Received::Message(length) => length,
                Received::TooLong => 0,
                Received::Closed => break,
            };
            let before = session;
            let response = self.broker.handle(peer, &mut session, buffer.get(..length).unwrap_or_default());
            let opened = session.filter(|_| before.is_none());
            if let Err(error) = opened.map_or(Ok(()), |queue| self.watch_doorbell(queue)) {
                warn!("process {}: cannot watch its doorbell: {error}", peer.pid);
                break;
            }
            if let Err(error) = socket::send(socket.as_fd(), &response.bytes, &response.fds) {
                debug!("process {}: does not take its reply: {error}", peer.pid);
                break;
            }
        }
        let Some(queue) = session else { return };
        if let (Some(relay), Some(doorbell)) = (&*lock(&self.relay), self.broker.doorbell(queue)) {
            relay.forget(doorbell.as_fd());
        }
        info!("session {queue}: process {} left", peer.pid);
        self.broker.end(queue);
    }

    fn watch_doorbell(&self, queue: u32) -> io::Result<()> {
        match (&*lock(&self.relay), self.broker.doorbell(queue)) {
            (Some(relay), Some(doorbell)) => relay.watch(queue, doorbell.as_fd()),
            _ => Ok(()),
        }
    }
}

fn spare_descriptor() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}
