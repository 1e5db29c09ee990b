//! The VM's memory: what is accepted, and where a guest-physical range lies.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{fcntl_get_seals, SealFlags};
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

/// The VM's memory as the frontend last described it.
pub type VmMemory = GuestMemoryAtomic<GuestMemoryMmap<()>>;

/// A piece of a memory file.
pub struct Piece {
    /// The file.
    pub memory: OwnedFd,
    /// Where the piece starts, bytes.
    pub offset: u64,
}

/// Finds the file behind `[address, address + length)` of the guest, if one region holds all of it.
pub fn locate(memory: &VmMemory, address: u64, length: u64) -> io::Result<Option<Piece>> {
    let memory = memory.memory();
    let Some(region) = memory.find_region(GuestAddress(address)) else { return Ok(None) };
    let within = address - region.start_addr().0;
    if region.len() - within < length {
        return Ok(None);
    }
    let Some(file) = region.file_offset() else { return Ok(None) };
    let Some(offset) = file.start().checked_add(within) else { return Ok(None) };
    Ok(Some(Piece { memory: file.file().try_clone()?.into(), offset }))
}

/// Refuses memory that would take the backend down later.
pub fn check(memory: &VmMemory) -> io::Result<()> {
    for region in memory.memory().iter() {
        let file = region.file_offset().map(|f| f.file());
        if file.is_some_and(may_shrink) {
            return Err(io::Error::other(
                "the VM's memory can shrink under the backend: seal it with F_SEAL_SHRINK \
                 (QEMU: -object memory-backend-memfd,share=on; do not set seal=off)",
            ));
        }
    }
    Ok(())
}

/// Whether a file takes seals and lacks the one against shrinking. Files that take none (hugetlbfs
/// and tmpfs files, block devices) are accepted: losing their pages ends the process with a message.
fn may_shrink(file: &File) -> bool {
    match fcntl_get_seals(file) {
        Ok(seals) => !seals.intersects(SealFlags::SHRINK | SealFlags::SEAL),
        Err(_) => false,
    }
}
