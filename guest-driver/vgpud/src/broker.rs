//! What each request of a client does. Knows the device and the sessions, but no sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{debug, error, info, warn};
use rustix::process::{getpriority_process, Pid};
use vgpu_protocol::broker::{
    BrokerError, BrokerOp, BrokerReply, BrokerRequest, BrokerStatus, ChunkRequest, OpenSession, SessionOpened, StatusOf,
};
use vgpu_protocol::control::{
    BackendStatus, ControlHeader, ControlOp, ControlReply, ControlStatus, MapRange, SessionCreate, SessionMap,
    SessionUnmap, MAX_RANGES, PROTOCOL_VERSION,
};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ERROR_OFFSET, HOME_SIZE, STATE_DEAD, STATE_OFFSET};
use vgpu_virtio::sys::Mapping;
use vgpu_virtio::{Bell, QueueAccess, SharedMemory, Transport, TransportError, MAX_REPLY};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::session::{Admission, Arena, Session};

/// Who is at the other end of a socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process, 0 if it lives in a foreign process namespace.
    pub pid: u32,
    /// User.
    pub uid: u32,
}

impl Peer {
    /// The process's nice value, as it is now; 0 if that is not known.
    fn nice(&self) -> i32 {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.and_then(|pid| getpriority_process(Some(pid)).ok()).unwrap_or(0)
    }
}

/// A reply: a packet and the descriptors beside it.
#[derive(Debug)]
pub struct Response {
    /// [`BrokerReply`] and body.
    pub bytes: Vec<u8>,
    /// Descriptors.
    pub fds: Vec<OwnedFd>,
}

/// Body and descriptors of a request that succeeded.
#[derive(Default)]
struct Success {
    body: Vec<u8>,
    fds: Vec<OwnedFd>,
}

type Outcome = Result<Success, BrokerError>;

/// The device and its sessions. Requests of several clients are under way at a time, of each client one.
pub struct Broker {
    transport: Box<dyn Transport>,
    state: Mutex<State>,
}

/// Nothing that takes time is done while this is locked.
#[derive(Default)]
struct State {
    sessions: BTreeMap<u32, Session>,
    /// Queues of sessions, also of those that are being opened or ended, and those that cannot be used again until
    /// the device is set up anew.
    taken: BTreeSet<u32>,
    /// GPUs besides the first, as far as the backend has said.
    more_devices: u32,
    failed: bool,
}

impl Broker {
    /// A broker without sessions.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one message of a client; `session` is the queue of the client's session.
    pub fn handle(&self, peer: Peer, session: &mut Option<u32>, message: &[u8]) -> Response {
        let outcome = self.dispatch(peer, session, message);
        let error = outcome.as_ref().err().map_or(0, |error| *error as u32);
        if let Err(error) = &outcome {
            debug!("process {}: refused: {error}", peer.pid);
        }
        let success = outcome.unwrap_or_default();
        let header = BrokerReply { error, bytes: success.body.len() as u32 };
        Response { bytes: [header.as_bytes(), &success.body].concat(), fds: success.fds }
    }

    fn dispatch(&self, peer: Peer, session: &mut Option<u32>, message: &[u8]) -> Outcome {
        let (request, body) = BrokerRequest::read_from_prefix(message).map_err(|_| BrokerError::Malformed)?;
        if request.version != PROTOCOL_VERSION {
            return Err(BrokerError::Version);
        }
        let op = BrokerOp::from_wire(request.op).ok_or(BrokerError::Malformed)?;
        if self.has_failed() {
            return Err(BrokerError::Device);
        }
        match (op, *session) {
            (BrokerOp::Open, None) => {
                let (queue, success) = self.open(peer, &parse(body)?)?;
                *session = Some(queue);
                Ok(success)
            }
            (BrokerOp::MapChunk, Some(queue)) => self.map_chunk(queue, &parse(body)?),
            (BrokerOp::UnmapChunk, Some(queue)) => self.unmap_chunk(queue, &parse(body)?),
            (BrokerOp::Status, _) => self.status(parse::<StatusOf>(body)?.device),
            _ => Err(BrokerError::Malformed),
        }
    }

    fn open(&self, peer: Peer, open: &OpenSession) -> Result<(u32, Success), BrokerError> {
        let arena = Arena::new(open).ok_or(BrokerError::Malformed)?;
        if open.api_hash != self.transport.config().api_hash {
            return Err(BrokerError::Version);
        }
        let queue = self.take_queue()?;
        let access = self.transport.open_queue(queue);
        let access = self.checked(access).inspect_err(|_| self.free_queue(queue))?;
        if let Err(error) = self.create_session(queue, peer, open, &access) {
            match error {
                // A worker may have the home, now or later.
                BrokerError::Device => std::mem::forget(access.home),
                _ => self.close_queue(queue, access.home),
            }
            return Err(error);
        }
        let success = Self::opened(queue, &access);
        let doorbell = access.relay.then_some(access.doorbell);
        self.lock().sessions.insert(queue, Session::new(peer, access.home, doorbell, arena));
        let success = success.inspect_err(|_| self.end(queue))?;
        info!("session {queue}: opened by process {} of user {}", peer.pid, peer.uid);
        Ok((queue, success))
    }

    fn take_queue(&self) -> Result<u32, BrokerError> {
        let mut state = self.lock();
        let free = |queue: &u32| !state.taken.contains(queue);
        let queue = (1..=self.transport.sessions()).find(free).ok_or(BrokerError::Busy)?;
        state.taken.insert(queue);
        Ok(queue)
    }

    fn free_queue(&self, queue: u32) {
        self.lock().taken.remove(&queue);
    }

    fn create_session(
        &self,
        queue: u32,
        peer: Peer,
        open: &OpenSession,
        access: &QueueAccess,
    ) -> Result<(), BrokerError> {
        let create = SessionCreate {
            home: access.home.address(),
            arena_base: open.arena_base,
            arena_size: open.arena_size,
            api_hash: open.api_hash,
            pid: peer.pid,
            uid: peer.uid,
            nice: peer.nice(),
            reserved: 0,
        };
        self.control(ControlOp::SessionCreate, queue, create.as_bytes()).map(drop)
    }

    /// The reply to `Open`: home, doorbell and completion travel as descriptors.
    fn opened(queue: u32, access: &QueueAccess) -> Outcome {
        let body = SessionOpened {
            home_offset: 0,
            home_address: access.home.address(),
            queue,
            interrupts: u32::from(access.interrupts),
        };
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(|_| BrokerError::NoMemory);
        let fds = vec![copy(access.home.fd())?, copy(access.doorbell.as_fd())?, copy(access.completion.as_fd())?];
        Ok(Success { body: body.as_bytes().to_vec(), fds })
    }

    fn map_chunk(&self, queue: u32, chunk: &ChunkRequest) -> Outcome {
        let limit = self.transport.config().arena_limit;
        match self.lock().sessions.get(&queue).ok_or(BrokerError::Malformed)?.admits(chunk, limit) {
            Admission::Granted => {}
            Admission::Malformed => return Err(BrokerError::Malformed),
            Admission::OverLimit => return Err(BrokerError::NoMemory),
        }
        let memory = self.transport.allocate(chunk.length);
        let memory = self.checked(memory)?;
        let copy = memory.fd().try_clone_to_owned().map_err(|_| BrokerError::NoMemory);
        let mapped = copy.and_then(|fd| self.map_memory(queue, chunk.va, &memory).map(|()| fd));
        match mapped {
            Ok(fd) => {
                self.with(queue, |session| session.add_chunk(chunk.va, memory));
                Ok(Success { body: Vec::new(), fds: vec![fd] })
            }
            Err(error) => {
                self.give_back(queue, memory, error)?;
                Err(error)
            }
        }
    }

    /// Does something to a session that lives as long as its client's requests.
    fn with(&self, queue: u32, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.lock().sessions.get_mut(&queue) {
            change(session);
        }
    }

    /// Tells the backend of new memory, in as many requests as its ranges need.
    fn map_memory(&self, queue: u32, va: u64, memory: &SharedMemory) -> Result<(), BrokerError> {
        let mut mapped = 0;
        for ranges in memory.ranges().chunks(MAX_RANGES) {
            let map = SessionMap { va: va + mapped, count: ranges.len() as u32, reserved: 0 };
            let body = [map.as_bytes(), ranges.as_bytes()].concat();
            if let Err(error) = self.control(ControlOp::SessionMap, queue, &body) {
                self.unmap_memory(queue, va, mapped, memory)?;
                return Err(error);
            }
            mapped += total(ranges);
        }
        Ok(())
    }

    /// Takes the first `length` bytes of memory from the backend, in the pieces they were given.
    fn unmap_memory(&self, queue: u32, va: u64, length: u64, memory: &SharedMemory) -> Result<(), BrokerError> {
        let mut unmapped = 0;
        for ranges in memory.ranges().chunks(MAX_RANGES) {
            if unmapped >= length {
                break;
            }
            let unmap = SessionUnmap { va: va + unmapped, length: total(ranges) };
            // Whatever the reason is: it is not that there is too little memory.
            self.control(ControlOp::SessionUnmap, queue, unmap.as_bytes()).map_err(|error| match error {
                BrokerError::NoMemory => BrokerError::Backend,
                error => error,
            })?;
            unmapped += unmap.length;
        }
        Ok(())
    }

    /// Releases memory that the backend does not have because of an `error`. Where that may be otherwise, such as after
    /// the end of the worker, which may not be over yet, the memory stays with the session for as long as that lives.
    fn give_back(&self, queue: u32, memory: SharedMemory, error: BrokerError) -> Result<(), BrokerError> {
        if error != BrokerError::NoMemory {
            self.with(queue, |session| session.keep(memory));
            return Ok(());
        }
        let released = self.transport.release(memory);
        self.checked(released)
    }

    fn unmap_chunk(&self, queue: u32, chunk: &ChunkRequest) -> Outcome {
        let memory = {
            let mut state = self.lock();
            let session = state.sessions.get_mut(&queue).filter(|session| session.has_chunk(chunk));
            session.and_then(|session| session.remove_chunk(chunk.va)).ok_or(BrokerError::Malformed)?
        };
        if let Err(error) = self.unmap_memory(queue, chunk.va, chunk.length, &memory) {
            self.with(queue, |session| session.keep(memory));
            return Err(error);
        }
        let released = self.transport.release(memory);
        self.checked(released).map(|()| Success::default())
    }

    fn status(&self, device: u32) -> Outcome {
        // The backend is not bothered with what it has said does not exist.
        if device > self.lock().more_devices {
            return Err(BrokerError::Malformed);
        }
        let backend = self.backend_status(device)?;
        let mut location = [0; 32];
        let name = self.transport.location().bytes().take(location.len() - 1);
        location.iter_mut().zip(name).for_each(|(to, from)| *to = from);
        let state = self.lock();
        let status = BrokerStatus {
            backend,
            location,
            queues: self.transport.sessions(),
            sessions: state.sessions.len() as u32,
            pid: std::process::id(),
            reserved: 0,
        };
        let mut body = status.as_bytes().to_vec();
        for (queue, session) in &state.sessions {
            body.extend_from_slice(session.status(*queue).as_bytes());
        }
        Ok(Success { body, fds: Vec::new() })
    }

    fn backend_status(&self, device: u32) -> Result<BackendStatus, BrokerError> {
        let reply = self.control(ControlOp::Status, device, &[])?;
        let status = BackendStatus::read_from_bytes(&reply).map_err(|_| self.fail("its status has the wrong size"))?;
        self.lock().more_devices = status.device_count.saturating_sub(1);
        Ok(status)
    }

    /// Ends a session: its worker first, then its memory.
    pub fn end(&self, queue: u32) {
        if !self.lock().sessions.contains_key(&queue) {
            return;
        }
        let destroyed = self.control(ControlOp::SessionDestroy, queue, &[]);
        let Some(session) = self.lock().sessions.remove(&queue) else { return };
        if destroyed.is_err() {
            // A worker may still use the memory: nobody else may have it, nor the queue.
            std::mem::forget(session.into_memory());
            return;
        }
        info!("session {queue}: ended");
        let (home, others) = session.into_memory();
        for memory in others {
            let released = self.transport.release(memory);
            let _ = self.checked(released);
        }
        self.close_queue(queue, home);
    }

    fn close_queue(&self, queue: u32, home: SharedMemory) {
        let closed = self.transport.close_queue(queue, home);
        match self.checked(closed) {
            Ok(()) => self.free_queue(queue),
            Err(_) => warn!("session queue {queue} cannot be used again until vgpud is restarted"),
        }
    }

    /// Asks the backend for a sign of life if a session depends on it, and looks at the device.
    ///
    /// # Errors
    /// When the device is gone or was reset: only a new start can help.
    pub fn check(&self) -> Result<(), TransportError> {
        if let Err(error) = self.transport.check() {
            self.fail(&error.to_string());
            return Err(error);
        }
        let depends = {
            let state = self.lock();
            !state.failed && !state.taken.is_empty()
        };
        if depends {
            // A failure is told and noted by the call itself.
            let _ = self.backend_status(0);
        }
        Ok(())
    }

    /// Whether something has to be looked at from time to time.
    pub fn needs_checks(&self) -> bool {
        let state = self.lock();
        state.failed || !state.taken.is_empty()
    }

    /// The doorbell that must be watched for a session, if its transport needs that.
    pub fn doorbell(&self, queue: u32) -> Option<Arc<OwnedFd>> {
        self.lock().sessions.get(&queue)?.doorbell.clone()
    }

    /// What rings the device's bell, where clients cannot do so themselves.
    pub fn bell(&self) -> Option<Bell> {
        self.transport.bell()
    }

    /// Whether the device is gone for good.
    pub fn has_failed(&self) -> bool {
        self.lock().failed
    }

    /// The device's own descriptor, if there is one to watch.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.transport.watch()
    }

    /// Ends all sessions and leaves the device as it was found.
    pub fn shut_down(&mut self) {
        let sessions: Vec<u32> = self.lock().sessions.keys().copied().collect();
        for queue in sessions {
            self.end(queue);
        }
        if !self.has_failed() {
            self.transport.shut_down();
        }
    }

    /// Sends a control request and gives the reply's body.
    fn control(&self, op: ControlOp, queue: u32, body: &[u8]) -> Result<Vec<u8>, BrokerError> {
        if self.has_failed() {
            return Err(BrokerError::Device);
        }
        let header = ControlHeader { op: op as u32, queue };
        let request = [header.as_bytes(), body].concat();
        let mut reply = [0; MAX_REPLY];
        let length = self.transport.control(&request, &mut reply, limit(op));
        let length = self.checked(length)?;
        let reply = reply.get(..length).unwrap_or_default();
        let (header, body) = ControlReply::read_from_prefix(reply).map_err(|_| self.fail("its reply is too short"))?;
        if header.bytes as usize != body.len() {
            return Err(self.fail("its reply has the wrong length"));
        }
        let status = ControlStatus::from_wire(header.status);
        match BrokerError::from_control(status) {
            None => Ok(body.to_vec()),
            Some(error) => {
                warn!("queue {queue}: the backend refuses {op:?}: {status}");
                Err(error)
            }
        }
    }

    /// Turns a transport's error into what clients are told.
    fn checked<T>(&self, result: Result<T, TransportError>) -> Result<T, BrokerError> {
        result.map_err(|error| match error {
            TransportError::NoMemory(_) => {
                warn!("{error}");
                BrokerError::NoMemory
            }
            TransportError::Device(_) | TransportError::SetUp(_) => self.fail(&error.to_string()),
        })
    }

    /// The device is gone for good: tells every session through its home.
    fn fail(&self, reason: &str) -> BrokerError {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.failed, true) {
            error!("{reason}; all sessions end. Is vhost-user-vgpu running on the host?");
            for (queue, session) in &state.sessions {
                if let Err(error) = mark_dead(&session.home) {
                    debug!("session {queue}: its home is not reachable: {error}");
                }
            }
        }
        BrokerError::Device
    }
}

/// How long the backend may take with a request; a device that needs longer will never answer. It bounds its requests
/// itself, by less. A session's start has that of a GPU's driver in it.
fn limit(op: ControlOp) -> Duration {
    Duration::from_secs(match op {
        ControlOp::SessionCreate => 60,
        _ => 15,
    })
}

/// Writes into a home that its session will never answer again.
fn mark_dead(home: &SharedMemory) -> std::io::Result<()> {
    let mapping = Mapping::new(home.fd(), 0, HOME_SIZE)?;
    mapping.try_copy_in(ERROR_OFFSET, &CUresult::UNKNOWN.0.to_ne_bytes())?;
    mapping.try_copy_in(STATE_OFFSET, &STATE_DEAD.to_ne_bytes())
}

fn total(ranges: &[MapRange]) -> u64 {
    ranges.iter().map(|range| range.length).sum()
}

fn parse<T: FromBytes + KnownLayout + Immutable>(body: &[u8]) -> Result<T, BrokerError> {
    T::read_from_bytes(body).map_err(|_| BrokerError::Malformed)
}
