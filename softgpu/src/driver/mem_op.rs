//! Waiting for and writing values in memory, in stream order. Both versions of these functions are the
//! same here.

use vgpu_protocol::cuda::{mem_op, CUresult, CUstream, CUstreamBatchMemOpParams};

use super::abi::{guard, values};
use super::core::{driver, parse_mem_ops, Result, Target};

/// Operations of one call, by the driver API.
const MAX_OPERATIONS: u32 = 255;

fn enqueue(stream: CUstream, operations: &[CUstreamBatchMemOpParams]) -> Result {
    if !operations.is_empty() && driver()?.graphs.capture_mem_ops(stream as u64, operations)? {
        return Ok(());
    }
    Target::of(stream as u64)?.mem_ops(parse_mem_ops(operations)?)
}

/// Defines the functions for one operation each.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($value:ty) $operation:ident;)*) => {$(
        $(#[$doc])*
        pub unsafe extern "C" fn $name(stream: CUstream, addr: u64, value: $value, flags: u32) -> CUresult {
            let operation = CUstreamBatchMemOpParams::new(mem_op::$operation, addr, value.into(), flags);
            guard(|| enqueue(stream, &[operation]))
        }
    )*};
}

operations! {
    /// The stream goes on once a 32-bit value fulfils a condition.
    cuStreamWaitValue32(u32) WAIT_VALUE_32;
    /// As `cuStreamWaitValue32`.
    cuStreamWaitValue32_v2(u32) WAIT_VALUE_32;
    /// As `cuStreamWaitValue32`, for a 64-bit value.
    cuStreamWaitValue64(u64) WAIT_VALUE_64;
    /// As `cuStreamWaitValue64`.
    cuStreamWaitValue64_v2(u64) WAIT_VALUE_64;
    /// Writes a 32-bit value.
    cuStreamWriteValue32(u32) WRITE_VALUE_32;
    /// As `cuStreamWriteValue32`.
    cuStreamWriteValue32_v2(u32) WRITE_VALUE_32;
    /// Writes a 64-bit value.
    cuStreamWriteValue64(u64) WRITE_VALUE_64;
    /// As `cuStreamWriteValue64`.
    cuStreamWriteValue64_v2(u64) WRITE_VALUE_64;
}

/// Several operations, one after the other.
pub unsafe extern "C" fn cuStreamBatchMemOp_v2(
    stream: CUstream,
    count: u32,
    paramArray: *mut CUstreamBatchMemOpParams,
    flags: u32,
) -> CUresult {
    guard(|| {
        if count > MAX_OPERATIONS || flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: null or that many operations, by the driver API's contract.
        enqueue(stream, unsafe { values(paramArray.cast_const(), count as usize) }?)
    })
}

/// As `cuStreamBatchMemOp_v2`.
pub unsafe extern "C" fn cuStreamBatchMemOp(
    stream: CUstream,
    count: u32,
    paramArray: *mut CUstreamBatchMemOpParams,
    flags: u32,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuStreamBatchMemOp_v2(stream, count, paramArray, flags) }
}
