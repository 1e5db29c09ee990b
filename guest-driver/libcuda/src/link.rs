//! Links in progress: the application's log buffers, and the image that `cuLinkComplete` returned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::Handle;

use crate::jit::Options;

/// One link.
pub struct Link {
    /// The options it was created with.
    pub options: Options,
    /// The image; the application may read it until the link is destroyed.
    pub image: Vec<u8>,
}

/// All links.
#[derive(Default)]
pub struct Links {
    links: Mutex<HashMap<Handle, Arc<Mutex<Link>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Links {
    /// Adds a link.
    pub fn add(&self, handle: Handle, options: Options) {
        lock(&self.links).insert(handle, Arc::new(Mutex::new(Link { options, image: Vec::new() })));
    }

    /// Works on a link.
    pub fn with<T>(&self, handle: Handle, work: impl FnOnce(&mut Link) -> Result<T, CUresult>) -> Result<T, CUresult> {
        let link = lock(&self.links).get(&handle).cloned().ok_or(CUresult::INVALID_HANDLE)?;
        let mut link = lock(&link);
        work(&mut link)
    }

    /// Ends a link.
    pub fn remove(&self, handle: Handle) {
        lock(&self.links).remove(&handle);
    }
}
