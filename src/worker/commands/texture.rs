//! Texture and surface objects. Their values are the driver's own, because kernels get them as
//! parameters; only those that the session made are handed back to the driver.

use vgpu_protocol::cuda::{
    CUresult, CUDA_RESOURCE_DESC, RESOURCE_ARRAY, RESOURCE_LINEAR, RESOURCE_MIPMAPPED_ARRAY, RESOURCE_PITCH2D,
};
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;
use crate::worker::session::lock;

/// What kind of object a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `CUtexObject`.
    Texture,
    /// `CUsurfObject`.
    Surface,
}

/// Puts the driver's array into a description. One of an unknown kind might name an object by a pointer,
/// so it is refused.
fn resolve(ctx: &Context<'_>, mut resource: CUDA_RESOURCE_DESC) -> Result<CUDA_RESOURCE_DESC, Failure> {
    let kind = match resource.resType {
        RESOURCE_ARRAY => HandleKind::Array,
        RESOURCE_MIPMAPPED_ARRAY => HandleKind::MipmappedArray,
        RESOURCE_LINEAR | RESOURCE_PITCH2D => return Ok(resource),
        _ => return Err(Failure::INVALID_VALUE),
    };
    let array = ctx.resolve(kind, Handle(resource.res[0]))?;
    resource.res[0] = array as u64;
    Ok(resource)
}

fn add(ctx: &Context<'_>, kind: ObjectKind, object: u64) {
    lock(&ctx.session.objects).insert((kind, object), ctx.current);
}

/// Takes an object out, if it is the session's.
fn take(ctx: &Context<'_>, kind: ObjectKind, object: u64) -> Result<(), Failure> {
    let taken = lock(&ctx.session.objects).remove(&(kind, object));
    taken.map(drop).ok_or(Failure::Cuda(CUresult::INVALID_VALUE))
}

/// `vgpuTexObjectCreate`.
pub fn tex_object_create(
    ctx: &mut Context<'_>,
    command: cmd::VgpuTexObjectCreate,
) -> Result<cmd::VgpuTexObjectCreateReply, Failure> {
    let resource = resolve(ctx, command.resource)?;
    let view = if command.has_view != 0 { &raw const command.view } else { std::ptr::null() };
    let mut object = 0;
    driver!(ctx, cuTexObjectCreate(&mut object, &resource, &command.texture, view))?;
    add(ctx, ObjectKind::Texture, object);
    Ok(cmd::VgpuTexObjectCreateReply { object })
}

/// `vgpuTexObjectDestroy`.
pub fn tex_object_destroy(
    ctx: &mut Context<'_>,
    command: cmd::VgpuTexObjectDestroy,
) -> Result<cmd::VgpuTexObjectDestroyReply, Failure> {
    take(ctx, ObjectKind::Texture, command.object)?;
    driver!(ctx, cuTexObjectDestroy(command.object))?;
    Ok(cmd::VgpuTexObjectDestroyReply {})
}

/// `vgpuSurfObjectCreate`.
pub fn surf_object_create(
    ctx: &mut Context<'_>,
    command: cmd::VgpuSurfObjectCreate,
) -> Result<cmd::VgpuSurfObjectCreateReply, Failure> {
    let resource = resolve(ctx, command.resource)?;
    let mut object = 0;
    driver!(ctx, cuSurfObjectCreate(&mut object, &resource))?;
    add(ctx, ObjectKind::Surface, object);
    Ok(cmd::VgpuSurfObjectCreateReply { object })
}

/// `vgpuSurfObjectDestroy`.
pub fn surf_object_destroy(
    ctx: &mut Context<'_>,
    command: cmd::VgpuSurfObjectDestroy,
) -> Result<cmd::VgpuSurfObjectDestroyReply, Failure> {
    take(ctx, ObjectKind::Surface, command.object)?;
    driver!(ctx, cuSurfObjectDestroy(command.object))?;
    Ok(cmd::VgpuSurfObjectDestroyReply {})
}
