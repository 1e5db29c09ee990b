//! Memory that a process of the guest and the device share.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use vgpu_protocol::control::MapRange;

use crate::sys::Pin;
use crate::TransportError;

/// A piece of memory behind a descriptor, and where the device finds it.
#[derive(Debug)]
pub struct SharedMemory {
    pub(crate) fd: OwnedFd,
    pub(crate) length: u64,
    pub(crate) ranges: Vec<MapRange>,
    /// What keeps the pages the device knows alive, whatever holders of `fd` do to the file.
    pub(crate) _pins: Vec<Pin>,
}

impl SharedMemory {
    /// Zeroed memory of `length` bytes whose size nobody can change, for a device that finds it in
    /// one piece at `address`.
    pub fn create(length: u64, address: u64) -> Result<Self, TransportError> {
        let create = || -> rustix::io::Result<OwnedFd> {
            let fd = rustix::fs::memfd_create("vgpu", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            rustix::fs::ftruncate(&fd, length)?;
            rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            Ok(fd)
        };
        let fd = create().map_err(|error| TransportError::NoMemory(format!("memfd of {length} bytes: {error}")))?;
        Ok(Self { fd, length, ranges: vec![MapRange { address, length }], _pins: Vec::new() })
    }

    /// The descriptor to map, from offset 0.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Size, bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Guest-physical ranges in the order of the file; their lengths add up to [`Self::length`].
    pub fn ranges(&self) -> &[MapRange] {
        &self.ranges
    }

    /// Guest-physical address of the first byte.
    pub fn address(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.address)
    }
}
