//! Shared memory of a block.

use super::check::Shadow;
use super::code::Row;
use super::space::Space;
use crate::memory::{AccessError, Plain};
use zerocopy::IntoBytes;

/// Shared memory; only one thread of the host runs a block at a time.
#[derive(Default)]
pub(super) struct Shared {
    rows: Vec<Row>,
    len: usize,
    /// Of checked launches: what has happened to it.
    pub(super) shadow: Option<Box<Shadow>>,
}

impl Shared {
    /// Zeroed memory of `len` bytes.
    pub(super) fn reset(&mut self, len: u32) {
        self.len = len as usize;
        self.rows.clear();
        self.rows.resize(self.len.div_ceil(size_of::<Row>()), Row::ZERO);
    }

    /// The first byte and the number of bytes.
    pub(super) fn raw(&mut self) -> (*mut u8, u64) {
        (self.rows.as_mut_ptr().cast(), self.len as u64)
    }

    #[inline(always)]
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.rows.as_mut_slice().as_mut_bytes()[..self.len]
    }

    /// The naturally aligned value at an address.
    #[inline(always)]
    pub(super) fn load<T: Plain>(&mut self, address: u64) -> Result<T, AccessError> {
        let bytes = self.aligned::<T, 1>(address)?;
        T::read_from_bytes(bytes).map_err(|_| illegal(address))
    }

    #[inline(always)]
    pub(super) fn store<T: Plain>(&mut self, address: u64, value: T) -> Result<(), AccessError> {
        let bytes = self.aligned::<T, 1>(address)?;
        value.write_to(bytes).map_err(|_| illegal(address))
    }

    /// Loads `N` consecutive values, the first naturally aligned; false if they are not all there.
    #[inline(always)]
    pub(super) fn load_row<T: Plain, const N: usize>(&mut self, address: u64, values: &mut [T; N]) -> bool {
        match self.aligned::<T, N>(address) {
            Ok(bytes) => {
                values.as_mut_bytes().copy_from_slice(bytes);
                true
            }
            Err(_) => false,
        }
    }

    /// Stores `N` consecutive values, the first naturally aligned; false if there is no room.
    #[inline(always)]
    pub(super) fn store_row<T: Plain, const N: usize>(&mut self, address: u64, values: &[T; N]) -> bool {
        match self.aligned::<T, N>(address) {
            Ok(bytes) => {
                bytes.copy_from_slice(values.as_bytes());
                true
            }
            Err(_) => false,
        }
    }

    #[inline(always)]
    fn aligned<T, const N: usize>(&mut self, address: u64) -> Result<&mut [u8], AccessError> {
        if address & (size_of::<T>() as u64 - 1) != 0 {
            return Err(AccessError::Misaligned(Space::Shared.generic(address)));
        }
        if address >= self.len as u64 {
            return Err(illegal(address));
        }
        let start = address as usize;
        self.bytes().get_mut(start..start + size_of::<[T; N]>()).ok_or(illegal(address))
    }
}

#[cold]
fn illegal(address: u64) -> AccessError {
    AccessError::Illegal(Space::Shared.generic(address))
}
