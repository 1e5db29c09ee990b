//! Local memory of a warp: a private stretch of bytes for each lane.

use super::code::LANES;
use super::space::Space;
use crate::memory::{AccessError, Plain};

/// Local memory of the lanes of one warp.
#[derive(Default)]
pub(super) struct Local {
    bytes: Vec<u8>,
    /// Bytes per lane.
    stride: usize,
}

impl Local {
    /// Gives each lane `stride` bytes; their content is unspecified.
    pub(super) fn resize(&mut self, stride: u32) {
        self.stride = stride as usize;
        if self.bytes.len() < self.stride * LANES {
            self.bytes = vec![0; self.stride * LANES];
        }
    }

    /// Bytes per lane.
    pub(super) fn stride(&self) -> u32 {
        self.stride as u32
    }

    /// The first byte of all lanes' memory.
    pub(super) fn pointer(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// The bytes of one lane.
    pub(super) fn lane(&mut self, lane: usize) -> LocalLane<'_> {
        LocalLane(&mut self.bytes[lane * self.stride..][..self.stride])
    }
}

/// Local memory of one lane.
pub(super) struct LocalLane<'a>(&'a mut [u8]);

impl LocalLane<'_> {
    /// The bytes at an address.
    pub(super) fn range(&mut self, address: u64, len: u32) -> Option<&mut [u8]> {
        let start = usize::try_from(address).ok()?;
        self.0.get_mut(start..start.checked_add(len as usize)?)
    }

    /// Copies between ranges that both lie in this lane's memory, else does nothing.
    pub(super) fn copy(&mut self, to: u64, from: u64, len: u32) {
        let (to, from, len) = (to as usize, from as usize, len as usize);
        if to.max(from).checked_add(len).is_some_and(|end| end <= self.0.len()) {
            self.0.copy_within(from..from + len, to);
        }
    }

    pub(super) fn load<T: Plain>(&mut self, address: u64) -> Result<T, AccessError> {
        let bytes = self.aligned::<T>(address)?;
        T::read_from_bytes(bytes).map_err(|_| illegal(address))
    }

    pub(super) fn store<T: Plain>(&mut self, address: u64, value: T) -> Result<(), AccessError> {
        let bytes = self.aligned::<T>(address)?;
        value.write_to(bytes).map_err(|_| illegal(address))
    }

    fn aligned<T>(&mut self, address: u64) -> Result<&mut [u8], AccessError> {
        if !address.is_multiple_of(size_of::<T>() as u64) {
            return Err(AccessError::Misaligned(Space::Local.generic(address)));
        }
        self.range(address, size_of::<T>() as u32).ok_or(illegal(address))
    }
}

fn illegal(address: u64) -> AccessError {
    AccessError::Illegal(Space::Local.generic(address))
}
