//! From handle to object. A handle is a number with a kind, a generation and an index; whatever a
//! caller passes, a lookup finds a live object of that kind or nothing.

use std::sync::{Arc, PoisonError, RwLock};

use vgpu_protocol::{Handle, HandleKind};

/// All live objects of one kind.
pub(in crate::driver) struct Registry<T> {
    kind: HandleKind,
    slots: RwLock<Slots<T>>,
}

struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    object: Option<Arc<T>>,
}

impl<T> Registry<T> {
    pub(in crate::driver) fn new(kind: HandleKind) -> Registry<T> {
        Registry { kind, slots: RwLock::new(Slots { slots: Vec::new(), free: Vec::new() }) }
    }

    /// Enters an object and returns its handle.
    pub(in crate::driver) fn insert(&self, object: Arc<T>) -> u64 {
        self.insert_with(|_| object).0
    }

    /// Enters an object that wants to know its handle.
    pub(in crate::driver) fn insert_with(&self, make: impl FnOnce(u64) -> Arc<T>) -> (u64, Arc<T>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                slots.slots.push(Slot { generation: 0, object: None });
                slots.slots.len() as u32 - 1
            }
        };
        let slot = &mut slots.slots[index as usize];
        let handle = Handle::new(self.kind as u8, slot.generation, index).0;
        let object = make(handle);
        slot.object = Some(object.clone());
        (handle, object)
    }

    /// The live object behind a handle.
    pub(in crate::driver) fn get(&self, handle: u64) -> Option<Arc<T>> {
        let handle = self.own(handle)?;
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.slots.get(handle.index() as usize)?;
        (slot.generation == handle.generation()).then(|| slot.object.clone()).flatten()
    }

    /// Whether a handle was an object's that has ended.
    pub(in crate::driver) fn has_ended(&self, handle: u64) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = self.own(handle).and_then(|handle| Some((handle, slots.slots.get(handle.index() as usize)?)));
        slot.is_some_and(|(handle, slot)| handle.generation() < slot.generation)
    }

    /// Ends a handle's life.
    pub(in crate::driver) fn remove(&self, handle: u64) -> Option<Arc<T>> {
        let handle = self.own(handle)?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.slots.get_mut(handle.index() as usize)?;
        if slot.generation != handle.generation() {
            return None;
        }
        let object = slot.object.take()?;
        slots.retire(handle.index());
        Some(object)
    }

    /// Ends the life of all objects that `drop` chooses, and returns them.
    pub(in crate::driver) fn remove_where(&self, drop: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let chosen = |slot: &Slot<T>| slot.object.as_ref().is_some_and(|object| drop(object));
        let indices: Vec<usize> = (0..slots.slots.len()).filter(|i| chosen(&slots.slots[*i])).collect();
        let mut removed = Vec::new();
        for index in indices {
            removed.extend(slots.slots[index].object.take());
            slots.retire(index as u32);
        }
        removed
    }

    /// All live objects.
    pub(in crate::driver) fn all(&self) -> Vec<Arc<T>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.slots.iter().filter_map(|slot| slot.object.clone()).collect()
    }

    /// The handle, if it is one of this registry's kind.
    fn own(&self, handle: u64) -> Option<Handle> {
        let handle = Handle(handle);
        (handle.kind() == self.kind as u8).then_some(handle)
    }
}

impl<T> Slots<T> {
    /// Makes an emptied slot usable again. After the last generation it stays empty, so that no
    /// handle ever names two objects.
    fn retire(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let next = slot.generation + 1;
        if Handle::new(0, next, 0).generation() == next {
            slot.generation = next;
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_and_foreign_handles_find_nothing() {
        let registry = Registry::new(HandleKind::Event);
        let first = registry.insert(Arc::new(1));
        assert_eq!(registry.get(first).as_deref(), Some(&1));
        assert!(registry.remove(first).is_some());
        let second = registry.insert(Arc::new(2));
        assert_eq!(Handle(first).index(), Handle(second).index());
        assert!(registry.get(first).is_none() && registry.remove(first).is_none());
        assert_eq!(registry.get(second).as_deref(), Some(&2));
        let foreign = Handle::new(HandleKind::Stream as u8, Handle(second).generation(), 0).0;
        for bad in [0, 1, 2, foreign, u64::MAX, second ^ 1 << 32, second + 1] {
            assert!(registry.get(bad).is_none(), "{bad:#x}");
        }
    }

    #[test]
    fn remove_where_takes_only_what_is_chosen() {
        let registry = Registry::new(HandleKind::Event);
        let handles: Vec<u64> = (0..10).map(|i| registry.insert(Arc::new(i))).collect();
        assert_eq!(registry.remove_where(|i| i % 2 == 0).len(), 5);
        assert_eq!(registry.all().len(), 5);
        assert!(registry.get(handles[0]).is_none() && registry.get(handles[1]).is_some());
    }
}
