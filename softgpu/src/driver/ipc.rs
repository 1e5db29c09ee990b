//! Memory, events and pools of several processes.

use std::ffi::c_void;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};

use vgpu_engine::memory::{SharedFile, SharedKind};
use vgpu_protocol::cuda::{
    CUevent, CUipcEventHandle, CUipcMemHandle, CUmemGenericAllocationHandle, CUmemPoolPtrExportData, CUmemoryPool,
    CUresult, HANDLE_TYPE_FILE_DESCRIPTOR, IPC_LAZY_PEER_ACCESS,
};

use super::abi::{duplicate, guard, out, values};
use super::core::{current, driver, Event, Pool, Result};
use super::event::event_of;
use super::vmm::{code, physical};

/// A handle of memory of `cuMemAlloc` for other processes.
pub unsafe extern "C" fn cuIpcGetMemHandle(pHandle: *mut CUipcMemHandle, dptr: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pHandle) }?;
        place.write(CUipcMemHandle { reserved: current()?.export_memory(dptr)? });
        Ok(())
    })
}

/// As `cuIpcOpenMemHandle_v2`.
pub unsafe extern "C" fn cuIpcOpenMemHandle(pdptr: *mut u64, handle: CUipcMemHandle, Flags: u32) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuIpcOpenMemHandle_v2(pdptr, handle, Flags) }
}

/// Maps memory of another process; once in a process, however often it is opened.
pub unsafe extern "C" fn cuIpcOpenMemHandle_v2(pdptr: *mut u64, handle: CUipcMemHandle, Flags: u32) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pdptr) }?;
        if Flags != IPC_LAZY_PEER_ACCESS {
            return Err(CUresult::INVALID_VALUE);
        }
        place.write(current()?.import_memory(&handle.reserved)?);
        Ok(())
    })
}

/// Ends one opening of memory of another process.
pub unsafe extern "C" fn cuIpcCloseMemHandle(dptr: u64) -> CUresult {
    guard(|| current()?.close_memory(dptr))
}

/// A handle of an event that was created for several processes.
pub unsafe extern "C" fn cuIpcGetEventHandle(pHandle: *mut CUipcEventHandle, event: CUevent) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pHandle) }?;
        current()?;
        place.write(CUipcEventHandle { reserved: event_of(event)?.export()? });
        Ok(())
    })
}

/// An event of another process, which has no time.
pub unsafe extern "C" fn cuIpcOpenEventHandle(phEvent: *mut CUevent, handle: CUipcEventHandle) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(phEvent) }?;
        place.write(Event::import(&current()?, &handle.reserved)? as CUevent);
        Ok(())
    })
}

/// Only file descriptors leave the process.
fn check_type(kind: i32, flags: u64) -> Result {
    match (kind, flags) {
        (HANDLE_TYPE_FILE_DESCRIPTOR, 0) => Ok(()),
        (2 | 4 | 8, 0) => Err(CUresult::NOT_SUPPORTED),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// A descriptor of the caller's own for a file.
fn give(file: Option<&SharedFile>) -> Result<RawFd> {
    let file = file.ok_or(CUresult::INVALID_VALUE)?;
    Ok(file.as_fd().try_clone_to_owned().map_err(|_| CUresult::OPERATING_SYSTEM)?.into_raw_fd())
}

/// The descriptor that the caller passes as a pointer, which stays the caller's.
fn take(handle: *mut c_void) -> Result<OwnedFd> {
    RawFd::try_from(handle.addr()).ok().and_then(duplicate).ok_or(CUresult::INVALID_VALUE)
}

/// A file descriptor by which another process gets physical memory that was created for that.
pub unsafe extern "C" fn cuMemExportToShareableHandle(
    shareableHandle: *mut c_void,
    handle: CUmemGenericAllocationHandle,
    handleType: i32,
    flags: u64,
) -> CUresult {
    guard(|| {
        // SAFETY: null or a place for a descriptor, by the driver API's contract.
        let place = unsafe { out(shareableHandle.cast::<RawFd>()) }?;
        check_type(handleType, flags)?;
        place.write(give(physical(handle)?.file().map(AsRef::as_ref))?);
        Ok(())
    })
}

/// Physical memory of another process, or further handles of this one's own.
pub unsafe extern "C" fn cuMemImportFromShareableHandle(
    handle: *mut CUmemGenericAllocationHandle,
    osHandle: *mut c_void,
    shHandleType: i32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(handle) }?;
        check_type(shHandleType, 0)?;
        let driver = driver()?;
        let file = SharedFile::open(take(osHandle)?, SharedKind::Physical).ok_or(CUresult::INVALID_VALUE)?;
        let known = driver.physical.all().into_iter().find(|known| known.file().is_some_and(|f| f.id() == file.id()));
        let physical = match known {
            Some(known) => known,
            None => driver.device_of_file(&file)?.memory.adopt_physical(file).map_err(code)?,
        };
        place.write(driver.physical.insert(physical) as CUmemGenericAllocationHandle);
        Ok(())
    })
}

/// A file descriptor by which another process gets a pool that was created for that.
pub unsafe extern "C" fn cuMemPoolExportToShareableHandle(
    handle_out: *mut c_void,
    pool: CUmemoryPool,
    handleType: i32,
    flags: u64,
) -> CUresult {
    guard(|| {
        // SAFETY: null or a place for a descriptor, by the driver API's contract.
        let place = unsafe { out(handle_out.cast::<RawFd>()) }?;
        let pool = driver()?.pool(pool as u64)?;
        check_type(handleType, flags)?;
        place.write(give(pool.file().filter(|_| !pool.is_imported()).map(AsRef::as_ref))?);
        Ok(())
    })
}

/// A pool of another process: only memory that was allocated there can be had from it.
pub unsafe extern "C" fn cuMemPoolImportFromShareableHandle(
    pool_out: *mut CUmemoryPool,
    handle: *mut c_void,
    handleType: i32,
    flags: u64,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(pool_out) }?;
        check_type(handleType, flags)?;
        place.write(driver()?.import_pool(take(handle)?)? as CUmemoryPool);
        Ok(())
    })
}

/// What a process that has the pool needs to have an allocation of it.
pub unsafe extern "C" fn cuMemPoolExportPointer(shareData_out: *mut CUmemPoolPtrExportData, ptr: u64) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(shareData_out) }?;
        place.write(CUmemPoolPtrExportData { reserved: Pool::export_pointer(ptr)? });
        Ok(())
    })
}

/// An allocation of a pool of another process; `cuMemFree` and `cuMemFreeAsync` end it here.
pub unsafe extern "C" fn cuMemPoolImportPointer(
    ptr_out: *mut u64,
    pool: CUmemoryPool,
    shareData: *mut CUmemPoolPtrExportData,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let place = unsafe { out(ptr_out) }?;
        // SAFETY: null or readable, by the driver API's contract.
        let [data] = (unsafe { values(shareData.cast_const(), 1) })? else { return Err(CUresult::INVALID_VALUE) };
        let pool = driver()?.pool(pool as u64)?;
        place.write(pool.import_pointer(&*current()?, &data.reserved)?);
        Ok(())
    })
}
