//! Virtual memory management as the guest knows it: reserved ranges, what is mapped where, and handles
//! of physical memory. The worker's driver decides; this answers questions without a round trip and
//! tells wrong addresses at the call.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vgpu_protocol::Handle;

/// Physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Physical {
    /// Device on which it lies.
    pub device: i32,
    /// Unique number, the same for all its handles.
    pub id: u64,
    /// Whether it can be exported, as a file descriptor.
    pub shareable: bool,
}

/// Physical memory at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What lies there.
    pub physical: Physical,
    /// `CUmemAccess_flags` of the devices that have access.
    access: Vec<(i32, u32)>,
}

impl Mapping {
    /// A mapping that no device may access yet.
    pub fn new(start: u64, size: u64, physical: Physical) -> Self {
        Mapping { start, size, physical, access: Vec::new() }
    }

    /// `CUmemAccess_flags` of a device.
    pub fn access(&self, device: i32) -> u32 {
        self.access.iter().find(|(of, _)| *of == device).map_or(0, |(_, flags)| *flags)
    }
}

#[derive(Default)]
struct State {
    handles: HashMap<Handle, Physical>,
    mappings: BTreeMap<u64, Mapping>,
}

/// All physical memory and mappings.
#[derive(Default)]
pub struct Vmm(RwLock<State>);

impl Vmm {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a handle of physical memory.
    pub fn created(&self, handle: Handle, physical: Physical) {
        self.write().handles.insert(handle, physical);
    }

    /// Forgets a handle.
    pub fn released(&self, handle: Handle) {
        self.write().handles.remove(&handle);
    }

    /// The physical memory of a handle.
    pub fn physical(&self, handle: Handle) -> Option<Physical> {
        self.read().handles.get(&handle).copied()
    }

    /// Notes a mapping.
    pub fn mapped(&self, start: u64, size: u64, physical: Physical) {
        self.write().mappings.insert(start, Mapping::new(start, size, physical));
    }

    /// Forgets the mappings in a range.
    pub fn unmapped(&self, start: u64, size: u64) {
        self.write().mappings.retain(|at, _| *at < start || *at - start >= size);
    }

    /// Notes what a device may do with the mappings in a range.
    pub fn protected(&self, start: u64, size: u64, device: i32, flags: u32) {
        let mut state = self.write();
        for (_, mapping) in state.mappings.range_mut(start..start.saturating_add(size)) {
            mapping.access.retain(|(of, _)| *of != device);
            mapping.access.push((device, flags));
        }
    }

    /// The mapping around an address.
    pub fn find(&self, address: u64) -> Option<Mapping> {
        let state = self.read();
        let (start, mapping) = state.mappings.range(..=address).next_back()?;
        (address - start < mapping.size).then(|| mapping.clone())
    }

    /// Whether mappings cover a range without a gap.
    pub fn covers(&self, address: u64, size: u64) -> bool {
        let state = self.read();
        let Some(end) = address.checked_add(size) else { return false };
        let mut at = address;
        while at < end {
            match state.mappings.range(..=at).next_back() {
                Some((start, mapping)) if at - start < mapping.size => at = start + mapping.size,
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_mappings_cover_ranges_without_gaps_only() {
        let vmm = Vmm::default();
        let physical = Physical { device: 0, id: 1, shareable: false };
        for start in [0x1000, 0x2000, 0x4000] {
            vmm.mapped(start, 0x1000, physical);
        }
        assert!(vmm.covers(0x1000, 0x2000) && vmm.covers(0x1fff, 2));
        assert!(!vmm.covers(0x1000, 0x2001) && !vmm.covers(0xfff, 2) && !vmm.covers(0x4000, u64::MAX));
        vmm.protected(0x1000, 0x2000, 0, 3);
        assert_eq!([0x1000, 0x2fff, 0x4000].map(|at| vmm.find(at).map(|m| m.access(0))), [Some(3), Some(3), Some(0)]);
        vmm.unmapped(0x2000, 0x1000);
        assert_eq!((vmm.find(0x2000), vmm.covers(0x1000, 0x1000)), (None, true));
    }
}
