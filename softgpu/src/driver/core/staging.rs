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

/// Staged bytes.
pub(super) struct Staged {
    bytes: Vec<u8>,
    driver: &'static Driver,
}

impl Staged {
    /// Takes a copy; `None` if it is too large or too much is staged already.
    pub(super) fn new(driver: &'static Driver, source: &[u8]) -> Option<Staged> {
        let len = source.len();
        let add = |staged: usize| Some(staged + len).filter(|sum| len <= PIECE && *sum <= TOTAL);
        driver.staging.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Staged { bytes: source.to_vec(), driver })
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
