//! The heap behind device-side `malloc` and `free`.

use crate::memory::{Memory, Range};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const ALIGN: u64 = 16;

/// Heap of one CUDA context: memory obtained in one kernel may be freed in a later one.
/// Takes its device memory at the first `malloc`.
pub struct DeviceHeap {
    memory: Arc<Memory>,
    state: Mutex<State>,
}

struct State {
    limit: u64,
    /// Address of the heap once it is in use.
    base: Option<u64>,
    /// Length of each hole and of each live piece, by address.
    holes: BTreeMap<u64, u64>,
    live: BTreeMap<u64, u64>,
}

impl DeviceHeap {
    /// A heap of at most `limit` bytes (`cudaLimitMallocHeapSize`, CUDA's default is 8 MiB).
    pub fn new(memory: &Arc<Memory>, limit: u64) -> DeviceHeap {
        let state = State { limit, base: None, holes: BTreeMap::new(), live: BTreeMap::new() };
        DeviceHeap { memory: Arc::clone(memory), state: Mutex::new(state) }
    }

    /// Changes the limit; false once the heap is in use, as in CUDA.
    pub fn set_limit(&self, limit: u64) -> bool {
        let mut state = self.state();
        let unused = state.base.is_none();
        if unused {
            state.limit = limit;
        }
        unused
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.state().limit
    }

    /// Device `malloc`: an address aligned to 16, or 0 if there is no room.
    pub(super) fn malloc(&self, bytes: u64) -> u64 {
        self.state().malloc(&self.memory, bytes).unwrap_or(0)
    }

    /// Device `free`; false if `address` is not one that [`DeviceHeap::malloc`] gave.
    pub(super) fn free(&self, address: u64) -> bool {
        address == 0 || self.state().free(address)
    }

    /// Whether the heap lies at an address, and what [`DeviceHeap::malloc`] gave there.
    pub(super) fn piece(&self, address: u64) -> Option<Option<Range>> {
        let state = self.state();
        let offset = address.wrapping_sub(state.base?);
        let live = || {
            let (&base, &size) = state.live.range(..=address).next_back()?;
            (address - base < size).then_some(Range { base, size })
        };
        (offset < state.limit).then(live)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn malloc(&mut self, memory: &Memory, bytes: u64) -> Option<u64> {
        let len = bytes.max(1).checked_next_multiple_of(ALIGN)?;
        if self.base.is_none() {
            let base = memory.allocate(self.limit).ok()?;
            self.base = Some(base);
            self.holes.insert(base, self.limit);
        }
        let (&at, &hole) = self.holes.iter().find(|(_, hole)| **hole >= len)?;
        self.holes.remove(&at);
        if hole > len {
            self.holes.insert(at + len, hole - len);
        }
        self.live.insert(at, len);
        Some(at)
    }

    fn free(&mut self, address: u64) -> bool {
        let Some(mut len) = self.live.remove(&address) else { return false };
        let mut start = address;
        if let Some(next) = self.holes.remove(&(address + len)) {
            len += next;
        }
        if let Some((&before, &hole)) = self.holes.range(..address).next_back() {
            if before + hole == address {
                start = before;
                len += hole;
            }
        }
        self.holes.insert(start, len);
        true
    }
}

impl Drop for DeviceHeap {
    fn drop(&mut self) {
        if let Some(base) = self.state().base {
            // The heap's own allocation: freeing it can only fail if the driver freed it before.
            let _ = self.memory.free(base);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_disjoint_reused_and_limited() {
        let memory = Memory::new(1 << 20).unwrap();
        let heap = DeviceHeap::new(&memory, 4096);
        let pieces: Vec<u64> = (0..4).map(|_| heap.malloc(1000)).collect();
        assert!(pieces.windows(2).all(|p| p[1] >= p[0] + 1000));
        assert_eq!(heap.malloc(1000), 0);
        assert_eq!(heap.malloc(u64::MAX), 0);
        assert!(pieces.iter().all(|p| heap.free(*p)));
        assert!(!heap.free(pieces[0]), "double free");
        assert!(heap.free(0));
        assert_eq!(heap.malloc(4096), pieces[0]);
        assert!(!heap.set_limit(1 << 30));
        drop(heap);
        assert_eq!(memory.info().free, 1 << 20);
    }
}
