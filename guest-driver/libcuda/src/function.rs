//! Kernels: what the guest knows about them, so that a launch needs no question.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{FunctionAttributes, Handle, HandleMap, ParamInfo, ATTRIBUTE_UNKNOWN, FUNCTION_ATTRIBUTES};
use zerocopy::FromBytes;

/// `CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK`.
pub const MAX_THREADS_PER_BLOCK: i32 = 0;
/// `CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES`.
pub const SHARED_SIZE_BYTES: i32 = 1;
/// `CU_FUNC_ATTRIBUTE_NUM_REGS`: registers per thread.
pub const NUM_REGS: i32 = 4;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
pub const MAX_DYNAMIC_SHARED_SIZE_BYTES: i32 = 8;

/// A kernel, known to the application as a `CUfunction` or a `CUkernel`.
pub struct Function {
    /// Its handle.
    pub handle: Handle,
    /// The module or library it comes from.
    pub owner: Handle,
    /// Its name in the image.
    pub name: CString,
    /// Parameters in order.
    pub params: Vec<ParamInfo>,
    /// Size of the parameter block.
    pub param_bytes: usize,
    attributes: [AtomicI32; FUNCTION_ATTRIBUTES],
    legacy: Mutex<LegacyLaunch>,
}

/// What the functions from before CUDA 4 set for the next launches of a kernel.
pub struct LegacyLaunch {
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The parameter block.
    pub params: Vec<u8>,
}

impl Function {
    /// Takes over what the worker says; an error if that contradicts itself.
    pub fn new(
        handle: Handle,
        owner: Handle,
        name: CString,
        info: &FunctionAttributes,
        params: &[u8],
    ) -> Result<Self, CUresult> {
        let params: Vec<ParamInfo> = params
            .chunks_exact(size_of::<ParamInfo>())
            .take(info.param_count as usize)
            .filter_map(|p| ParamInfo::read_from_bytes(p).ok())
            .collect();
        let inside = |p: &ParamInfo| p.offset.checked_add(p.size).is_some_and(|end| end <= info.param_bytes);
        if params.len() != info.param_count as usize || !params.iter().all(inside) {
            return Err(CUresult::INVALID_IMAGE);
        }
        Ok(Function {
            handle,
            owner,
            name,
            params,
            param_bytes: info.param_bytes as usize,
            attributes: info.attributes.map(AtomicI32::new),
            legacy: Mutex::new(LegacyLaunch { block: [1; 3], shared: 0, params: Vec::new() }),
        })
    }

    /// An attribute's value.
    pub fn attribute(&self, attribute: i32) -> Result<i32, CUresult> {
        let slot = usize::try_from(attribute).ok().and_then(|i| self.attributes.get(i));
        let value = slot.map(|slot| slot.load(Ordering::Relaxed));
        value.filter(|value| *value != ATTRIBUTE_UNKNOWN).ok_or(CUresult::INVALID_VALUE)
    }

    /// Notes a new value for an attribute.
    pub fn set_attribute(&self, attribute: i32, value: i32) {
        if let Some(slot) = usize::try_from(attribute).ok().and_then(|i| self.attributes.get(i)) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// What was set for its launches.
    pub fn legacy_launch(&self) -> MutexGuard<'_, LegacyLaunch> {
        self.legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Place of a parameter in the block.
    pub fn param(&self, index: usize) -> Result<ParamInfo, CUresult> {
        self.params.get(index).copied().ok_or(CUresult::INVALID_VALUE)
    }
}

/// The kernels of all loaded modules and libraries.
#[derive(Default)]
pub struct Functions(RwLock<Table>);

#[derive(Default)]
struct Table {
    functions: HandleMap<u64, Arc<Function>>,
    /// Handles by module or library and name.
    names: HashMap<Handle, HashMap<CString, Handle>>,
}

impl Functions {
    /// A kernel by its handle.
    pub fn find(&self, handle: u64) -> Result<Arc<Function>, CUresult> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.functions.get(&handle).cloned().ok_or(CUresult::INVALID_HANDLE)
    }

    /// The kernel of that name that was taken out of `owner` before.
    pub fn find_by_name(&self, owner: Handle, name: &CStr) -> Option<Handle> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.names.get(&owner)?.get(name).copied()
    }

    /// Adds a kernel.
    pub fn add(&self, function: Function) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        table.names.entry(function.owner).or_default().insert(function.name.clone(), function.handle);
        table.functions.insert(function.handle.0, Arc::new(function));
    }

    /// Drops the kernels of a module or library that is unloaded.
    pub fn forget_owner(&self, owner: Handle) {
        self.forget(|other| other == owner);
    }

    /// Drops the kernels of the chosen modules and libraries; their handles.
    pub fn forget(&self, chosen: impl Fn(Handle) -> bool) -> Vec<Handle> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let gone = table.names.extract_if(|owner, _| chosen(*owner));
        let handles: Vec<Handle> = gone.flat_map(|(_, names)| names.into_values()).collect();
        for handle in &handles {
            table.functions.remove(&handle.0);
        }
        handles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn info(param_count: u32, param_bytes: u32) -> FunctionAttributes {
        FunctionAttributes { attributes: [ATTRIBUTE_UNKNOWN; FUNCTION_ATTRIBUTES], param_count, param_bytes }
    }

    fn build(info: &FunctionAttributes, params: &[ParamInfo]) -> Result<Function, CUresult> {
        Function::new(Handle::new(4, 1, 0), Handle::new(2, 1, 0), c"k".into(), info, params.as_bytes())
    }

    #[test]
    fn test_parameters_outside_their_block_are_refused() {
        assert!(build(&info(1, 8), &[ParamInfo { offset: 0, size: 8 }]).is_ok());
        for param in [ParamInfo { offset: 4, size: 8 }, ParamInfo { offset: u32::MAX, size: 8 }] {
            assert_eq!(build(&info(1, 8), &[param]).err(), Some(CUresult::INVALID_IMAGE));
        }
        assert_eq!(build(&info(2, 8), &[ParamInfo { offset: 0, size: 8 }]).err(), Some(CUresult::INVALID_IMAGE));
    }

    #[test]
    fn test_unknown_attributes_are_invalid() {
        let function = build(&info(0, 0), &[]).unwrap();
        assert_eq!(function.attribute(MAX_THREADS_PER_BLOCK), Err(CUresult::INVALID_VALUE));
        function.set_attribute(MAX_THREADS_PER_BLOCK, 1024);
        assert_eq!(function.attribute(MAX_THREADS_PER_BLOCK), Ok(1024));
        for wild in [-1, 16, i32::MAX] {
            function.set_attribute(wild, 1);
            assert_eq!(function.attribute(wild), Err(CUresult::INVALID_VALUE));
        }
    }
}
