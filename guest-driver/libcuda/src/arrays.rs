//! What the guest answers by itself about arrays, and about texture and surface objects.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::{
    CUresult, CUDA_ARRAY3D_DESCRIPTOR, CUDA_RESOURCE_DESC, CUDA_RESOURCE_VIEW_DESC, CUDA_TEXTURE_DESC,
};
use vgpu_protocol::{Handle, HandleKind};

use crate::driver::driver;
use crate::stub;

/// An array, or a level of a mipmapped array.
#[derive(Clone, Copy)]
pub struct Array {
    /// Its shape.
    pub shape: CUDA_ARRAY3D_DESCRIPTOR,
    /// Context in which it was made.
    pub context: Handle,
    /// Whether it is part of a mipmapped array.
    pub is_level: bool,
}

/// A mipmapped array.
pub struct Mipmapped {
    /// Shape of its first level.
    pub shape: CUDA_ARRAY3D_DESCRIPTOR,
    /// Context in which it was made.
    pub context: Handle,
    /// Handles of its levels, as far as they were asked for.
    pub levels: Vec<Option<Handle>>,
}

/// Kinds of objects that kernels get by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `CUtexObject`.
    Texture,
    /// `CUsurfObject`.
    Surface,
}

/// What a texture or surface object was made of.
#[derive(Clone, Copy)]
pub struct TextureObject {
    /// Context in which it was made.
    pub context: Handle,
    /// What it reads.
    pub resource: CUDA_RESOURCE_DESC,
    /// How a texture samples.
    pub texture: Option<CUDA_TEXTURE_DESC>,
    /// The view of the resource, if there is one.
    pub view: Option<CUDA_RESOURCE_VIEW_DESC>,
}

/// All arrays, texture and surface objects of the process.
#[derive(Default)]
pub struct Arrays(Mutex<Tables>);

/// Arrays and mipmapped arrays by their handles.
#[derive(Default)]
pub struct Tables {
    /// Arrays and levels.
    pub arrays: HashMap<u64, Array>,
    /// Mipmapped arrays.
    pub mipmapped: HashMap<u64, Mipmapped>,
    /// Texture and surface objects by their values.
    pub objects: HashMap<(ObjectKind, u64), TextureObject>,
    /// Arrays that are bound to texture and surface references.
    pub bound: HashMap<u64, Handle>,
}

impl Arrays {
    /// The tables, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the arrays of a context that has ended or was reset.
    pub fn forget_context(&self, context: Handle) {
        let mut tables = self.lock();
        let gone = |owner: Handle, handle: u64| {
            if owner == context {
                stub::forget(Handle(handle));
            }
            owner != context
        };
        tables.arrays.retain(|handle, array| gone(array.context, *handle));
        tables.mipmapped.retain(|handle, array| gone(array.context, *handle));
        tables.objects.retain(|_, object| object.context != context);
    }
}

/// An array by its handle.
pub fn find(handle: u64) -> Result<Array, CUresult> {
    stub::handle(HandleKind::Array, handle)?;
    driver()?.arrays.lock().arrays.get(&handle).copied().ok_or(CUresult::INVALID_HANDLE)
}

/// Checks the handle of a mipmapped array.
pub fn check_mipmapped(handle: u64) -> Result<Handle, CUresult> {
    stub::handle(HandleKind::MipmappedArray, handle)
}

/// What a texture or surface object was made of.
pub fn find_object(kind: ObjectKind, object: u64) -> Result<TextureObject, CUresult> {
    driver()?.arrays.lock().objects.get(&(kind, object)).copied().ok_or(CUresult::INVALID_VALUE)
}

/// Forgets a texture or surface object that is about to be destroyed.
pub fn take_object(kind: ObjectKind, object: u64) -> Result<(), CUresult> {
    driver()?.arrays.lock().objects.remove(&(kind, object)).map(drop).ok_or(CUresult::INVALID_VALUE)
}
