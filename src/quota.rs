//! A limit on what a session takes of a host GPU's memory: functions that stand in front of the
//! driver's and count. A worker serves one session, so there is one count.
//!
//! What an allocation counts for is the size that was asked for; the driver rounds up. Memory that a
//! pool keeps after a free does not count. Physical memory counts while a handle or a mapping refers to it.

#![allow(non_snake_case)]

mod arrays;
mod physical;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrays::array_bytes;
use physical::Physical;
use vgpu_protocol::cuda::{
    CUarray, CUcontext, CUmemAllocationProp, CUmemGenericAllocationHandle, CUmemoryPool, CUmipmappedArray, CUresult,
    CUstream, CUDA_ARRAY3D_DESCRIPTOR, CUDA_ARRAY_DESCRIPTOR,
};
use vgpu_protocol::DriverApi;

use crate::exchange::Resource;
use crate::worker::Totals;

static QUOTA: OnceLock<Quota> = OnceLock::new();

/// The driver behind the limit, and what it has given out.
struct Quota {
    driver: DriverApi,
    limit: u64,
    taken: Mutex<Taken>,
    /// What all sessions of the VM may have together.
    totals: OnceLock<Arc<Totals>>,
}

#[derive(Default)]
struct Taken {
    bytes: u64,
    /// Size and context by address; of an array by what the driver calls it.
    allocations: HashMap<u64, (u64, usize)>,
    physical: Physical,
}

/// The driver with a limit of `limit` bytes in front; once a process.
pub fn limit(driver: DriverApi, limit: u64) -> DriverApi {
    let mut limited = driver.clone();
    macro_rules! stand_in_front {
        ($($name:ident)*) => {$(
            limited.$name = driver.$name.and(Some($name));
        )*};
    }
    stand_in_front! {
        cuMemGetInfo_v2 cuDeviceTotalMem_v2 cuMemAlloc_v2 cuMemAllocPitch_v2 cuMemAllocAsync
        cuMemAllocFromPoolAsync cuMemFree_v2 cuMemFreeAsync cuCtxDestroy_v2 cuDevicePrimaryCtxReset_v2
        cuDevicePrimaryCtxRelease_v2 cuMemCreate cuMemRelease cuMemMap cuMemUnmap cuMemRetainAllocationHandle
        cuArrayCreate_v2 cuArray3DCreate_v2 cuArrayDestroy cuMipmappedArrayCreate cuMipmappedArrayDestroy
    }
    let _ = QUOTA.set(Quota { driver, limit, taken: Mutex::default(), totals: OnceLock::new() });
    limited
}

/// Names what is to be asked whether the VM may have more.
pub fn ask(totals: Arc<Totals>) {
    if let Some(quota) = QUOTA.get() {
        let _ = quota.totals.set(totals);
    }
}

/// What the session has, bytes; 0 if nobody counts.
pub fn taken() -> u64 {
    QUOTA.get().map_or(0, |quota| quota.taken().bytes)
}

impl Quota {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that many bytes are not too many, neither for the session nor for all of the VM.
    fn allows(&self, bytes: u64) -> bool {
        bytes <= self.limit && self.totals.get().is_none_or(|totals| totals.may_have(Resource::Memory, || bytes))
    }

    /// Allocates with `allocate` if `size` bytes are left: the address and what it really takes.
    fn allocate(&self, size: u64, allocate: impl FnOnce() -> (CUresult, u64, u64)) -> CUresult {
        {
            let mut taken = self.taken();
            match taken.bytes.checked_add(size) {
                Some(bytes) if self.allows(bytes) => taken.bytes = bytes,
                _ => return CUresult::OUT_OF_MEMORY,
            }
        }
        let context = self.current() as usize;
        let (result, address, real) = allocate();
        let mut taken = self.taken();
        taken.bytes = taken.bytes.saturating_sub(size);
        if result == CUresult::SUCCESS {
            taken.bytes = taken.bytes.saturating_add(real);
            taken.allocations.insert(address, (real, context));
        }
        result
    }

    /// Notes that an allocation is gone if the driver says so.
    fn release(&self, address: u64, result: CUresult) -> CUresult {
        if result == CUresult::SUCCESS {
            let mut taken = self.taken();
            if let Some((size, _)) = taken.allocations.remove(&address) {
                taken.bytes = taken.bytes.saturating_sub(size);
            }
        }
        result
    }

    /// Creates physical memory with `create` if `size` bytes are left.
    fn create(&self, size: u64, create: impl FnOnce() -> (CUresult, usize)) -> CUresult {
        let mut taken = self.taken();
        let Some(bytes) = taken.bytes.checked_add(size).filter(|bytes| self.allows(*bytes)) else {
            return CUresult::OUT_OF_MEMORY;
        };
        let (result, handle) = create();
        if result == CUresult::SUCCESS {
            taken.bytes = bytes;
            taken.physical.created(handle, size);
        }
        result
    }

    /// Notes what the driver did to physical memory; `change` says how many bytes that has freed.
    fn changed(&self, result: CUresult, change: impl FnOnce(&mut Physical) -> u64) -> CUresult {
        if result == CUresult::SUCCESS {
            let mut taken = self.taken();
            let freed = change(&mut taken.physical);
            taken.bytes = taken.bytes.saturating_sub(freed);
        }
        result
    }

    /// Notes that a context is gone, with all its memory.
    fn end(&self, context: usize, result: CUresult) -> CUresult {
        if result == CUresult::SUCCESS {
            let mut taken = self.taken();
            taken.allocations.retain(|_, (_, owner)| *owner != context);
            let allocated: u64 = taken.allocations.values().map(|(size, _)| *size).sum();
            taken.bytes = allocated.saturating_add(taken.physical.bytes());
        }
        result
    }

    fn current(&self) -> CUcontext {
        let mut context = std::ptr::null_mut();
        if let Some(get) = self.driver.cuCtxGetCurrent {
            // SAFETY: the output is a local.
            unsafe { get(&mut context) };
        }
        context
    }

    /// Whether a device's primary context exists.
    fn is_active(&self, dev: i32) -> bool {
        let (mut flags, mut active) = (0, 0);
        if let Some(state) = self.driver.cuDevicePrimaryCtxGetState {
            // SAFETY: the outputs are locals.
            unsafe { state(dev, &mut flags, &mut active) };
        }
        active != 0
    }

    /// The context of a device that is about to be reset or released.
    fn primary(&self, dev: i32) -> usize {
        if !self.is_active(dev) {
            return 0;
        }
        let (mut context, mut counted) = (std::ptr::null_mut(), CUresult::NOT_FOUND);
        if let Some(retain) = self.driver.cuDevicePrimaryCtxRetain {
            // SAFETY: the output is a local.
            counted = unsafe { retain(&mut context, dev) };
        }
        if let (CUresult::SUCCESS, Some(release)) = (counted, self.driver.cuDevicePrimaryCtxRelease_v2) {
            // SAFETY: no pointers are involved.
            unsafe { release(dev) };
        }
        context as usize
    }
}

/// Defines functions that are called as the driver's, with the driver's function of that name at hand.
macro_rules! functions {
    ($($name:ident($($arg:ident: $ty:ty),*) |$quota:ident, $call:ident| $body:block)*) => {$(
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            let Some($quota) = QUOTA.get() else { return CUresult::NOT_INITIALIZED };
            let Some($call) = $quota.driver.$name else { return CUresult::NOT_SUPPORTED };
            $body
        }
    )*};
}

functions! {
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) |quota, call| {
        // SAFETY: the worker passes its locals.
        unsafe {
            let result = call(free, total);
            if result == CUresult::SUCCESS {
                let left = quota.limit.saturating_sub(quota.taken().bytes);
                *free = (*free).min(usize::try_from(left).unwrap_or(usize::MAX));
                *total = (*total).min(usize::try_from(quota.limit).unwrap_or(usize::MAX));
            }
            result
        }
    }
    cuDeviceTotalMem_v2(bytes: *mut usize, dev: i32) |quota, call| {
        // SAFETY: the worker passes its locals.
        unsafe {
            let result = call(bytes, dev);
            if result == CUresult::SUCCESS {
                *bytes = (*bytes).min(usize::try_from(quota.limit).unwrap_or(usize::MAX));
            }
            result
        }
    }
    cuMemAlloc_v2(dptr: *mut u64, size: usize) |quota, call| {
        // SAFETY: the worker passes its locals.
        quota.allocate(size as u64, || unsafe { (call(dptr, size), *dptr, size as u64) })
    }
    cuMemAllocPitch_v2(dptr: *mut u64, pitch: *mut usize, width: usize, height: usize, element: u32) |quota, call| {
        let least = (width as u64).saturating_mul(height as u64);
        quota.allocate(least, || {
            // SAFETY: the worker passes its locals.
            let (result, address, row) = unsafe { (call(dptr, pitch, width, height, element), *dptr, *pitch) };
            (result, address, (row as u64).saturating_mul(height as u64))
        })
    }
    cuMemAllocAsync(dptr: *mut u64, size: usize, stream: CUstream) |quota, call| {
        // SAFETY: the worker passes its locals, and a stream of its ledger.
        quota.allocate(size as u64, || unsafe { (call(dptr, size, stream), *dptr, size as u64) })
    }
    cuMemAllocFromPoolAsync(dptr: *mut u64, size: usize, pool: CUmemoryPool, stream: CUstream) |quota, call| {
        // SAFETY: the worker passes its locals, and objects of its ledger.
        quota.allocate(size as u64, || unsafe { (call(dptr, size, pool, stream), *dptr, size as u64) })
    }
    cuMemFree_v2(dptr: u64) |quota, call| {
        // SAFETY: no pointers are involved.
        quota.release(dptr, unsafe { call(dptr) })
    }
    cuMemFreeAsync(dptr: u64, stream: CUstream) |quota, call| {
        // SAFETY: the stream is of the worker's ledger.
        quota.release(dptr, unsafe { call(dptr, stream) })
    }
    cuMemCreate(
        handle: *mut CUmemGenericAllocationHandle, size: usize, prop: *const CUmemAllocationProp, flags: u64
    ) |quota, call| {
        // SAFETY: the worker passes its locals.
        quota.create(size as u64, || unsafe { (call(handle, size, prop, flags), *handle as usize) })
    }
    cuMemRelease(handle: CUmemGenericAllocationHandle) |quota, call| {
        // SAFETY: the handle is of the worker's ledger.
        quota.changed(unsafe { call(handle) }, |physical| physical.released(handle as usize))
    }
    cuMemMap(
        ptr: u64, size: usize, offset: usize, handle: CUmemGenericAllocationHandle, flags: u64
    ) |quota, call| {
        // SAFETY: the handle is of the worker's ledger; the driver checks the address.
        quota.changed(unsafe { call(ptr, size, offset, handle, flags) }, |physical| {
            physical.mapped(ptr, handle as usize);
            0
        })
    }
    cuMemUnmap(ptr: u64, size: usize) |quota, call| {
        // SAFETY: no pointers are involved; the driver checks the address.
        quota.changed(unsafe { call(ptr, size) }, |physical| physical.unmapped(ptr, size as u64))
    }
    cuMemRetainAllocationHandle(handle: *mut CUmemGenericAllocationHandle, addr: *mut c_void) |quota, call| {
        // SAFETY: the worker passes a local and an address that the driver checks.
        let (result, retained) = unsafe { (call(handle, addr), *handle as usize) };
        quota.changed(result, |physical| {
            physical.retained(retained, addr.addr() as u64);
            0
        })
    }
    cuCtxDestroy_v2(ctx: CUcontext) |quota, call| {
        // SAFETY: the context is of the worker's ledger.
        quota.end(ctx as usize, unsafe { call(ctx) })
    }
    cuDevicePrimaryCtxReset_v2(dev: i32) |quota, call| {
        let context = quota.primary(dev);
        // SAFETY: no pointers are involved.
        quota.end(context, unsafe { call(dev) })
    }
    cuDevicePrimaryCtxRelease_v2(dev: i32) |quota, call| {
        let context = quota.primary(dev);
        // SAFETY: no pointers are involved.
        let result = unsafe { call(dev) };
        if quota.is_active(dev) { result } else { quota.end(context, result) }
    }
    cuArrayCreate_v2(array: *mut CUarray, wanted: *const CUDA_ARRAY_DESCRIPTOR) |quota, call| {
        // SAFETY: the worker passes its locals.
        let bytes = array_bytes(&CUDA_ARRAY3D_DESCRIPTOR::from(unsafe { *wanted }), 1);
        // SAFETY: as above.
        quota.allocate(bytes, || unsafe { (call(array, wanted), *array as u64, bytes) })
    }
    cuArray3DCreate_v2(array: *mut CUarray, wanted: *const CUDA_ARRAY3D_DESCRIPTOR) |quota, call| {
        // SAFETY: the worker passes its locals.
        let bytes = array_bytes(unsafe { &*wanted }, 1);
        // SAFETY: as above.
        quota.allocate(bytes, || unsafe { (call(array, wanted), *array as u64, bytes) })
    }
    cuArrayDestroy(array: CUarray) |quota, call| {
        // SAFETY: the array is of the worker's ledger.
        quota.release(array as u64, unsafe { call(array) })
    }
    cuMipmappedArrayCreate(
        array: *mut CUmipmappedArray, wanted: *const CUDA_ARRAY3D_DESCRIPTOR, levels: u32
    ) |quota, call| {
        // SAFETY: the worker passes its locals.
        let bytes = array_bytes(unsafe { &*wanted }, levels);
        // SAFETY: as above.
        quota.allocate(bytes, || unsafe { (call(array, wanted, levels), *array as u64, bytes) })
    }
    cuMipmappedArrayDestroy(array: CUmipmappedArray) |quota, call| {
        // SAFETY: the array is of the worker's ledger.
        quota.release(array as u64, unsafe { call(array) })
    }
}
