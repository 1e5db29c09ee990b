//! The session's address range: reserving, mapping and reading it.

use std::ffi::c_void;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mm::{mmap, mmap_anonymous, MapFlags, ProtFlags};
use vm_memory::mmap::MmapRegionError;
use vm_memory::{MmapRegion, VolatileSlice};

fn address(va: u64) -> *mut c_void {
    va as usize as *mut c_void
}

fn size(length: u64) -> Result<usize, Errno> {
    usize::try_from(length).map_err(|_| Errno::INVAL)
}

/// Reserves `[base, base + length)`; fails with `EXIST` if anything lies there.
pub fn reserve(base: u64, length: u64) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: NOREPLACE leaves existing mappings alone.
    unsafe { mmap_anonymous(address(base), size(length)?, ProtFlags::empty(), flags) }.map(drop)
}

/// Maps shared memory at `va`, which lies in a reserved range that the caller manages.
pub fn map(va: u64, length: u64, memory: impl AsFd, offset: u64) -> Result<(), Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the range is part of the reservation, which holds nothing but guest memory; no Rust
    // reference points into it.
    unsafe { mmap(address(va), size(length)?, access, MapFlags::SHARED | MapFlags::FIXED, memory, offset) }.map(drop)
}

/// Puts the reservation back in place of a mapping.
pub fn unmap(va: u64, length: u64) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: as for `map`.
    unsafe { mmap_anonymous(address(va), size(length)?, ProtFlags::empty(), flags) }.map(drop)
}

/// The home as a region for the virtqueue's code.
pub fn region(va: u64, length: usize) -> Result<MmapRegion, MmapRegionError> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the home is mapped there for the rest of the process's life.
    unsafe { MmapRegion::build_raw(address(va).cast(), length, access, libc::MAP_SHARED) }
}

/// Copies `[va, va + length)` out. The caller has checked that it is mapped and keeps it so.
pub fn copy_out(va: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // SAFETY: the range is mapped; the guest may change it meanwhile, which volatile access allows.
    let memory = unsafe { VolatileSlice::new(address(va).cast(), length) };
    memory.copy_to(&mut bytes);
    bytes
}
