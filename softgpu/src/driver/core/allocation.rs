//! Device allocations and registered host memory: who owns which range, and when it goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vgpu_protocol::cuda::CUresult;

use super::queue::Point;
use super::state::Driver;
use super::{current_handle, Context, Device, Pinned, Pool, Result, Stream, Target};
use vgpu_engine::engine::Extents;
use vgpu_engine::memory::{DeviceSet, MemoryError, Physical, Range, GRANULE};

/// Rows of pitched allocations start at multiples of this, bytes.
pub(in crate::driver) const PITCH_ALIGNMENT: u64 = 512;

/// Where a range comes from.
#[derive(Clone)]
pub(in crate::driver) enum Kind {
    /// Device memory, or a module's variable.
    Device,
    /// Device memory of a pool.
    Pool(Arc<Pool>),
    /// Device memory that the host uses too.
    Managed,
    /// Registered host memory.
    Host,
    /// Host memory of the driver's own.
    Pinned(Arc<Pinned>),
    /// A reserved range, into which physical memory may be mapped.
    Reserved,
    /// Device memory of another process, by way of a pool or not.
    Imported(Option<Arc<Pool>>),
}

/// What a pointer belongs to.
#[derive(Clone)]
pub(in crate::driver) struct Allocation {
    pub(in crate::driver) base: u64,
    /// Bytes, as asked for.
    pub(in crate::driver) size: u64,
    /// Unique in the process's life.
    pub(in crate::driver) id: u64,
    /// Handle of the context it ends with, 0 if it ends with none.
    pub(in crate::driver) context: u64,
    pub(in crate::driver) kind: Kind,
}

impl Allocation {
    /// Accessible bytes: device memory comes in whole granules.
    fn extent(&self) -> u64 {
        match self.is_host() {
            true => self.size,
            false => self.size.next_multiple_of(GRANULE),
        }
    }

    /// Whether it is host memory rather than device memory.
    pub(in crate::driver) fn is_host(&self) -> bool {
        matches!(self.kind, Kind::Host | Kind::Pinned(_))
    }

    /// Whether it is managed memory.
    pub(in crate::driver) fn is_managed(&self) -> bool {
        matches!(self.kind, Kind::Managed)
    }

    /// Whether the host can use it at its address.
    pub(in crate::driver) fn is_for_host(&self) -> bool {
        self.is_host() || self.is_managed()
    }
}

/// All live ranges.
#[derive(Default)]
pub(in crate::driver) struct Allocations {
    live: Mutex<BTreeMap<u64, Allocation>>,
    /// Freed by the user, and maybe still in use by work queued before.
    retired: Mutex<Vec<Retired>>,
    last_id: AtomicU64,
    /// Bases of the ranges for which calls wait that need not.
    synchronous: Mutex<BTreeSet<u64>>,
    any_synchronous: AtomicBool,
}

struct Retired {
    base: u64,
    context: u64,
    after: Vec<Point>,
}

impl Allocations {
    pub(super) fn insert(&self, base: u64, size: u64, context: u64, kind: Kind) {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.live().insert(base, Allocation { base, size, id, context, kind });
    }

    /// The live range that contains `address`.
    pub(in crate::driver) fn find(&self, address: u64) -> Option<Allocation> {
        let live = self.live();
        let (_, found) = live.range(..=address).next_back()?;
        (address - found.base < found.size).then(|| found.clone())
    }

    /// Bases of what is allocated from a pool.
    pub(super) fn of_pool(&self, pool: &Arc<Pool>) -> Vec<u64> {
        let of_it = |kind: &Kind| matches!(kind, Kind::Pool(of) if Arc::ptr_eq(of, pool));
        self.live().values().filter(|allocation| of_it(&allocation.kind)).map(|allocation| allocation.base).collect()
    }

    /// Takes out the range that starts at `base`, if it is of a kind that may be taken.
    pub(super) fn take(&self, base: u64, may_be: impl FnOnce(&Kind) -> bool) -> Option<Allocation> {
        let mut live = self.live();
        live.get(&base).filter(|allocation| may_be(&allocation.kind))?;
        if self.any_synchronous.load(Ordering::Acquire) {
            self.synchronous().remove(&base);
        }
        live.remove(&base)
    }

    fn take_device(&self, base: u64) -> Option<Allocation> {
        self.take(base, |kind| matches!(kind, Kind::Device | Kind::Managed | Kind::Pool(_) | Kind::Imported(Some(_))))
    }

    /// Sets whether calls that concern the range of this base wait for their work.
    pub(in crate::driver) fn set_synchronous(&self, base: u64, synchronous: bool) {
        match synchronous {
            true => self.synchronous().insert(base),
            false => self.synchronous().remove(&base),
        };
        self.any_synchronous.store(true, Ordering::Release);
    }

    /// Whether calls that concern the range of this base wait for their work.
    pub(in crate::driver) fn is_synchronous(&self, base: u64) -> bool {
        self.any_synchronous.load(Ordering::Acquire) && self.synchronous().contains(&base)
    }

    fn synchronous(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.synchronous.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Allocation>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_retired(&self, choose: impl Fn(&Retired) -> bool) -> Vec<Retired> {
        let mut retired = self.retired();
        let (chosen, kept) = std::mem::take(&mut *retired).into_iter().partition(choose);
        *retired = kept;
        chosen
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Retired>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// Gives back what was freed and is no longer in use.
    pub(in crate::driver) fn sweep(&self) {
        self.release(&self.allocations.take_retired(|retired| retired.after.iter().all(Point::reached)));
    }

    /// Whether `len` bytes from `address` on lie in one allocation or variable, or in registered
    /// ranges without a gap.
    pub(super) fn holds(&self, address: u64, len: u64) -> bool {
        let Some(range) = self.range_of(address) else { return false };
        if matches!(range.kind, Kind::Reserved) {
            return self.memory.check(address, len).is_ok();
        }
        let fits = len <= range.extent() - (address - range.base);
        fits || (range.is_host() && self.memory.check(address, len).is_ok())
    }

    /// The allocation, module variable or registered range that contains `address`.
    pub(in crate::driver) fn range_of(&self, address: u64) -> Option<Allocation> {
        self.allocations
            .find(address)
            .or_else(|| self.modules.all().iter().find_map(|module| module.variable_at(address)))
            .or_else(|| self.reservation_at(address))
    }

    /// All that kernels may access, but for mapped physical memory.
    pub(super) fn extents(&self) -> Extents {
        let allocations: Vec<Range> =
            self.allocations.live().values().map(|a| Range { base: a.base, size: a.size }).collect();
        let modules = self.modules.all();
        allocations.into_iter().chain(modules.iter().flat_map(|module| module.variables())).collect()
    }

    fn reservation_at(&self, address: u64) -> Option<Allocation> {
        let Range { base, size } = self.memory.reservation_of(address)?;
        Some(Allocation { base, size, id: base, context: 0, kind: Kind::Reserved })
    }

    /// Frees device memory of whichever context once all work of that has completed.
    pub(super) fn free_from_any(&self, base: u64) -> Result {
        let owner = self.allocations.find(base).ok_or(CUresult::INVALID_VALUE)?.context;
        self.contexts.get(owner).ok_or(CUresult::INVALID_VALUE)?.free(base)
    }

    /// Gives back what was freed in a context, and waits for what is still in use.
    fn reclaim(&self, context: u64) {
        let gone = self.allocations.take_retired(|retired| retired.context == context);
        gone.iter().flat_map(|retired| &retired.after).for_each(Point::wait);
        self.release(&gone);
    }

    /// Memory of a device, from where `take` gets it. When there is none, pools give back what they keep, then what
    /// was freed in the context is waited for.
    pub(super) fn obtain_with(
        &self,
        device: &Device,
        size: u64,
        context: u64,
        take: impl Fn() -> std::result::Result<u64, MemoryError>,
    ) -> Result<u64> {
        self.try_hard(device, size, context, take).map_err(|error| match error {
            MemoryError::OutOfMemory => CUresult::OUT_OF_MEMORY,
            MemoryError::InvalidValue => CUresult::INVALID_VALUE,
        })
    }

    /// Physical memory, as [`Driver::obtain_with`].
    pub(in crate::driver) fn create_physical(
        &self,
        device: &Device,
        size: u64,
        shared: bool,
    ) -> std::result::Result<Arc<Physical>, MemoryError> {
        self.try_hard(device, size, current_handle(), || match shared {
            true => device.memory.create_shared_physical(size),
            false => device.memory.create_physical(size),
        })
    }

    fn try_hard<T>(
        &self,
        device: &Device,
        size: u64,
        context: u64,
        take: impl Fn() -> std::result::Result<T, MemoryError>,
    ) -> std::result::Result<T, MemoryError> {
        self.sweep();
        let hopeless = size > device.memory.info().total;
        take().or_else(|error| {
            if hopeless || error == MemoryError::InvalidValue {
                return Err(error);
            }
            self.trim_pools();
            take().or_else(|_| {
                self.reclaim(context);
                self.drain_pools();
                take()
            })
        })
    }

    fn release(&self, gone: &[Retired]) {
        for retired in gone {
            // It came out of the table of live ranges, so it is live and freed only here.
            let _ = self.memory.free(retired.base);
        }
    }

    /// Frees the device memory and forgets the host ranges of a context that has ended.
    pub(super) fn free_context_memory(&self, context: u64) {
        self.reclaim(context);
        self.imports.forget_context(context);
        let mut live = self.allocations.live();
        let own: Vec<Allocation> = live.values().filter(|a| a.context == context).cloned().collect();
        for allocation in &own {
            live.remove(&allocation.base);
        }
        drop(live);
        for allocation in own {
            if allocation.is_managed() {
                self.hints().forget(allocation.base, allocation.size);
            }
            // Both come out of the table, so they exist.
            let _ = match allocation.kind {
                Kind::Host | Kind::Pinned(_) => self.memory.remove_window(allocation.base),
                Kind::Device | Kind::Managed | Kind::Imported(_) => self.memory.free(allocation.base),
                Kind::Pool(pool) => {
                    pool.give_back(allocation.base, allocation.size, Weak::new(), Vec::new());
                    Ok(())
                }
                // Reservations are not in the table.
                Kind::Reserved => Ok(()),
            };
        }
    }

    /// Lets kernels and copies use `size` bytes of this process's memory from `base` on, until they
    /// are unregistered or the context (unless it is 0) ends.
    ///
    /// # Safety
    /// As for [`vgpu_engine::memory::Memory::add_window`], until [`Driver::unregister_host`] has returned.
    pub(in crate::driver) unsafe fn register_host(&self, base: u64, size: u64, context: u64) -> Result {
        if base == 0 || size == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller makes the same promise.
        unsafe { self.memory.add_window(base, size) }.map_err(|_| CUresult::HOST_MEMORY_ALREADY_REGISTERED)?;
        self.allocations.insert(base, size, context, Kind::Host);
        Ok(())
    }

    /// Takes registered memory away after all work queued so far.
    pub(in crate::driver) fn unregister_host(&self, base: u64) -> Result {
        self.allocations.take(base, |kind| matches!(kind, Kind::Host)).ok_or(CUresult::HOST_MEMORY_NOT_REGISTERED)?;
        for context in self.contexts.all() {
            context.pending().iter().for_each(Point::wait);
        }
        self.memory.remove_window(base).map_err(|_| CUresult::HOST_MEMORY_NOT_REGISTERED)
    }
}

impl Context {
    /// Device memory, zeroed.
    pub(in crate::driver) fn allocate(&self, size: u64) -> Result<u64> {
        self.allocate_as(size, Kind::Device)
    }

    /// As [`Context::allocate`], for managed memory too.
    pub(in crate::driver) fn allocate_as(&self, size: u64, kind: Kind) -> Result<u64> {
        if size == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let memory = &self.device.memory;
        let base = self.driver.obtain_with(self.device, size, self.handle, || match kind {
            // Everybody reaches it.
            Kind::Managed => memory.allocate_for(size, DeviceSet::ALL),
            _ => memory.allocate(size),
        })?;
        self.driver.allocations.insert(base, size, self.handle, kind);
        Ok(base)
    }

    /// Frees device memory once all work of the context so far has completed. For other calls it is
    /// gone at once.
    pub(in crate::driver) fn free(&self, base: u64) -> Result {
        if base == 0 {
            return Ok(());
        }
        let allocation = self.driver.allocations.take_device(base).ok_or(CUresult::INVALID_VALUE)?;
        self.retire(allocation, Weak::new(), self.users());
        self.driver.sweep();
        Ok(())
    }

    /// What may use memory that is freed here: all work of the context, and where there are peers, of all contexts.
    fn users(&self) -> Vec<Point> {
        match self.driver.devices.len() {
            1 => self.pending(),
            _ => self.driver.contexts.all().iter().flat_map(|context| context.pending()).collect(),
        }
    }

    /// Unmaps memory of another process once all work of the context so far has completed.
    pub(super) fn free_imported(&self, base: u64) -> Result {
        let allocation = self.driver.allocations.take(base, |kind| matches!(kind, Kind::Imported(None)));
        self.retire(allocation.ok_or(CUresult::INVALID_VALUE)?, Weak::new(), self.pending());
        self.driver.sweep();
        Ok(())
    }

    /// Gives device memory back to where it came from, once `after` is reached.
    fn retire(&self, allocation: Allocation, stream: Weak<Stream>, after: Vec<Point>) {
        let Allocation { base, size, kind, .. } = allocation;
        match kind {
            Kind::Pool(pool) => return pool.give_back(base, size, stream, after),
            Kind::Managed => self.driver.hints().forget(base, size),
            _ => {}
        }
        self.driver.allocations.retired().push(Retired { base, context: self.handle, after });
    }
}

impl Target {
    /// Frees device memory in stream order.
    pub(in crate::driver) fn free(&self, base: u64) -> Result {
        let Target { context, stream } = self;
        self.refuse_captured()?;
        let allocation = context.driver.allocations.take_device(base).ok_or(CUresult::INVALID_VALUE)?;
        context.retire(allocation, Arc::downgrade(stream), context.barrier(stream));
        Ok(())
    }
}
