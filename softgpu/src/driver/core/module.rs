//! Modules: a program placed in device memory for one context.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::CUresult;

use super::image::JitLog;
use super::{Allocation, Code, Context, Driver, Function, Kind, Result};
use vgpu_engine::engine::{Global, LoadError, Program};
use vgpu_engine::ir::OpaqueType;
use vgpu_engine::memory::Range;

/// One module.
pub(in crate::driver) struct Module {
    pub(in crate::driver) handle: u64,
    pub(super) context: u64,
    /// Whether it belongs to a library, which alone can unload it.
    pub(in crate::driver) of_library: bool,
    code: Code,
    program: Program,
    /// Handles of texture and surface references that were asked for.
    references: Mutex<HashMap<String, u64>>,
    /// Functions that were asked for, with their handles.
    functions: Mutex<HashMap<String, (u64, Arc<Function>)>>,
}

impl Module {
    /// Places compiled code in the memory of a context and enters it in the driver's registry.
    pub(in crate::driver) fn load(
        context: &Context,
        code: Code,
        of_library: bool,
        log: &mut JitLog,
    ) -> Result<Arc<Module>> {
        let driver = context.driver;
        driver.sweep();
        let program = Program::load(code.module.clone(), &context.device.memory).map_err(|error| report(error, log))?;
        let make = |handle| {
            let (functions, references) = (Mutex::default(), Mutex::default());
            Arc::new(Module { handle, context: context.handle, of_library, code, program, references, functions })
        };
        Ok(driver.modules.insert_with(make).1)
    }

    /// An entry function and its handle; the same ones every time.
    pub(in crate::driver) fn function(&self, driver: &Driver, name: &str) -> Result<(u64, Arc<Function>)> {
        let mut functions = self.functions();
        if let Some(known) = functions.get(name) {
            return Ok(known.clone());
        }
        let kernel = self.program.kernel(name).ok_or(CUresult::NOT_FOUND)?;
        let function = Arc::new(Function::new(self.context, self.handle, kernel, &self.code));
        let handle = driver.functions.insert(function.clone());
        functions.insert(name.to_string(), (handle, function.clone()));
        Ok((handle, function))
    }

    /// Handles of the first `most` entry functions, in the order of the image.
    pub(in crate::driver) fn enumerate(&self, driver: &Driver, most: usize) -> Result<Vec<u64>> {
        self.code.kernels().take(most).map(|name| self.function(driver, name).map(|(handle, _)| handle)).collect()
    }

    /// Number of entry functions.
    pub(in crate::driver) fn function_count(&self) -> u32 {
        self.code.kernels().count() as u32
    }

    /// A variable. A kernel is none, which is another error than a name that does not exist.
    pub(in crate::driver) fn global(&self, name: &str) -> Result<Global> {
        let missing = || match self.program.kernel(name) {
            Some(_) => CUresult::INVALID_VALUE,
            None => CUresult::NOT_FOUND,
        };
        self.program.global(name).ok_or_else(missing)
    }

    /// Handle of a texture (else a surface) reference; the same one every time.
    pub(in crate::driver) fn reference(&self, driver: &Driver, name: &str, texture: bool) -> Result<u64> {
        let ty = if texture { OpaqueType::Texture } else { OpaqueType::Surface };
        let variable = self.program.reference(name, ty).ok_or(CUresult::NOT_FOUND)?.address;
        let context = driver.contexts.get(self.context).ok_or(CUresult::INVALID_CONTEXT)?;
        let mut references = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || match texture {
            true => context.create_texture_reference(self.handle, Some(variable)),
            false => context.create_surface_reference(self.handle, variable),
        };
        Ok(*references.entry(name.to_string()).or_insert_with(make))
    }

    /// The variable that contains a device address.
    pub(super) fn variable_at(&self, address: u64) -> Option<Allocation> {
        let mut globals = self.program.global_names().filter_map(|name| self.program.global(name));
        let global = globals.find(|global| address.wrapping_sub(global.address) < global.size)?;
        let Global { address: base, size } = global;
        Some(Allocation { base, size, id: self.handle, context: self.context, kind: Kind::Device })
    }

    /// Where its variables are.
    pub(super) fn variables(&self) -> impl Iterator<Item = Range> + use<'_> {
        let globals = self.program.global_names().filter_map(|name| self.program.global(name));
        globals.map(|Global { address: base, size }| Range { base, size })
    }

    /// Whether a variable is declared managed.
    pub(in crate::driver) fn is_managed(&self, name: &str) -> bool {
        self.code.module.variables.iter().any(|variable| variable.managed && variable.name == name)
    }

    /// Ends the handles of the module and its functions. Launches that are queued still run.
    pub(in crate::driver) fn unload(&self, driver: &Driver) {
        driver.modules.remove(self.handle);
        driver.drop_references(self.handle);
        for (handle, _) in std::mem::take(&mut *self.functions()).into_values() {
            driver.functions.remove(handle);
        }
    }

    fn functions(&self) -> MutexGuard<'_, HashMap<String, (u64, Arc<Function>)>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(error: LoadError, log: &mut JitLog) -> CUresult {
    let (code, message) = match error {
        LoadError::OutOfMemory => (CUresult::OUT_OF_MEMORY, "no device memory for the module's variables".to_string()),
        LoadError::UnresolvedSymbol(name) => (CUresult::INVALID_PTX, format!("unresolved extern symbol `{name}`")),
        LoadError::Malformed(why) => (CUresult::INVALID_IMAGE, why),
    };
    log.error.push_str(&message);
    log.error.push('\n');
    code
}
