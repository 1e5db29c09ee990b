//! The broker's `SOCK_SEQPACKET` socket: one message a packet, descriptors beside a reply.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use vgpu_protocol::broker::MAX_MESSAGE;

use crate::Peer;

/// Descriptors beside one reply, at most.
const MAX_FDS: usize = 3;

/// Connects to a broker; every call waits for the other side.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket(SocketFlags::CLOEXEC)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Listens at `path`, replacing the socket of a broker that is gone.
///
/// # Errors
/// `AddrInUse` when a broker answers there.
pub fn listen(path: &Path, mode: u32, group: Option<u32>) -> io::Result<OwnedFd> {
    match connect(path) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another vgpud serves it")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Takes a waiting connection, if there is one.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, Peer)>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => {
            let peer = nix::sys::socket::getsockopt(&socket, PeerCredentials)?;
            // The process id is 0 for a client in a foreign process namespace.
            let pid = u32::try_from(peer.pid()).unwrap_or(0);
            Ok(Some((socket, Peer { pid, uid: peer.uid() })))
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What [`receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of this many bytes.
    Message(usize),
    /// A message that is longer than [`MAX_MESSAGE`].
    TooLong,
    /// The other side closed the connection.
    Closed,
}

/// Waits for one message. Descriptors beside it are dropped by the kernel.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8; MAX_MESSAGE]) -> Received {
    loop {
        return match rustix::net::recv(socket, &mut buffer[..], RecvFlags::TRUNC) {
            Ok((_, 0)) => Received::Closed,
            Ok((_, length)) if length > MAX_MESSAGE => Received::TooLong,
            Ok((_, length)) => Received::Message(length),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => Received::Closed,
        };
    }
}

/// Sends one message with up to three descriptors; never waits.
///
/// # Errors
/// `WouldBlock` when the client does not read its replies.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?;
    Ok(())
}
