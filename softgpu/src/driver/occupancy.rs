//! Occupancy.

use vgpu_protocol::cuda::{CUfunction, CUoccupancyB2DSize, CUresult};

use super::abi::{guard, out};
use super::core::{blocks_per_multiprocessor, driver, dynamic_shared_for, Function, Result};

/// `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE`, which changes nothing here.
const FLAGS: u32 = 1;
/// Threads of a warp.
const WARP_SIZE: u32 = 32;

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

/// As `cuOccupancyMaxPotentialBlockSizeWithFlags`.
pub unsafe extern "C" fn cuOccupancyMaxPotentialBlockSize(
    minGridSize: *mut i32,
    blockSize: *mut i32,
    func: CUfunction,
    blockSizeToDynamicSMemSize: CUoccupancyB2DSize,
    dynamicSMemSize: usize,
    blockSizeLimit: i32,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe {
        cuOccupancyMaxPotentialBlockSizeWithFlags(
            minGridSize,
            blockSize,
            func,
            blockSizeToDynamicSMemSize,
            dynamicSMemSize,
            blockSizeLimit,
            0,
        )
    }
}

/// The block size of most resident threads, and the smallest grid that fills the device with such blocks.
pub unsafe extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    minGridSize: *mut i32,
    blockSize: *mut i32,
    func: CUfunction,
    blockSizeToDynamicSMemSize: CUoccupancyB2DSize,
    dynamicSMemSize: usize,
    blockSizeLimit: i32,
    flags: u32,
) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract.
        let (grid_out, block_out) = unsafe { (out(minGridSize)?, out(blockSize)?) };
        let function = Function::of(func as u64)?;
        if flags & !FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let kernel = function.kernel().attributes();
        let limit = u32::try_from(blockSizeLimit).ok().filter(|limit| *limit > 0).unwrap_or(u32::MAX);
        let (mut best, mut blocks) = (0, 0);
        let mut threads = kernel.max_threads.min(limit);
        while threads > 0 {
            let shared = match blockSizeToDynamicSMemSize {
                // SAFETY: the caller passed this function to be asked for a block size's needs.
                Some(needs) => unsafe { needs(threads as i32) },
                None => dynamicSMemSize,
            };
            let resident = blocks_per_multiprocessor(kernel, threads, shared as u64);
            if resident * threads > best * blocks {
                (best, blocks) = (threads, resident);
            }
            // From whole warp to whole warp.
            threads = (threads - 1) / WARP_SIZE * WARP_SIZE;
        }
        block_out.write(best as i32);
        grid_out.write((blocks as usize * driver()?.engine.threads()) as i32);
        Ok(())
    })
}

fn positive(number: i32) -> Result<u32> {
    u32::try_from(number).ok().filter(|number| *number > 0).ok_or(CUresult::INVALID_VALUE)
}
