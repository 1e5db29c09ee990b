//! Functions and launches.

use std::ffi::c_void;
use std::sync::Arc;

use vgpu_graphs::{Attributes, Block, Host, Kernel, Params};
use vgpu_protocol::cuda::{
    launch_attribute as id, CUfunction, CUhostFn, CUlaunchAttribute, CUlaunchAttributeValue, CUlaunchConfig, CUresult,
    CUstream,
};
use vgpu_protocol::ParamInfo;

use super::abi::{guard, out, out_opt, set, values, HostCall};
use super::core::{driver, Function, LaunchRequest, Result, Target};
use super::params;

/// No driver knows more launch attributes than this.
const ATTRIBUTES_MAX: usize = 64;

/// An attribute of a function (`CUfunction_attribute`).
pub unsafe extern "C" fn cuFuncGetAttribute(pi: *mut i32, attrib: i32, hfunc: CUfunction) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let pi = unsafe { out(pi) }?;
        pi.write(Function::of(hfunc as u64)?.attribute(driver()?, attrib)?);
        Ok(())
    })
}

/// Sets the limit of dynamic shared memory, or the shared memory carve-out.
pub unsafe extern "C" fn cuFuncSetAttribute(hfunc: CUfunction, attrib: i32, value: i32) -> CUresult {
    guard(|| Function::of(hfunc as u64)?.set_attribute(attrib, value))
}

/// Offset and size of a parameter in the parameter block, bytes.
pub unsafe extern "C" fn cuFuncGetParamInfo(
    func: CUfunction,
    paramIndex: usize,
    paramOffset: *mut usize,
    paramSize: *mut usize,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (offset_out, size_out) = unsafe { (out(paramOffset)?, out_opt(paramSize)?) };
        let (offset, size) = Function::of(func as u64)?.param(paramIndex)?;
        offset_out.write(offset);
        set(size_out, size);
        Ok(())
    })
}

/// Queues a launch. Parameters come as `kernelParams` (a pointer to each) or in `extra` (one buffer).
pub unsafe extern "C" fn cuLaunchKernel(
    f: CUfunction,
    gridDimX: u32,
    gridDimY: u32,
    gridDimZ: u32,
    blockDimX: u32,
    blockDimY: u32,
    blockDimZ: u32,
    sharedMemBytes: u32,
    hStream: CUstream,
    kernelParams: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        let function = Function::of(f as u64)?;
        // SAFETY: the arrays are as the driver API demands for this function.
        let params = unsafe { params::pack(function.kernel(), kernelParams, extra) }?;
        let request = LaunchRequest {
            grid: [gridDimX, gridDimY, gridDimZ],
            block: [blockDimX, blockDimY, blockDimZ],
            shared: sharedMemBytes,
            cooperative: false,
            params,
        };
        launch(f as u64, function, request, hStream as u64)
    })
}

/// As `cuLaunchKernel`, with attributes: cooperative is honoured, clusters are refused, hints that
/// hardware may ignore are ignored.
pub unsafe extern "C" fn cuLaunchKernelEx(
    config: *const CUlaunchConfig,
    f: CUfunction,
    kernelParams: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        // SAFETY: null or readable, by the driver API's contract.
        let config = unsafe { values(config, 1) }?.first().ok_or(CUresult::INVALID_VALUE)?;
        let count = config.numAttrs as usize;
        if count > ATTRIBUTES_MAX {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: null or `numAttrs` attributes, by the driver API's contract.
        let attributes = unsafe { values(config.attrs.cast_const(), count) }?;
        let function = Function::of(f as u64)?;
        // SAFETY: the arrays are as the driver API demands for this function.
        let params = unsafe { params::pack(function.kernel(), kernelParams, extra) }?;
        let request = LaunchRequest {
            grid: [config.gridDimX, config.gridDimY, config.gridDimZ],
            block: [config.blockDimX, config.blockDimY, config.blockDimZ],
            shared: config.sharedMemBytes,
            cooperative: is_cooperative(attributes)?,
            params,
        };
        launch(f as u64, function, request, config.hStream as u64)
    })
}

/// Queues a launch whose blocks may wait for each other.
pub unsafe extern "C" fn cuLaunchCooperativeKernel(
    f: CUfunction,
    gridDimX: u32,
    gridDimY: u32,
    gridDimZ: u32,
    blockDimX: u32,
    blockDimY: u32,
    blockDimZ: u32,
    sharedMemBytes: u32,
    hStream: CUstream,
    kernelParams: *mut *mut c_void,
) -> CUresult {
    guard(|| {
        let function = Function::of(f as u64)?;
        // SAFETY: the array is as the driver API demands for this function.
        let params = unsafe { params::pack(function.kernel(), kernelParams, std::ptr::null_mut()) }?;
        let request = LaunchRequest {
            grid: [gridDimX, gridDimY, gridDimZ],
            block: [blockDimX, blockDimY, blockDimZ],
            shared: sharedMemBytes,
            cooperative: true,
            params,
        };
        launch(f as u64, function, request, hStream as u64)
    })
}

/// Calls a host function in stream order, on a thread of the driver.
pub unsafe extern "C" fn cuLaunchHostFunc(hStream: CUstream, func: CUhostFn, userData: *mut c_void) -> CUresult {
    guard(|| {
        // SAFETY: the function may be called with its argument from any thread, by the driver API's
        // contract.
        let call = unsafe { HostCall::new(func, userData) }?;
        let host = Host { function: func, data: userData.expose_provenance() };
        if driver()?.graphs.capture(hStream as u64, || Ok(Params::Host(host)))? {
            return Ok(());
        }
        Target::of(hStream as u64)?.submit(move |_| {
            call.call();
            Ok(())
        })
    })
}

/// Queues a launch, or captures it.
pub(super) fn launch(handle: u64, function: Arc<Function>, request: LaunchRequest, stream: u64) -> Result {
    let driver = driver()?;
    let captured = driver.graphs.capture(stream, || {
        let params = function.kernel().params().iter().map(|p| ParamInfo { offset: p.offset, size: p.size });
        let attributes = match request.cooperative {
            true => Attributes::default().with(id::COOPERATIVE, 1),
            false => Attributes::default(),
        };
        let kernel = Kernel {
            function: handle,
            is_kernel: driver.functions.get(handle).is_none(),
            context: function.context(),
            grid: request.grid,
            block: request.block,
            shared: request.shared,
            params: Block::new(&request.params, params.collect()),
            attributes,
        };
        driver.graphs.check_kernel(&kernel)?;
        Ok(Params::Kernel(Box::new(kernel)))
    })?;
    match captured {
        true => Ok(()),
        false => Target::of(stream)?.launch(function, request),
    }
}

/// As `cuLaunchHostFunc`; how a thread of the driver waits is a preference.
pub unsafe extern "C" fn cuLaunchHostFunc_v2(
    hStream: CUstream,
    func: CUhostFn,
    userData: *mut c_void,
    syncMode: u32,
) -> CUresult {
    if syncMode > 1 {
        return CUresult::INVALID_VALUE;
    }
    // SAFETY: the contract is the same.
    unsafe { cuLaunchHostFunc(hStream, func, userData) }
}

/// Whether the attributes ask for a cooperative launch. What could change the outcome of a launch and is
/// not there is refused; an unknown attribute is an error.
fn is_cooperative(attributes: &[CUlaunchAttribute]) -> Result<bool> {
    let mut cooperative = false;
    for attribute in attributes {
        let value = CUlaunchAttributeValue { bytes: attribute.value };
        match attribute.id {
            id::COOPERATIVE => cooperative |= value.word(0) != 0,
            id::CLUSTER_DIMENSION | id::PREFERRED_CLUSTER_DIMENSION if (0..3).any(|i| value.word(i) > 1) => {
                return Err(CUresult::NOT_SUPPORTED);
            }
            id::PROGRAMMATIC_EVENT | id::LAUNCH_COMPLETION_EVENT => return Err(CUresult::NOT_SUPPORTED),
            id::DEVICE_UPDATABLE_KERNEL_NODE | id::SHARED_MEMORY_MODE if value.word(0) != 0 => {
                return Err(CUresult::NOT_SUPPORTED);
            }
            id::IGNORE
            | id::CLUSTER_DIMENSION
            | id::PREFERRED_CLUSTER_DIMENSION
            | id::DEVICE_UPDATABLE_KERNEL_NODE
            | id::SHARED_MEMORY_MODE
            | id::PROGRAMMATIC_STREAM_SERIALIZATION
            | id::ACCESS_POLICY_WINDOW
            | id::CLUSTER_SCHEDULING_POLICY_PREFERENCE
            | id::PRIORITY
            | id::MEM_SYNC_DOMAIN_MAP
            | id::MEM_SYNC_DOMAIN
            | id::PREFERRED_SHARED_MEMORY_CARVEOUT
            | id::NVLINK_UTIL_CENTRIC_SCHEDULING
            | id::PORTABLE_CLUSTER_SIZE_MODE => {}
            _ => return Err(CUresult::INVALID_VALUE),
        }
    }
    Ok(cooperative)
}
