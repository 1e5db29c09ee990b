//! Files of memory that several processes use: device memory that was exported, and the pages of events.
//!
//! The first page says what the file is, so that a descriptor which came from somewhere else is known
//! for one of these or refused; then come the bytes. The size is sealed: no process can take pages away
//! under another.

use super::{Memory, MemoryError, PAGE};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create, MemfdFlags, SealFlags};
use rustix::io::{pread, pwrite};
use rustix::rand::{getrandom, GetRandomFlags};
use std::sync::{Arc, PoisonError};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: u64 = u64::from_le_bytes(*b"vgpu-mem");

/// What a file of shared memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SharedKind {
    /// The bytes of an allocation.
    Allocation = 1,
    /// Physical memory that can be mapped.
    Physical = 2,
    /// The state of an event.
    Event = 3,
    /// No bytes: stands for a memory pool.
    Pool = 4,
}

/// Start of the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Header {
    magic: u64,
    kind: u32,
    device: u32,
    id: [u8; 16],
    size: u64,
}

/// A file of shared memory; this process's descriptor of it.
#[derive(Debug)]
pub struct SharedFile {
    fd: OwnedFd,
    id: [u8; 16],
    device: usize,
    size: u64,
}

impl SharedFile {
    /// Where the bytes start in the file.
    pub(super) const DATA: u64 = PAGE;

    /// A new file with `size` zeroed bytes, a multiple of the page size, of memory of a device.
    pub fn create(kind: SharedKind, device: usize, size: u64) -> Result<Arc<SharedFile>, MemoryError> {
        let make = || -> rustix::io::Result<SharedFile> {
            let mut header =
                Header { magic: MAGIC, kind: kind as u32, device: device as u32, size, ..Header::default() };
            getrandom(&mut header.id, GetRandomFlags::empty())?;
            let fd = memfd_create(c"vgpu-shared", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            ftruncate(&fd, Self::DATA + size)?;
            fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            pwrite(&fd, header.as_bytes(), 0)?;
            Ok(SharedFile { fd, id: header.id, device, size })
        };
        make().map(Arc::new).map_err(|_| MemoryError::OutOfMemory)
    }

    /// Takes a descriptor that another process may have made, if it is a file of this kind.
    pub fn open(fd: OwnedFd, kind: SharedKind) -> Option<Arc<SharedFile>> {
        let sealed = fcntl_get_seals(&fd).ok()?;
        let length = u64::try_from(fstat(&fd).ok()?.st_size).ok()?;
        let mut header = Header::default();
        let read = pread(&fd, header.as_mut_bytes(), 0).ok()?;
        let known = read == size_of::<Header>() && header.magic == MAGIC && header.kind == kind as u32;
        let fits = header.size.is_multiple_of(PAGE) && header.size.checked_add(Self::DATA) == Some(length);
        let whole = known && fits && sealed.contains(SealFlags::SHRINK);
        let device = usize::try_from(header.device).ok()?;
        whole.then(|| Arc::new(SharedFile { fd, id: header.id, device, size: header.size }))
    }

    /// Random, and the same in all processes.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Number of the device whose memory it was when it was made.
    pub fn device(&self) -> usize {
        self.device
    }

    /// Bytes behind the first page.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Memory {
    /// Moves the bytes of an allocation, named by its base, to a file that other processes can map. They
    /// keep their address, and nothing accesses them meanwhile. A second call gives the same file.
    pub fn share(&self, base: u64) -> Result<Arc<SharedFile>, MemoryError> {
        let map = &*self.map;
        let _nothing_runs = map.gate.write().unwrap_or_else(PoisonError::into_inner);
        let offset = base.wrapping_sub(map.arena.base());
        let (span, device) = map.space().span(offset).ok_or(MemoryError::InvalidValue)?;
        let mut shared = map.shared();
        if let Some(file) = shared.get(&offset) {
            return Ok(file.clone());
        }
        let file = SharedFile::create(SharedKind::Allocation, device, span.end - span.start)?;
        map.arena.move_to(span.start, &file)?;
        shared.insert(offset, file.clone());
        Ok(file)
    }

    /// Memory of another process's [`Memory::share`], at an address of this one. It counts against the
    /// quota, since it stays when the other process gives it back, and ends with [`Memory::free`].
    pub fn adopt(&self, file: Arc<SharedFile>, size: u64) -> Result<u64, MemoryError> {
        if size == 0 || size > file.size() || size.next_multiple_of(PAGE) != file.size() {
            return Err(MemoryError::InvalidValue);
        }
        let map = &*self.map;
        let mut space = map.space();
        let span = space.allocate(self.device, size, None)?;
        let placed = map.commit(&mut space, &span).and_then(|()| map.arena.show(span.start, &file));
        if let Err(error) = placed {
            space.release(span.start);
            return Err(error);
        }
        map.shared().insert(span.start, file);
        map.set_allocated(&space, span.start);
        Ok(map.arena.base() + span.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Access, AccessError, MAPPING_UNIT};

    fn copy(file: &SharedFile) -> OwnedFd {
        file.as_fd().try_clone_to_owned().unwrap()
    }

    #[test]
    fn a_shared_allocation_keeps_its_bytes_and_its_address() {
        let (a, b) = (Memory::new(64 << 20).unwrap(), Memory::new(64 << 20).unwrap());
        let base = a.allocate(10_000).unwrap();
        let neighbour = a.allocate(100).unwrap();
        a.write(base, &[7; 10_000]).unwrap();
        a.write(neighbour, &[9; 100]).unwrap();
        let file = a.share(base).unwrap();
        assert_eq!(a.share(base).unwrap().id(), file.id());
        let opened = SharedFile::open(copy(&file), SharedKind::Allocation).unwrap();
        let other = b.adopt(opened, 10_000).unwrap();
        let mut bytes = [0; 10_000];
        b.read(other, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 10_000]);
        b.write(other + 5000, &[1, 2, 3]).unwrap();
        a.read(base, &mut bytes).unwrap();
        assert_eq!(bytes[4999..5004], [7, 1, 2, 3, 7]);
        assert_eq!(b.pin().load::<u8>(other + 10_240), Err(AccessError::Illegal(other + 10_240)));

        a.free(base).unwrap();
        b.read(other, &mut bytes).unwrap();
        assert_eq!(bytes[5000], 1, "it stays as long as the other process has it");
        let again = a.allocate(10_000).unwrap();
        a.read(again, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 10_000], "what is allocated next is zeroed and private");
        a.write(again, &[5]).unwrap();
        b.read(other, &mut bytes).unwrap();
        assert_eq!(bytes[0], 7);
        b.free(other).unwrap();
        assert_eq!(b.info().free, 64 << 20);
        let fresh = b.allocate(10_000).unwrap();
        b.read(fresh, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 10_000]);
        a.read(neighbour, &mut bytes[..100]).unwrap();
        assert_eq!(bytes[..100], [9; 100]);
    }

    #[test]
    fn shared_physical_memory_is_mapped_by_both() {
        let (a, b) = (Memory::new(64 << 20).unwrap(), Memory::new(64 << 20).unwrap());
        let physical = a.create_shared_physical(2 * MAPPING_UNIT).unwrap();
        let file = SharedFile::open(copy(physical.file().unwrap()), SharedKind::Physical).unwrap();
        let adopted = b.adopt_physical(file).unwrap();
        assert_eq!(adopted.size(), 2 * MAPPING_UNIT);
        let place = |memory: &Memory, physical| {
            let base = memory.reserve(MAPPING_UNIT, 0, 0).unwrap();
            memory.map(base, MAPPING_UNIT, MAPPING_UNIT, physical).unwrap();
            memory.protect(base, MAPPING_UNIT, Access::ReadWrite).unwrap();
            base
        };
        let (at_a, at_b) = (place(&a, &physical), place(&b, &adopted));
        a.write(at_a + 77, &[5]).unwrap();
        drop(physical);
        a.unmap(at_a, MAPPING_UNIT).unwrap();
        assert_eq!((a.info().free, b.info().free), (64 << 20, 60 << 20));
        assert_eq!(b.pin().load::<u8>(at_b + 77), Ok(5), "it stays as long as the other process has it");
    }

    #[test]
    fn descriptors_of_something_else_are_refused() {
        let memory = Memory::new(64 << 20).unwrap();
        let file = memory.share(memory.allocate(1).unwrap()).unwrap();
        assert!(SharedFile::open(copy(&file), SharedKind::Physical).is_none(), "of another kind");
        assert!(SharedFile::open(std::fs::File::open("/dev/null").unwrap().into(), SharedKind::Allocation).is_none());
        let unsealed = memfd_create(c"other", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 2 * PAGE).unwrap();
        let header = Header { magic: MAGIC, kind: 1, size: PAGE, ..Header::default() };
        pwrite(&unsealed, header.as_bytes(), 0).unwrap();
        let second = unsealed.try_clone().unwrap();
        assert!(SharedFile::open(second, SharedKind::Allocation).is_none(), "its pages can be taken away");
        ftruncate(&unsealed, 3 * PAGE).unwrap();
        fcntl_add_seals(&unsealed, SealFlags::SHRINK).unwrap();
        assert!(SharedFile::open(unsealed, SharedKind::Allocation).is_none(), "not of the size that it says");
        let opened = || SharedFile::open(copy(&file), SharedKind::Allocation).unwrap();
        for size in [0, PAGE + 1, u64::MAX] {
            assert_eq!(memory.adopt(opened(), size), Err(MemoryError::InvalidValue), "{size}");
        }
        assert_eq!(memory.share(1).err(), Some(MemoryError::InvalidValue));
    }
}
