//! Copies of pageable memory that wait for their turn. Their sum is limited, because a program can
//! queue more of them than there is memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Driver;

/// Largest copy that is staged rather than waited for, bytes.
const PIECE: usize = 1 << 20;
/// Most bytes that are staged at a time.
const TOTAL: usize = 64 << 20;

/// How many bytes are staged.
#[derive(Default)]
pub(super) struct Staging {
    bytes: AtomicUsize,
}

impl Staging {
    /// Counts `len` bytes as staged, if that is not too much.
    fn reserve(&self, len: usize) -> Option<()> {
        let add = |staged: usize| staged.checked_add(len).filter(|sum| len <= PIECE && *sum <= TOTAL);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(drop)
    }
}

/// Staged bytes.
pub(super) struct Staged {
    bytes: Vec<u8>,
    driver: &'static Driver,
}

impl Staged {
    /// Takes a copy; `None` if it is too large or too much is staged already.
    pub(super) fn new(driver: &'static Driver, source: &[u8]) -> Option<Staged> {
        driver.staging.reserve(source.len())?;
        Some(Staged { bytes: source.to_vec(), driver })
    }

    /// Takes a copy of parts that are `len` bytes together, one behind the other.
    pub(super) fn pack(driver: &'static Driver, len: usize, parts: &mut dyn Iterator<Item = &[u8]>) -> Option<Staged> {
        driver.staging.reserve(len)?;
        let mut staged = Staged { bytes: vec![0; len], driver };
        let mut at = 0;
        for part in parts {
            staged.bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        Some(staged)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.driver.staging.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
