//! Occupancy.

use vgpu_protocol::cuda::{CUfunction, CUresult};

use super::abi::{guard, out};
use super::core::{blocks_per_multiprocessor, dynamic_shared_for, Function, Result};

/// `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE`, which changes nothing here.
const FLAGS: u32 = 1;

/// How many blocks of the function one multiprocessor holds.
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    numBlocks: *mut i32,
    func: CUfunction,
    blockSize: i32,
    dynamicSMemSize: usize,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize, dynamicSMemSize, 0) }
}

/// As `cuOccupancyMaxActiveBlocksPerMultiprocessor`.
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    numBlocks: *mut i32,
    func: CUfunction,
    blockSize: i32,
    dynamicSMemSize: usize,
    flags: u32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let blocks = unsafe { out(numBlocks) }?;
        let function = Function::of(func as u64)?;
        let threads = positive(blockSize)?;
        if flags & !FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let resident = blocks_per_multiprocessor(function.kernel().attributes(), threads, dynamicSMemSize as u64);
        blocks.write(resident as i32);
        Ok(())
    })
}

/// The dynamic shared memory that `numBlocks` blocks on one multiprocessor leave to each, bytes.
pub unsafe extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    dynamicSmemSize: *mut usize,
    func: CUfunction,
    numBlocks: i32,
    blockSize: i32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let size = unsafe { out(dynamicSmemSize) }?;
        let function = Function::of(func as u64)?;
        let (blocks, threads) = (positive(numBlocks)?, positive(blockSize)?);
        let kernel = function.kernel().attributes();
        if blocks_per_multiprocessor(kernel, threads, 0) < blocks {
            return Err(CUresult::INVALID_VALUE);
        }
        size.write(dynamic_shared_for(kernel, blocks) as usize);
        Ok(())
    })
}

fn positive(number: i32) -> Result<u32> {
    u32::try_from(number).ok().filter(|number| *number > 0).ok_or(CUresult::INVALID_VALUE)
}
