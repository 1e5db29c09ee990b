//! The socket to the guest's broker.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    connect, recvmsg, sendmsg, socket_with, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use vgpu_protocol::broker::{
    BrokerError, BrokerOp, BrokerReply, BrokerRequest, BrokerStatus, ChunkRequest, OpenSession, SessionOpened,
    SessionStatus, StatusOf, MAX_MESSAGE, SOCKET_PATH, SOCKET_VARIABLE,
};
use vgpu_protocol::control::PROTOCOL_VERSION;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Longest wait for an answer: a worker has to start in it.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// the broker cannot be reached
    #[error("{}: {error}; is vgpud running (systemctl start vgpud)?", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: Errno,
    },
    /// the broker refuses
    #[error("vgpud: {0}")]
    Refused(#[from] BrokerError),
    /// the broker's answer makes no sense
    #[error("vgpud's answer is malformed: {0}")]
    Malformed(&'static str),
    /// the system refuses
    #[error("{0}: {1}")]
    System(&'static str, Errno),
    /// no place for the shared memory
    #[error("no free address range for the shared memory in this process")]
    NoAddressSpace,
    /// the session ended
    #[error("the session has ended")]
    Ended,
}

/// An open session's descriptors and what the broker says about them.
pub struct Opened {
    /// Addresses and numbers.
    pub session: SessionOpened,
    /// Memory of the home.
    pub home: OwnedFd,
    /// To be written to when the device asks for a notification.
    pub doorbell: OwnedFd,
    /// Signalled by the device if `session.interrupts` is 1.
    pub completion: OwnedFd,
}

/// A connection to the broker. Dropping it ends the session that was opened on it.
pub struct Broker {
    socket: OwnedFd,
}

struct Answer {
    body: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Broker {
    /// Connects to the socket that `VGPU_SOCKET` names, else to the system's.
    pub fn connect() -> Result<Self, OpenError> {
        match std::env::var_os(SOCKET_VARIABLE) {
            Some(path) => Self::connect_to(Path::new(&path)),
            None => Self::connect_to(Path::new(SOCKET_PATH)),
        }
    }

    /// Connects to the socket at `path`.
    pub fn connect_to(path: &Path) -> Result<Self, OpenError> {
        let fail = |error| OpenError::Unreachable { path: path.to_path_buf(), error };
        let address = SocketAddrUnix::new(path).map_err(fail)?;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(fail)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIME)).map_err(fail)?;
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_TIME)).map_err(fail)?;
        connect(&socket, &address).map_err(fail)?;
        Ok(Broker { socket })
    }

    /// Opens this connection's session; its shared memory lies at `arena_base` on both sides.
    pub fn open(&self, arena_base: u64, arena_size: u64) -> Result<Opened, OpenError> {
        let body = OpenSession { api_hash: vgpu_protocol::API_HASH, arena_base, arena_size };
        let answer = self.ask(BrokerOp::Open, body.as_bytes())?;
        let session = SessionOpened::read_from_bytes(&answer.body).map_err(|_| OpenError::Malformed("body of Open"))?;
        let [home, doorbell, completion] = <[OwnedFd; 3]>::try_from(answer.descriptors)
            .map_err(|_| OpenError::Malformed("Open must bring three descriptors"))?;
        Ok(Opened { session, home, doorbell, completion })
    }

    /// Adds memory to the session; the answer is to be mapped at `va`.
    pub fn map_chunk(&self, va: u64, length: u64) -> Result<OwnedFd, OpenError> {
        let answer = self.ask(BrokerOp::MapChunk, ChunkRequest { va, length }.as_bytes())?;
        let [memory] = <[OwnedFd; 1]>::try_from(answer.descriptors)
            .map_err(|_| OpenError::Malformed("MapChunk must bring one descriptor"))?;
        Ok(memory)
    }

    /// Gives memory back that is no longer mapped here.
    pub fn unmap_chunk(&self, va: u64, length: u64) -> Result<(), OpenError> {
        self.ask(BrokerOp::UnmapChunk, ChunkRequest { va, length }.as_bytes()).map(drop)
    }

    /// What broker and backend say of themselves and of the first GPU, and the open sessions.
    pub fn status(&self) -> Result<(BrokerStatus, Vec<SessionStatus>), OpenError> {
        self.status_of(0)
    }

    /// The same, of the GPU of that number.
    pub fn status_of(&self, device: u32) -> Result<(BrokerStatus, Vec<SessionStatus>), OpenError> {
        let answer = self.ask(BrokerOp::Status, StatusOf { device, reserved: 0 }.as_bytes())?;
        let (status, rest) =
            BrokerStatus::read_from_prefix(&answer.body).map_err(|_| OpenError::Malformed("body of Status"))?;
        let sessions = read_entries(rest).take(status.sessions as usize).collect();
        Ok((status, sessions))
    }

    /// Whether the broker has closed the connection: the session is over.
    pub fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::empty())];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&none)), Ok(n) if n > 0)
    }

    fn ask(&self, op: BrokerOp, body: &[u8]) -> Result<Answer, OpenError> {
        let header = BrokerRequest { op: op as u32, version: PROTOCOL_VERSION };
        let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(body)];
        sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
            .map_err(|error| OpenError::System("cannot send to vgpud", error))?;
        self.answer()
    }

    fn answer(&self) -> Result<Answer, OpenError> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(OpenError::System("no answer from vgpud", error)),
                Ok(message) => break message.bytes,
            }
        };
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                _ => None,
            })
            .flatten()
            .collect();
        bytes.truncate(received);
        parse_answer(&bytes).map(|body| Answer { body: body.to_vec(), descriptors })
    }
}

impl AsFd for Broker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn parse_answer(bytes: &[u8]) -> Result<&[u8], OpenError> {
    if bytes.is_empty() {
        return Err(OpenError::Ended);
    }
    let (header, rest) =
        BrokerReply::read_from_prefix(bytes).map_err(|_| OpenError::Malformed("shorter than its header"))?;
    if let Some(error) = BrokerError::from_wire(header.error) {
        return Err(error.into());
    }
    rest.get(..header.bytes as usize).ok_or(OpenError::Malformed("shorter than it says"))
}

fn read_entries<T: FromBytes + Immutable>(bytes: &[u8]) -> impl Iterator<Item = T> + '_ {
    bytes.chunks_exact(size_of::<T>()).filter_map(|entry| T::read_from_bytes(entry).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_answers_are_length_checked() {
        let answer = |error, bytes, body: &[u8]| [BrokerReply { error, bytes }.as_bytes(), body].concat();
        assert!(matches!(parse_answer(&[]), Err(OpenError::Ended)));
        assert!(matches!(parse_answer(&[0; 7]), Err(OpenError::Malformed(_))));
        assert!(matches!(parse_answer(&answer(0, 9, b"12345678")), Err(OpenError::Malformed(_))));
        assert!(matches!(parse_answer(&answer(2, 0, b"")), Err(OpenError::Refused(BrokerError::Version))));
        assert_eq!(parse_answer(&answer(0, 4, b"12345678")).unwrap(), b"1234");
    }

    #[test]
    fn test_missing_socket_is_unreachable_and_names_the_path() {
        let error = Broker::connect_to(Path::new("/nonexistent/vgpud.sock")).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/vgpud.sock"));
    }
}
