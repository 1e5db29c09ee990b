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

/// `vgpuHostFunctionNext`.
pub fn host_function_next(
    ctx: &mut Context<'_>,
    _command: cmd::VgpuHostFunctionNext,
) -> Result<cmd::VgpuHostFunctionNextReply, Failure> {
    // Nothing of the session runs while it waits for its client to queue one.
    ctx.session.ring.end();
    let (id, status) = ctx.session.host_functions.next();
    ctx.session.ring.begin_anyway();
    Ok(cmd::VgpuHostFunctionNextReply { id, status: status.0 })
}

/// `vgpuHostFunctionDone`.
pub fn host_function_done(
    ctx: &mut Context<'_>,
    command: cmd::VgpuHostFunctionDone,
) -> Result<cmd::VgpuHostFunctionDoneReply, Failure> {
    ctx.session.host_functions.done(command.id);
    Ok(cmd::VgpuHostFunctionDoneReply {})
}

/// `vgpuReadOutput`.
pub fn read_output(ctx: &mut Context<'_>, command: cmd::VgpuReadOutput) -> Result<cmd::VgpuReadOutputReply, Failure> {
    let (text, more) = ctx.session.output.take(command.size as usize);
    Ok(cmd::VgpuReadOutputReply { more: u32::from(more), text })
}
