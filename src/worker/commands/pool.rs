//! Memory pools. They belong to a device, so they outlive the context in which they were made.

use vgpu_protocol::cuda::{CUmemLocation, CUmemPoolProps, CUmemoryPool, ALLOCATION_PINNED, LOCATION_DEVICE};
use vgpu_protocol::{cmd, Handle, HandleKind};

use super::vmm::handle_types;
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;
use crate::worker::ledger::Entry;

pub(super) fn insert(ctx: &Context<'_>, handle: Handle, pool: CUmemoryPool) {
    let entry = Entry { context: 0, ..ctx.owned(pool.cast(), Handle::NULL) };
    ctx.session.ledger.insert(handle, entry);
}

pub(super) fn resolve(ctx: &Context<'_>, handle: Handle) -> Result<CUmemoryPool, Failure> {
    Ok(ctx.resolve(HandleKind::MemoryPool, handle)?.cast())
}

/// `vgpuPoolDefault`.
pub fn pool_default(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolDefault,
) -> Result<cmd::VgpuPoolDefaultReply, Failure> {
    ctx.reserve(HandleKind::MemoryPool, command.pool)?;
    let mut pool = std::ptr::null_mut();
    driver!(ctx, cuDeviceGetDefaultMemPool(&mut pool, command.dev))?;
    insert(ctx, command.pool, pool);
    Ok(cmd::VgpuPoolDefaultReply {})
}

/// `vgpuPoolCreate`. Only device memory: host memory of the worker would be out of the guest's reach.
pub fn pool_create(ctx: &mut Context<'_>, command: cmd::VgpuPoolCreate) -> Result<cmd::VgpuPoolCreateReply, Failure> {
    ctx.reserve(HandleKind::MemoryPool, command.pool)?;
    let props = CUmemPoolProps {
        allocType: ALLOCATION_PINNED,
        handleTypes: handle_types(command.handle_types)?,
        location: CUmemLocation { kind: LOCATION_DEVICE, id: command.dev },
        win32SecurityAttributes: std::ptr::null_mut(),
        maxSize: usize::try_from(command.max_size).map_err(|_| Failure::INVALID_VALUE)?,
        usage: 0,
        gpuDirectRDMACapable: 0,
        reserved: [0; 53],
    };
    let mut pool = std::ptr::null_mut();
    driver!(ctx, cuMemPoolCreate(&mut pool, &props))?;
    insert(ctx, command.pool, pool);
    Ok(cmd::VgpuPoolCreateReply {})
}

/// `vgpuPoolSetAttribute`. A value of 4 bytes is the low half of one of 8.
pub fn pool_set_attribute(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolSetAttribute,
) -> Result<cmd::VgpuPoolSetAttributeReply, Failure> {
    let pool = resolve(ctx, command.pool)?;
    let mut value = command.value.to_le();
    driver!(ctx, cuMemPoolSetAttribute(pool, command.attribute, std::ptr::from_mut(&mut value).cast()))?;
    Ok(cmd::VgpuPoolSetAttributeReply {})
}

/// `vgpuPoolGetAttribute`.
pub fn pool_get_attribute(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolGetAttribute,
) -> Result<cmd::VgpuPoolGetAttributeReply, Failure> {
    let pool = resolve(ctx, command.pool)?;
    let mut value = 0u64;
    driver!(ctx, cuMemPoolGetAttribute(pool, command.attribute, std::ptr::from_mut(&mut value).cast()))?;
    Ok(cmd::VgpuPoolGetAttributeReply { value: u64::from_le(value) })
}

/// `vgpuPoolSetAccess`.
pub fn pool_set_access(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolSetAccess,
) -> Result<cmd::VgpuPoolSetAccessReply, Failure> {
    let pool = resolve(ctx, command.pool)?;
    driver!(ctx, cuMemPoolSetAccess(pool, &command.access, 1))?;
    Ok(cmd::VgpuPoolSetAccessReply {})
}

/// `vgpuPoolGetAccess`.
pub fn pool_get_access(
    ctx: &mut Context<'_>,
    command: cmd::VgpuPoolGetAccess,
) -> Result<cmd::VgpuPoolGetAccessReply, Failure> {
    let pool = resolve(ctx, command.pool)?;
    let (mut flags, mut location) = (0, command.location);
    driver!(ctx, cuMemPoolGetAccess(&mut flags, pool, &mut location))?;
    Ok(cmd::VgpuPoolGetAccessReply { flags })
}
