//! Which addresses belong to what the application allocated.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use vgpu_protocol::Handle;

/// What kind of memory a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cuMemAlloc` and its like.
    Device,
    /// Memory of a pool, by its handle.
    Pool(Handle),
    /// A variable of a module.
    Global,
    /// `cuMemHostAlloc`, with its flags.
    Host(u32),
    /// `cuMemAllocManaged`.
    Managed,
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
}

/// All ranges by their start.
#[derive(Default)]
pub struct Memory {
    ranges: RwLock<BTreeMap<u64, Range>>,
    next_id: AtomicU64,
}

impl Memory {
    /// Adds a range.
    pub fn add(&self, start: u64, size: u64, kind: Kind, context: Handle, device: i32) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let range = Range { start, size, kind, context, device, id };
        self.ranges.write().unwrap_or_else(PoisonError::into_inner).insert(start, range);
    }

    /// The range that `address` lies in.
    pub fn find(&self, address: u64) -> Option<Range> {
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let (_, range) = ranges.range(..=address).next_back()?;
        (address - range.start < range.size.max(1)).then_some(*range)
    }

    /// Removes and returns the range that starts at `start` if it `fits`.
    pub fn remove(&self, start: u64, fits: impl Fn(Kind) -> bool) -> Option<Range> {
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        let kind = ranges.get(&start)?.kind;
        if fits(kind) {
            ranges.remove(&start)
        } else {
            None
        }
    }

    /// Drops the device memory of a context that was reset.
    pub fn forget_context(&self, context: Handle) {
        let gone = |range: &Range| {
            range.context == context && matches!(range.kind, Kind::Device | Kind::Pool(_) | Kind::Global)
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
        assert_eq!(memory.remove(0x2000, |kind| kind == Kind::Device), None);
        assert_eq!(memory.remove(0x2004, |_| true), None);
        memory.forget_context(Handle(1));
        assert_eq!((memory.find(0x1000), memory.find(0x2000).is_some()), (None, true));
    }
}
