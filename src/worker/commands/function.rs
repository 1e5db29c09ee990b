//! Kernels: finding them, and what the guest needs to know of them.

use std::ffi::{CStr, CString};

use vgpu_images::Layout;
use vgpu_protocol::cuda::{self, CUresult, FunctionAttributes};
use vgpu_protocol::{cmd, Handle, HandleKind, ParamInfo, ATTRIBUTE_UNKNOWN, FUNCTION_ATTRIBUTES};
use zerocopy::IntoBytes;

use super::context::in_a_context;
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;
use crate::worker::ledger::Entry;

/// More parameters than any kernel has: 4 KiB (32,764 bytes from compute capability 7.0 on) of one byte each.
const MAX_PARAMS: usize = 32 << 10;

fn name(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::INVALID_VALUE)
}

/// Asks for one parameter after the other until the driver has no more.
fn ask(mut param: impl FnMut(usize, &mut usize, &mut usize) -> Result<(), Failure>) -> Result<Layout, Failure> {
    let mut params = Vec::new();
    let (mut offset, mut size) = (0, 0);
    while params.len() < MAX_PARAMS {
        match param(params.len(), &mut offset, &mut size) {
            Ok(()) => {}
            Err(Failure::Cuda(CUresult::INVALID_VALUE)) => break,
            Err(error) => return Err(error),
        }
        let narrow = |n: usize| u32::try_from(n).map_err(|_| Failure::INVALID_VALUE);
        params.push(ParamInfo { offset: narrow(offset)?, size: narrow(size)? });
    }
    Ok(params.into())
}

/// What the image says where the driver cannot tell (before CUDA 12.4). A layout is never guessed.
fn read(ctx: &Context<'_>, image: Handle, kernel: &CStr) -> Result<Layout, Failure> {
    ctx.session.ledger.layout_in_image(image, kernel.to_bytes()).ok_or_else(|| {
        log::warn!(
            "kernel {} cannot be launched: this driver does not tell where its parameters lie (from CUDA 12.4 on), \
             and neither does its image; update the driver, or build the program with PTX or machine code in it",
            kernel.to_string_lossy()
        );
        Failure::NOT_SUPPORTED
    })
}

fn describe(
    params: &[ParamInfo],
    mut attribute: impl FnMut(i32, &mut i32) -> Result<(), Failure>,
) -> FunctionAttributes {
    let mut attributes = [ATTRIBUTE_UNKNOWN; FUNCTION_ATTRIBUTES];
    for (number, slot) in (0..).zip(&mut attributes) {
        let mut value = 0;
        if attribute(number, &mut value).is_ok() {
            *slot = value;
        }
    }
    FunctionAttributes {
        attributes,
        param_count: u32::try_from(params.len()).unwrap_or(u32::MAX),
        param_bytes: params.last().map_or(0, |p| p.offset.saturating_add(p.size)),
    }
}

/// Layout records as they travel; those that do not fit are left out, the count tells.
fn encode(params: &[ParamInfo], size: u32) -> Vec<u8> {
    let fit = size as usize / size_of::<ParamInfo>();
    params.iter().take(fit).flat_map(|p| p.as_bytes().iter().copied()).collect()
}

/// `vgpuModuleGetFunction`.
pub fn module_get_function(
    ctx: &mut Context<'_>,
    command: cmd::VgpuModuleGetFunction<'_>,
) -> Result<cmd::VgpuModuleGetFunctionReply, Failure> {
    ctx.reserve(HandleKind::Function, command.function)?;
    let module = ctx.resolve(HandleKind::Module, command.module)?;
    let name = name(command.name)?;
    let mut function: cuda::CUfunction = std::ptr::null_mut();
    driver!(ctx, cuModuleGetFunction(&mut function, module.cast(), name.as_ptr()))?;
    let layout = match ctx.api.cuFuncGetParamInfo {
        Some(_) => ask(|i, offset, size| driver!(ctx, cuFuncGetParamInfo(function, i, offset, size)))?,
        None => read(ctx, command.module, &name)?,
    };
    let info = describe(&layout, |number, value| driver!(ctx, cuFuncGetAttribute(value, number, function)));
    let params = encode(&layout, command.params_size);
    let entry = Entry { param_bytes: info.param_bytes, ..ctx.owned(function.cast(), command.module) };
    ctx.session.ledger.insert_function(command.function, entry, layout);
    Ok(cmd::VgpuModuleGetFunctionReply { info, params })
}

/// `vgpuLibraryGetKernel`.
pub fn library_get_kernel(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLibraryGetKernel<'_>,
) -> Result<cmd::VgpuLibraryGetKernelReply, Failure> {
    ctx.reserve(HandleKind::Kernel, command.kernel)?;
    let library = ctx.resolve(HandleKind::Library, command.library)?;
    let name = name(command.name)?;
    let mut kernel: cuda::CUkernel = std::ptr::null_mut();
    driver!(ctx, cuLibraryGetKernel(&mut kernel, library.cast(), name.as_ptr()))?;
    let (layout, info) = in_a_context(ctx, || {
        let layout = match ctx.api.cuKernelGetParamInfo {
            Some(_) => ask(|i, offset, size| driver!(ctx, cuKernelGetParamInfo(kernel, i, offset, size)))?,
            None => read(ctx, command.library, &name)?,
        };
        let info = describe(&layout, |number, value| driver!(ctx, cuKernelGetAttribute(value, number, kernel, 0)));
        Ok((layout, info))
    })?;
    let params = encode(&layout, command.params_size);
    // A library belongs to no context, and neither do its kernels.
    let entry = Entry { param_bytes: info.param_bytes, context: 0, ..ctx.owned(kernel.cast(), command.library) };
    ctx.session.ledger.insert_function(command.kernel, entry, layout);
    Ok(cmd::VgpuLibraryGetKernelReply { info, params })
}
