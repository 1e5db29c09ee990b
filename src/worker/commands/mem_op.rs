//! Waiting for and writing values in memory, in stream order.

use vgpu_protocol::cuda::CUstreamBatchMemOpParams;
use vgpu_protocol::{cmd, HandleKind};
use zerocopy::FromBytes;

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

/// `vgpuStreamMemOps`. Addresses are the driver's to check, as a kernel's are.
pub fn stream_mem_ops(
    ctx: &mut Context<'_>,
    command: cmd::VgpuStreamMemOps<'_>,
) -> Result<cmd::VgpuStreamMemOpsReply, Failure> {
    let stream = ctx.resolve(HandleKind::Stream, command.stream)?.cast();
    let mut operations = operations(command.operations)?;
    let count = u32::try_from(operations.len()).map_err(|_| Failure::INVALID_VALUE)?;
    driver!(ctx, cuStreamBatchMemOp_v2(stream, count, operations.as_mut_ptr(), 0))?;
    Ok(cmd::VgpuStreamMemOpsReply {})
}

/// Operations in a command.
pub fn operations(bytes: &[u8]) -> Result<Vec<CUstreamBatchMemOpParams>, Failure> {
    let chunks = bytes.chunks(size_of::<CUstreamBatchMemOpParams>());
    let operations: Result<Vec<_>, _> = chunks.map(CUstreamBatchMemOpParams::read_from_bytes).collect();
    let operations = operations.map_err(|_| Failure::Malformed)?;
    match operations.iter().all(|operation| operation.parse().is_ok()) {
        true => Ok(operations),
        false => Err(Failure::INVALID_VALUE),
    }
}
