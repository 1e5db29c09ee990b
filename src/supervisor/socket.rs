//! The listening socket.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::Serve;

/// Why the backend cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// another process listens there
    #[error("{0} is in use: another process listens on it; end that one or choose another --socket-path")]
    InUse(PathBuf),
    /// something else has that name
    #[error("{0} exists and is no socket; choose another --socket-path")]
    NotASocket(PathBuf),
    /// the operating system refuses
    #[error("cannot listen on {path}: {source}")]
    Bind {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// the inherited descriptor is none
    #[error("--fd {fd} is no listening socket: {source}")]
    Inherited {
        /// The number given.
        fd: i32,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket, and its file if it has one of ours.
pub struct Socket {
    listener: UnixListener,
    path: Option<PathBuf>,
}

impl Socket {
    /// Listens on `path`.
    pub fn at(path: &Path) -> Result<Socket, SocketError> {
        Ok(Socket { listener: bind(path)?, path: Some(path.into()) })
    }

    /// Listens as the command line says.
    pub fn open(args: &Serve) -> Result<Socket, SocketError> {
        match (&args.socket_path, args.fd) {
            (Some(path), _) => Socket::at(path),
            (None, fd) => {
                let fd = fd.unwrap_or(-1);
                let listener = inherit(fd).map_err(|source| SocketError::Inherited { fd, source })?;
                Ok(Socket { listener, path: None })
            }
        }
    }

    /// Where its file is, if that is ours to remove.
    pub fn folder(&self) -> Option<PathBuf> {
        match self.path.as_deref()?.parent() {
            Some(folder) if folder != Path::new("") => Some(folder.into()),
            _ => Some(".".into()),
        }
    }

    /// Another handle of the socket.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

/// From now on SIGTERM and SIGINT remove the sockets' files and end the process; the workers end
/// with it, because each watches its connection to this process.
pub fn end_on_signals(sockets: &[Socket]) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let paths: Vec<PathBuf> = sockets.iter().filter_map(|socket| socket.path.clone()).collect();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            log::info!("ended by signal {signal}");
            for path in paths {
                let _ = std::fs::remove_file(path);
            }
            std::process::exit(0);
        }
    })?;
    Ok(())
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("the inherited socket"),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(SocketError::NotASocket(path.into()));
        }
        // Nobody answers on the file that a killed backend left behind.
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.into()));
        }
        let _ = std::fs::remove_file(path);
    }
    UnixListener::bind(path).map_err(|source| SocketError::Bind { path: path.into(), source })
}

fn inherit(fd: i32) -> io::Result<UnixListener> {
    if fd < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it must be 3 or more"));
    }
    if !Path::new("/proc/self/fd").join(fd.to_string()).exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is not open"));
    }
    let listener = crate::sys::inherited_listener(fd);
    listener.local_addr()?;
    rustix::net::sockopt::socket_acceptconn(&listener)?
        .then_some(listener)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"))
}
