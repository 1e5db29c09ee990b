//! Copies between the session's memory and the device's.

use std::ffi::c_void;

use vgpu_protocol::cuda::CUstream;
use vgpu_protocol::{cmd, Handle, HandleKind};

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

fn length(size: u64) -> Result<usize, Failure> {
    usize::try_from(size).map_err(|_| Failure::INVALID_VALUE)
}

fn host(address: u64) -> *mut c_void {
    address as usize as *mut c_void
}

pub(super) fn stream(ctx: &Context<'_>, handle: Handle) -> Result<CUstream, Failure> {
    Ok(ctx.resolve(HandleKind::Stream, handle)?.cast())
}

/// Host addresses must lie in the session's memory: staging or chunks.
pub(super) fn check_host(ctx: &Context<'_>, address: u64, size: u64) -> Result<(), Failure> {
    let arena = &ctx.session.arena;
    let ours = arena.in_staging(address, size) || arena.in_chunks(address, size);
    if ours {
        Ok(())
    } else {
        Err(Failure::INVALID_VALUE)
    }
}

/// `vgpuCopyHtoD`. The source in staging is the client's again when the batch is answered.
pub fn copy_hto_d(ctx: &mut Context<'_>, command: cmd::VgpuCopyHtoD) -> Result<cmd::VgpuCopyHtoDReply, Failure> {
    if command.size > 0 {
        check_host(ctx, command.src, command.size)?;
        let stream = stream(ctx, command.stream)?;
        driver!(ctx, cuMemcpyHtoDAsync_v2(command.dst, host(command.src), length(command.size)?, stream))?;
        ctx.sent(command.src, command.size, stream);
    }
    Ok(cmd::VgpuCopyHtoDReply {})
}

/// `vgpuCopyHtoDInline`. The source is pageable memory of this process: read when the driver returns.
pub fn copy_hto_d_inline(
    ctx: &mut Context<'_>,
    command: cmd::VgpuCopyHtoDInline<'_>,
) -> Result<cmd::VgpuCopyHtoDInlineReply, Failure> {
    if !command.data.is_empty() {
        let stream = stream(ctx, command.stream)?;
        driver!(ctx, cuMemcpyHtoDAsync_v2(command.dst, command.data.as_ptr().cast(), command.data.len(), stream))?;
    }
    Ok(cmd::VgpuCopyHtoDInlineReply {})
}

/// `vgpuCopyDtoH`. Into chunks only: a copy into pageable memory would hold up the other lanes.
pub fn copy_dto_h(ctx: &mut Context<'_>, command: cmd::VgpuCopyDtoH) -> Result<cmd::VgpuCopyDtoHReply, Failure> {
    if command.size > 0 {
        if !ctx.session.arena.in_chunks(command.dst, command.size) {
            return Err(Failure::INVALID_VALUE);
        }
        let stream = stream(ctx, command.stream)?;
        driver!(ctx, cuMemcpyDtoHAsync_v2(host(command.dst), command.src, length(command.size)?, stream))?;
    }
    Ok(cmd::VgpuCopyDtoHReply {})
}

/// `vgpuCopyDtoHWait`. The data is there when the reply is.
pub fn copy_dto_h_wait(
    ctx: &mut Context<'_>,
    command: cmd::VgpuCopyDtoHWait,
) -> Result<cmd::VgpuCopyDtoHWaitReply, Failure> {
    let stream = begin_dto_h(ctx, &command)?;
    driver!(ctx, cuStreamSynchronize(stream))?;
    Ok(cmd::VgpuCopyDtoHWaitReply {})
}

/// The copy of `vgpuCopyDtoHWait`, sent to the stream that is then waited for.
pub fn begin_dto_h(ctx: &Context<'_>, command: &cmd::VgpuCopyDtoHWait) -> Result<CUstream, Failure> {
    let stream = stream(ctx, command.stream)?;
    if command.size > 0 {
        check_host(ctx, command.dst, command.size)?;
        driver!(ctx, cuMemcpyDtoHAsync_v2(host(command.dst), command.src, length(command.size)?, stream))?;
    }
    Ok(stream)
}
