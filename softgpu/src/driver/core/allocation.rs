//! Device allocations and registered host memory: who owns which range, and when it goes away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::CUresult;

use super::queue::Point;
use super::state::Driver;
use super::{Context, Result, Target};
use crate::memory::MemoryError;

/// Rows of pitched allocations start at multiples of this, bytes.
pub(in crate::driver) const PITCH_ALIGNMENT: u64 = 512;

/// What a pointer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) struct Allocation {
    pub(in crate::driver) base: u64,
    /// Bytes, as asked for.
    pub(in crate::driver) size: u64,
    /// Unique in the process's life.
    pub(in crate::driver) id: u64,
    /// Handle of the context that made it.
    pub(in crate::driver) context: u64,
    /// Registered host memory rather than device memory.
    pub(in crate::driver) host: bool,
}

/// All live ranges.
#[derive(Default)]
pub(in crate::driver) struct Allocations {
    live: Mutex<BTreeMap<u64, Allocation>>,
    /// Freed by the user, and maybe still in use by work queued before.
    retired: Mutex<Vec<Retired>>,
    last_id: AtomicU64,
}

struct Retired {
    base: u64,
    after: Vec<Point>,
}

impl Allocations {
    fn insert(&self, base: u64, size: u64, context: u64, host: bool) {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.live().insert(base, Allocation { base, size, id, context, host });
    }

    /// The live range that contains `address`.
    pub(in crate::driver) fn find(&self, address: u64) -> Option<Allocation> {
        let live = self.live();
        let (_, found) = live.range(..=address).next_back()?;
        (address - found.base < found.size).then_some(*found)
    }

    /// Takes out the range that starts at `base`, if it is of that kind.
    fn take(&self, base: u64, host: bool) -> Option<Allocation> {
        let mut live = self.live();
        live.get(&base).filter(|allocation| allocation.host == host)?;
        live.remove(&base)
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Allocation>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Retired>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// Gives back what was freed and is no longer in use.
    pub(in crate::driver) fn sweep(&self) {
        let done = |retired: &mut Retired| retired.after.iter().all(Point::reached);
        let gone: Vec<Retired> = self.allocations.retired().extract_if(.., done).collect();
        self.release(&gone);
    }

    /// The allocation, module variable or registered range that contains `address`.
    pub(in crate::driver) fn range_of(&self, address: u64) -> Option<Allocation> {
        self.allocations.find(address)
    }

    /// As [`Driver::sweep`], and waits for what is still in use.
    fn sweep_all(&self) {
        let gone = std::mem::take(&mut *self.allocations.retired());
        gone.iter().flat_map(|retired| &retired.after).for_each(Point::wait);
        self.release(&gone);
    }

    fn release(&self, gone: &[Retired]) {
        for retired in gone {
            // It came out of the table of live ranges, so it is live and freed only here.
            let _ = self.memory.free(retired.base);
        }
    }

    /// Frees the device memory and forgets the host ranges of a context that has ended.
    pub(super) fn free_context_memory(&self, context: u64) {
        self.sweep_all();
        let mut live = self.allocations.live();
        let own: Vec<Allocation> = live.values().filter(|a| a.context == context).copied().collect();
        for allocation in &own {
            live.remove(&allocation.base);
        }
        drop(live);
        for allocation in own {
            // Both come out of the table, so they exist.
            let _ = match allocation.host {
                true => self.memory.remove_window(allocation.base),
                false => self.memory.free(allocation.base),
            };
        }
    }
}

impl Context {
    /// Device memory, zeroed.
    pub(in crate::driver) fn allocate(&self, size: u64) -> Result<u64> {
        if size == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let driver = self.driver;
        driver.sweep();
        let base = driver.memory.allocate(size).or_else(|_| {
            driver.sweep_all();
            driver.memory.allocate(size)
        });
        let base = base.map_err(|error| match error {
            MemoryError::OutOfMemory => CUresult::OUT_OF_MEMORY,
            MemoryError::InvalidValue => CUresult::INVALID_VALUE,
        })?;
        driver.allocations.insert(base, size, self.handle, false);
        Ok(base)
    }

    /// Frees device memory once all work queued so far has completed. The address is invalid at once.
    pub(in crate::driver) fn free(&self, base: u64) -> Result {
        let driver = self.driver;
        driver.allocations.take(base, false).ok_or(CUresult::INVALID_VALUE)?;
        let contexts = driver.contexts.all();
        let after = contexts.iter().flat_map(|context| context.pending()).collect();
        driver.allocations.retired().push(Retired { base, after });
        driver.sweep();
        Ok(())
    }

    /// Lets kernels and copies use `size` bytes of this process's memory from `base` on.
    ///
    /// # Safety
    /// As for [`crate::memory::Memory::add_window`], until [`Context::unregister_host`] has returned.
    pub(in crate::driver) unsafe fn register_host(&self, base: u64, size: u64) -> Result {
        if base == 0 || size == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller makes the same promise.
        unsafe { self.driver.memory.add_window(base, size) }
            .map_err(|_| CUresult::HOST_MEMORY_ALREADY_REGISTERED)?;
        self.driver.allocations.insert(base, size, self.handle, true);
        Ok(())
    }

    /// Takes registered memory away after all work queued so far.
    pub(in crate::driver) fn unregister_host(&self, base: u64) -> Result {
        let driver = self.driver;
        driver.allocations.take(base, true).ok_or(CUresult::HOST_MEMORY_NOT_REGISTERED)?;
        for context in driver.contexts.all() {
            context.pending().iter().for_each(Point::wait);
        }
        driver.memory.remove_window(base).map_err(|_| CUresult::HOST_MEMORY_NOT_REGISTERED)
    }
}

impl Target {
    /// Frees device memory in stream order.
    pub(in crate::driver) fn free(&self, base: u64) -> Result {
        let driver = self.context.driver;
        driver.allocations.take(base, false).ok_or(CUresult::INVALID_VALUE)?;
        driver.allocations.retired().push(Retired { base, after: self.context.barrier(&self.stream) });
        Ok(())
    }
}
