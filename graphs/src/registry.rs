//! From handle to object. A handle has a kind, a generation and an index; whatever a caller passes, a
//! look-up finds a live object of that kind or nothing.

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{Handle, HandleKind};

use crate::Result;

/// All live objects of one kind.
pub struct Registry<T> {
    kind: HandleKind,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    object: Option<T>,
}

impl<T> Registry<T> {
    pub fn new(kind: HandleKind) -> Self {
        Registry { kind, slots: Vec::new(), free: Vec::new() }
    }

    /// Enters an object; its handle.
    pub fn insert(&mut self, object: T) -> u64 {
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        if index as usize == self.slots.len() {
            self.slots.push(Slot { generation: 1, object: None });
        }
        let slot = &mut self.slots[index as usize];
        slot.object = Some(object);
        Handle::new(self.kind as u8, slot.generation, index).0
    }

    fn index(&self, handle: u64) -> Result<usize> {
        let handle = Handle(handle);
        let index = handle.index() as usize;
        let live = |slot: &Slot<T>| slot.generation == handle.generation() && slot.object.is_some();
        let known = handle.kind() == self.kind as u8 && self.slots.get(index).is_some_and(live);
        known.then_some(index).ok_or(CUresult::INVALID_VALUE)
    }

    pub fn get(&self, handle: u64) -> Result<&T> {
        let index = self.index(handle)?;
        self.slots[index].object.as_ref().ok_or(CUresult::INVALID_VALUE)
    }

    pub fn get_mut(&mut self, handle: u64) -> Result<&mut T> {
        let index = self.index(handle)?;
        self.slots[index].object.as_mut().ok_or(CUresult::INVALID_VALUE)
    }

    /// Ends a handle. After its last generation a slot stays empty, so that no handle ever names two
    /// objects.
    pub fn remove(&mut self, handle: u64) -> Result<T> {
        let index = self.index(handle)?;
        let slot = &mut self.slots[index];
        let object = slot.object.take().ok_or(CUresult::INVALID_VALUE)?;
        let next = slot.generation + 1;
        if Handle::new(0, next, 0).generation() == next {
            slot.generation = next;
            self.free.push(index as u32);
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_stale_and_foreign_handles_find_nothing() {
        let mut registry = Registry::new(HandleKind::Graph);
        let first = registry.insert(1);
        assert_eq!(registry.get(first), Ok(&1));
        assert_eq!(registry.remove(first), Ok(1));
        let second = registry.insert(2);
        assert_eq!(Handle(first).index(), Handle(second).index());
        let foreign = Handle::new(HandleKind::GraphNode as u8, Handle(second).generation(), 0).0;
        for bad in [0, 1, first, foreign, u64::MAX, second + 1] {
            assert_eq!(registry.get(bad), Err(CUresult::INVALID_VALUE), "{bad:#x}");
        }
    }
}
