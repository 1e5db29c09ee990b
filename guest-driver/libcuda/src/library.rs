//! Libraries whose image is still where the application has it: it is sent when something of the
//! library is asked for. A program that links CUDA's math libraries registers thousands of images
//! and uses a few.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::Handle;

use crate::image;

/// An image that has not been needed yet, or whose load failed.
struct Deferred {
    image: &'static [u8],
    outcome: OnceLock<Result<(), CUresult>>,
}

/// The libraries that are not loaded yet.
#[derive(Default)]
pub struct Libraries(RwLock<HashMap<Handle, Arc<Deferred>>>);

impl Libraries {
    /// Whether images that stay in place are loaded late: as for every driver, unless
    /// `CUDA_MODULE_LOADING` asks for eager loading.
    pub fn are_lazy() -> bool {
        static LAZY: OnceLock<bool> = OnceLock::new();
        *LAZY.get_or_init(|| std::env::var_os("CUDA_MODULE_LOADING").is_none_or(|mode| mode != "EAGER"))
    }

    /// Notes a library to be loaded later. Only a fat binary is put off: whether it is whole can be
    /// said without the compiler.
    ///
    /// # Safety
    /// `image` stays as it is until the library is unloaded.
    pub unsafe fn defer(&self, library: Handle, image: &[u8]) -> bool {
        if !Self::are_lazy() || !image::is_container(image) {
            return false;
        }
        // SAFETY: as the caller says; nothing uses the slice after `remove`.
        let image = unsafe { std::slice::from_raw_parts(image.as_ptr(), image.len()) };
        let deferred = Arc::new(Deferred { image, outcome: OnceLock::new() });
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(library, deferred);
        true
    }

    /// Loads the library with `load` if that was put off; the error of a load that failed stays.
    pub fn ensure(&self, library: Handle, load: impl FnOnce(&[u8]) -> Result<(), CUresult>) -> Result<(), CUresult> {
        let deferred = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&library).cloned();
        let Some(deferred) = deferred else { return Ok(()) };
        let outcome = *deferred.outcome.get_or_init(|| load(deferred.image));
        if outcome.is_ok() {
            self.remove(library);
        }
        outcome
    }

    /// Forgets a library; whether the worker has never heard of it.
    pub fn remove(&self, library: Handle) -> bool {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&library).is_some()
    }
}
