//! Memory of graphs: every allocation node has its address as long as its graph, or an executable graph
//! made from it, exists. Launches only decide whether it counts as allocated.

use std::collections::BTreeMap;

use vgpu_protocol::cuda::CUresult;

use crate::Result;

/// One allocation node's memory.
struct Owned {
    size: u64,
    /// The graph and its executable graphs.
    holders: u32,
    /// Whether a launch has allocated it and nothing has freed it.
    live: bool,
    /// Whether a graph has a node that frees it.
    has_free_node: bool,
}

/// All allocations of graphs by their addresses.
#[derive(Default)]
pub struct Memory {
    allocations: BTreeMap<u64, Owned>,
    used_high: u64,
    reserved_high: u64,
}

/// `CUgraphMem_attribute`.
#[derive(Clone, Copy)]
pub enum Attribute {
    /// Bytes in use.
    Used,
    /// Most bytes in use.
    UsedHigh,
    /// Bytes kept for graphs.
    Reserved,
    /// Most bytes kept for graphs.
    ReservedHigh,
}

impl Memory {
    /// Whether no graph has memory.
    pub fn is_empty(&self) -> bool {
        self.allocations.is_empty()
    }

    /// Adds the memory of a new node.
    pub fn add(&mut self, address: u64, size: u64) {
        self.allocations.insert(address, Owned { size, holders: 1, live: false, has_free_node: false });
        self.reserved_high = self.reserved_high.max(self.get(Attribute::Reserved));
    }

    /// Notes a node that frees an allocation, of which there can be one.
    pub fn add_free_node(&mut self, address: u64) -> Result {
        let owned = self.allocations.get_mut(&address).ok_or(CUresult::INVALID_VALUE)?;
        match std::mem::replace(&mut owned.has_free_node, true) {
            true => Err(CUresult::INVALID_VALUE),
            false => Ok(()),
        }
    }

    /// The node that was noted last did not come to be.
    pub fn remove_free_node(&mut self, address: u64) {
        if let Some(owned) = self.allocations.get_mut(&address) {
            owned.has_free_node = false;
        }
    }

    /// An executable graph holds the allocations too.
    pub fn hold(&mut self, addresses: &[u64]) {
        for address in addresses {
            if let Some(owned) = self.allocations.get_mut(address) {
                owned.holders += 1;
            }
        }
    }

    /// A graph or executable graph is gone; the memory that nobody needs any more.
    pub fn drop_holder(&mut self, addresses: &[u64]) -> Vec<u64> {
        for address in addresses {
            if let Some(owned) = self.allocations.get_mut(address) {
                owned.holders = owned.holders.saturating_sub(1);
            }
        }
        addresses.iter().copied().filter(|address| self.remove_unused(*address)).collect()
    }

    fn remove_unused(&mut self, address: u64) -> bool {
        let unused = self.allocations.get(&address).is_some_and(|owned| owned.holders == 0 && !owned.live);
        unused && self.allocations.remove(&address).is_some()
    }

    /// A launch allocates and frees; what is still allocated may not be allocated again, unless launches
    /// free it beforehand. The memory that nobody needs any more.
    pub fn launch(&mut self, allocated: &[u64], freed: &[u64], auto_free: bool) -> Result<Vec<u64>> {
        let is_live = |address: &u64| self.allocations.get(address).is_some_and(|owned| owned.live);
        let foreign = |address: &u64| !allocated.contains(address);
        if (!auto_free && allocated.iter().any(is_live)) || freed.iter().any(|a| foreign(a) && !is_live(a)) {
            return Err(CUresult::INVALID_VALUE);
        }
        for (addresses, live) in [(allocated, true), (freed, false)] {
            for address in addresses {
                if let Some(owned) = self.allocations.get_mut(address) {
                    owned.live = live;
                }
            }
            self.used_high = self.used_high.max(self.get(Attribute::Used));
        }
        Ok(freed.iter().copied().filter(|address| self.remove_unused(*address)).collect())
    }

    /// The application frees an address; `None` if it is no graph's. Otherwise the memory that nobody
    /// needs any more.
    pub fn free(&mut self, address: u64) -> Option<Result<Option<u64>>> {
        let owned = self.allocations.get_mut(&address)?;
        if !std::mem::replace(&mut owned.live, false) {
            return Some(Err(CUresult::INVALID_VALUE));
        }
        Some(Ok(self.remove_unused(address).then_some(address)))
    }

    /// An attribute's value, bytes.
    pub fn get(&self, attribute: Attribute) -> u64 {
        match attribute {
            Attribute::Used => self.allocations.values().filter(|owned| owned.live).map(|owned| owned.size).sum(),
            Attribute::UsedHigh => self.used_high,
            Attribute::Reserved => self.allocations.values().map(|owned| owned.size).sum(),
            Attribute::ReservedHigh => self.reserved_high,
        }
    }

    /// Resets a high watermark.
    pub fn reset(&mut self, attribute: Attribute) -> Result {
        match attribute {
            Attribute::UsedHigh => self.used_high = self.get(Attribute::Used),
            Attribute::ReservedHigh => self.reserved_high = self.get(Attribute::Reserved),
            Attribute::Used | Attribute::Reserved => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_memory_is_allocated_by_launches_and_freed_once() {
        let mut memory = Memory::default();
        memory.add(0x1000, 64);
        assert!(matches!(memory.free(0x1000), Some(Err(CUresult::INVALID_VALUE))), "not allocated yet");
        assert!(memory.free(0x2000).is_none(), "not a graph's");
        memory.launch(&[0x1000], &[], false).unwrap();
        assert_eq!(memory.get(Attribute::Used), 64);
        assert!(memory.launch(&[0x1000], &[], false).is_err(), "still allocated");
        memory.launch(&[0x1000], &[], true).unwrap();
        assert!(matches!(memory.free(0x1000), Some(Ok(None))), "the graph keeps the address");
        assert_eq!((memory.get(Attribute::Used), memory.get(Attribute::UsedHigh)), (0, 64));
        assert_eq!(memory.drop_holder(&[0x1000]), [0x1000]);
        assert!(memory.is_empty());
    }

    #[test]
    fn test_a_free_node_ends_what_its_own_or_another_launch_allocated() {
        let mut memory = Memory::default();
        memory.add(0x1000, 64);
        memory.add_free_node(0x1000).unwrap();
        assert!(memory.add_free_node(0x1000).is_err() && memory.add_free_node(0x2000).is_err());
        memory.launch(&[0x1000], &[0x1000], false).unwrap();
        memory.launch(&[0x1000], &[0x1000], false).unwrap();
        assert!(memory.launch(&[], &[0x1000], false).is_err(), "nothing to free");
        memory.launch(&[0x1000], &[], false).unwrap();
        assert!(memory.drop_holder(&[0x1000]).is_empty(), "still allocated");
        assert_eq!(memory.launch(&[], &[0x1000], false), Ok(vec![0x1000]));
    }
}
