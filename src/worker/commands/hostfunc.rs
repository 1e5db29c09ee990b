//! Host functions, and text that kernels printed.

use vgpu_protocol::{cmd, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::{add_callback, launch_host_function};

/// `vgpuHostFunction`.
pub fn host_function(
    ctx: &mut Context<'_>,
    command: cmd::VgpuHostFunction,
) -> Result<cmd::VgpuHostFunctionReply, Failure> {
    let stream = ctx.resolve(HandleKind::Stream, command.stream)?;
    let functions = ctx.session.host_functions.clone();
    match command.always {
        0 => launch_host_function(ctx.api, stream.cast(), functions, command.id)?,
        _ => add_callback(ctx.api, stream.cast(), functions, command.id)?,
    }
    Ok(cmd::VgpuHostFunctionReply {})
}

/// `vgpuReadOutput`.
pub fn read_output(ctx: &mut Context<'_>, command: cmd::VgpuReadOutput) -> Result<cmd::VgpuReadOutputReply, Failure> {
    let (text, more) = ctx.session.output.take(command.size as usize);
    Ok(cmd::VgpuReadOutputReply { more: u32::from(more), text })
}
