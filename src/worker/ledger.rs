//! The session's objects: which driver pointer a guest's handle stands for.
//!
//! A handle selects an entry and nothing else. No pointer from the guest ever reaches the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use vgpu_images::{Layout, Layouts};
use vgpu_protocol::{Handle, HandleKind, HandleMap};

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
    /// What was loaded for it, bytes.
    pub image_bytes: u64,
}

/// Handles that the guest sent along for objects which the driver made itself.
#[derive(Debug)]
pub struct Fresh<'a> {
    unused: std::slice::ChunksExact<'a, u8>,
}

#[cfg_attr(not(test), expect(dead_code))]
impl<'a> Fresh<'a> {
    /// `handles` holds one little-endian `u64` each.
    pub fn new(handles: &'a [u8]) -> Self {
        Fresh { unused: handles.chunks_exact(size_of::<u64>()) }
    }

    fn next(&mut self) -> Option<Handle> {
        self.unused.next().and_then(|bytes| bytes.try_into().ok()).map(|bytes| Handle(u64::from_le_bytes(bytes)))
    }
}

/// The table from handles to objects.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
}

type Objects = HandleMap<Handle, Entry>;

/// Objects by handle, and handles by what the driver calls the object.
#[derive(Debug, Default)]
struct Entries {
    objects: Objects,
    names: HashMap<(u8, Pointer), Handle>,
    /// Parameters of functions and kernels.
    layouts: HashMap<Handle, Layout>,
    /// What images say of the parameters of their kernels, where the driver does not.
    images: HashMap<Handle, Arc<Layouts>>,
    /// How many there are by kind.
    counts: HashMap<u8, u32>,
    image_bytes: u64,
}

impl std::ops::Deref for Entries {
    type Target = Objects;

    fn deref(&self) -> &Self::Target {
        &self.objects
    }
}

impl Entries {
    fn is_free(&self, kind: HandleKind, handle: Handle) -> bool {
        handle.kind() == kind as u8
            && handle.index() < LIMIT
            && self.objects.len() < LIMIT as usize
            && !self.objects.contains_key(&handle)
    }

    fn insert(&mut self, handle: Handle, entry: Entry) {
        self.names.insert((handle.kind(), entry.pointer), handle);
        *self.counts.entry(handle.kind()).or_default() += 1;
        self.image_bytes = self.image_bytes.saturating_add(entry.image_bytes);
        if let Some(old) = self.objects.insert(handle, entry) {
            self.discount(handle, &old);
        }
    }

    fn discount(&mut self, handle: Handle, gone: &Entry) {
        let count = self.counts.entry(handle.kind()).or_default();
        *count = count.saturating_sub(1);
        self.layouts.remove(&handle);
        self.images.remove(&handle);
        self.image_bytes = self.image_bytes.saturating_sub(gone.image_bytes);
    }

    fn remove(&mut self, handle: Handle) -> Option<Entry> {
        let entry = self.objects.remove(&handle)?;
        forget_name(&mut self.names, handle, &entry);
        self.discount(handle, &entry);
        Some(entry)
    }

    fn retain(&mut self, mut keep: impl FnMut(&Handle, &Entry) -> bool) {
        let names = &mut self.names;
        let mut gone = Vec::new();
        self.objects.retain(|handle, entry| {
            let kept = keep(handle, entry);
            if !kept {
                forget_name(names, *handle, entry);
                gone.push((*handle, *entry));
            }
            kept
        });
        for (handle, entry) in gone {
            self.discount(handle, &entry);
        }
    }
}

/// Several handles may stand for one object; only the last one answers for it.
fn forget_name(names: &mut HashMap<(u8, Pointer), Handle>, handle: Handle, entry: &Entry) {
    let name = (handle.kind(), entry.pointer);
    if names.get(&name) == Some(&handle) {
        names.remove(&name);
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// The handle of an object that the driver returned: the one by which the guest knows it, or the
    /// next of `fresh`, which then stands for it as `entry` says. `None`: there is none that may be used.
    #[cfg_attr(not(test), expect(dead_code))]
    pub fn name(&self, kind: HandleKind, entry: Entry, fresh: &mut Fresh<'_>) -> Option<Handle> {
        let mut entries = self.lock();
        if let Some(known) = entries.names.get(&(kind as u8, entry.pointer)) {
            return Some(*known);
        }
        let handle = fresh.next().filter(|handle| entries.is_free(kind, *handle))?;
        entries.insert(handle, entry);
        Some(handle)
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
        self.lock().is_free(kind, handle)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: HandleKind) -> u32 {
        self.lock().counts.get(&(kind as u8)).copied().unwrap_or(0)
    }

    /// What was loaded for all objects, bytes.
    pub fn image_bytes(&self) -> u64 {
        self.lock().image_bytes
    }

    /// Adds an object.
    pub fn insert(&self, handle: Handle, entry: Entry) {
        self.lock().insert(handle, entry);
    }

    /// Adds a function or kernel.
    pub fn insert_function(&self, handle: Handle, entry: Entry, layout: Layout) {
        let mut entries = self.lock();
        entries.insert(handle, entry);
        entries.layouts.insert(handle, layout);
    }

    /// The parameters of a function or kernel.
    pub fn layout(&self, handle: Handle) -> Option<Layout> {
        self.lock().layouts.get(&handle).cloned()
    }

    /// Adds a module or library, and what its image says of its kernels' parameters.
    pub fn insert_image(&self, handle: Handle, entry: Entry, layouts: Option<Layouts>) {
        let mut entries = self.lock();
        entries.insert(handle, entry);
        if let Some(layouts) = layouts {
            entries.images.insert(handle, Arc::new(layouts));
        }
    }

    /// What the image of a module or library says of a kernel's parameters.
    pub fn layout_in_image(&self, image: Handle, kernel: &[u8]) -> Option<Layout> {
        let entries = self.lock();
        // The module of a library has the library's image.
        let parent = || entries.images.get(&entries.objects.get(&image)?.parent);
        let layouts = entries.images.get(&image).or_else(parent)?.clone();
        drop(entries);
        layouts.get(kernel)
    }

    /// Removes an object.
    pub fn take(&self, kind: HandleKind, handle: Handle) -> Option<Entry> {
        if handle.kind() != kind as u8 {
            return None;
        }
        self.lock().remove(handle)
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
        Entry { pointer, context, parent, param_bytes: 0, image_bytes: 0 }
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
    fn test_layouts_end_with_what_they_are_of() {
        let ledger = Ledger::default();
        let library = handle(HandleKind::Library, 0, 0);
        let module = handle(HandleKind::Module, 0, 0);
        let function = handle(HandleKind::Function, 0, 0);
        ledger.insert_image(library, entry(1, 0, Handle::NULL), Some(Layouts::read(b".entry k(.param .u32 a)")));
        ledger.insert(module, entry(2, 9, library));
        let layout = ledger.layout_in_image(module, b"k").unwrap();
        assert_eq!(layout.len(), 1);
        ledger.insert_function(function, entry(3, 9, module), layout.clone());
        assert_eq!(ledger.layout(function), Some(layout));
        assert_eq!(ledger.layout_in_image(module, b"other"), None);
        ledger.take(HandleKind::Library, library);
        assert_eq!(ledger.layout_in_image(module, b"k"), None);
        ledger.drop_children(library);
        assert_eq!(ledger.layout(function), None);
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
    fn test_objects_that_the_driver_made_get_one_handle_each() {
        let ledger = Ledger::default();
        let (known, first, second) = (
            handle(HandleKind::Function, 1, 0),
            handle(HandleKind::Function, 1, 1),
            handle(HandleKind::Function, 1, 2),
        );
        ledger.insert(known, entry(0x10, 1, Handle::NULL));
        let block: Vec<u8> = [first, second].iter().flat_map(|handle| handle.0.to_le_bytes()).collect();
        let mut fresh = Fresh::new(&block);
        let mut name = |pointer| ledger.name(HandleKind::Function, entry(pointer, 1, Handle::NULL), &mut fresh);
        assert_eq!([name(0x10), name(0x20), name(0x20)], [Some(known), Some(first), Some(first)]);
        assert_eq!([name(0x30), name(0x40)], [Some(second), None], "the block is used up");
        ledger.take(HandleKind::Function, first);
        let mut fresh = Fresh::new(&block[8..]);
        let named = ledger.name(HandleKind::Function, entry(0x20, 1, Handle::NULL), &mut fresh);
        assert_eq!(named, None, "a handle in use is refused");
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
