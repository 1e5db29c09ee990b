//! The address space that one GPU session sees.
//!
//! Device memory is one reserved range of this process's address space: a device
//! pointer is the host address of its byte. Besides it, *windows* (ranges of host
//! memory that the GPU may touch at equal addresses) can be registered. Every
//! access names an address that may be any 64-bit number, and is checked.

mod mapping;
mod rights;
mod shared;
mod space;
mod sys;

use mapping::Mappings;
pub use mapping::{Access, Mapping, Physical, MAPPING_UNIT};
use rights::Rights;
pub use rights::{DeviceSet, DEVICES_MAX};
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

/// The memory of a device, and what its kernels reach besides: windows, and memory of other devices as far as they
/// may. All devices of a session share one range of addresses. Thread-safe.
pub struct Memory {
    map: Arc<AddressMap>,
    device: usize,
}

/// What all devices of a session share.
struct AddressMap {
    arena: Reservation,
    rights: Rights,
    space: Mutex<Space>,
    /// By device: which devices reach those of its allocations for which nothing else is said.
    peers: Mutex<[DeviceSet; DEVICES_MAX]>,
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
        let mut devices = Memory::several(quota, 1)?;
        devices.pop().ok_or(MemoryError::InvalidValue)
    }

    /// Reserves the address range of `count` devices (1 to [`DEVICES_MAX`]) with `quota` bytes of memory each. No
    /// device reaches another one's memory at first.
    pub fn several(quota: u64, count: usize) -> Result<Vec<Arc<Memory>>, MemoryError> {
        if !(1..=DEVICES_MAX).contains(&count) {
            return Err(MemoryError::InvalidValue);
        }
        let wanted = quota.max(COMMIT_STEP).checked_mul(count as u64).ok_or(MemoryError::OutOfMemory)?;
        let least = wanted.checked_next_multiple_of(COMMIT_STEP).ok_or(MemoryError::OutOfMemory)?;
        let arena = std::iter::successors(Some(RESERVED.max(least)), |len| Some(len / 2))
            .take_while(|len| *len >= least)
            .find_map(|len| Reservation::device(len).ok())
            .ok_or(MemoryError::OutOfMemory)?;
        let allocatable = (arena.len() / 2).max(least);
        let (start, end) = (arena.base() + allocatable, arena.base() + arena.len());
        let map = Arc::new(AddressMap {
            rights: Rights::new(arena.len() / GRANULE, count)?,
            space: Mutex::new(Space::new(allocatable, vec![quota; count])),
            peers: Mutex::new(std::array::from_fn(DeviceSet::of)),
            mappings: RwLock::new(Mappings::new(start, end)),
            backing: Mutex::new(Space::new(RESERVED, vec![RESERVED])),
            file: OnceLock::new(),
            shared: Mutex::default(),
            arena,
            windows: RwLock::new(Arc::new([])),
            generation: AtomicU64::new(0),
            gate: RwLock::new(()),
        });
        Ok((0..count).map(|device| Arc::new(Memory { map: map.clone(), device })).collect())
    }

    /// Allocates `size` > 0 zeroed bytes, aligned to pages.
    pub fn allocate(&self, size: u64) -> Result<u64, MemoryError> {
        self.allocate_reached(size, None)
    }

    /// As [`Memory::allocate`], within reach of these devices, whatever [`Memory::set_peer`] says.
    pub fn allocate_for(&self, size: u64, devices: DeviceSet) -> Result<u64, MemoryError> {
        self.allocate_reached(size, Some(devices))
    }

    fn allocate_reached(&self, size: u64, reach: Option<DeviceSet>) -> Result<u64, MemoryError> {
        let map = &*self.map;
        let mut space = map.space();
        let span = space.allocate(self.device, size, reach)?;
        if let Err(error) = map.commit(&mut space, &span) {
            space.release(span.start);
            return Err(error);
        }
        map.set_allocated(&space, span.start);
        Ok(map.arena.base() + span.start)
    }

    /// Says which devices reach an allocation, by its base, whatever [`Memory::set_peer`] says.
    pub fn set_reach(&self, base: u64, devices: DeviceSet) -> Result<(), MemoryError> {
        let map = &*self.map;
        let _nothing_runs = map.exclude();
        let mut space = map.space();
        let offset = base.wrapping_sub(map.arena.base());
        space.set_reach(offset, devices).ok_or(MemoryError::InvalidValue)?;
        map.set_allocated(&space, offset);
        Ok(())
    }

    /// Whether this device reaches those allocations of `owner` for which nothing else is said.
    pub fn set_peer(&self, owner: &Memory, reaches: bool) {
        let map = &*self.map;
        let _nothing_runs = map.exclude();
        let space = map.space();
        map.peers()[owner.device].set(self.device, reaches);
        space.of_device(owner.device).for_each(|offset| map.set_allocated(&space, offset));
    }

    /// Number of the device.
    pub fn device(&self) -> usize {
        self.device
    }

    /// Number of the device to which an allocation belongs, by an address in it.
    pub fn device_of(&self, address: u64) -> Option<usize> {
        self.map.space().device_of(address.wrapping_sub(self.map.arena.base()))
    }

    /// Frees an allocation by its base; waits for running accesses, returns the pages to the OS.
    pub fn free(&self, base: u64) -> Result<(), MemoryError> {
        let map = &*self.map;
        let _nothing_runs = map.exclude();
        let mut space = map.space();
        let offset = base.wrapping_sub(map.arena.base());
        let span = space.release(offset).ok_or(MemoryError::InvalidValue)?;
        map.rights.set(span.start / GRANULE, (span.end - span.start) / GRANULE, |_| 0);
        match map.shared().remove(&span.start) {
            Some(_) => map.arena.clear(span.start, span.end - span.start),
            None => {
                map.wipe(&span);
                Ok(())
            }
        }
    }

    /// The allocation (not window) that contains `address`.
    pub fn range_of(&self, address: u64) -> Option<Range> {
        self.map.range_of(address)
    }

    /// The window that contains `address`.
    pub fn window_of(&self, address: u64) -> Option<Range> {
        self.map.windows().iter().find(|w| w.contains(address)).copied()
    }

    /// Whether `address` lies in the reserved device range, live or not.
    pub fn is_device_address(&self, address: u64) -> bool {
        self.map.is_device_address(address)
    }

    /// Free and total memory of the device.
    pub fn info(&self) -> Info {
        self.map.space().info(self.device)
    }

    /// Takes a window away by its base; when this returns no access to it is running.
    pub fn remove_window(&self, base: u64) -> Result<(), MemoryError> {
        let _nothing_runs = self.map.exclude();
        let mut windows = self.map.windows.write().unwrap_or_else(PoisonError::into_inner);
        let rest: Arc<[Range]> = windows.iter().filter(|w| w.base != base).copied().collect();
        if rest.len() == windows.len() {
            return Err(MemoryError::InvalidValue);
        }
        *windows = rest;
        Ok(())
    }

    /// Copies from memory of any device or a window.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), AccessError> {
        self.pin_all().read(address, bytes)
    }

    /// Copies to memory of any device or a window.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        self.pin_all().write(address, bytes)
    }

    /// Copies within the address space; the ranges may overlap.
    pub fn copy(&self, to: u64, from: u64, len: u64) -> Result<(), AccessError> {
        self.pin_all().copy(to, from, len)
    }

    /// Writes `count` copies of `value` (`u8`, `u16` or `u32`) from `address` on, which is a
    /// multiple of the value's size.
    pub fn fill<T: Plain>(&self, address: u64, value: T, count: u64) -> Result<(), AccessError> {
        self.pin_all().fill(address, value, count)
    }

    /// Whether all bytes of the range may be read by some device.
    pub fn check(&self, address: u64, len: u64) -> Result<(), AccessError> {
        self.pin_all().check(address, len)
    }

    /// Keeps everything that is live accessible until the result is dropped, through which the device reaches what
    /// its kernels do. Hold it for a bounded time: [`Memory::free`] and [`Memory::remove_window`] wait for it.
    pub fn pin(&self) -> Pinned<'_> {
        self.map.pin(self.map.rights.of(self.device))
    }

    /// As [`Memory::pin`], and all that any device reaches is within reach, as for copies.
    fn pin_all(&self) -> Pinned<'_> {
        self.map.pin(self.map.rights.of_any())
    }

    fn insert_window(&self, window: Range) -> Result<(), MemoryError> {
        self.map.insert_window(window)
    }
}

impl AddressMap {
    fn pin<'m>(&'m self, live: &'m Reservation) -> Pinned<'m> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        Pinned { map: self, live, windows: self.windows(), _gate: gate }
    }

    fn is_device_address(&self, address: u64) -> bool {
        address.wrapping_sub(self.arena.base()) < self.arena.len()
    }

    fn range_of(&self, address: u64) -> Option<Range> {
        let (offset, size) = self.space().find(address.wrapping_sub(self.arena.base()))?;
        Some(Range { base: self.arena.base() + offset, size })
    }

    fn peers(&self) -> MutexGuard<'_, [DeviceSet; DEVICES_MAX]> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Lets those devices load and store in an allocation that may.
    fn set_allocated(&self, space: &Space, offset: u64) {
        let Some(allocation) = space.at(offset) else { return };
        let devices = allocation.reach.unwrap_or_else(|| self.peers()[allocation.device]);
        let bits = |device| if devices.contains(device) { LIVE } else { 0 };
        self.rights.set(offset / GRANULE, allocation.size.div_ceil(GRANULE), bits);
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
    map: &'m AddressMap,
    /// What may be done where: a byte for each granule.
    live: &'m Reservation,
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
        if !self.allows(address, need) {
            return None;
        }
        let range = self.map.range_of(address).or_else(|| {
            // The rest of an allocation's last granule counts as part of it.
            self.map.range_of(address / GRANULE * GRANULE)
        });
        let range = range.or_else(|| self.map.mapped_range(address))?;
        Some((range.base + range.size).next_multiple_of(GRANULE))
    }

    /// Whether physical memory is mapped at an address.
    pub(crate) fn is_mapped(&self, address: u64) -> bool {
        self.map.mapped_range(address).is_some()
    }

    /// Changes when something that was accessible may have gone away since another pin.
    pub fn generation(&self) -> u64 {
        self.map.generation.load(Relaxed)
    }

    /// First address and bytes of the live range around `address`, if it may be written or else read.
    pub fn span(&self, address: u64, write: bool) -> Option<(u64, u64)> {
        let need = if write { WRITABLE } else { READABLE };
        if let Some(window) = self.windows.iter().find(|w| w.contains(address)) {
            return Some((window.base, window.size));
        }
        if !self.allows(address, need) {
            return None;
        }
        let range = self.map.range_of(address).or_else(|| self.map.mapped_range(address))?;
        Some((range.base, range.size.next_multiple_of(GRANULE)))
    }

    /// Whether what `need` says may be done in the granule around an address of the arena.
    fn allows(&self, address: u64, need: u8) -> bool {
        let offset = address.wrapping_sub(self.map.arena.base());
        offset < self.map.arena.len() && self.live.byte(offset / GRANULE).load(Relaxed) & need == need
    }

    #[inline(always)]
    fn in_arena(&self, address: u64) -> bool {
        self.map.is_device_address(address)
    }

    /// Checks a naturally aligned access of at most [`GRANULE`] bytes that needs `NEED`.
    #[inline(always)]
    fn check_small<const NEED: u8>(&self, address: u64, size: u64) -> Result<(), AccessError> {
        let offset = address.wrapping_sub(self.map.arena.base());
        if address & (size - 1) == 0
            && offset < self.map.arena.len()
            && self.live.byte(offset / GRANULE).load(Relaxed) & NEED != 0
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
