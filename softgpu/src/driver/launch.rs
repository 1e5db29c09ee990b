//! Functions and launches.

use std::ffi::c_void;
use std::sync::Arc;

use vgpu_graphs::{Attributes, Block, Host, Kernel, Params};
use vgpu_protocol::cuda::{
    CUfunction, CUhostFn, CUlaunchAttribute, CUlaunchConfig, CUresult, CUstream, LAUNCH_ATTRIBUTE_COOPERATIVE,
};
use vgpu_protocol::ParamInfo;

use super::abi::{guard, out, out_opt, set, values, HostCall};
use super::core::{driver, Function, LaunchRequest, Result, Target};
use super::params;

const ATTRIBUTE_CLUSTER_DIMENSION: u32 = 4;
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
fn launch(handle: u64, function: Arc<Function>, request: LaunchRequest, stream: u64) -> Result {
    let driver = driver()?;
    let captured = driver.graphs.capture(stream, || {
        let params = function.kernel().params().iter().map(|p| ParamInfo { offset: p.offset, size: p.size });
        let attributes = match request.cooperative {
            true => Attributes::default().with(LAUNCH_ATTRIBUTE_COOPERATIVE, 1),
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

fn is_cooperative(attributes: &[CUlaunchAttribute]) -> Result<bool> {
    let word = |attribute: &CUlaunchAttribute, index: usize| {
        let bytes = attribute.value.get(4 * index..).and_then(|value| value.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let clustered = |a: &CUlaunchAttribute| a.id == ATTRIBUTE_CLUSTER_DIMENSION && (0..3).any(|i| word(a, i) > 1);
    if attributes.iter().any(clustered) {
        return Err(CUresult::NOT_SUPPORTED);
    }
    Ok(attributes.iter().any(|a| a.id == LAUNCH_ATTRIBUTE_COOPERATIVE && word(a, 0) != 0))
}
