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
    /// Generation of each index; odd while an object lives there.
    generations: Vec<u32>,
    free: Vec<u32>,
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

    /// A new handle; `None` when the session has too many objects of the kind.
    pub fn mint(&self, kind: HandleKind) -> Option<Handle> {
        let mut table = self.table(kind as u8)?.write().unwrap_or_else(PoisonError::into_inner);
        let index = match table.free.pop() {
            Some(index) => index,
            None if table.generations.len() < MAX_OBJECTS => {
                table.generations.push(0);
                table.generations.len() as u32 - 1
            }
            None => return None,
        };
        let generation = table.generations.get_mut(index as usize)?;
        *generation = generation.wrapping_add(1) & 0xff_ffff;
        Some(Handle::new(kind as u8, *generation, index))
    }

    /// Whether `handle` names a living object of `kind`.
    pub fn is_live(&self, kind: HandleKind, handle: Handle) -> bool {
        handle.kind() == kind as u8 && self.generation(handle) == Some(handle.generation())
    }

    fn generation(&self, handle: Handle) -> Option<u32> {
        let table = self.table(handle.kind())?.read().unwrap_or_else(PoisonError::into_inner);
        table.generations.get(handle.index() as usize).copied()
    }

    /// Ends a handle; `false` if it was not alive.
    pub fn retire(&self, handle: Handle) -> bool {
        let Some(lock) = self.table(handle.kind()) else { return false };
        let mut table = lock.write().unwrap_or_else(PoisonError::into_inner);
        match table.generations.get_mut(handle.index() as usize) {
            Some(generation) if *generation == handle.generation() && *generation % 2 == 1 => {
                *generation = generation.wrapping_add(1) & 0xff_ffff;
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
        let first = handles.mint(HandleKind::Event).unwrap();
        assert!(handles.is_live(HandleKind::Event, first));
        assert!(!handles.is_live(HandleKind::Stream, first));
        assert!(handles.retire(first));
        assert!(!handles.retire(first));
        let second = handles.mint(HandleKind::Event).unwrap();
        assert_eq!(first.index(), second.index());
        assert_ne!(first, second);
        assert!(!handles.is_live(HandleKind::Event, first));
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
