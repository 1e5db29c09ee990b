//! Messages between the supervisor and a worker: a `SOCK_SEQPACKET` pair, one packet a message,
//! file descriptors beside it. Both ends are the same executable.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    recvmsg, sendmsg, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use vgpu_protocol::control::ControlStatus;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How long a packet whose descriptors are too many at the moment is tried again, and how often.
const SEND_LIMIT: Duration = Duration::from_millis(500);
const SEND_PAUSE: Duration = Duration::from_millis(1);

/// What the supervisor asks of a worker. Addresses and sizes in bytes.
#[derive(Debug)]
pub enum Request {
    /// Reserve `[base, base + size)` and map the home at `base`. `exchange` leads to what other sessions share.
    Create { base: u64, size: u64, home: u64, offset: u64, memory: OwnedFd, exchange: OwnedFd },
    /// Map guest memory at `va`.
    Map { va: u64, length: u64, offset: u64, memory: OwnedFd },
    /// What has been mapped in `[va, va + length)` is a chunk: the GPU may use it.
    Chunk { va: u64, length: u64 },
    /// Take a range away again.
    Unmap { va: u64, length: u64 },
    /// Serve the ring from avail index `index` on.
    Start { index: u16, event_idx: bool, kick: OwnedFd, call: Option<OwnedFd> },
    /// The ring's completions are signalled through another eventfd from now on.
    SetCall { call: Option<OwnedFd> },
    /// Take no more batches; with `drain_ms`, wait that long for work under way to end.
    /// The reply's value is the ring's next avail index.
    Stop { drain_ms: Option<u64> },
    /// The reply's value is the GPU memory in use.
    Usage,
}

/// A worker's answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reply {
    /// A [`ControlStatus`].
    pub status: u64,
    /// What was asked for.
    pub value: u64,
}

impl Reply {
    /// An answer without a value.
    pub fn status(status: ControlStatus) -> Self {
        Reply { status: status as u64, value: 0 }
    }

    /// The value, or why there is none.
    pub fn into_result(self) -> Result<u64, ControlStatus> {
        match ControlStatus::from_wire(u32::try_from(self.status).unwrap_or(u32::MAX)) {
            ControlStatus::Ok => Ok(self.value),
            status => Err(status),
        }
    }
}

type Words = [u64; 5];
const MAX_DESCRIPTORS: usize = 2;
const NO_DRAIN: u64 = u64::MAX;

impl Request {
    fn encode(&self) -> (Words, Vec<BorrowedFd<'_>>) {
        match self {
            Request::Create { base, size, home, offset, memory, exchange } => {
                ([1, *base, *size, *home, *offset], fds([Some(memory), Some(exchange)]))
            }
            Request::Map { va, length, offset, memory } => ([2, *va, *length, *offset, 0], fds([Some(memory)])),
            Request::Chunk { va, length } => ([3, *va, *length, 0, 0], Vec::new()),
            Request::Unmap { va, length } => ([4, *va, *length, 0, 0], Vec::new()),
            Request::Start { index, event_idx, kick, call } => {
                ([5, u64::from(*index), u64::from(*event_idx), 0, 0], fds([Some(kick), call.as_ref()]))
            }
            Request::SetCall { call } => ([6, 0, 0, 0, 0], fds([call.as_ref()])),
            Request::Stop { drain_ms } => ([7, drain_ms.unwrap_or(NO_DRAIN), 0, 0, 0], Vec::new()),
            Request::Usage => ([8, 0, 0, 0, 0], Vec::new()),
        }
    }

    fn decode(words: Words, fds: Vec<OwnedFd>) -> Option<Request> {
        let mut fds = fds.into_iter();
        let [op, a, b, c, d] = words;
        Some(match op {
            1 => {
                let (memory, exchange) = (fds.next()?, fds.next()?);
                Request::Create { base: a, size: b, home: c, offset: d, memory, exchange }
            }
            2 => Request::Map { va: a, length: b, offset: c, memory: fds.next()? },
            3 => Request::Chunk { va: a, length: b },
            4 => Request::Unmap { va: a, length: b },
            5 => {
                Request::Start { index: u16::try_from(a).ok()?, event_idx: b != 0, kick: fds.next()?, call: fds.next() }
            }
            6 => Request::SetCall { call: fds.next() },
            7 => Request::Stop { drain_ms: (a != NO_DRAIN).then_some(a) },
            8 => Request::Usage,
            _ => return None,
        })
    }
}

/// One end of the pair.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// An answer that was asked for with [`Channel::post`] is still to come.
    owed: Cell<bool>,
}

impl Channel {
    /// Makes a pair: the supervisor's end, and the descriptor for the worker's.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (near, far) = socket_pair()?;
        Ok((Channel::from_descriptor(near), far))
    }

    /// Takes an end that was passed on.
    pub fn from_descriptor(socket: OwnedFd) -> Channel {
        Channel { socket, owed: Cell::new(false) }
    }

    /// Asks and waits for the answer. A worker that is gone, or does not answer until `deadline`, is an error.
    pub fn call(&self, request: &Request, deadline: Instant) -> io::Result<Reply> {
        if self.owed.get() {
            self.collect(deadline)?.ok_or(io::ErrorKind::TimedOut)?;
        }
        self.post(request)?;
        Ok(self.collect(deadline)?.ok_or(io::ErrorKind::TimedOut)?)
    }

    /// Asks for what [`Channel::collect`] gives, unless that has been asked for already.
    pub fn post(&self, request: &Request) -> io::Result<()> {
        if !self.owed.get() {
            let (words, fds) = request.encode();
            send(&self.socket, words.as_bytes(), &fds)?;
            self.owed.set(true);
        }
        Ok(())
    }

    /// The answer that is owed; `None` if it has not come until `deadline`.
    pub fn collect(&self, deadline: Instant) -> io::Result<Option<Reply>> {
        if !is_readable(&self.socket, deadline)? {
            return Ok(None);
        }
        let mut reply = Reply::default();
        let (length, _) = receive(&self.socket, reply.as_mut_bytes())?;
        self.owed.set(false);
        match length == size_of::<Reply>() {
            true => Ok(Some(reply)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Waits for the next request; `None` when the supervisor is gone.
    pub fn next(&self) -> io::Result<Option<Request>> {
        let mut words = Words::default();
        match receive(&self.socket, words.as_mut_bytes())? {
            (0, _) => Ok(None),
            (length, fds) if length == size_of::<Words>() => {
                Request::decode(words, fds).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Answers a request.
    pub fn reply(&self, reply: Reply) -> io::Result<()> {
        send(&self.socket, reply.as_bytes(), &[])
    }
}

/// Waits until there is something to read, or the other end is closed; `false` if that has not come until `deadline`.
pub fn is_readable(fd: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// Makes a connected pair.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet with descriptors. Descriptors under way count against the sender's user, whoever else of
/// that user sends some (unix(7), `ETOOMANYREFS`): then it is tried again until [`SEND_LIMIT`].
pub fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let start = Instant::now();
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::TOOMANYREFS) if start.elapsed() < SEND_LIMIT => std::thread::sleep(SEND_PAUSE),
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Waits for a packet: its length, 0 when the other end is closed, and its descriptors.
pub fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => continue,
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes, fds))
}

fn fds<const N: usize>(list: [Option<&OwnedFd>; N]) -> Vec<BorrowedFd<'_>> {
    list.into_iter().flatten().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn test_request_crosses_with_its_descriptors() {
        let (near, far) = Channel::pair().unwrap();
        let far = Channel::from_descriptor(far);
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let worker = std::thread::spawn(move || {
            let Some(Request::Start { index: 7, event_idx: true, kick, call: Some(call) }) = far.next().unwrap() else {
                panic!("not the request that was sent");
            };
            assert_ne!(kick.as_raw_fd(), call.as_raw_fd());
            far.reply(Reply { status: 0, value: 9 }).unwrap();
            assert!(far.next().unwrap().is_none(), "the end of the supervisor is seen");
        });
        let start = Request::Start { index: 7, event_idx: true, kick: null(), call: Some(null()) };
        assert_eq!(near.call(&start, soon()).unwrap().into_result(), Ok(9));
        drop(near);
        worker.join().unwrap();
    }

    #[test]
    fn test_call_to_a_dead_worker_is_an_error() {
        let (near, far) = Channel::pair().unwrap();
        drop(far);
        assert!(near.call(&Request::Usage, soon()).is_err());
    }

    #[test]
    fn test_an_answer_that_comes_late_is_not_taken_for_another() {
        let (near, far) = Channel::pair().unwrap();
        let far = Channel::from_descriptor(far);
        let value = |value| Reply { status: 0, value };
        near.post(&Request::Usage).unwrap();
        assert!(near.collect(Instant::now()).unwrap().is_none());
        assert_eq!(near.call(&Request::Usage, Instant::now()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        far.reply(value(1)).unwrap();
        far.reply(value(2)).unwrap();
        let stop = Request::Stop { drain_ms: None };
        assert_eq!(near.call(&stop, soon()).unwrap().value, 2);
        assert!(matches!(far.next().unwrap(), Some(Request::Usage)), "asked for once");
        assert!(matches!(far.next().unwrap(), Some(Request::Stop { .. })));
        near.post(&Request::Usage).unwrap();
        far.reply(value(3)).unwrap();
        assert_eq!(near.collect(soon()).unwrap().unwrap().value, 3);
    }
}
