//! Memory that a process of the guest and the device share.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vgpu_protocol::control::MapRange;

use crate::sys::Pin;

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
