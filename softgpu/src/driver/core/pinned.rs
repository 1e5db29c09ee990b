//! Host memory that the driver allocates: pages of this process that the GPU uses at their own
//! addresses.

use std::sync::Arc;

use vgpu_protocol::cuda::CUresult;

use super::allocation::Kind;
use super::queue::Point;
use super::{Context, Driver, Result};

/// Pages of their own; unmapped when dropped.
pub(in crate::driver) struct Pinned {
    base: u64,
    len: usize,
    /// `CU_MEMHOSTALLOC_*`.
    pub(in crate::driver) flags: u32,
}

impl Pinned {
    fn map(size: u64, flags: u32) -> Result<Pinned> {
        let len = usize::try_from(size).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        match start == libc::MAP_FAILED {
            true => Err(CUresult::OUT_OF_MEMORY),
            false => Ok(Pinned { base: start.expose_provenance() as u64, len, flags }),
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let start = std::ptr::with_exposed_provenance_mut(self.base as usize);
        // SAFETY: it is this value's own mapping, of which the GPU's window was removed before.
        unsafe { libc::munmap(start, self.len) };
    }
}

impl Context {
    /// Pinned host memory, zeroed; ends with the context.
    pub(in crate::driver) fn allocate_pinned(&self, size: u64, flags: u32) -> Result<u64> {
        if size == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let pinned = Pinned::map(size, flags)?;
        let base = pinned.base;
        // SAFETY: the pages stay mapped as long as the table of allocations holds them, which gives
        // them up after the window; that kernels change them is what the caller asked for.
        unsafe { self.driver.memory.add_window(base, size) }.map_err(|_| CUresult::OUT_OF_MEMORY)?;
        self.driver.allocations.insert(base, size, self.handle, Kind::Pinned(Arc::new(pinned)));
        Ok(base)
    }
}

impl Driver {
    /// Frees pinned memory after all work queued so far.
    pub(in crate::driver) fn free_pinned(&self, base: u64) -> Result {
        let is_pinned = |kind: &Kind| matches!(kind, Kind::Pinned(_));
        let allocation = self.allocations.take(base, is_pinned).ok_or(CUresult::INVALID_VALUE)?;
        for context in self.contexts.all() {
            context.pending().iter().for_each(Point::wait);
        }
        // It came out of the table, so the window is there.
        let _ = self.memory.remove_window(allocation.base);
        Ok(())
    }
}
