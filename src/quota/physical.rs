//! Physical memory (`cuMemCreate`) that exists: as long as a handle or a mapping refers to it.

use std::collections::{BTreeMap, HashMap};

/// Physical memory by the driver's handles, and by the addresses at which it is mapped.
#[derive(Default)]
pub(super) struct Physical {
    last: u64,
    /// Bytes.
    sizes: HashMap<u64, u64>,
    /// What a handle stands for, and how often it has to be released.
    handles: HashMap<usize, (u64, u32)>,
    mappings: BTreeMap<u64, u64>,
}

impl Physical {
    /// The driver has made a handle of new memory.
    pub(super) fn created(&mut self, handle: usize, size: u64) {
        self.last += 1;
        self.sizes.insert(self.last, size);
        self.handles.insert(handle, (self.last, 1));
    }

    /// The driver has given a further handle, maybe the same, of what is mapped around an address.
    pub(super) fn retained(&mut self, handle: usize, address: u64) {
        if let Some((_, memory)) = self.mappings.range(..=address).next_back() {
            self.handles.entry(handle).or_insert((*memory, 0)).1 += 1;
        }
    }

    /// A handle has been released; the bytes that are free now.
    pub(super) fn released(&mut self, handle: usize) -> u64 {
        let Some((memory, left)) = self.handles.get_mut(&handle) else { return 0 };
        let memory = *memory;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.handles.remove(&handle);
        }
        self.free(memory)
    }

    /// A handle's memory has been mapped.
    pub(super) fn mapped(&mut self, address: u64, handle: usize) {
        if let Some((memory, _)) = self.handles.get(&handle) {
            self.mappings.insert(address, *memory);
        }
    }

    /// All mappings in a range are gone; the bytes that are free now.
    pub(super) fn unmapped(&mut self, address: u64, size: u64) -> u64 {
        let gone: Vec<u64> = self.mappings.range(address..address.saturating_add(size)).map(|(at, _)| *at).collect();
        let memory: Vec<u64> = gone.iter().filter_map(|at| self.mappings.remove(at)).collect();
        memory.into_iter().map(|memory| self.free(memory)).sum()
    }

    /// Forgets memory to which nothing refers; its bytes.
    fn free(&mut self, memory: u64) -> u64 {
        let used = self.handles.values().any(|(of, _)| *of == memory) || self.mappings.values().any(|of| *of == memory);
        if used {
            0
        } else {
            self.sizes.remove(&memory).unwrap_or(0)
        }
    }

    /// Bytes that exist.
    pub(super) fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_memory_exists_while_a_handle_or_a_mapping_refers_to_it() {
        let mut physical = Physical::default();
        physical.created(7, 100);
        physical.created(8, 50);
        physical.mapped(0x1000, 7);
        physical.mapped(0x2000, 7);
        assert_eq!(physical.released(7), 0);
        assert_eq!(physical.unmapped(0x1000, 0x1000), 0);
        physical.retained(9, 0x2010);
        physical.retained(9, 0x2010);
        assert_eq!(physical.unmapped(0x2000, 0x1000), 0);
        assert_eq!((physical.released(9), physical.bytes()), (0, 150));
        assert_eq!((physical.released(9), physical.bytes()), (100, 50));
        assert_eq!((physical.released(9), physical.released(8), physical.released(8)), (0, 50, 0));
    }

    #[test]
    fn test_a_range_of_mappings_goes_at_once() {
        let mut physical = Physical::default();
        for (handle, at) in [(1, 0x1000), (2, 0x2000), (3, 0x3000)] {
            physical.created(handle, 10);
            physical.mapped(at, handle);
            assert_eq!(physical.released(handle), 0);
        }
        assert_eq!((physical.unmapped(0x1000, 0x2000), physical.bytes()), (20, 10));
    }
}
