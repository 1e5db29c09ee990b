//! Launching kernels.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUlaunchAttribute, CUlaunchConfig, LAUNCH_ATTRIBUTE_COOPERATIVE};
use vgpu_protocol::{cmd, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

const LAUNCH_PARAM_END: *mut c_void = std::ptr::null_mut();
const LAUNCH_PARAM_BUFFER_POINTER: *mut c_void = std::ptr::without_provenance_mut(1);
const LAUNCH_PARAM_BUFFER_SIZE: *mut c_void = std::ptr::without_provenance_mut(2);
const COOPERATIVE: u32 = 1;

/// `vgpuLaunch`. The parameter block goes to the driver as one buffer, so no layout is needed here;
/// it must be as large as the kernel's.
pub fn launch(ctx: &mut Context<'_>, command: cmd::VgpuLaunch<'_>) -> Result<cmd::VgpuLaunchReply, Failure> {
    if command.flags & !COOPERATIVE != 0 {
        return Err(Failure::NOT_SUPPORTED);
    }
    let function = ctx.entry(HandleKind::Function, command.function)?;
    let stream = ctx.resolve(HandleKind::Stream, command.stream)?;
    if command.params.len() < function.param_bytes as usize {
        return Err(Failure::INVALID_VALUE);
    }
    let mut size = command.params.len();
    let mut extra = [
        LAUNCH_PARAM_BUFFER_POINTER,
        command.params.as_ptr().cast_mut().cast(),
        LAUNCH_PARAM_BUFFER_SIZE,
        std::ptr::from_mut(&mut size).cast(),
        LAUNCH_PARAM_END,
    ];
    let extra = if size == 0 { std::ptr::null_mut() } else { extra.as_mut_ptr() };
    let function = function.pointer as *mut c_void;
    if command.flags & COOPERATIVE == 0 {
        driver!(
            ctx,
            cuLaunchKernel(
                function.cast(),
                command.grid_x,
                command.grid_y,
                command.grid_z,
                command.block_x,
                command.block_y,
                command.block_z,
                command.shared,
                stream.cast(),
                std::ptr::null_mut(),
                extra,
            )
        )?;
        return Ok(cmd::VgpuLaunchReply {});
    }
    let mut attribute = CUlaunchAttribute { id: LAUNCH_ATTRIBUTE_COOPERATIVE, pad: 0, value: [0; 64] };
    if let Some(first) = attribute.value.first_mut() {
        *first = 1;
    }
    let config = CUlaunchConfig {
        gridDimX: command.grid_x,
        gridDimY: command.grid_y,
        gridDimZ: command.grid_z,
        blockDimX: command.block_x,
        blockDimY: command.block_y,
        blockDimZ: command.block_z,
        sharedMemBytes: command.shared,
        hStream: stream.cast(),
        attrs: &mut attribute,
        numAttrs: 1,
    };
    driver!(ctx, cuLaunchKernelEx(&config, function.cast(), std::ptr::null_mut(), extra))?;
    Ok(cmd::VgpuLaunchReply {})
}
