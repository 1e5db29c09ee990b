//! Which addresses belong to what the application allocated.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use vgpu_protocol::cuda::hints::Hints;
use vgpu_protocol::Handle;

/// What kind of memory a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cuMemAlloc` and its like.
    Device,
    /// Memory of a pool, by its handle.
    Pool(Handle),
    /// Address space of `cuMemAddressReserve`.
    Reserved,
    /// A variable of a module.
    Global,
    /// `cuMemHostAlloc`, with its flags.
    Host(u32),
    /// `cuMemAllocManaged`.
    Managed,
    /// Memory of the application's own, of `cuMemHostRegister`.
    Registered,
    /// Memory of another process, and how often it is open.
    Imported(u32),
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub kind: Kind,
    /// Context in which it was made.
    pub context: Handle,
    /// Device of that context.
    pub device: i32,
    /// Unique number.
    pub id: u64,
    /// Calls that need not wait for their work do so if it concerns this range.
    pub synchronous: bool,
}

/// All ranges by their start.
#[derive(Default)]
pub struct Memory {
    ranges: RwLock<BTreeMap<u64, Range>>,
    next_id: AtomicU64,
    hints: Mutex<Hints>,
}

impl Memory {
    /// Adds a range.
    pub fn add(&self, start: u64, size: u64, kind: Kind, context: Handle, device: i32) {
        let range = Range { start, size, kind, context, device, id: self.next_id(), synchronous: false };
        self.ranges.write().unwrap_or_else(PoisonError::into_inner).insert(start, range);
    }

    /// Hints about managed memory.
    pub fn hints(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nothing else has.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sets whether calls that concern the range around `address` wait for their work.
    pub fn set_synchronous(&self, address: u64, synchronous: bool) {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, range)) = ranges.range_mut(..=address).next_back() {
            range.synchronous = synchronous;
        }
    }

    /// Whether calls that concern `address` wait for their work: it is memory that the host uses too, or the
    /// application wants it.
    pub fn is_synchronous(&self, address: u64) -> bool {
        let of_host = |kind| matches!(kind, Kind::Host(_) | Kind::Managed);
        self.find(address).is_some_and(|range| range.synchronous || of_host(range.kind))
    }

    /// The range that `address` lies in.
    pub fn find(&self, address: u64) -> Option<Range> {
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let (_, range) = ranges.range(..=address).next_back()?;
        (address - range.start < range.size.max(1)).then_some(*range)
    }

    /// Whether any range has a byte in `[start, start + size)`.
    pub fn overlaps(&self, start: u64, size: u64) -> bool {
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let before = ranges.range(..start.saturating_add(size)).next_back();
        before.is_some_and(|(_, range)| range.start.saturating_add(range.size) > start)
    }

    /// Removes and returns the range that starts at `start` if it `fits`.
    pub fn remove(&self, start: u64, fits: impl Fn(Kind) -> bool) -> Option<Range> {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        let Range { kind, size, .. } = *ranges.get(&start)?;
        if !fits(kind) {
            return None;
        }
        if kind == Kind::Managed {
            self.hints().forget(start, size);
        }
        ranges.remove(&start)
    }

    /// Notes an opening of another process's memory.
    pub fn open(&self, start: u64, size: u64, context: Handle, device: i32) {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        let (uses, id) = match ranges.get(&start) {
            Some(Range { kind: Kind::Imported(uses), id, .. }) => (uses.saturating_add(1), *id),
            _ => (1, self.next_id()),
        };
        let range = Range { start, size, kind: Kind::Imported(uses), context, device, id, synchronous: false };
        ranges.insert(start, range);
    }

    /// Whether another process's memory is open at `start`.
    pub fn is_open(&self, start: u64) -> bool {
        self.find(start).is_some_and(|range| range.start == start && matches!(range.kind, Kind::Imported(_)))
    }

    /// Notes the end of an opening.
    pub fn close(&self, start: u64) {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        match ranges.get_mut(&start) {
            Some(Range { kind: Kind::Imported(uses @ 2..), .. }) => *uses -= 1,
            _ => drop(ranges.remove(&start)),
        }
    }

    /// Takes out the memory of a context that lies in shared memory: the addresses to be freed there.
    pub fn take_shared(&self, context: Handle) -> Vec<u64> {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        let shared = |range: &Range| range.context == context && matches!(range.kind, Kind::Host(_) | Kind::Managed);
        let gone: Vec<Range> = ranges.values().filter(|range| shared(range)).copied().collect();
        for range in &gone {
            ranges.remove(&range.start);
            self.hints().forget(range.start, range.size);
        }
        gone.iter().map(|range| range.start).collect()
    }

    /// Drops the device memory of a context that was reset or has ended.
    pub fn forget_context(&self, context: Handle) {
        let gone = |range: &Range| {
            range.context == context && !matches!(range.kind, Kind::Host(_) | Kind::Managed | Kind::Reserved)
        };
        self.ranges.write().unwrap_or_else(PoisonError::into_inner).retain(|_, range| !gone(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_addresses_belong_to_the_range_around_them() {
        let memory = Memory::default();
        memory.add(0x1000, 0x100, Kind::Device, Handle(1), 0);
        memory.add(0x2000, 0x100, Kind::Host(3), Handle(1), 0);
        assert_eq!(memory.find(0x10ff).map(|r| (r.start, r.kind)), Some((0x1000, Kind::Device)));
        assert_eq!(memory.find(0x1100), None);
        assert_eq!(memory.find(0xfff), None);
        let ranges = [(0xf00, 0x100), (0xf00, 0x101), (0x10ff, 1), (0x1100, 0xf00)];
        assert_eq!(ranges.map(|(start, size)| memory.overlaps(start, size)), [false, true, true, false]);
        assert_eq!(memory.remove(0x2000, |kind| kind == Kind::Device), None);
        assert_eq!(memory.remove(0x2004, |_| true), None);
        memory.forget_context(Handle(1));
        assert_eq!(memory.find(0x1000), None);
        memory.open(0x3000, 0x80, Handle(1), 0);
        memory.open(0x3000, 0x80, Handle(1), 0);
        memory.close(0x3000);
        assert!(memory.is_open(0x3000) && !memory.is_open(0x3001));
        memory.close(0x3000);
        assert!(!memory.is_open(0x3000));
        memory.add(0x3000, 0x100, Kind::Managed, Handle(2), 0);
        assert_eq!(memory.take_shared(Handle(1)), [0x2000]);
        assert_eq!((memory.find(0x2000), memory.find(0x3000).is_some()), (None, true));
    }
}
