//! Memory pools: device memory that is allocated and freed in stream order. What is freed stays with
//! its pool until it is allocated again, and goes back to the device when a synchronisation finds more
//! than the release threshold.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vgpu_protocol::cuda::{pool_attribute as attr, CUresult, ALLOCATION_PINNED, LOCATION_DEVICE};

use super::allocation::Kind;
use super::queue::Point;
use super::{Device, Driver, Result, Stream, Target};
use vgpu_engine::memory::{DeviceSet, SharedFile, SharedKind, GRANULE};

/// A pool of a device.
pub(in crate::driver) struct Pool {
    pub(in crate::driver) handle: u64,
    driver: &'static Driver,
    pub(in crate::driver) device: &'static Device,
    is_default: bool,
    /// Most bytes in use at a time; 0 for no limit of its own.
    max_size: u64,
    /// By what other processes know it; of those, the one that has created it alone allocates.
    file: Option<Arc<SharedFile>>,
    imported: bool,
    /// What is freed goes back to the device at once.
    ended: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// The devices that have access.
    reach: DeviceSet,
    cached: Vec<Block>,
    /// Bytes taken from the device: in use or cached.
    reserved: u64,
    reserved_high: u64,
    used: u64,
    used_high: u64,
    threshold: u64,
    /// The three `REUSE_*` attributes.
    reuse: [i32; 3],
}

/// Freed memory of a pool.
struct Block {
    base: u64,
    len: u64,
    /// The stream that freed it may use it again at once.
    stream: Weak<Stream>,
    /// When it is free for everybody.
    after: Vec<Point>,
}

impl Block {
    fn is_free(&self) -> bool {
        self.after.iter().all(Point::reached)
    }
}

/// The device's pools.
#[derive(Default)]
pub(in crate::driver) struct DevicePools {
    default: Option<Arc<Pool>>,
    current: Option<Arc<Pool>>,
}

impl Pool {
    fn new(
        driver: &'static Driver,
        device: &'static Device,
        is_default: bool,
        max_size: u64,
        file: Option<Arc<SharedFile>>,
        imported: bool,
    ) -> Arc<Pool> {
        let state = State {
            reach: DeviceSet::of(device.index()),
            cached: Vec::new(),
            reserved: 0,
            reserved_high: 0,
            used: 0,
            used_high: 0,
            threshold: 0,
            reuse: [1; 3],
        };
        let make = |handle| {
            let (ended, state) = (AtomicBool::new(false), Mutex::new(state));
            Arc::new(Pool { handle, driver, device, is_default, max_size, file, imported, ended, state })
        };
        driver.pools.insert_with(make).1
    }

    /// Memory for work that follows the stream's present work; the address is valid at once.
    pub(in crate::driver) fn allocate(self: &Arc<Self>, target: &Target, size: u64) -> Result<u64> {
        if self.imported {
            return Err(CUresult::INVALID_VALUE);
        }
        if size == 0 {
            return Ok(0);
        }
        let len = size.checked_next_multiple_of(GRANULE).ok_or(CUresult::OUT_OF_MEMORY)?;
        let memory = &self.device.memory;
        let reach = self.reach();
        let base = match self.take_cached(len, &target.stream)? {
            Some(base) => base,
            None => {
                let take = || memory.allocate_for(len, reach);
                let taken = self.driver.obtain_with(self.device, len, target.context.handle, take);
                let mut state = self.state();
                match taken {
                    Ok(base) => {
                        state.reserved += len;
                        state.reserved_high = state.reserved_high.max(state.reserved);
                        base
                    }
                    Err(error) => {
                        state.used -= len;
                        return Err(error);
                    }
                }
            }
        };
        self.driver.allocations.insert(base, size, target.context.handle, Kind::Pool(self.clone()));
        let now = self.reach();
        if now != reach {
            // It was in nobody's table when access was set; it is live.
            let _ = memory.set_reach(base, now);
        }
        Ok(base)
    }

    /// The devices that have access to the pool's memory.
    pub(in crate::driver) fn reach(&self) -> DeviceSet {
        self.state().reach
    }

    /// Gives devices access to all of the pool's memory, or takes it from them.
    pub(in crate::driver) fn set_access(self: &Arc<Self>, changes: &[(usize, bool)]) {
        let mut state = self.state();
        let before = state.reach;
        changes.iter().for_each(|(device, has)| state.reach.set(*device, *has));
        if state.reach == before {
            return;
        }
        let used = self.driver.allocations.of_pool(self);
        for base in state.cached.iter().map(|block| block.base).chain(used) {
            // What has been given back to the device meanwhile needs nothing.
            let _ = self.device.memory.set_reach(base, state.reach);
        }
    }

    /// Counts `len` bytes as used; they come from what was freed if some of that fits.
    fn take_cached(&self, len: u64, stream: &Arc<Stream>) -> Result<Option<u64>> {
        let mut state = self.state();
        let used = state.used.checked_add(len).ok_or(CUresult::OUT_OF_MEMORY)?;
        if self.max_size > 0 && used > self.max_size {
            return Err(CUresult::OUT_OF_MEMORY);
        }
        state.used = used;
        state.used_high = state.used_high.max(used);
        let opportunistic = state.reuse[1] != 0;
        let own = |block: &Block| std::ptr::eq(block.stream.as_ptr(), Arc::as_ptr(stream));
        let fits = |block: &Block| block.len == len && (own(block) || (opportunistic && block.is_free()));
        let found = state.cached.iter().rposition(fits);
        Ok(found.map(|i| state.cached.swap_remove(i).base))
    }

    /// Takes back what was allocated here; it is free once `after` is reached.
    pub(super) fn give_back(&self, base: u64, size: u64, stream: Weak<Stream>, after: Vec<Point>) {
        let len = size.next_multiple_of(GRANULE);
        let mut state = self.state();
        state.used -= len;
        state.cached.push(Block { base, len, stream, after });
        let keep = self.keep(&state);
        if state.reserved > keep {
            self.driver.pool_excess.store(true, Ordering::Release);
        }
    }

    fn keep(&self, state: &State) -> u64 {
        if self.ended.load(Ordering::Acquire) {
            0
        } else {
            state.threshold
        }
    }

    /// Gives free memory back to the device while more than `keep` bytes are reserved.
    pub(in crate::driver) fn trim(&self, keep: u64) {
        let mut gone = Vec::new();
        let mut state = self.state();
        let State { cached, reserved, .. } = &mut *state;
        cached.retain(|block| {
            let stays = *reserved <= keep || !block.is_free();
            if !stays {
                *reserved -= block.len;
                gone.push(block.base);
            }
            stays
        });
        drop(state);
        for base in gone {
            // It came out of the cache, so it is live and freed only here.
            let _ = self.driver.memory.free(base);
        }
    }

    /// Gives back what the release threshold does not keep; whether more will follow.
    fn release_excess(&self) -> bool {
        let keep = self.keep(&self.state());
        self.trim(keep);
        let state = self.state();
        state.reserved > keep && !state.cached.is_empty()
    }

    fn pending(&self) -> Vec<Point> {
        self.state().cached.iter().flat_map(|block| block.after.clone()).collect()
    }

    /// `cuMemPoolDestroy`: what is still allocated stays so until it is freed.
    pub(in crate::driver) fn destroy(self: &Arc<Self>) -> Result {
        if self.is_default {
            return Err(CUresult::INVALID_VALUE);
        }
        self.driver.pools.remove(self.handle).ok_or(CUresult::INVALID_VALUE)?;
        self.device.pools().current.take_if(|current| Arc::ptr_eq(current, self));
        self.ended.store(true, Ordering::Release);
        self.driver.ended_pools().push(self.clone());
        self.driver.pool_excess.store(true, Ordering::Release);
        self.driver.release_excess();
        Ok(())
    }

    /// By what other processes know the pool, if they may.
    pub(in crate::driver) fn file(&self) -> Option<&Arc<SharedFile>> {
        self.file.as_ref()
    }

    /// Whether another process has created it.
    pub(in crate::driver) fn is_imported(&self) -> bool {
        self.imported
    }

    /// An attribute's value.
    pub(in crate::driver) fn attribute(&self, attribute: i32) -> Result<u64> {
        let state = self.state();
        Ok(match attribute {
            attr::REUSE_FOLLOW_EVENT_DEPENDENCIES..=attr::REUSE_ALLOW_INTERNAL_DEPENDENCIES => {
                let flag = state.reuse.get((attribute - 1) as usize).copied().unwrap_or_default();
                flag as u32 as u64
            }
            attr::RELEASE_THRESHOLD => state.threshold,
            attr::RESERVED_MEM_CURRENT => state.reserved,
            attr::RESERVED_MEM_HIGH => state.reserved_high,
            attr::USED_MEM_CURRENT => state.used,
            attr::USED_MEM_HIGH => state.used_high,
            attr::ALLOCATION_TYPE => ALLOCATION_PINNED as u64,
            attr::LOCATION_TYPE => LOCATION_DEVICE as u64,
            attr::EXPORT_HANDLE_TYPES => self.file.is_some().into(),
            attr::LOCATION_ID => self.device.ordinal as u64,
            attr::HW_DECOMPRESS_ENABLED => 0,
            attr::MAX_POOL_SIZE if self.max_size == 0 => self.device.memory.info().total,
            attr::MAX_POOL_SIZE => self.max_size,
            _ => return Err(CUresult::INVALID_VALUE),
        })
    }

    /// Sets an attribute; high-water marks can only be reset, to what is reserved or used now.
    pub(in crate::driver) fn set_attribute(&self, attribute: i32, value: u64) -> Result {
        let mut state = self.state();
        match (attribute, value) {
            (attr::REUSE_FOLLOW_EVENT_DEPENDENCIES..=attr::REUSE_ALLOW_INTERNAL_DEPENDENCIES, _) => {
                if let Some(flag) = state.reuse.get_mut((attribute - 1) as usize) {
                    *flag = value as u32 as i32;
                }
            }
            (attr::RELEASE_THRESHOLD, _) => {
                state.threshold = value;
                self.driver.pool_excess.store(true, Ordering::Release);
            }
            (attr::RESERVED_MEM_HIGH, 0) => state.reserved_high = state.reserved,
            (attr::USED_MEM_HIGH, 0) => state.used_high = state.used,
            _ => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// A new pool, which other processes may import or not.
    pub(in crate::driver) fn create_pool(
        &'static self,
        device: &'static Device,
        max_size: u64,
        shared: bool,
    ) -> Result<u64> {
        let file = shared.then(|| SharedFile::create(SharedKind::Pool, device.index(), 0)).transpose();
        Ok(Pool::new(self, device, false, max_size, file.map_err(|_| CUresult::OUT_OF_MEMORY)?, false).handle)
    }

    /// A pool of another process.
    pub(in crate::driver) fn import_pool(&'static self, descriptor: OwnedFd) -> Result<u64> {
        let file = SharedFile::open(descriptor, SharedKind::Pool).ok_or(CUresult::INVALID_VALUE)?;
        let device = self.device_of_file(&file)?;
        Ok(Pool::new(self, device, false, 0, Some(file), true).handle)
    }

    /// The device on which the memory of another process lies.
    pub(in crate::driver) fn device_of_file(&self, file: &SharedFile) -> Result<&Device> {
        self.devices.get(file.device()).ok_or(CUresult::INVALID_VALUE)
    }

    /// The pool of a handle.
    pub(in crate::driver) fn pool(&self, handle: u64) -> Result<Arc<Pool>> {
        self.pools.get(handle).ok_or(CUresult::INVALID_VALUE)
    }

    /// A device's default pool.
    pub(in crate::driver) fn default_pool(&'static self, device: &'static Device) -> Arc<Pool> {
        let make = || Pool::new(self, device, true, 0, None, false);
        device.pools().default.get_or_insert_with(make).clone()
    }

    /// The pool of a device's allocations that name none.
    pub(in crate::driver) fn current_pool(&'static self, device: &'static Device) -> Arc<Pool> {
        let current = device.pools().current.clone();
        current.unwrap_or_else(|| self.default_pool(device))
    }

    /// After a synchronisation: gives back what the pools hold beyond their release thresholds.
    pub(in crate::driver) fn release_excess(&self) {
        if !self.pool_excess.swap(false, Ordering::AcqRel) {
            return;
        }
        let remaining = self.all_pools().iter().filter(|pool| pool.release_excess()).count();
        self.ended_pools().retain(|pool| pool.state().reserved > 0);
        if remaining > 0 {
            self.pool_excess.store(true, Ordering::Release);
        }
    }

    /// Gives back all that the pools do not use at present.
    pub(super) fn trim_pools(&self) {
        self.all_pools().iter().for_each(|pool| pool.trim(0));
    }

    /// As [`Driver::trim_pools`], once what was freed so far is free.
    pub(super) fn drain_pools(&self) {
        let pools = self.all_pools();
        pools.iter().flat_map(|pool| pool.pending()).for_each(|point| point.wait());
        pools.iter().for_each(|pool| pool.trim(0));
    }

    fn all_pools(&self) -> Vec<Arc<Pool>> {
        let mut pools = self.pools.all();
        pools.extend(self.ended_pools().iter().cloned());
        pools
    }

    fn ended_pools(&self) -> MutexGuard<'_, Vec<Arc<Pool>>> {
        self.ended_pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    /// Sets the pool of allocations that name none.
    pub(in crate::driver) fn set_current_pool(&self, pool: Arc<Pool>) {
        self.pools().current = Some(pool);
    }

    fn pools(&self) -> MutexGuard<'_, DevicePools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
