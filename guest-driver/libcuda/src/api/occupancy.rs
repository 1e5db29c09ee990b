//! The block size that fills a multiprocessor best. The search runs here because it calls back into
//! the application.

use vgpu_protocol::cmd::CuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags as ActiveBlocks;
use vgpu_protocol::cuda::attribute::{MAX_THREADS_PER_MULTIPROCESSOR, MULTIPROCESSOR_COUNT, WARP_SIZE};
use vgpu_protocol::cuda::{CUfunction, CUoccupancyB2DSize};

use super::Result;
use crate::driver::driver;
use crate::function::MAX_THREADS_PER_BLOCK;
use crate::stub::{self, check_out, give};

pub unsafe fn cuOccupancyMaxPotentialBlockSize(
    min_grid_size: *mut i32,
    block_size: *mut i32,
    function: CUfunction,
    shared_of: CUoccupancyB2DSize,
    shared: usize,
    limit: i32,
) -> Result {
    // SAFETY: as for the caller.
    unsafe {
        cuOccupancyMaxPotentialBlockSizeWithFlags(min_grid_size, block_size, function, shared_of, shared, limit, 0)
    }
}

/// Tries whole warps from the largest block down, until a multiprocessor is full.
pub unsafe fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    min_grid_size: *mut i32,
    block_size: *mut i32,
    function: CUfunction,
    shared_of: CUoccupancyB2DSize,
    shared: usize,
    limit: i32,
    flags: u32,
) -> Result {
    check_out(min_grid_size)?;
    check_out(block_size)?;
    let driver = driver()?;
    let known = driver.functions.find(function as u64)?;
    let device = crate::context::required()?.device;
    let warp = driver.attribute(device, WARP_SIZE)?.max(1);
    let full = driver.attribute(device, MAX_THREADS_PER_MULTIPROCESSOR)?;
    let largest = known.attribute(MAX_THREADS_PER_BLOCK)?;
    let largest = if limit > 0 { largest.min(limit) } else { largest };
    let (mut best, mut blocks, mut resident) = (0, 0, 0);
    let mut size = largest;
    while size > 0 && resident < full {
        // SAFETY: the application passed this function to be asked for a block size's needs.
        let needed = shared_of.map_or(shared, |shared_of| unsafe { shared_of(size) });
        let question = ActiveBlocks { func: known.handle, blockSize: size, dynamicSMemSize: needed, flags };
        let active = stub::create(&question)?.numBlocks;
        if active.saturating_mul(size) > resident {
            (best, blocks, resident) = (size, active, active.saturating_mul(size));
        }
        size = (size - 1) / warp * warp;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        give(min_grid_size, blocks.saturating_mul(driver.attribute(device, MULTIPROCESSOR_COUNT)?))?;
        give(block_size, best)
    }
}
