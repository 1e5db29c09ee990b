//! How many blocks a multiprocessor takes, and the block size that fills it best. The search runs here
//! because it calls back into the application.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use vgpu_protocol::cmd::CuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags as ActiveBlocks;
use vgpu_protocol::cuda::attribute::{MAX_THREADS_PER_MULTIPROCESSOR, MULTIPROCESSOR_COUNT, WARP_SIZE};
use vgpu_protocol::cuda::{CUfunction, CUoccupancyB2DSize, CUresult};

use super::Result;
use crate::context;
use crate::driver::driver;
use crate::function::{Function, MAX_THREADS_PER_BLOCK};
use crate::stub::{self, check_out, give};

/// A question for the number of blocks on a multiprocessor: kernel, device, block size, dynamic shared
/// memory and flags.
type Question = (u64, i32, i32, usize, u32);

/// Answers remembered, at most.
const REMEMBERED: usize = 4096;

/// Answers given: frameworks ask before every launch. Setting a kernel's attribute may change them.
static ANSWERS: RwLock<BTreeMap<Question, i32>> = RwLock::new(BTreeMap::new());

/// Forgets all answers.
pub fn forget_answers() {
    ANSWERS.write().unwrap_or_else(PoisonError::into_inner).clear();
}

/// How many blocks fit on a multiprocessor at a time.
pub fn active_blocks(function: &Function, block: i32, shared: usize, flags: u32) -> std::result::Result<i32, CUresult> {
    let question = (function.handle.0, context::required()?.device, block, shared, flags);
    if let Some(known) = ANSWERS.read().unwrap_or_else(PoisonError::into_inner).get(&question) {
        return Ok(*known);
    }
    let command = ActiveBlocks { func: function.handle, blockSize: block, dynamicSMemSize: shared, flags };
    let blocks = stub::create(&command)?.numBlocks;
    let mut answers = ANSWERS.write().unwrap_or_else(PoisonError::into_inner);
    if answers.len() >= REMEMBERED {
        answers.clear();
    }
    answers.insert(question, blocks);
    Ok(blocks)
}

pub unsafe fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut i32,
    function: CUfunction,
    block: i32,
    shared: usize,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block, shared, 0) }
}

pub unsafe fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut i32,
    function: CUfunction,
    block: i32,
    shared: usize,
    flags: u32,
) -> Result {
    check_out(blocks)?;
    let known = driver()?.functions.find(function as u64)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(blocks, active_blocks(&known, block, shared, flags)?) }
}

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
    let device = context::required()?.device;
    let warp = driver.attribute(device, WARP_SIZE)?.max(1);
    let full = driver.attribute(device, MAX_THREADS_PER_MULTIPROCESSOR)?;
    let largest = known.attribute(MAX_THREADS_PER_BLOCK)?;
    let largest = if limit > 0 { largest.min(limit) } else { largest };
    let (mut best, mut blocks, mut resident) = (0, 0, 0);
    let mut size = largest;
    while size > 0 && resident < full {
        // SAFETY: the application passed this function to be asked for a block size's needs.
        let needed = shared_of.map_or(shared, |shared_of| unsafe { shared_of(size) });
        let active = active_blocks(&known, size, needed, flags)?;
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
