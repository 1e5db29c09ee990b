//! Memory for the device's DMA: 2 MiB pages of hugetlbfs, which stay where they are, at addresses
//! that `/proc/self/pagemap` tells.
//!
//! Clients get the descriptors and may do to the files what they like: punch holes, truncate, keep
//! them open. Two things keep the pages that the device knows out of others' hands. While a piece
//! is in use, a [`Pin`] holds each page, so that a page a client drops from its file is not given
//! to anyone else. When it is taken back, the file is truncated to nothing and cannot grow again,
//! so that whoever still has it mapped has nothing.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};
use vgpu_protocol::control::MapRange;

use crate::sys::{Mapping, Pin, SMALL_PAGE};
use crate::{SharedMemory, TransportError};

/// Size of a hugepage, bytes.
pub const HUGEPAGE: usize = 2 << 20;

/// Entry of `/proc/self/pagemap` (the kernel's Documentation/admin-guide/mm/pagemap.rst).
const PAGEMAP_PRESENT: u64 = 1 << 63;
const PAGEMAP_FRAME: u64 = (1 << 55) - 1;

/// The machine's pool of hugepages.
#[derive(Debug)]
pub struct Hugepages {
    folder: PathBuf,
    /// Held while pages are taken from those that are free, some at a time.
    free: Mutex<()>,
}

/// How much is taken, and zeroed, before others may take some, bytes.
const PORTION: usize = 16 * HUGEPAGE;

impl Hugepages {
    /// The pool in sysfs, which is mounted at `sysfs`.
    pub fn new(sysfs: &Path) -> Self {
        Self { folder: sysfs.join("kernel/mm/hugepages/hugepages-2048kB"), free: Mutex::default() }
    }

    fn count(&self, name: &str) -> u64 {
        fs::read_to_string(self.folder.join(name)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Pages that can be had at once.
    pub fn available(&self) -> u64 {
        self.count("free_hugepages").saturating_sub(self.count("resv_hugepages"))
    }

    /// Enlarges the pool until `pages` can be had, or as far as the kernel finds memory.
    pub fn reserve(&self, pages: u64) {
        let missing = pages.saturating_sub(self.available());
        if missing > 0 {
            let wanted = self.count("nr_hugepages") + missing;
            if let Err(error) = fs::write(self.folder.join("nr_hugepages"), wanted.to_string()) {
                log::warn!("cannot reserve {wanted} hugepages: {error}");
            }
        }
    }

    /// Gets zeroed memory; `length` is a multiple of [`HUGEPAGE`]. The pool grows as needed.
    pub fn allocate(&self, length: u64) -> Result<SharedMemory, TransportError> {
        let allocated = match allocate(length, Some(&self.free)) {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                {
                    let _alone = lock(&self.free);
                    self.reserve(length / HUGEPAGE as u64);
                }
                allocate(length, Some(&self.free))
            }
            other => other,
        };
        allocated.map_err(|error| {
            TransportError::NoMemory(format!(
                "{} hugepages of 2 MiB, {} are free: {error}; reserve more with: sysctl vm.nr_hugepages={}",
                length / HUGEPAGE as u64,
                self.available(),
                self.count("nr_hugepages") + length / HUGEPAGE as u64
            ))
        })
    }

    /// Takes memory back from whoever has it mapped.
    pub fn retract(&self, memory: SharedMemory) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(&memory.fd, 0)?)
    }

    /// Takes one page back and gives it out afresh: zeroed, in a new file, at the same address.
    pub fn renew(&self, memory: SharedMemory) -> Result<SharedMemory, TransportError> {
        let address = memory.address();
        let lost = |error| TransportError::NoMemory(format!("the page at {address:#x} cannot be had again: {error}"));
        let _alone = lock(&self.free);
        self.retract(memory).map_err(lost)?;
        // The kernel gives out first what was freed last; other pages are set aside until the right
        // one comes. Another process may have been faster.
        let mut others = Vec::new();
        loop {
            let page = allocate(HUGEPAGE as u64, None).map_err(lost)?;
            if page.address() == address {
                return Ok(page);
            }
            others.push(page);
        }
    }
}

fn lock(free: &Mutex<()>) -> MutexGuard<'_, ()> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes pages that are free, in portions if `free` is to be held for that.
fn allocate(length: u64, free: Option<&Mutex<()>>) -> io::Result<SharedMemory> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let fd: OwnedFd = rustix::fs::memfd_create("vgpu", flags)?;
    rustix::fs::ftruncate(&fd, length)?;
    // It may shrink, to nothing, when it is taken back.
    rustix::fs::fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SEAL)?;
    let size = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // Reserves all of it, or fails.
    let mapping = Mapping::new(fd.as_fd(), 0, size)?;
    for offset in (0..size).step_by(PORTION) {
        let _alone = free.map(lock);
        Mapping::populated(fd.as_fd(), offset as u64, PORTION.min(size - offset))?;
    }
    let pins = Pin::pages(&mapping, HUGEPAGE)?;
    let ranges = physical_ranges(&mapping)?;
    Ok(SharedMemory { fd, length, ranges, _pins: pins })
}

/// Guest-physical ranges of a mapping of hugepages; neighbours are one range.
fn physical_ranges(mapping: &Mapping) -> io::Result<Vec<MapRange>> {
    let pagemap = fs::File::open("/proc/self/pagemap")?;
    let mut ranges: Vec<MapRange> = Vec::new();
    for offset in (0..mapping.length()).step_by(HUGEPAGE) {
        let mut entry = [0; 8];
        let index = (mapping.address() + offset) / SMALL_PAGE;
        pagemap.read_exact_at(&mut entry, index as u64 * 8)?;
        let address = frame(u64::from_ne_bytes(entry))? * SMALL_PAGE as u64;
        match ranges.last_mut() {
            Some(last) if last.address + last.length == address => last.length += HUGEPAGE as u64,
            _ => ranges.push(MapRange { address, length: HUGEPAGE as u64 }),
        }
    }
    Ok(ranges)
}

fn frame(entry: u64) -> io::Result<u64> {
    let hidden = "the kernel hides physical addresses: CAP_SYS_ADMIN is needed";
    match (entry & PAGEMAP_PRESENT != 0, entry & PAGEMAP_FRAME) {
        (false, _) => Err(io::ErrorKind::OutOfMemory.into()),
        (true, 0) => Err(io::Error::new(io::ErrorKind::PermissionDenied, hidden)),
        (true, frame) => Ok(frame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine's one pool, for one test at a time.
    fn pool() -> (Hugepages, MutexGuard<'static, ()>) {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = Hugepages::new(Path::new("/sys"));
        pool.reserve(8);
        assert!(pool.available() >= 8, "too few hugepages on this machine");
        (pool, turn)
    }

    fn map(memory: &SharedMemory) -> Mapping {
        Mapping::new(memory.fd(), 0, HUGEPAGE).unwrap()
    }

    #[test]
    #[ignore = "needs root and hugepages"]
    fn a_renewed_page_is_zeroed_and_out_of_reach_of_its_old_holder() {
        let (pool, _turn) = pool();
        let memory = pool.allocate(HUGEPAGE as u64).unwrap();
        let (address, old) = (memory.address(), map(&memory));
        let fd = memory.fd().try_clone_to_owned().unwrap();
        old.write(0, 0x1234_5678u32);

        let fresh = pool.renew(memory).unwrap();
        assert_eq!(fresh.address(), address);
        assert_eq!(map(&fresh).read::<u32>(0), 0);
        assert!(old.try_copy_in(0, &[1]).is_err(), "the old mapping still reaches a page");
        assert!(rustix::fs::ftruncate(&fd, HUGEPAGE as u64).is_err(), "the old file can grow again");
    }

    #[test]
    #[ignore = "needs root and hugepages"]
    fn a_page_that_its_holder_drops_is_not_given_to_others() {
        let (pool, _turn) = pool();
        let memory = pool.allocate(HUGEPAGE as u64).unwrap();
        let address = memory.address();
        rustix::fs::ftruncate(memory.fd(), 0).unwrap();
        let others: Vec<_> = std::iter::from_fn(|| allocate(HUGEPAGE as u64, None).ok()).collect();
        assert!(others.iter().all(|other| other.address() != address));
        drop(others);
        assert_eq!(pool.renew(memory).unwrap().address(), address);
    }

    #[test]
    #[ignore = "needs root and hugepages"]
    fn ranges_add_up_and_pages_return_to_the_pool() {
        let (pool, _turn) = pool();
        let before = pool.available();
        let memory = pool.allocate(4 * HUGEPAGE as u64).unwrap();
        assert_eq!(memory.ranges().iter().map(|range| range.length).sum::<u64>(), memory.length());
        assert_eq!(pool.available(), before - 4);
        pool.retract(memory).unwrap();
        assert_eq!(pool.available(), before);
    }

    #[test]
    fn pagemap_entries_without_a_frame_are_errors() {
        assert_eq!(frame(0).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(frame(PAGEMAP_PRESENT).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(frame(PAGEMAP_PRESENT | 5).unwrap(), 5);
    }
}
