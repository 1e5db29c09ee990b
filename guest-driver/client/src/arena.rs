//! Where things lie in the session's shared memory: chunks of address space that the broker backs
//! with memory, and the allocations in them. Pure bookkeeping; no memory is touched here.

use std::collections::BTreeMap;

use vgpu_protocol::session::CHUNK_GRANULE;

/// Allocations are aligned to this, bytes.
pub const ALIGNMENT: u64 = 256;
const PAGE: u64 = 4096;

/// Bookkeeping of a reserved address range. Addresses are the same in guest and worker.
pub struct Arena {
    end: u64,
    next: u64,
    chunks: BTreeMap<u64, u64>,
    vacant: BTreeMap<u64, u64>,
    free: BTreeMap<u64, u64>,
    live: BTreeMap<u64, u64>,
}

impl Arena {
    /// Manages `[start, end)`, both multiples of the chunk granule.
    pub fn new(start: u64, end: u64) -> Self {
        Arena {
            end,
            next: start,
            chunks: BTreeMap::new(),
            vacant: BTreeMap::new(),
            free: BTreeMap::new(),
            live: BTreeMap::new(),
        }
    }

    /// Takes `length` bytes out of the chunks at hand.
    pub fn allocate(&mut self, length: u64) -> Option<u64> {
        let align = if length >= PAGE { PAGE } else { ALIGNMENT };
        let size = length.max(1).checked_next_multiple_of(align)?;
        let (start, room, at) = self.free.iter().find_map(|(&start, &room)| {
            let at = start.next_multiple_of(align);
            (at - start).checked_add(size).is_some_and(|end| end <= room).then_some((start, room, at))
        })?;
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        if at + size < start + room {
            self.free.insert(at + size, start + room - at - size);
        }
        self.live.insert(at, size);
        Some(at)
    }

    /// Ends the allocation at `address`; `false` if there is none.
    pub fn free(&mut self, address: u64) -> bool {
        let Some(size) = self.live.remove(&address) else { return false };
        let mut start = address;
        let mut length = size;
        if let Some((&before, &room)) = self.free.range(..address).next_back() {
            if before + room == address && self.chunk_of(before) == self.chunk_of(address) {
                self.free.remove(&before);
                start = before;
                length += room;
            }
        }
        let after = address + size;
        if self.chunk_of(after) == self.chunk_of(address) {
            if let Some(room) = self.free.remove(&after) {
                length += room;
            }
        }
        self.free.insert(start, length);
        true
    }

    /// The allocation that `address` lies in: start and size.
    pub fn find(&self, address: u64) -> Option<(u64, u64)> {
        let (&start, &size) = self.live.range(..=address).next_back()?;
        (address - start < size).then_some((start, size))
    }

    /// Picks address space for a new chunk of at least `length` bytes: start and size.
    pub fn plan_chunk(&mut self, length: u64) -> Option<(u64, u64)> {
        let size = length.checked_next_multiple_of(CHUNK_GRANULE)?;
        if let Some((&va, &room)) = self.vacant.iter().find(|(_, &room)| room >= size) {
            self.vacant.remove(&va);
            if room > size {
                self.vacant.insert(va + size, room - size);
            }
            return Some((va, size));
        }
        let va = self.next;
        let end = va.checked_add(size).filter(|end| *end <= self.end)?;
        self.next = end;
        Some((va, size))
    }

    /// A planned chunk did not come to be.
    pub fn abandon_chunk(&mut self, va: u64, size: u64) {
        self.vacant.insert(va, size);
    }

    /// A planned chunk has memory now.
    pub fn add_chunk(&mut self, va: u64, size: u64) {
        self.chunks.insert(va, size);
        self.free.insert(va, size);
    }

    /// Takes out a chunk larger than `keep` in which nothing is allocated: start and size.
    pub fn remove_idle_chunk(&mut self, keep: u64) -> Option<(u64, u64)> {
        let (&va, &size) = self.chunks.iter().find(|(va, size)| **size > keep && self.free.get(va) == Some(size))?;
        self.chunks.remove(&va);
        self.free.remove(&va);
        Some((va, size))
    }

    fn chunk_of(&self, address: u64) -> Option<u64> {
        let (&va, &size) = self.chunks.range(..=address).next_back()?;
        (address - va < size).then_some(va)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn arena() -> Arena {
        let mut arena = Arena::new(1 << 40, (1 << 40) + 64 * MIB);
        let (va, size) = arena.plan_chunk(4 * MIB).unwrap();
        arena.add_chunk(va, size);
        arena
    }

    #[test]
    fn test_allocations_are_aligned_disjoint_and_found_by_inner_addresses() {
        let mut arena = arena();
        let a = arena.allocate(100).unwrap();
        let b = arena.allocate(5000).unwrap();
        assert_eq!((a % ALIGNMENT, b % PAGE), (0, 0));
        assert!(b >= a + 256);
        assert_eq!(arena.find(b + 4999), Some((b, 8192)));
        assert_eq!(arena.find(a + 256), None);
    }

    #[test]
    fn test_freed_space_merges_and_is_used_again() {
        let mut arena = arena();
        let parts: Vec<u64> = (0..4).map(|_| arena.allocate(MIB).unwrap()).collect();
        assert_eq!(arena.allocate(1), None);
        for index in [1, 3, 0, 2] {
            assert!(arena.free(parts[index]));
        }
        assert!(!arena.free(parts[0]));
        assert_eq!(arena.allocate(4 * MIB), Some(1 << 40));
    }

    #[test]
    fn test_chunks_stay_apart_and_their_address_space_returns() {
        let mut arena = arena();
        let (va, size) = arena.plan_chunk(MIB).unwrap();
        assert_eq!((va, size), ((1 << 40) + 4 * MIB, 2 * MIB));
        arena.add_chunk(va, size);
        assert_eq!(arena.allocate(5 * MIB), None, "an allocation never spans chunks");
        assert_eq!(arena.remove_idle_chunk(2 * MIB), Some((1 << 40, 4 * MIB)));
        arena.abandon_chunk(1 << 40, 4 * MIB);
        assert_eq!(arena.plan_chunk(3 * MIB), Some((1 << 40, 4 * MIB)));
        assert_eq!(arena.plan_chunk(u64::MAX), None);
        assert_eq!(arena.plan_chunk(128 * MIB), None);
    }
}
