//! Which parts of the arena are allocated: offsets only, no memory is touched here.

use super::{DeviceSet, Info, MemoryError, PAGE};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range as Span;

/// A live allocation.
pub(super) struct Live {
    /// Bytes, as requested.
    pub(super) size: u64,
    /// Whose quota it counts against.
    pub(super) device: usize,
    /// Which devices reach it, if that is not a matter of all memory of the device.
    pub(super) reach: Option<DeviceSet>,
}

/// A device's quota and what it has of it, bytes.
#[derive(Clone, Copy)]
struct Account {
    quota: u64,
    used: u64,
}

/// Best-fit allocator over the offsets `0..len`.
pub(super) struct Space {
    /// The allocations, by offset.
    live: BTreeMap<u64, Live>,
    /// Length of each hole, by offset; neighbours are always merged.
    holes: BTreeMap<u64, u64>,
    /// The same holes as (length, offset).
    by_len: BTreeSet<(u64, u64)>,
    accounts: Vec<Account>,
    /// Offsets below this one are readable and writable.
    pub(super) committed: u64,
}

impl Space {
    /// Room for the allocations of devices with these quotas.
    pub(super) fn new(len: u64, quotas: Vec<u64>) -> Space {
        let mut space = Space {
            live: BTreeMap::new(),
            holes: BTreeMap::new(),
            by_len: BTreeSet::new(),
            accounts: quotas.into_iter().map(|quota| Account { quota, used: 0 }).collect(),
            committed: 0,
        };
        space.insert_hole(0, len);
        space
    }

    /// Takes `size` bytes for a device; the result is rounded up to whole pages.
    pub(super) fn allocate(
        &mut self,
        device: usize,
        size: u64,
        reach: Option<DeviceSet>,
    ) -> Result<Span<u64>, MemoryError> {
        if size == 0 {
            return Err(MemoryError::InvalidValue);
        }
        let len = size.checked_next_multiple_of(PAGE).ok_or(MemoryError::OutOfMemory)?;
        if len > self.info(device).free {
            return Err(MemoryError::OutOfMemory);
        }
        let &(hole_len, offset) = self.by_len.range((len, 0)..).next().ok_or(MemoryError::OutOfMemory)?;
        self.remove_hole(offset, hole_len);
        if hole_len > len {
            self.insert_hole(offset + len, hole_len - len);
        }
        self.live.insert(offset, Live { size, device, reach });
        self.accounts[device].used += len;
        Ok(offset..offset + len)
    }

    /// Counts bytes that lie elsewhere against a device's quota.
    pub(super) fn charge(&mut self, device: usize, len: u64) -> Result<(), MemoryError> {
        if len > self.info(device).free {
            return Err(MemoryError::OutOfMemory);
        }
        self.accounts[device].used += len;
        Ok(())
    }

    /// Ends what [`Space::charge`] has counted.
    pub(super) fn discharge(&mut self, device: usize, len: u64) {
        self.accounts[device].used -= len;
    }

    /// Gives back the allocation at `offset` and returns the pages it held.
    pub(super) fn release(&mut self, offset: u64) -> Option<Span<u64>> {
        let Live { size, device, .. } = self.live.remove(&offset)?;
        let end = offset + size.next_multiple_of(PAGE);
        self.accounts[device].used -= end - offset;
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
        let (start, live) = self.around(offset)?;
        Some((start, live.size))
    }

    /// The device of the allocation that contains `offset`.
    pub(super) fn device_of(&self, offset: u64) -> Option<usize> {
        self.around(offset).map(|(_, live)| live.device)
    }

    fn around(&self, offset: u64) -> Option<(u64, &Live)> {
        let (&start, live) = self.live.range(..=offset).next_back()?;
        (offset - start < live.size).then_some((start, live))
    }

    /// The allocation at `offset`.
    pub(super) fn at(&self, offset: u64) -> Option<&Live> {
        self.live.get(&offset)
    }

    /// Offsets of a device's allocations.
    pub(super) fn of_device(&self, device: usize) -> impl Iterator<Item = u64> + '_ {
        self.live.iter().filter(move |(_, live)| live.device == device).map(|(offset, _)| *offset)
    }

    /// Notes which devices reach the allocation at `offset`, if there is one.
    pub(super) fn set_reach(&mut self, offset: u64, devices: DeviceSet) -> Option<()> {
        self.live.get_mut(&offset)?.reach = Some(devices);
        Some(())
    }

    /// The pages of the allocation at `offset`, and its device.
    pub(super) fn span(&self, offset: u64) -> Option<(Span<u64>, usize)> {
        let live = self.live.get(&offset)?;
        Some((offset..offset + live.size.next_multiple_of(PAGE), live.device))
    }

    /// What a device has.
    pub(super) fn info(&self, device: usize) -> Info {
        let Account { quota, used } = self.accounts[device];
        Info { free: quota - used, total: quota }
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
