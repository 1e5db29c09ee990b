//! Virtual memory management. Physical memory belongs to a device, so it outlives the context in which
//! it was made.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUmemAllocationProp, CUmemGenericAllocationHandle, HANDLE_TYPE_FILE_DESCRIPTOR};
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;
use crate::worker::ledger::Entry;

pub(super) fn insert(ctx: &Context<'_>, handle: Handle, physical: CUmemGenericAllocationHandle) {
    let entry = Entry { context: 0, ..ctx.owned(physical.cast(), Handle::NULL) };
    ctx.session.ledger.insert(handle, entry);
}

fn size(bytes: u64) -> Result<usize, Failure> {
    usize::try_from(bytes).map_err(|_| Failure::INVALID_VALUE)
}

/// What of it may leave the session: nothing, or all as a file descriptor.
pub(super) fn handle_types(types: i32) -> Result<i32, Failure> {
    match types {
        0 | HANDLE_TYPE_FILE_DESCRIPTOR => Ok(types),
        _ => Err(Failure::NOT_SUPPORTED),
    }
}

/// `vgpuMemCreate`. Only memory of a device: the worker's own would be out of the guest's reach.
pub fn mem_create(ctx: &mut Context<'_>, command: cmd::VgpuMemCreate) -> Result<cmd::VgpuMemCreateReply, Failure> {
    ctx.reserve(HandleKind::MemGenericAllocationHandle, command.handle)?;
    let types = handle_types(command.handle_types)?;
    let prop = CUmemAllocationProp { requestedHandleTypes: types, ..CUmemAllocationProp::on_device(command.dev) };
    let mut physical = std::ptr::null_mut();
    driver!(ctx, cuMemCreate(&mut physical, size(command.size)?, &prop, 0))?;
    insert(ctx, command.handle, physical);
    Ok(cmd::VgpuMemCreateReply {})
}

/// `vgpuMemRetain`.
pub fn mem_retain(ctx: &mut Context<'_>, command: cmd::VgpuMemRetain) -> Result<cmd::VgpuMemRetainReply, Failure> {
    ctx.reserve(HandleKind::MemGenericAllocationHandle, command.handle)?;
    let mut physical = std::ptr::null_mut();
    driver!(ctx, cuMemRetainAllocationHandle(&mut physical, command.address as usize as *mut c_void))?;
    insert(ctx, command.handle, physical);
    Ok(cmd::VgpuMemRetainReply {})
}

/// `vgpuMemSetAccess`.
pub fn mem_set_access(
    ctx: &mut Context<'_>,
    command: cmd::VgpuMemSetAccess,
) -> Result<cmd::VgpuMemSetAccessReply, Failure> {
    driver!(ctx, cuMemSetAccess(command.ptr, size(command.size)?, &command.access, 1))?;
    Ok(cmd::VgpuMemSetAccessReply {})
}

/// `vgpuMemGranularity`.
pub fn mem_granularity(
    ctx: &mut Context<'_>,
    command: cmd::VgpuMemGranularity,
) -> Result<cmd::VgpuMemGranularityReply, Failure> {
    let (types, location) = (handle_types(command.handle_types)?, command.location);
    let prop = CUmemAllocationProp { requestedHandleTypes: types, location, ..CUmemAllocationProp::on_device(0) };
    let mut granularity = 0;
    driver!(ctx, cuMemGetAllocationGranularity(&mut granularity, &prop, command.option))?;
    Ok(cmd::VgpuMemGranularityReply { granularity: granularity as u64 })
}
