//! Memory, events and pools that several processes of the guest use.

use std::ffi::c_void;
use std::os::fd::RawFd;

use vgpu_protocol::cmd::{
    VgpuIpcGetEvent, VgpuIpcGetMem, VgpuIpcOpenEvent, VgpuIpcOpenMem, VgpuMemExport, VgpuMemImport, VgpuPoolExport,
    VgpuPoolExportPointer, VgpuPoolGetAttribute, VgpuPoolImport, VgpuPoolImportPointer,
};
use vgpu_protocol::cuda::{
    pool_attribute, CUevent, CUipcEventHandle, CUipcMemHandle, CUmemGenericAllocationHandle, CUmemPoolPtrExportData,
    CUmemoryPool, CUresult, IpcToken, HANDLE_TYPE_FILE_DESCRIPTOR, IPC_LAZY_PEER_ACCESS,
};
use vgpu_protocol::{Handle, HandleKind};

use super::memory::note;
use super::pool::pool_handle;
use super::vmm::physical;
use super::Result;
use crate::driver::driver;
use crate::exports::raw;
use crate::ipc::{from_file, from_handle, to_file, to_handle};
use crate::memory::Kind;
use crate::stub::{self, check_out, give, input};
use crate::vmm::Physical;
use crate::{context, trace};

/// Only memory of `cuMemAlloc` has handles of this kind.
pub unsafe fn cuIpcGetMemHandle(handle: *mut CUipcMemHandle, dptr: u64) -> Result {
    let driver = driver()?;
    context::required()?;
    check_out(handle)?;
    let range = driver.memory.find(dptr).filter(|range| range.kind == Kind::Device).ok_or(CUresult::INVALID_VALUE)?;
    let reply = stub::call(&VgpuIpcGetMem { ptr: range.start })?;
    driver.exported.add(range.start);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(handle, CUipcMemHandle { reserved: to_handle(reply.token) }) }
}

pub unsafe fn cuIpcOpenMemHandle(dptr: *mut u64, handle: CUipcMemHandle, flags: u32) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuIpcOpenMemHandle_v2(dptr, handle, flags) }
}

pub unsafe fn cuIpcOpenMemHandle_v2(dptr: *mut u64, handle: CUipcMemHandle, flags: u32) -> Result {
    let context = context::required()?;
    check_out(dptr)?;
    if flags != IPC_LAZY_PEER_ACCESS {
        return Err(CUresult::INVALID_VALUE);
    }
    let token = from_handle(handle.reserved).ok_or(CUresult::INVALID_HANDLE)?;
    let reply = stub::create(&VgpuIpcOpenMem { token })?;
    driver()?.memory.open(reply.ptr, reply.size, context.handle, context.device);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(dptr, reply.ptr) }
}

pub unsafe fn cuIpcCloseMemHandle(dptr: u64) -> Result {
    let driver = driver()?;
    context::required()?;
    if !driver.memory.is_open(dptr) {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: no pointers are involved.
    unsafe { raw::cuIpcCloseMemHandle(dptr)? };
    driver.memory.close(dptr);
    Ok(())
}

pub unsafe fn cuIpcGetEventHandle(handle: *mut CUipcEventHandle, event: CUevent) -> Result {
    context::required()?;
    check_out(handle)?;
    let event = stub::handle(HandleKind::Event, event as u64)?;
    let reply = stub::call(&VgpuIpcGetEvent { event })?;
    driver()?.exported.add(event.0);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(handle, CUipcEventHandle { reserved: to_handle(reply.token) }) }
}

pub unsafe fn cuIpcOpenEventHandle(event: *mut CUevent, handle: CUipcEventHandle) -> Result {
    context::required()?;
    check_out(event)?;
    let token = from_handle(handle.reserved).ok_or(CUresult::INVALID_HANDLE)?;
    let minted = stub::mint(HandleKind::Event)?;
    stub::create(&VgpuIpcOpenEvent { event: minted, token }).inspect_err(|_| stub::forget(minted))?;
    driver()?.shared_events.add(minted.0);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(event, minted.0 as CUevent) }
}

/// What is exported is a file descriptor: windows and fabrics are not where a guest runs.
fn check_type(name: &'static str, kind: i32, flags: u64) -> Result {
    match (kind, flags) {
        (HANDLE_TYPE_FILE_DESCRIPTOR, 0) => Ok(()),
        (2 | 4 | 8, 0) => {
            trace::refused(name);
            Err(CUresult::NOT_SUPPORTED)
        }
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// The token in the descriptor that the caller passes as a pointer, which stays the caller's.
fn take(handle: *mut c_void) -> std::result::Result<IpcToken, CUresult> {
    RawFd::try_from(handle.addr()).ok().and_then(from_file).ok_or(CUresult::INVALID_VALUE)
}

pub unsafe fn cuMemExportToShareableHandle(
    out: *mut c_void,
    handle: CUmemGenericAllocationHandle,
    kind: i32,
    flags: u64,
) -> Result {
    check_out(out)?;
    check_type("cuMemExportToShareableHandle as anything but a descriptor", kind, flags)?;
    if !physical(handle)?.shareable {
        return Err(CUresult::INVALID_VALUE);
    }
    let reply = stub::create(&VgpuMemExport { handle: Handle(handle as u64) })?;
    // SAFETY: the caller vouches for a place for a descriptor.
    unsafe { give(out.cast::<RawFd>(), to_file(reply.token)?) }
}

pub unsafe fn cuMemImportFromShareableHandle(
    handle: *mut CUmemGenericAllocationHandle,
    descriptor: *mut c_void,
    kind: i32,
) -> Result {
    let driver = driver()?;
    check_out(handle)?;
    check_type("cuMemImportFromShareableHandle of anything but a descriptor", kind, 0)?;
    let token = take(descriptor)?;
    let minted = stub::mint(HandleKind::MemGenericAllocationHandle)?;
    let reply = stub::create(&VgpuMemImport { handle: minted, token }).inspect_err(|_| stub::forget(minted))?;
    driver.vmm.created(minted, Physical { device: reply.dev, id: driver.memory.next_id(), shareable: true });
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(handle, minted.0 as CUmemGenericAllocationHandle) }
}

pub unsafe fn cuMemPoolExportToShareableHandle(out: *mut c_void, pool: CUmemoryPool, kind: i32, flags: u64) -> Result {
    stub::ready()?;
    check_out(out)?;
    let pool = pool_handle(pool)?;
    check_type("cuMemPoolExportToShareableHandle as anything but a descriptor", kind, flags)?;
    let reply = stub::create(&VgpuPoolExport { pool })?;
    // SAFETY: the caller vouches for a place for a descriptor.
    unsafe { give(out.cast::<RawFd>(), to_file(reply.token)?) }
}

pub unsafe fn cuMemPoolImportFromShareableHandle(
    pool: *mut CUmemoryPool,
    descriptor: *mut c_void,
    kind: i32,
    flags: u64,
) -> Result {
    let driver = driver()?;
    check_out(pool)?;
    check_type("cuMemPoolImportFromShareableHandle of anything but a descriptor", kind, flags)?;
    let token = take(descriptor)?;
    let minted = stub::mint(HandleKind::MemoryPool)?;
    stub::create(&VgpuPoolImport { pool: minted, token }).inspect_err(|_| stub::forget(minted))?;
    let command = VgpuPoolGetAttribute { pool: minted, attribute: pool_attribute::LOCATION_ID };
    // Drivers before CUDA 13 do not tell where a pool is.
    let here = || context::current().map_or(0, |context| context.device);
    let device = stub::create(&command).map_or_else(|_| here(), |reply| reply.value as i32);
    driver.pools.created(minted, device, true);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(pool, minted.0 as CUmemoryPool) }
}

pub unsafe fn cuMemPoolExportPointer(data: *mut CUmemPoolPtrExportData, ptr: u64) -> Result {
    let driver = driver()?;
    check_out(data)?;
    let range = driver.memory.find(ptr).ok_or(CUresult::INVALID_VALUE)?;
    if !matches!(range.kind, Kind::Pool(pool) if driver.pools.is_shareable(pool)) {
        return Err(CUresult::INVALID_VALUE);
    }
    let reply = stub::create(&VgpuPoolExportPointer { ptr: range.start })?;
    driver.exported.add(range.start);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(data, CUmemPoolPtrExportData { reserved: to_handle(reply.token) }) }
}

pub unsafe fn cuMemPoolImportPointer(ptr: *mut u64, pool: CUmemoryPool, data: *mut CUmemPoolPtrExportData) -> Result {
    let context = context::required()?;
    check_out(ptr)?;
    let pool = pool_handle(pool)?;
    // SAFETY: the caller vouches for the pointer.
    let data = unsafe { input(data.cast_const()) }?;
    let token = from_handle(data.reserved).ok_or(CUresult::INVALID_VALUE)?;
    let reply = stub::create(&VgpuPoolImportPointer { pool, token })?;
    note(context, reply.ptr, reply.size as usize, Kind::Pool(pool))?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(ptr, reply.ptr) }
}
