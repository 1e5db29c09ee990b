//! Texture and surface objects. Their values are the driver's own, because kernels get them as
//! parameters; what they were made of is known here.

use vgpu_protocol::cmd::{VgpuSurfObjectCreate, VgpuSurfObjectDestroy, VgpuTexObjectCreate, VgpuTexObjectDestroy};
use vgpu_protocol::cuda::{
    CUresult, CUDA_RESOURCE_DESC, CUDA_RESOURCE_VIEW_DESC, CUDA_TEXTURE_DESC, RESOURCE_ARRAY, RESOURCE_LINEAR,
    RESOURCE_MIPMAPPED_ARRAY, RESOURCE_PITCH2D,
};

use super::Result;
use crate::arrays::{self, ObjectKind, TextureObject};
use crate::context;
use crate::driver::driver;
use crate::stub::{self, check_out, give};

/// Checks the array or the memory that an object is made of.
fn check(resource: &CUDA_RESOURCE_DESC) -> Result {
    match resource.resType {
        RESOURCE_ARRAY => arrays::find(resource.res[0]).map(drop),
        RESOURCE_MIPMAPPED_ARRAY => arrays::check_mipmapped(resource.res[0]).map(drop),
        RESOURCE_LINEAR | RESOURCE_PITCH2D => stub::check_device(resource.res[0]),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

pub unsafe fn cuTexObjectCreate(
    out: *mut u64,
    resource: *const CUDA_RESOURCE_DESC,
    texture: *const CUDA_TEXTURE_DESC,
    view: *const CUDA_RESOURCE_VIEW_DESC,
) -> Result {
    let driver = driver()?;
    check_out(out)?;
    let context = context::required()?.handle;
    // SAFETY: the caller vouches for the pointers.
    let (resource, texture) = unsafe { (stub::input(resource)?, stub::input(texture)?) };
    // SAFETY: likewise.
    let view = if view.is_null() { None } else { Some(unsafe { stub::input(view)? }) };
    check(&resource)?;
    let command =
        VgpuTexObjectCreate { resource, texture, has_view: view.is_some().into(), view: view.unwrap_or_default() };
    let object = stub::create(&command)?.object;
    let made = TextureObject { context, resource, texture: Some(texture), view };
    driver.arrays.lock().objects.insert((ObjectKind::Texture, object), made);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, object) }
}

pub unsafe fn cuTexObjectDestroy(object: u64) -> Result {
    arrays::take_object(ObjectKind::Texture, object)?;
    stub::post_anywhere(&VgpuTexObjectDestroy { object }).map(drop)
}

pub unsafe fn cuTexObjectGetResourceDesc(out: *mut CUDA_RESOURCE_DESC, object: u64) -> Result {
    let resource = arrays::find_object(ObjectKind::Texture, object)?.resource;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, resource) }
}

pub unsafe fn cuTexObjectGetTextureDesc(out: *mut CUDA_TEXTURE_DESC, object: u64) -> Result {
    let texture = arrays::find_object(ObjectKind::Texture, object)?.texture;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, texture.ok_or(CUresult::INVALID_VALUE)?) }
}

pub unsafe fn cuTexObjectGetResourceViewDesc(out: *mut CUDA_RESOURCE_VIEW_DESC, object: u64) -> Result {
    let view = arrays::find_object(ObjectKind::Texture, object)?.view;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, view.ok_or(CUresult::INVALID_VALUE)?) }
}

pub unsafe fn cuSurfObjectCreate(out: *mut u64, resource: *const CUDA_RESOURCE_DESC) -> Result {
    let driver = driver()?;
    check_out(out)?;
    let context = context::required()?.handle;
    // SAFETY: the caller vouches for the pointer.
    let resource = unsafe { stub::input(resource)? };
    if resource.resType != RESOURCE_ARRAY {
        return Err(CUresult::INVALID_VALUE);
    }
    check(&resource)?;
    let object = stub::create(&VgpuSurfObjectCreate { resource })?.object;
    let made = TextureObject { context, resource, texture: None, view: None };
    driver.arrays.lock().objects.insert((ObjectKind::Surface, object), made);
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, object) }
}

pub unsafe fn cuSurfObjectDestroy(object: u64) -> Result {
    arrays::take_object(ObjectKind::Surface, object)?;
    stub::post_anywhere(&VgpuSurfObjectDestroy { object }).map(drop)
}

pub unsafe fn cuSurfObjectGetResourceDesc(out: *mut CUDA_RESOURCE_DESC, object: u64) -> Result {
    let resource = arrays::find_object(ObjectKind::Surface, object)?.resource;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(out, resource) }
}
