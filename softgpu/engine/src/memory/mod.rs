//! The address space that one GPU session sees.
//!
//! Device memory is one reserved range of this process's address space: a device
//! pointer is the host address of its byte. Besides it, *windows* (ranges of host
//! memory that the GPU may touch at equal addresses) can be registered. Every
//! access names an address that may be any 64-bit number, and is checked.

mod mapping;
mod shared;
mod space;
mod sys;

use mapping::Mappings;
pub use mapping::{Access, Mapping, Physical, MAPPING_UNIT};
pub use shared::{SharedFile, SharedKind};
use space::Space;
use std::collections::BTreeMap;
use std::ops::Range as Span;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use sys::{File, Reservation};
pub use sys::{Plain, SharedPage};

/// Unit of what can be accessed, in bytes: an allocation's size is rounded up to it. Allocations have pages of
/// their own, so that they can be shared with other processes.
pub const GRANULE: u64 = 512;

const PAGE: u64 = 4096;
/// Device memory is made accessible in steps of this size.
const COMMIT_STEP: u64 = 64 << 20;
/// Bits of a granule's byte in `live`.
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const LIVE: u8 = READABLE | WRITABLE;
/// Address space reserved for device memory where the host allows it; the upper half is for
/// reservations that the application manages.
const RESERVED: u64 = 1 << 40;

/// A live device allocation or window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Bytes, as requested at allocation.
    pub size: u64,
}

impl Range {
    fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.base) < self.size
    }
}

/// Free and total device memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Bytes that can still be allocated.
    pub free: u64,
    /// The quota.
    pub total: u64,
}

/// Why memory could not be had or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// the device's memory quota or the host's memory is exhausted
    #[error("the device's memory quota or the host's memory is exhausted")]
    OutOfMemory,
    /// Zero size, overlapping ranges, or not the base of something live.
    #[error("zero size, overlapping ranges, or not the base of a live allocation or window")]
    InvalidValue,
}

/// An access that the GPU's MMU would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A byte outside of live allocations and windows; the first address at fault.
    #[error("address {0:#x} is not accessible")]
    Illegal(u64),
    /// An address that is not a multiple of the access size.
    #[error("address {0:#x} is misaligned")]
    Misaligned(u64),
}

/// Device memory and windows of one session. Thread-safe.
pub struct Memory {
    arena: Reservation,
    /// One byte per granule of the arena: what may be done where.
    live: Reservation,
    space: Mutex<Space>,
    mappings: RwLock<Mappings>,
    /// Where physical memory lies in `file`.
    backing: Mutex<Space>,
    file: OnceLock<File>,
    /// Files behind allocations that several processes use, by offset.
    shared: Mutex<BTreeMap<u64, Arc<SharedFile>>>,
    windows: RwLock<Arc<[Range]>>,
    /// Counts the times that something accessible went away.
    generation: AtomicU64,
    /// Held for reading while addresses are dereferenced, for writing while ranges go away.
    gate: RwLock<()>,
}

impl Memory {
    /// Reserves the address range of a device with `quota` bytes of memory.
    pub fn new(quota: u64) -> Result<Arc<Memory>, MemoryError> {
        let least = quota.max(COMMIT_STEP).next_multiple_of(COMMIT_STEP);
        let arena = std::iter::successors(Some(RESERVED.max(least)), |len| Some(len / 2))
            .take_while(|len| *len >= least)
            .find_map(|len| Reservation::device(len).ok())
            .ok_or(MemoryError::OutOfMemory)?;
        let allocatable = (arena.len() / 2).max(least);
        let (start, end) = (arena.base() + allocatable, arena.base() + arena.len());
        Ok(Arc::new(Memory {
            live: Reservation::zeroed(arena.len() / GRANULE)?,
            space: Mutex::new(Space::new(allocatable, quota)),
            mappings: RwLock::new(Mappings::new(start, end)),
            backing: Mutex::new(Space::new(RESERVED, RESERVED)),
            file: OnceLock::new(),
            shared: Mutex::default(),
            arena,
            windows: RwLock::new(Arc::new([])),
            generation: AtomicU64::new(0),
            gate: RwLock::new(()),
        }))
    }

    /// Allocates `size` > 0 zeroed bytes, aligned to pages.
    pub fn allocate(&self, size: u64) -> Result<u64, MemoryError> {
        let mut space = self.space();
        let span = space.allocate(size)?;
        if let Err(error) = self.commit(&mut space, &span) {
            space.release(span.start);
            return Err(error);
        }
        drop(space);
        self.set_allocated(span.start, size);
        Ok(self.arena.base() + span.start)
    }

    /// Frees an allocation by its base; waits for running accesses, returns the pages to the OS.
    pub fn free(&self, base: u64) -> Result<(), MemoryError> {
        let _nothing_runs = self.exclude();
        let mut space = self.space();
        let offset = base.wrapping_sub(self.arena.base());
        let span = space.release(offset).ok_or(MemoryError::InvalidValue)?;
        self.live.set_bytes(span.start / GRANULE, (span.end - span.start) / GRANULE, 0);
        match self.shared().remove(&span.start) {
            Some(_) => self.arena.clear(span.start, span.end - span.start),
            None => {
                self.wipe(&span);
                Ok(())
            }
        }
    }

    /// The allocation (not window) that contains `address`.
    pub fn range_of(&self, address: u64) -> Option<Range> {
        let (offset, size) = self.space().find(address.wrapping_sub(self.arena.base()))?;
        Some(Range { base: self.arena.base() + offset, size })
    }

    /// The window that contains `address`.
    pub fn window_of(&self, address: u64) -> Option<Range> {
        self.windows().iter().find(|w| w.contains(address)).copied()
    }

    /// Whether `address` lies in the reserved device range, live or not.
    pub fn is_device_address(&self, address: u64) -> bool {
        address.wrapping_sub(self.arena.base()) < self.arena.len()
    }

    /// Free and total device memory.
    pub fn info(&self) -> Info {
        self.space().info()
    }

    /// Takes a window away by its base; when this returns no access to it is running.
    pub fn remove_window(&self, base: u64) -> Result<(), MemoryError> {
        let _nothing_runs = self.exclude();
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        let rest: Arc<[Range]> = windows.iter().filter(|w| w.base != base).copied().collect();
        if rest.len() == windows.len() {
            return Err(MemoryError::InvalidValue);
        }
        *windows = rest;
        Ok(())
    }

    /// Copies from device memory or a window.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), AccessError> {
        self.pin().read(address, bytes)
    }

    /// Copies to device memory or a window.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        self.pin().write(address, bytes)
    }

    /// Copies within the address space; the ranges may overlap.
    pub fn copy(&self, to: u64, from: u64, len: u64) -> Result<(), AccessError> {
        self.pin().copy(to, from, len)
    }

    /// Writes `count` copies of `value` (`u8`, `u16` or `u32`) from `address` on, which is a
    /// multiple of the value's size.
    pub fn fill<T: Plain>(&self, address: u64, value: T, count: u64) -> Result<(), AccessError> {
        self.pin().fill(address, value, count)
    }

    /// Whether all bytes of the range may be read.
    pub fn check(&self, address: u64, len: u64) -> Result<(), AccessError> {
        self.pin().check(address, len)
    }

    /// Keeps everything that is live accessible until the result is dropped. Hold it
    /// for a bounded time: [`Memory::free`] and [`Memory::remove_window`] wait for it.
    pub fn pin(&self) -> Pinned<'_> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        Pinned { memory: self, windows: self.windows(), _gate: gate }
    }

    /// Waits until no access is running and keeps new ones away, as something is about to go away.
    fn exclude(&self) -> RwLockWriteGuard<'_, ()> {
        let guard = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Relaxed);
        guard
    }

    /// The file behind physical memory, made at its first use.
    fn file(&self) -> Result<&File, MemoryError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = File::create(RESERVED)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn insert_window(&self, window: Range) -> Result<(), MemoryError> {
        let end = window.base.checked_add(window.size).ok_or(MemoryError::InvalidValue)?;
        let overlaps = |base: u64, len: u64| base < end && window.base < base + len;
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        if window.size == 0
            || overlaps(self.arena.base(), self.arena.len())
            || windows.iter().any(|w| overlaps(w.base, w.size))
        {
            return Err(MemoryError::InvalidValue);
        }
        *windows = windows.iter().copied().chain([window]).collect();
        Ok(())
    }

    fn windows(&self) -> Arc<[Range]> {
        self.windows.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, space: &mut Space, span: &Span<u64>) -> Result<(), MemoryError> {
        if span.end <= space.committed {
            return Ok(());
        }
        let end = span.end.next_multiple_of(COMMIT_STEP).min(self.arena.len());
        self.arena.commit(space.committed, end - space.committed)?;
        space.committed = end;
        Ok(())
    }

    /// Lets the GPU load and store in an allocation.
    fn set_allocated(&self, offset: u64, size: u64) {
        self.live.set_bytes(offset / GRANULE, size.div_ceil(GRANULE), LIVE);
    }

    fn shared(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<SharedFile>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Zeroes a freed span; more than a page goes back to the OS.
    fn wipe(&self, span: &Span<u64>) {
        let len = span.end - span.start;
        match len > PAGE {
            true => self.arena.discard(span.start, len),
            false => self.arena.zero(span.start, len),
        }
    }
}

/// The address space with everything live held in place; see [`Memory::pin`].
pub struct Pinned<'m> {
    memory: &'m Memory,
    windows: Arc<[Range]>,
    _gate: RwLockReadGuard<'m, ()>,
}

impl Pinned<'_> {
    /// Whether all bytes of the range may be read.
    pub fn check(&self, address: u64, len: u64) -> Result<(), AccessError> {
        self.check_range(address, len, READABLE)
    }

    fn check_range(&self, address: u64, len: u64, need: u8) -> Result<(), AccessError> {
        let end = address.checked_add(len).ok_or(AccessError::Illegal(address))?;
        let mut at = address;
        while at < end {
            at = self.live_end(at, need).ok_or(AccessError::Illegal(at))?;
        }
        Ok(())
    }

    /// The end of the live range that contains `address` and allows what `need` says.
    fn live_end(&self, address: u64, need: u8) -> Option<u64> {
        if let Some(window) = self.windows.iter().find(|w| w.contains(address)) {
            return Some(window.base + window.size);
        }
        let range = self.memory.range_of(address).or_else(|| {
            // The rest of an allocation's last granule counts as part of it.
            self.memory.range_of(address / GRANULE * GRANULE)
        });
        let Some(range) = range else { return self.memory.mapped_end(address, need) };
        Some((range.base + range.size).next_multiple_of(GRANULE))
    }

    /// Whether physical memory is mapped at an address.
    pub(crate) fn is_mapped(&self, address: u64) -> bool {
        self.memory.mapped_end(address, 0).is_some()
    }

    /// Changes when something that was accessible may have gone away since another pin.
    pub fn generation(&self) -> u64 {
        self.memory.generation.load(Relaxed)
    }

    /// First address and bytes of the live range around `address`, if it may be written or else read.
    pub fn span(&self, address: u64, write: bool) -> Option<(u64, u64)> {
        let need = if write { WRITABLE } else { READABLE };
        let memory = self.memory;
        if let Some(window) = self.windows.iter().find(|w| w.contains(address)) {
            return Some((window.base, window.size));
        }
        let range = memory.range_of(address).or_else(|| memory.mapped_range(address, need))?;
        Some((range.base, range.size.next_multiple_of(GRANULE)))
    }

    #[inline(always)]
    fn in_arena(&self, address: u64) -> bool {
        self.memory.is_device_address(address)
    }

    /// Checks a naturally aligned access of at most [`GRANULE`] bytes that needs `NEED`.
    #[inline(always)]
    fn check_small<const NEED: u8>(&self, address: u64, size: u64) -> Result<(), AccessError> {
        let offset = address.wrapping_sub(self.memory.arena.base());
        if address & (size - 1) == 0
            && offset < self.memory.arena.len()
            && self.memory.live.byte(offset / GRANULE).load(Relaxed) & NEED != 0
        {
            return Ok(());
        }
        self.check_window(address, size, size)
    }

    /// Checks an access of `len` bytes in elements of `size` outside of device memory.
    #[cold]
    #[inline(never)]
    fn check_window(&self, address: u64, size: u64, len: u64) -> Result<(), AccessError> {
        if !address.is_multiple_of(size) {
            return Err(AccessError::Misaligned(address));
        }
        let inside = |w: &&Range| w.contains(address) && len <= w.size - (address - w.base);
        match self.windows.iter().find(inside) {
            Some(_) => Ok(()),
            None => Err(AccessError::Illegal(address)),
        }
    }
}

#[cfg(test)]
mod tests;
