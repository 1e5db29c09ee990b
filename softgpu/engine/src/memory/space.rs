//! Which parts of the arena are allocated: offsets only, no memory is touched here.

use super::{Info, MemoryError, PAGE};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range as Span;

/// Best-fit allocator over the offsets `0..len`.
pub(super) struct Space {
    /// Requested size of each live allocation, by offset.
    live: BTreeMap<u64, u64>,
    /// Length of each hole, by offset; neighbours are always merged.
    holes: BTreeMap<u64, u64>,
    /// The same holes as (length, offset).
    by_len: BTreeSet<(u64, u64)>,
    quota: u64,
    used: u64,
    /// Offsets below this one are readable and writable.
    pub(super) committed: u64,
}

impl Space {
    pub(super) fn new(len: u64, quota: u64) -> Space {
        let mut space = Space {
            live: BTreeMap::new(),
            holes: BTreeMap::new(),
            by_len: BTreeSet::new(),
            quota,
            used: 0,
            committed: 0,
        };
        space.insert_hole(0, len);
        space
    }

    /// Takes `size` bytes; the result is rounded up to whole pages.
    pub(super) fn allocate(&mut self, size: u64) -> Result<Span<u64>, MemoryError> {
        if size == 0 {
            return Err(MemoryError::InvalidValue);
        }
        let len = size.checked_next_multiple_of(PAGE).ok_or(MemoryError::OutOfMemory)?;
        if len > self.quota - self.used {
            return Err(MemoryError::OutOfMemory);
        }
        let &(hole_len, offset) = self.by_len.range((len, 0)..).next().ok_or(MemoryError::OutOfMemory)?;
        self.remove_hole(offset, hole_len);
        if hole_len > len {
            self.insert_hole(offset + len, hole_len - len);
        }
        self.live.insert(offset, size);
        self.used += len;
        Ok(offset..offset + len)
    }

    /// Counts bytes that lie elsewhere against the quota.
    pub(super) fn charge(&mut self, len: u64) -> Result<(), MemoryError> {
        if len > self.quota - self.used {
            return Err(MemoryError::OutOfMemory);
        }
        self.used += len;
        Ok(())
    }

    /// Ends what [`Space::charge`] has counted.
    pub(super) fn discharge(&mut self, len: u64) {
        self.used -= len;
    }

    /// Gives back the allocation at `offset` and returns the pages it held.
    pub(super) fn release(&mut self, offset: u64) -> Option<Span<u64>> {
        let size = self.live.remove(&offset)?;
        let end = offset + size.next_multiple_of(PAGE);
        self.used -= end - offset;
        let mut hole = offset..end;
        if let Some((&before, &len)) = self.holes.range(..offset).next_back() {
            if before + len == hole.start {
                self.remove_hole(before, len);
                hole.start = before;
            }
        }
        if let Some(&len) = self.holes.get(&end) {
            self.remove_hole(end, len);
            hole.end = end + len;
        }
        self.insert_hole(hole.start, hole.end - hole.start);
        Some(offset..end)
    }

    /// Offset and requested size of the allocation that contains `offset`.
    pub(super) fn find(&self, offset: u64) -> Option<(u64, u64)> {
        let (&start, &size) = self.live.range(..=offset).next_back()?;
        (offset - start < size).then_some((start, size))
    }

    /// The pages of the allocation at `offset`.
    pub(super) fn span(&self, offset: u64) -> Option<Span<u64>> {
        let size = self.live.get(&offset)?;
        Some(offset..offset + size.next_multiple_of(PAGE))
    }

    pub(super) fn info(&self) -> Info {
        Info { free: self.quota - self.used, total: self.quota }
    }

    fn insert_hole(&mut self, offset: u64, len: u64) {
        self.holes.insert(offset, len);
        self.by_len.insert((len, offset));
    }

    fn remove_hole(&mut self, offset: u64, len: u64) {
        self.holes.remove(&offset);
        self.by_len.remove(&(len, offset));
    }
}
