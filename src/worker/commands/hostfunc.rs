//! Host functions, and text that kernels printed.

use std::ffi::c_void;
use std::sync::Arc;

use vgpu_protocol::{cmd, HandleKind};

use crate::worker::context::{driver, Context, Failure};
use crate::worker::hostfunc::HostFunctions;

/// What the driver hands back to the trampoline.
type Call = (Arc<HostFunctions>, u64);

/// Runs on a thread of the driver, in stream order.
unsafe extern "C" fn trampoline(user_data: *mut c_void) {
    // SAFETY: `host_function` made it from a box, for exactly one call.
    let (functions, id) = *unsafe { Box::from_raw(user_data.cast::<Call>()) };
    functions.run(id);
}

/// `vgpuHostFunction`.
pub fn host_function(ctx: &mut Context<'_>, command: cmd::VgpuHostFunction) -> Result<cmd::VgpuHostFunctionReply, Failure> {
    let stream = ctx.resolve(HandleKind::Stream, command.stream)?;
    let call: Box<Call> = Box::new((ctx.session.host_functions.clone(), command.id));
    let user_data: *mut c_void = Box::into_raw(call).cast();
    let queued = (|| driver!(ctx, cuLaunchHostFunc(stream.cast(), Some(trampoline), user_data)))();
    if queued.is_err() {
        // SAFETY: the driver has refused it and will not call the trampoline.
        drop(unsafe { Box::from_raw(user_data.cast::<Call>()) });
    }
    queued.map(|()| cmd::VgpuHostFunctionReply {})
}

/// `vgpuHostFunctionNext`.
pub fn host_function_next(
    ctx: &mut Context<'_>,
    _command: cmd::VgpuHostFunctionNext,
) -> Result<cmd::VgpuHostFunctionNextReply, Failure> {
    // Nothing of the session runs while it waits for its client to queue one.
    ctx.session.ring.end();
    let id = ctx.session.host_functions.next();
    ctx.session.ring.begin_anyway();
    Ok(cmd::VgpuHostFunctionNextReply { id })
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
