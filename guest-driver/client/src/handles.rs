//! Handles: the guest mints them, so that creating an object needs no round trip.

use std::sync::{PoisonError, RwLock};

use vgpu_protocol::{Handle, HandleKind};

/// Objects of one kind that a session may have; the worker has the same bound.
pub const MAX_OBJECTS: usize = 1 << 20;

/// The tables of all kinds.
pub struct Handles {
    tables: Vec<RwLock<Table>>,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// What is known of an index.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// Odd while an object lives there.
    generation: u32,
    /// The context that the object lives in, [`Handle::NULL`] if in none.
    owner: u64,
}

impl Default for Handles {
    fn default() -> Self {
        Handles { tables: HandleKind::ALL.iter().map(|_| RwLock::default()).collect() }
    }
}

impl Handles {
    fn table(&self, kind: u8) -> Option<&RwLock<Table>> {
        self.tables.get(usize::from(kind).checked_sub(1)?)
    }

    /// A new handle for an object that lives in the context `owner` (or in none, for
    /// [`Handle::NULL`]); `None` when the session has too many objects of the kind.
    pub fn mint(&self, kind: HandleKind, owner: Handle) -> Option<Handle> {
        let mut table = self.table(kind as u8)?.write().unwrap_or_else(PoisonError::into_inner);
        let index = match table.free.pop() {
            Some(index) => index,
            None if table.slots.len() < MAX_OBJECTS => {
                table.slots.push(Slot::default());
                table.slots.len() as u32 - 1
            }
            None => return None,
        };
        let slot = table.slots.get_mut(index as usize)?;
        slot.generation = slot.generation.wrapping_add(1) & 0xff_ffff;
        slot.owner = owner.0;
        Some(Handle::new(kind as u8, slot.generation, index))
    }

    /// Whether `handle` names a living object of `kind`.
    pub fn is_live(&self, kind: HandleKind, handle: Handle) -> bool {
        handle.kind() == kind as u8 && self.owner(handle).is_some()
    }

    /// The context that a living object lives in.
    pub fn owner(&self, handle: Handle) -> Option<Handle> {
        let table = self.table(handle.kind())?.read().unwrap_or_else(PoisonError::into_inner);
        let slot = table.slots.get(handle.index() as usize)?;
        (slot.generation == handle.generation() && slot.generation % 2 == 1).then_some(Handle(slot.owner))
    }

    /// Ends the handles of everything that lives in a context.
    pub fn retire_owned(&self, owner: Handle) {
        for table in &self.tables {
            let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
            let Table { slots, free } = &mut *table;
            for (index, slot) in (0u32..).zip(slots.iter_mut()) {
                if slot.owner == owner.0 && slot.generation % 2 == 1 {
                    slot.generation = slot.generation.wrapping_add(1) & 0xff_ffff;
                    free.push(index);
                }
            }
        }
    }

    /// Ends a handle; `false` if it was not alive.
    pub fn retire(&self, handle: Handle) -> bool {
        let Some(lock) = self.table(handle.kind()) else { return false };
        let mut table = lock.write().unwrap_or_else(PoisonError::into_inner);
        match table.slots.get_mut(handle.index() as usize) {
            Some(slot) if slot.generation == handle.generation() && slot.generation % 2 == 1 => {
                slot.generation = slot.generation.wrapping_add(1) & 0xff_ffff;
                table.free.push(handle.index());
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_retired_handle_is_dead_and_its_index_returns_with_another_generation() {
        let handles = Handles::default();
        let first = handles.mint(HandleKind::Event, Handle::NULL).unwrap();
        assert!(handles.is_live(HandleKind::Event, first));
        assert!(!handles.is_live(HandleKind::Stream, first));
        assert!(handles.retire(first));
        assert!(!handles.retire(first));
        let second = handles.mint(HandleKind::Event, Handle::NULL).unwrap();
        assert_eq!(first.index(), second.index());
        assert_ne!(first, second);
        assert!(!handles.is_live(HandleKind::Event, first));
    }

    #[test]
    fn test_what_lives_in_a_context_ends_with_it() {
        let handles = Handles::default();
        let context = Handle(7);
        let event = handles.mint(HandleKind::Event, context).unwrap();
        let stream = handles.mint(HandleKind::Stream, context).unwrap();
        let pool = handles.mint(HandleKind::MemoryPool, Handle::NULL).unwrap();
        assert_eq!(handles.owner(event), Some(context));
        handles.retire_owned(context);
        assert!(!handles.is_live(HandleKind::Event, event) && !handles.is_live(HandleKind::Stream, stream));
        assert!(handles.is_live(HandleKind::MemoryPool, pool));
        assert_ne!(handles.mint(HandleKind::Event, context), Some(event));
    }

    #[test]
    fn test_forged_handles_are_not_live() {
        let handles = Handles::default();
        for forged in [0, 1, 2, u64::MAX, 0xff << 56, 7 << 56 | 5] {
            assert!(!handles.is_live(HandleKind::Event, Handle(forged)));
            assert!(!handles.retire(Handle(forged)));
        }
    }
}
