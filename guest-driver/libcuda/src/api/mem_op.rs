//! Waiting for and writing values in memory, in stream order.
//!
//! The first and the second version of these functions differ in what some drivers support: here both
//! are the second. A write without a memory barrier (a hint of the first) has one.

use vgpu_protocol::cmd::VgpuStreamMemOps;
use vgpu_protocol::cuda::{attribute as attr, mem_op, BadMemOp, CUresult, CUstream, CUstreamBatchMemOpParams, MemOp};
use vgpu_protocol::HandleKind;
use zerocopy::IntoBytes;

use super::Result;
use crate::context;
use crate::driver::driver;
use crate::memory::Kind;
use crate::stub;

/// Operations of one call, by the driver API.
const MAX_OPERATIONS: u32 = 255;
/// Operations that one command carries.
const PART: usize = 64;
/// `CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER`.
const NO_BARRIER: u64 = 1;

/// Checks an operation as far as that needs no device.
fn check(operation: &CUstreamBatchMemOpParams, device: i32) -> Result {
    let address = match operation.parse() {
        Ok(MemOp::Wait { wide, address, .. } | MemOp::Write { wide, address, .. }) => {
            if wide && driver()?.attribute(device, attr::CAN_USE_64_BIT_STREAM_MEM_OPS)? == 0 {
                return Err(CUresult::NOT_SUPPORTED);
            }
            address
        }
        Ok(MemOp::Barrier) => return Ok(()),
        Err(BadMemOp::Invalid) => return Err(CUresult::INVALID_VALUE),
        Err(BadMemOp::Unsupported) => return Err(CUresult::NOT_SUPPORTED),
    };
    // Managed memory cannot be used, by the driver API.
    if driver()?.memory.find(address).is_some_and(|range| range.kind == Kind::Managed) {
        return Err(CUresult::INVALID_VALUE);
    }
    stub::check_device(address)
}

/// Checks operations as far as that needs no device.
pub fn check_mem_ops(operations: &[CUstreamBatchMemOpParams]) -> Result {
    let device = context::required()?.device;
    operations.iter().try_for_each(|operation| check(operation, device))
}

/// Operations as the worker is told them.
pub fn mem_ops_for_worker(operations: &[CUstreamBatchMemOpParams]) -> Vec<CUstreamBatchMemOpParams> {
    let told = operations.iter().map(|operation| {
        let mut told = *operation;
        if matches!(told.parse(), Ok(MemOp::Write { .. })) {
            told.words[3] &= !NO_BARRIER;
        }
        told.words[4] = 0;
        told
    });
    told.collect()
}

fn enqueue(stream: CUstream, operations: &[CUstreamBatchMemOpParams]) -> Result {
    stub::ready()?;
    if !operations.is_empty() && driver()?.graphs.capture_mem_ops(stream as u64, operations)? {
        return Ok(());
    }
    let stream = stub::handle(HandleKind::Stream, stream as u64)?;
    check_mem_ops(operations)?;
    for part in mem_ops_for_worker(operations).chunks(PART) {
        stub::post(&VgpuStreamMemOps { stream, operations: part.as_bytes() })?;
    }
    Ok(())
}

fn one(stream: CUstream, operation: u32, address: u64, value: u64, flags: u32) -> Result {
    enqueue(stream, &[CUstreamBatchMemOpParams::new(operation, address, value, flags)])
}

pub unsafe fn cuStreamWaitValue32(stream: CUstream, address: u64, value: u32, flags: u32) -> Result {
    one(stream, mem_op::WAIT_VALUE_32, address, value.into(), flags)
}

pub unsafe fn cuStreamWaitValue32_v2(stream: CUstream, address: u64, value: u32, flags: u32) -> Result {
    one(stream, mem_op::WAIT_VALUE_32, address, value.into(), flags)
}

pub unsafe fn cuStreamWaitValue64(stream: CUstream, address: u64, value: u64, flags: u32) -> Result {
    one(stream, mem_op::WAIT_VALUE_64, address, value, flags)
}

pub unsafe fn cuStreamWaitValue64_v2(stream: CUstream, address: u64, value: u64, flags: u32) -> Result {
    one(stream, mem_op::WAIT_VALUE_64, address, value, flags)
}

pub unsafe fn cuStreamWriteValue32(stream: CUstream, address: u64, value: u32, flags: u32) -> Result {
    one(stream, mem_op::WRITE_VALUE_32, address, value.into(), flags)
}

pub unsafe fn cuStreamWriteValue32_v2(stream: CUstream, address: u64, value: u32, flags: u32) -> Result {
    one(stream, mem_op::WRITE_VALUE_32, address, value.into(), flags)
}

pub unsafe fn cuStreamWriteValue64(stream: CUstream, address: u64, value: u64, flags: u32) -> Result {
    one(stream, mem_op::WRITE_VALUE_64, address, value, flags)
}

pub unsafe fn cuStreamWriteValue64_v2(stream: CUstream, address: u64, value: u64, flags: u32) -> Result {
    one(stream, mem_op::WRITE_VALUE_64, address, value, flags)
}

pub unsafe fn cuStreamBatchMemOp_v2(
    stream: CUstream,
    count: u32,
    operations: *mut CUstreamBatchMemOpParams,
    flags: u32,
) -> Result {
    stub::ready()?;
    if count > MAX_OPERATIONS || flags != 0 || (operations.is_null() && count > 0) {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for `count` operations.
    let copies: Vec<_> = (0..count as usize).map(|i| unsafe { operations.add(i).read_unaligned() }).collect();
    enqueue(stream, &copies)
}

pub unsafe fn cuStreamBatchMemOp(
    stream: CUstream,
    count: u32,
    operations: *mut CUstreamBatchMemOpParams,
    flags: u32,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuStreamBatchMemOp_v2(stream, count, operations, flags) }
}
