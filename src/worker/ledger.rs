//! The session's objects: which driver pointer a guest's handle stands for.
//!
//! A handle selects an entry and nothing else. No pointer from the guest ever reaches the driver.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use vgpu_protocol::{Handle, HandleKind};

/// Objects a session may have at a time, and the bound of a handle's index.
const LIMIT: u32 = 1 << 20;

/// Address of a driver's object. The ledger never follows it.
pub type Pointer = usize;

/// An object of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the driver calls it.
    pub pointer: Pointer,
    /// The context it lives in; 0 if in none.
    pub context: Pointer,
    /// The module or library that it is part of, or null.
    pub parent: Handle,
    /// Size of a kernel's parameter block, bytes.
    pub param_bytes: u32,
}

/// The table from handles to objects.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<HashMap<Handle, Entry>>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<Handle, Entry>> {
        self.entries.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// The object behind a handle of this kind. A kernel passes for a function, as in CUDA.
    pub fn get(&self, kind: HandleKind, handle: Handle) -> Option<Entry> {
        let kernel = kind == HandleKind::Function && handle.kind() == HandleKind::Kernel as u8;
        if !kernel && handle.kind() != kind as u8 {
            return None;
        }
        self.lock().get(&handle).copied()
    }

    /// Whether a new object may get this handle.
    pub fn is_free(&self, kind: HandleKind, handle: Handle) -> bool {
        let entries = self.lock();
        handle.kind() == kind as u8
            && handle.index() < LIMIT
            && entries.len() < LIMIT as usize
            && !entries.contains_key(&handle)
    }

    /// Adds an object.
    pub fn insert(&self, handle: Handle, entry: Entry) {
        self.lock().insert(handle, entry);
    }

    /// Removes an object.
    pub fn take(&self, kind: HandleKind, handle: Handle) -> Option<Entry> {
        if handle.kind() != kind as u8 {
            return None;
        }
        self.lock().remove(&handle)
    }

    /// Removes what is part of a module or library, and what is part of those in turn.
    pub fn drop_children(&self, parent: Handle) {
        let mut entries = self.lock();
        let mut parents = vec![parent];
        while let Some(parent) = parents.pop() {
            entries.retain(|handle, entry| {
                let gone = entry.parent == parent;
                if gone {
                    parents.push(*handle);
                }
                !gone
            });
        }
    }

    /// Removes what lives in a context, and the context's own handles.
    pub fn drop_context(&self, context: Pointer) {
        let kind = HandleKind::Context as u8;
        self.lock()
            .retain(|handle, entry| entry.context != context && !(handle.kind() == kind && entry.pointer == context));
    }

    /// Pointers of all objects of a kind.
    pub fn all(&self, kind: HandleKind) -> Vec<Pointer> {
        self.lock().iter().filter(|(h, _)| h.kind() == kind as u8).map(|(_, e)| e.pointer).collect()
    }

    /// Pointers of all objects of a kind in a context, unless there are more than `most`.
    pub fn pointers(&self, kind: HandleKind, context: Pointer, most: usize) -> Option<Vec<Pointer>> {
        let entries = self.lock();
        let mut found = Vec::new();
        for (_, entry) in entries.iter().filter(|(h, e)| h.kind() == kind as u8 && e.context == context) {
            if found.len() == most {
                return None;
            }
            found.push(entry.pointer);
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pointer: Pointer, context: Pointer, parent: Handle) -> Entry {
        Entry { pointer, context, parent, param_bytes: 0 }
    }

    fn handle(kind: HandleKind, generation: u32, index: u32) -> Handle {
        Handle::new(kind as u8, generation, index)
    }

    #[test]
    fn test_stale_and_wrong_kinds_find_nothing() {
        let ledger = Ledger::default();
        let stream = handle(HandleKind::Stream, 1, 5);
        ledger.insert(stream, entry(0x1000, 1, Handle::NULL));
        assert_eq!(ledger.get(HandleKind::Stream, stream).map(|e| e.pointer), Some(0x1000));
        assert_eq!(ledger.get(HandleKind::Event, stream), None);
        assert_eq!(ledger.get(HandleKind::Event, handle(HandleKind::Event, 1, 5)), None);
        assert_eq!(ledger.get(HandleKind::Stream, handle(HandleKind::Stream, 2, 5)), None);
        assert_eq!(ledger.take(HandleKind::Stream, stream).map(|e| e.pointer), Some(0x1000));
        assert_eq!(ledger.get(HandleKind::Stream, stream), None);
    }

    #[test]
    fn test_new_handles_are_checked() {
        let ledger = Ledger::default();
        let event = handle(HandleKind::Event, 0, 0);
        assert!(ledger.is_free(HandleKind::Event, event));
        ledger.insert(event, entry(1, 1, Handle::NULL));
        assert!(!ledger.is_free(HandleKind::Event, event), "in use");
        assert!(!ledger.is_free(HandleKind::Event, handle(HandleKind::Stream, 0, 1)), "wrong kind");
        assert!(!ledger.is_free(HandleKind::Event, handle(HandleKind::Event, 0, LIMIT)), "absurd index");
    }

    #[test]
    fn test_unloading_drops_modules_and_functions() {
        let ledger = Ledger::default();
        let library = handle(HandleKind::Library, 0, 0);
        let module = handle(HandleKind::Module, 0, 0);
        let function = handle(HandleKind::Function, 0, 0);
        let other = handle(HandleKind::Function, 0, 1);
        ledger.insert(module, entry(1, 9, library));
        ledger.insert(function, entry(2, 9, module));
        ledger.insert(other, entry(3, 9, handle(HandleKind::Module, 0, 7)));
        ledger.drop_children(library);
        assert_eq!(ledger.get(HandleKind::Module, module), None);
        assert_eq!(ledger.get(HandleKind::Function, function), None);
        assert!(ledger.get(HandleKind::Function, other).is_some());
    }

    #[test]
    fn test_destroying_a_context_drops_its_objects() {
        let ledger = Ledger::default();
        let context = handle(HandleKind::Context, 0, 0);
        let stream = handle(HandleKind::Stream, 0, 0);
        let foreign = handle(HandleKind::Stream, 0, 1);
        ledger.insert(context, entry(0xc0, 0, Handle::NULL));
        ledger.insert(stream, entry(1, 0xc0, Handle::NULL));
        ledger.insert(foreign, entry(2, 0xd0, Handle::NULL));
        ledger.drop_context(0xc0);
        assert_eq!(ledger.get(HandleKind::Context, context), None);
        assert_eq!(ledger.get(HandleKind::Stream, stream), None);
        assert!(ledger.get(HandleKind::Stream, foreign).is_some());
    }

    #[test]
    fn test_a_kernel_passes_for_a_function() {
        let ledger = Ledger::default();
        let kernel = handle(HandleKind::Kernel, 3, 2);
        ledger.insert(kernel, entry(7, 1, Handle::NULL));
        assert_eq!(ledger.get(HandleKind::Function, kernel).map(|e| e.pointer), Some(7));
        assert_eq!(ledger.get(HandleKind::Kernel, handle(HandleKind::Function, 3, 2)), None);
    }
}
