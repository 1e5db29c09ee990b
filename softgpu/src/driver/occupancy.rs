//! Occupancy.

use vgpu_protocol::cuda::{CUfunction, CUresult};

use super::abi::{guard, out};
use super::core::{blocks_per_multiprocessor, Function};

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
        let threads = u32::try_from(blockSize).ok().filter(|n| *n > 0).ok_or(CUresult::INVALID_VALUE)?;
        if flags & !FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let resident = blocks_per_multiprocessor(function.kernel().attributes(), threads, dynamicSMemSize as u64);
        blocks.write(resident as i32);
        Ok(())
    })
}
