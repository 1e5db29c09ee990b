//! Kernels of a context: attributes, settings, and the functions behind both kinds of handle.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::CUresult;

use super::attributes::{SHARED_PER_BLOCK, SHARED_PER_BLOCK_OPTIN};
use super::state::{driver, Driver};
use super::{current, Code, Result};
use vgpu_engine::engine;

/// Attributes of a function (`CUfunction_attribute`).
const MAX_THREADS_PER_BLOCK: i32 = 0;
const SHARED_SIZE_BYTES: i32 = 1;
const CONST_SIZE_BYTES: i32 = 2;
const LOCAL_SIZE_BYTES: i32 = 3;
const NUM_REGS: i32 = 4;
const PTX_VERSION: i32 = 5;
const BINARY_VERSION: i32 = 6;
const MAX_DYNAMIC_SHARED_SIZE_BYTES: i32 = 8;
const PREFERRED_SHARED_MEMORY_CARVEOUT: i32 = 9;
/// Attributes whose value here is always 0: cache mode and everything about clusters.
const ZERO: [i32; 7] = [7, 10, 11, 12, 13, 14, 15];

/// What the functions from before CUDA 4 set for the next launches of a kernel.
pub(in crate::driver) struct LegacyLaunch {
    pub(in crate::driver) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(in crate::driver) shared: u32,
    /// The parameter block.
    pub(in crate::driver) params: Vec<u8>,
}

/// One kernel in one context.
pub(in crate::driver) struct Function {
    pub(super) context: u64,
    /// Handle of its module.
    pub(in crate::driver) module: u64,
    /// Its name, for C.
    pub(in crate::driver) name: CString,
    legacy: Mutex<LegacyLaunch>,
    pub(super) kernel: engine::Kernel,
    /// Why it cannot be launched.
    refusal: Option<String>,
    told: AtomicBool,
    max_dynamic_shared: AtomicU32,
    carveout: AtomicI32,
}

impl Function {
    pub(super) fn new(context: u64, module: u64, kernel: engine::Kernel, code: &Code) -> Function {
        let fixed = kernel.attributes().static_shared;
        Function {
            context,
            module,
            name: CString::new(kernel.name()).unwrap_or_default(),
            legacy: Mutex::new(LegacyLaunch { block: [1; 3], shared: 0, params: Vec::new() }),
            refusal: code.refusal(kernel.name()).map(|refusal| refusal.to_string()),
            kernel,
            told: AtomicBool::new(false),
            max_dynamic_shared: AtomicU32::new(SHARED_PER_BLOCK.saturating_sub(fixed)),
            carveout: AtomicI32::new(-1),
        }
    }

    /// The function behind a `CUfunction`, or a `CUkernel` used as one, in the current context.
    pub(in crate::driver) fn of(handle: u64) -> Result<Arc<Function>> {
        let driver = driver()?;
        if let Some(function) = driver.functions.get(handle) {
            return Ok(function);
        }
        let kernel = driver.kernels.get(handle).ok_or(CUresult::INVALID_HANDLE)?;
        Ok(kernel.function(&*current()?)?.1)
    }

    /// Handle of its context.
    pub(in crate::driver) fn context(&self) -> u64 {
        self.context
    }

    /// `cuFuncGetAttribute`.
    pub(in crate::driver) fn attribute(&self, driver: &Driver, attribute: i32) -> Result<i32> {
        let known = self.kernel.attributes();
        let value = match attribute {
            MAX_THREADS_PER_BLOCK => known.max_threads,
            SHARED_SIZE_BYTES => known.static_shared,
            CONST_SIZE_BYTES => known.constant,
            LOCAL_SIZE_BYTES => known.local,
            NUM_REGS => known.registers,
            PTX_VERSION => known.target,
            BINARY_VERSION => driver.capability(),
            MAX_DYNAMIC_SHARED_SIZE_BYTES => self.max_dynamic_shared(),
            PREFERRED_SHARED_MEMORY_CARVEOUT => return Ok(self.carveout.load(Ordering::Relaxed)),
            _ if ZERO.contains(&attribute) => 0,
            _ => return Err(CUresult::INVALID_VALUE),
        };
        Ok(i32::try_from(value).unwrap_or(i32::MAX))
    }

    /// `cuFuncSetAttribute`: the two settings there are; the carve-out is only a hint.
    pub(in crate::driver) fn set_attribute(&self, attribute: i32, value: i32) -> Result {
        match attribute {
            MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let most = SHARED_PER_BLOCK_OPTIN.saturating_sub(self.kernel.attributes().static_shared);
                let value = u32::try_from(value).ok().filter(|v| *v <= most).ok_or(CUresult::INVALID_VALUE)?;
                self.max_dynamic_shared.store(value, Ordering::Relaxed);
            }
            PREFERRED_SHARED_MEMORY_CARVEOUT if (-1..=100).contains(&value) => {
                self.carveout.store(value, Ordering::Relaxed);
            }
            _ => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    }

    /// What was set for its launches.
    pub(in crate::driver) fn legacy_launch(&self) -> MutexGuard<'_, LegacyLaunch> {
        self.legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offset and size of a parameter.
    pub(in crate::driver) fn param(&self, index: usize) -> Result<(usize, usize)> {
        let param = self.kernel.params().get(index).ok_or(CUresult::INVALID_VALUE)?;
        Ok((param.offset as usize, param.size as usize))
    }

    /// Attributes that decide launches and occupancy.
    pub(in crate::driver) fn kernel(&self) -> &engine::Kernel {
        &self.kernel
    }

    /// Bytes of dynamic shared memory that a launch may ask for.
    pub(super) fn max_dynamic_shared(&self) -> u32 {
        self.max_dynamic_shared.load(Ordering::Relaxed)
    }

    /// Refuses kernels that contain what the engine cannot execute, and says why once.
    pub(super) fn check_supported(&self) -> Result {
        let Some(reason) = &self.refusal else { return Ok(()) };
        if !self.told.swap(true, Ordering::Relaxed) {
            log::error!("softgpu: kernel `{}` cannot be launched: {reason}", self.kernel.name());
        }
        Err(CUresult::NOT_SUPPORTED)
    }
}
