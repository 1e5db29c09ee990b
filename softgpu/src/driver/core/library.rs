//! Libraries: code that does not belong to a context until a kernel of it is used there.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vgpu_protocol::cuda::CUresult;

use super::image::JitLog;
use super::state::Driver;
use super::{Code, Context, Function, Module, Result};

/// One library.
pub(in crate::driver) struct Library {
    handle: u64,
    code: Code,
    /// Its module in each context, by the context's handle.
    modules: Mutex<HashMap<u64, Arc<Module>>>,
    /// Handles of the kernels that were asked for.
    kernels: Mutex<HashMap<String, u64>>,
}

/// A kernel of a library, usable in every context.
pub(in crate::driver) struct Kernel {
    library: Weak<Library>,
    /// Its name, for C.
    pub(in crate::driver) c_name: CString,
    name: String,
    /// What it is in each context, by the context's handle.
    functions: Mutex<HashMap<u64, (u64, Arc<Function>)>>,
}

impl Library {
    /// Compiles an image; returns the library's handle.
    pub(in crate::driver) fn load(driver: &Driver, image: &[u8], log: &mut JitLog) -> Result<u64> {
        let code = driver.compile(image, log)?;
        let make = |handle| Arc::new(Library { handle, code, modules: Mutex::default(), kernels: Mutex::default() });
        Ok(driver.libraries.insert_with(make).0)
    }

    /// The library's module in a context, placed there now if it was not.
    pub(in crate::driver) fn module(&self, context: &Context) -> Result<Arc<Module>> {
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(&context.handle) {
            return Ok(module.clone());
        }
        let mut log = JitLog::default();
        let module = Module::load(context, self.code.clone(), true, &mut log)
            .inspect_err(|_| log::error!("softgpu: cannot load a library: {}", log.error.trim_end()))?;
        modules.insert(context.handle, module.clone());
        Ok(module)
    }

    /// A kernel's handle; the same one every time.
    pub(in crate::driver) fn kernel(self: &Arc<Self>, driver: &Driver, name: &str) -> Result<u64> {
        let mut kernels = lock(&self.kernels);
        if let Some(handle) = kernels.get(name) {
            return Ok(*handle);
        }
        if !self.code.has_kernel(name) {
            return Err(CUresult::NOT_FOUND);
        }
        let functions = Mutex::default();
        let kernel = Kernel {
            library: Arc::downgrade(self),
            c_name: CString::new(name).map_err(|_| CUresult::NOT_FOUND)?,
            name: name.to_string(),
            functions,
        };
        let handle = driver.kernels.insert(Arc::new(kernel));
        kernels.insert(name.to_string(), handle);
        Ok(handle)
    }

    /// Handles of the first `most` kernels, in the order of the image.
    pub(in crate::driver) fn enumerate(self: &Arc<Self>, driver: &Driver, most: usize) -> Result<Vec<u64>> {
        self.code.kernels().take(most).map(|name| self.kernel(driver, name)).collect()
    }

    /// Number of kernels.
    pub(in crate::driver) fn kernel_count(&self) -> u32 {
        self.code.kernels().count() as u32
    }

    /// Ends the handles of kernels and modules. Launches that are queued still run.
    pub(in crate::driver) fn unload(&self, driver: &Driver) {
        for handle in std::mem::take(&mut *lock(&self.kernels)).into_values() {
            driver.kernels.remove(handle);
        }
        for module in std::mem::take(&mut *lock(&self.modules)).into_values() {
            module.unload(driver);
        }
    }

    pub(super) fn forget_context(&self, context: u64) {
        lock(&self.modules).remove(&context);
    }
}

impl Kernel {
    /// Handle of its library.
    pub(in crate::driver) fn library(&self) -> Result<u64> {
        self.library.upgrade().map(|library| library.handle).ok_or(CUresult::INVALID_HANDLE)
    }

    /// The kernel as a function of a context.
    pub(in crate::driver) fn function(&self, context: &Context) -> Result<(u64, Arc<Function>)> {
        let mut functions = lock(&self.functions);
        if let Some(known) = functions.get(&context.handle) {
            return Ok(known.clone());
        }
        let library = self.library.upgrade().ok_or(CUresult::INVALID_HANDLE)?;
        let function = library.module(context)?.function(context.driver, &self.name)?;
        functions.insert(context.handle, function.clone());
        Ok(function)
    }

    pub(super) fn forget_context(&self, context: u64) {
        lock(&self.functions).remove(&context);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
