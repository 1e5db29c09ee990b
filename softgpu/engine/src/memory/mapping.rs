//! Virtual memory management: reserved address ranges, physical memory, and mappings of the one into
//! the other. Physical memory lies in one sparse file, so that the same bytes can appear at several
//! addresses; what other processes may map has a file of its own.

use super::{
    AddressMap, Memory, MemoryError, Range, SharedFile, SharedKind, Space, DEVICES_MAX, GRANULE, READABLE, WRITABLE,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLockReadGuard, Weak};

/// Unit of reservations, physical memory and mappings, in bytes.
pub const MAPPING_UNIT: u64 = 2 << 20;

/// What the GPU may do with a mapped range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Load.
    Read,
    /// Load and store.
    ReadWrite,
}

impl Access {
    fn bits(self) -> u8 {
        match self {
            Access::None => 0,
            Access::Read => READABLE,
            Access::ReadWrite => READABLE | WRITABLE,
        }
    }
}

/// Physical memory of a device. Given back when nothing refers to it any more.
pub struct Physical {
    id: u64,
    place: Place,
    size: u64,
    device: usize,
    map: Weak<AddressMap>,
}

/// Where physical memory lies.
enum Place {
    /// In the file of this process's physical memory, from this offset on.
    Offset(u64),
    /// In a file of its own.
    File(Arc<SharedFile>),
}

impl Physical {
    /// Unique in the process's life.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of the device on which it lies.
    pub fn device(&self) -> usize {
        self.device
    }

    /// The file that other processes can map, if it has one.
    pub fn file(&self) -> Option<&Arc<SharedFile>> {
        match &self.place {
            Place::Offset(_) => None,
            Place::File(file) => Some(file),
        }
    }
}

/// The next id of physical memory, far above those of allocations.
static NEXT_ID: AtomicU64 = AtomicU64::new(1 << 48);

impl Drop for Physical {
    fn drop(&mut self) {
        if let Some(map) = self.map.upgrade() {
            map.release_physical(self);
        }
    }
}

/// Physical memory at an address.
#[derive(Clone)]
pub struct Mapping {
    /// The addresses.
    pub range: Range,
    /// What lies there.
    pub physical: Arc<Physical>,
    access: [Access; DEVICES_MAX],
}

impl Mapping {
    /// What a device may do there.
    pub fn access(&self, device: usize) -> Access {
        self.access.get(device).copied().unwrap_or(Access::None)
    }
}

/// The reserved ranges and what is mapped into them, by address.
pub(super) struct Mappings {
    /// The part of the arena that is for reservations: first address and end.
    span: (u64, u64),
    reserved: BTreeMap<u64, u64>,
    mapped: BTreeMap<u64, Mapping>,
}

impl Mappings {
    pub(super) fn new(start: u64, end: u64) -> Mappings {
        let start = start.next_multiple_of(MAPPING_UNIT);
        Mappings { span: (start, end.max(start)), reserved: BTreeMap::new(), mapped: BTreeMap::new() }
    }

    /// A free range: at `wanted` if that is one, else the first that is aligned.
    fn find_space(&self, size: u64, alignment: u64, wanted: u64) -> Option<u64> {
        let is_free = |base: u64| {
            let end = base.checked_add(size)?;
            let before = self.reserved.range(..end).next_back();
            let free = base >= self.span.0 && end <= self.span.1 && before.is_none_or(|(at, len)| at + len <= base);
            free.then_some(base)
        };
        if wanted != 0 && wanted.is_multiple_of(alignment) {
            if let Some(base) = is_free(wanted) {
                return Some(base);
            }
        }
        let ends = self.reserved.iter().map(|(at, len)| at + len);
        [self.span.0].into_iter().chain(ends).find_map(|at| is_free(at.checked_next_multiple_of(alignment)?))
    }

    fn reservation_of(&self, address: u64) -> Option<Range> {
        let (base, size) = self.reserved.range(..=address).next_back()?;
        (address - base < *size).then_some(Range { base: *base, size: *size })
    }

    pub(super) fn mapping_of(&self, address: u64) -> Option<&Mapping> {
        let (_, mapping) = self.mapped.range(..=address).next_back()?;
        mapping.range.contains(address).then_some(mapping)
    }

    /// The mappings that make up a range exactly, without gaps; their addresses.
    fn exactly(&self, address: u64, size: u64) -> Result<Vec<u64>, MemoryError> {
        let end = address.checked_add(size).filter(|end| *end > address).ok_or(MemoryError::InvalidValue)?;
        let mut bases = Vec::new();
        let mut at = address;
        while at < end {
            let mapping = self.mapped.get(&at).ok_or(MemoryError::InvalidValue)?;
            bases.push(at);
            at += mapping.range.size;
        }
        if at == end {
            Ok(bases)
        } else {
            Err(MemoryError::InvalidValue)
        }
    }
}

fn is_unit(value: u64) -> bool {
    value.is_multiple_of(MAPPING_UNIT)
}

impl Memory {
    /// Physical memory of `size` > 0 zeroed bytes, a multiple of [`MAPPING_UNIT`]. It counts against
    /// the quota whether it is mapped or not.
    pub fn create_physical(&self, size: u64) -> Result<Arc<Physical>, MemoryError> {
        if size == 0 || !is_unit(size) {
            return Err(MemoryError::InvalidValue);
        }
        self.charged(size, || {
            self.map.file()?;
            self.map.backing().allocate(0, size, None).map(|span| Place::Offset(span.start))
        })
    }

    /// As [`Memory::create_physical`], in a file that other processes can map.
    pub fn create_shared_physical(&self, size: u64) -> Result<Arc<Physical>, MemoryError> {
        if size == 0 || !is_unit(size) {
            return Err(MemoryError::InvalidValue);
        }
        self.charged(size, || SharedFile::create(SharedKind::Physical, self.device, size).map(Place::File))
    }

    /// Physical memory that another process has created. It counts here too: it stays when the other
    /// process gives it back.
    pub fn adopt_physical(&self, file: Arc<SharedFile>) -> Result<Arc<Physical>, MemoryError> {
        let size = file.size();
        if size == 0 || !is_unit(size) {
            return Err(MemoryError::InvalidValue);
        }
        self.charged(size, || Ok(Place::File(file)))
    }

    fn charged(
        &self,
        size: u64,
        take: impl FnOnce() -> Result<Place, MemoryError>,
    ) -> Result<Arc<Physical>, MemoryError> {
        let device = self.device;
        self.map.space().charge(device, size)?;
        let place = take().inspect_err(|_| self.map.space().discharge(device, size))?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Physical { id, place, size, device, map: Arc::downgrade(&self.map) }))
    }

    /// Reserves `size` > 0 bytes of address space, a multiple of [`MAPPING_UNIT`], at `wanted` if that
    /// is free. `alignment` is 0 or a power of two.
    pub fn reserve(&self, size: u64, alignment: u64, wanted: u64) -> Result<u64, MemoryError> {
        if size == 0 || !is_unit(size) || (alignment != 0 && !alignment.is_power_of_two()) {
            return Err(MemoryError::InvalidValue);
        }
        let mut mappings = self.map.mappings.write().unwrap_or_else(PoisonError::into_inner);
        let base = mappings.find_space(size, alignment.max(MAPPING_UNIT), wanted).ok_or(MemoryError::OutOfMemory)?;
        mappings.reserved.insert(base, size);
        Ok(base)
    }

    /// Ends a reservation, named exactly, into which nothing is mapped.
    pub fn unreserve(&self, base: u64, size: u64) -> Result<(), MemoryError> {
        let mut mappings = self.map.mappings.write().unwrap_or_else(PoisonError::into_inner);
        let is_whole = mappings.reserved.get(&base) == Some(&size);
        if !is_whole || mappings.mapped.range(base..base + size).next().is_some() {
            return Err(MemoryError::InvalidValue);
        }
        mappings.reserved.remove(&base);
        Ok(())
    }

    /// Maps `size` bytes of `physical` from `offset` on at `address`, in a reserved range where nothing
    /// is mapped. No device may access it yet.
    pub fn map(&self, address: u64, size: u64, offset: u64, physical: &Arc<Physical>) -> Result<(), MemoryError> {
        let within = offset.checked_add(size).is_some_and(|end| end <= physical.size);
        let belongs = std::ptr::eq(physical.map.as_ptr(), &*self.map);
        if size == 0 || !within || !belongs || ![address, size, offset].into_iter().all(is_unit) {
            return Err(MemoryError::InvalidValue);
        }
        let mut mappings = self.map.mappings.write().unwrap_or_else(PoisonError::into_inner);
        let range = mappings.reservation_of(address).ok_or(MemoryError::InvalidValue)?;
        let occupied =
            |end: u64| mappings.mapped.range(..end).next_back().is_some_and(|(at, m)| at + m.range.size > address);
        if size > range.size - (address - range.base) || occupied(address + size) {
            return Err(MemoryError::InvalidValue);
        }
        let arena = &self.map.arena;
        let at = address - arena.base();
        match &physical.place {
            Place::Offset(start) => arena.map(at, size, self.map.file()?, start + offset)?,
            Place::File(file) => arena.map(at, size, file, SharedFile::DATA + offset)?,
        }
        let access = [Access::None; DEVICES_MAX];
        let mapping = Mapping { range: Range { base: address, size }, physical: physical.clone(), access };
        mappings.mapped.insert(address, mapping);
        Ok(())
    }

    /// Takes away the mappings that make up a range; when this returns no access to it is running.
    pub fn unmap(&self, address: u64, size: u64) -> Result<(), MemoryError> {
        let gone = {
            let map = &*self.map;
            let _nothing_runs = map.exclude();
            let mut mappings = self.map.mappings.write().unwrap_or_else(PoisonError::into_inner);
            let bases = mappings.exactly(address, size)?;
            map.rights.set((address - map.arena.base()) / GRANULE, size / GRANULE, |_| 0);
            map.arena.unmap(address - map.arena.base(), size)?;
            bases.iter().filter_map(|base| mappings.mapped.remove(base)).collect::<Vec<_>>()
        };
        // The last reference to physical memory may be among them; it goes without the locks.
        drop(gone);
        Ok(())
    }

    /// Sets what this device may do with the mappings that make up a range.
    pub fn protect(&self, address: u64, size: u64, access: Access) -> Result<(), MemoryError> {
        let map = &*self.map;
        let _nothing_runs = map.exclude();
        let mut mappings = map.mappings.write().unwrap_or_else(PoisonError::into_inner);
        for base in mappings.exactly(address, size)? {
            let Some(mapping) = mappings.mapped.get_mut(&base) else { continue };
            mapping.access[self.device] = access;
            let first = (mapping.range.base - map.arena.base()) / GRANULE;
            map.rights.set(first, mapping.range.size / GRANULE, |device| mapping.access(device).bits());
        }
        Ok(())
    }

    /// The mapping that contains `address`.
    pub fn mapping_of(&self, address: u64) -> Option<Mapping> {
        self.map.mappings().mapping_of(address).cloned()
    }

    /// The reserved range that contains `address`.
    pub fn reservation_of(&self, address: u64) -> Option<Range> {
        self.map.mappings().reservation_of(address)
    }
}

impl AddressMap {
    /// The mapping around `address`.
    pub(super) fn mapped_range(&self, address: u64) -> Option<Range> {
        self.mappings().mapping_of(address).map(|mapping| mapping.range)
    }

    fn release_physical(&self, physical: &Physical) {
        if let Place::Offset(offset) = physical.place {
            if let Ok(file) = self.file() {
                file.discard(offset, physical.size);
            }
            self.backing().release(offset);
        }
        self.space().discharge(physical.device, physical.size);
    }

    fn mappings(&self) -> RwLockReadGuard<'_, Mappings> {
        self.mappings.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn backing(&self) -> std::sync::MutexGuard<'_, Space> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
