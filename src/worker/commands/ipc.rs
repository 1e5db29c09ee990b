//! Memory, events and pools that several sessions of a VM use. Each has the semantics of the driver's own; a
//! token takes the place of what the driver would hand out.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, RawFd};

use vgpu_protocol::cuda::{
    CUevent, CUipcEventHandle, CUipcMemHandle, CUmemAllocationProp, CUmemPoolPtrExportData, CUresult,
    HANDLE_TYPE_FILE_DESCRIPTOR, IPC_HANDLE_SIZE, IPC_LAZY_PEER_ACCESS,
};
use vgpu_protocol::{cmd, Handle, HandleKind};

use super::{pool, vmm};
use crate::exchange::{Kind, Shared};
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

const NOTHING: [u8; IPC_HANDLE_SIZE] = [0; IPC_HANDLE_SIZE];

/// Bytes of the allocation at an imported address.
fn size(ctx: &Context<'_>, address: u64) -> Result<u64, Failure> {
    let (mut base, mut size) = (0, 0);
    driver!(ctx, cuMemGetAddressRange_v2(&mut base, &mut size, address))?;
    Ok((size as u64).saturating_sub(address.saturating_sub(base)))
}

/// `vgpuIpcGetMem`.
pub fn ipc_get_mem(ctx: &mut Context<'_>, command: cmd::VgpuIpcGetMem) -> Result<cmd::VgpuIpcGetMemReply, Failure> {
    let mut handle = CUipcMemHandle { reserved: NOTHING };
    driver!(ctx, cuIpcGetMemHandle(&mut handle, command.ptr))?;
    let token = ctx.session.sharing.export_handle(Kind::Memory, command.ptr, handle.reserved)?;
    Ok(cmd::VgpuIpcGetMemReply { token })
}

/// `vgpuIpcOpenMem`.
pub fn ipc_open_mem(ctx: &mut Context<'_>, command: cmd::VgpuIpcOpenMem) -> Result<cmd::VgpuIpcOpenMemReply, Failure> {
    let mut ptr = 0;
    ctx.session.sharing.import_handle(Kind::Memory, command.token, CUresult::MAP_FAILED, |reserved| {
        driver!(ctx, cuIpcOpenMemHandle_v2(&mut ptr, CUipcMemHandle { reserved }, IPC_LAZY_PEER_ACCESS))
    })?;
    Ok(cmd::VgpuIpcOpenMemReply { ptr, size: size(ctx, ptr)? })
}

/// `vgpuIpcGetEvent`.
pub fn ipc_get_event(
    ctx: &mut Context<'_>,
    command: cmd::VgpuIpcGetEvent,
) -> Result<cmd::VgpuIpcGetEventReply, Failure> {
    let event: CUevent = ctx.resolve(HandleKind::Event, command.event)?.cast();
    let mut handle = CUipcEventHandle { reserved: NOTHING };
    driver!(ctx, cuIpcGetEventHandle(&mut handle, event))?;
    let token = ctx.session.sharing.export_handle(Kind::Event, command.event.0, handle.reserved)?;
    Ok(cmd::VgpuIpcGetEventReply { token })
}

/// `vgpuIpcOpenEvent`.
pub fn ipc_open_event(
    ctx: &mut Context<'_>,
    command: cmd::VgpuIpcOpenEvent,
) -> Result<cmd::VgpuIpcOpenEventReply, Failure> {
    ctx.reserve(HandleKind::Event, command.event)?;
    let mut event: CUevent = std::ptr::null_mut();
    ctx.session.sharing.import_handle(Kind::Event, command.token, CUresult::INVALID_HANDLE, |reserved| {
        driver!(ctx, cuIpcOpenEventHandle(&mut event, CUipcEventHandle { reserved }))
    })?;
    ctx.insert(command.event, event.cast(), Handle::NULL);
    Ok(cmd::VgpuIpcOpenEventReply {})
}

/// `vgpuIpcForget`.
pub fn ipc_forget(ctx: &mut Context<'_>, command: cmd::VgpuIpcForget) -> Result<cmd::VgpuIpcForgetReply, Failure> {
    ctx.session.sharing.forget(command.ptr);
    Ok(cmd::VgpuIpcForgetReply {})
}

/// What the driver has put into `descriptor`, which is this process's own.
fn exported(descriptor: RawFd) -> Shared {
    Shared { handle: NOTHING, descriptor: Some(crate::sys::own(descriptor)) }
}

/// Calls `import` with what a token stands for, as drivers take descriptors.
fn imported<T>(
    ctx: &Context<'_>,
    kind: Kind,
    token: vgpu_protocol::cuda::IpcToken,
    import: impl FnOnce(*mut c_void) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let shared = ctx.session.sharing.import(kind, token);
    let descriptor = shared.and_then(|shared| shared.descriptor).ok_or(Failure::INVALID_VALUE)?;
    import(std::ptr::without_provenance_mut(descriptor.as_raw_fd() as usize))
}

/// `vgpuMemExport`.
pub fn mem_export(ctx: &mut Context<'_>, command: cmd::VgpuMemExport) -> Result<cmd::VgpuMemExportReply, Failure> {
    let physical = ctx.resolve(HandleKind::MemGenericAllocationHandle, command.handle)?.cast();
    let mut descriptor: RawFd = -1;
    let place = std::ptr::from_mut(&mut descriptor).cast();
    driver!(ctx, cuMemExportToShareableHandle(place, physical, HANDLE_TYPE_FILE_DESCRIPTOR, 0))?;
    let token = ctx.session.sharing.export(Kind::Physical, command.handle.0, exported(descriptor))?;
    Ok(cmd::VgpuMemExportReply { token })
}

/// `vgpuMemImport`.
pub fn mem_import(ctx: &mut Context<'_>, command: cmd::VgpuMemImport) -> Result<cmd::VgpuMemImportReply, Failure> {
    ctx.reserve(HandleKind::MemGenericAllocationHandle, command.handle)?;
    let mut physical = std::ptr::null_mut();
    imported(ctx, Kind::Physical, command.token, |descriptor| {
        driver!(ctx, cuMemImportFromShareableHandle(&mut physical, descriptor, HANDLE_TYPE_FILE_DESCRIPTOR))
    })?;
    // Its device is that of whoever has exported it.
    let mut prop = CUmemAllocationProp::on_device(0);
    if let Err(error) = driver!(ctx, cuMemGetAllocationPropertiesFromHandle(&mut prop, physical)) {
        // The guest forgets a handle that it has not got.
        let _ = driver!(ctx, cuMemRelease(physical));
        return Err(error);
    }
    vmm::insert(ctx, command.handle, physical);
    Ok(cmd::VgpuMemImportReply { dev: prop.location.id })
}

/// `vgpuPoolExport`.
pub fn pool_export(ctx: &mut Context<'_>, command: cmd::VgpuPoolExport) -> Result<cmd::VgpuPoolExportReply, Failure> {
    let pool = pool::resolve(ctx, command.pool)?;
    let mut descriptor: RawFd = -1;
    let place = std::ptr::from_mut(&mut descriptor).cast();
    driver!(ctx, cuMemPoolExportToShareableHandle(place, pool, HANDLE_TYPE_FILE_DESCRIPTOR, 0))?;
    let token = ctx.session.sharing.export(Kind::Pool, command.pool.0, exported(descriptor))?;
    Ok(cmd::VgpuPoolExportReply { token })
}

/// `vgpuPoolImport`.
pub fn pool_import(ctx: &mut Context<'_>, command: cmd::VgpuPoolImport) -> Result<cmd::VgpuPoolImportReply, Failure> {
    ctx.reserve(HandleKind::MemoryPool, command.pool)?;
    let mut pool = std::ptr::null_mut();
    imported(ctx, Kind::Pool, command.token, |descriptor| {
        driver!(ctx, cuMemPoolImportFromShareableHandle(&mut pool, descriptor, HANDLE_TYPE_FILE_DESCRIPTOR, 0))
    })?;
    pool::insert(ctx, command.pool, pool);
    Ok(cmd::VgpuPoolImportReply {})
}

/// `vgpuPoolExportPointer`.
pub fn pool_export_pointer(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolExportPointer,
) -> Result<cmd::VgpuPoolExportPointerReply, Failure> {
    let mut data = CUmemPoolPtrExportData { reserved: NOTHING };
    driver!(ctx, cuMemPoolExportPointer(&mut data, command.ptr))?;
    let token = ctx.session.sharing.export_handle(Kind::PoolPointer, command.ptr, data.reserved)?;
    Ok(cmd::VgpuPoolExportPointerReply { token })
}

/// `vgpuPoolImportPointer`.
pub fn pool_import_pointer(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolImportPointer,
) -> Result<cmd::VgpuPoolImportPointerReply, Failure> {
    let pool = pool::resolve(ctx, command.pool)?;
    let mut ptr = 0;
    ctx.session.sharing.import_handle(Kind::PoolPointer, command.token, CUresult::INVALID_VALUE, |reserved| {
        let mut data = CUmemPoolPtrExportData { reserved };
        driver!(ctx, cuMemPoolImportPointer(&mut ptr, pool, &mut data))
    })?;
    Ok(cmd::VgpuPoolImportPointerReply { ptr, size: size(ctx, ptr)? })
}
