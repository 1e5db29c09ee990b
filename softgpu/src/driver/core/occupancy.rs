//! How many blocks of a kernel fit a multiprocessor, by the rules of compute capability 8.0.

use super::attributes::{
    BLOCKS_PER_MULTIPROCESSOR, REGISTERS_PER_MULTIPROCESSOR, SHARED_PER_BLOCK_OPTIN, SHARED_PER_MULTIPROCESSOR,
    SHARED_RESERVED_PER_BLOCK, THREADS_PER_MULTIPROCESSOR, WARP_SIZE,
};
use vgpu_engine::engine::KernelAttributes;

/// Registers are handed out per warp in multiples of this.
const REGISTER_UNIT: u64 = 256;
/// Shared memory is handed out in multiples of this, bytes.
const SHARED_UNIT: u64 = 128;

/// Resident blocks of `threads` threads each with `dynamic_shared` bytes; 0 if one does not fit.
pub(in crate::driver) fn blocks_per_multiprocessor(
    kernel: &KernelAttributes,
    threads: u32,
    dynamic_shared: u64,
) -> u32 {
    if threads == 0 || threads > kernel.max_threads {
        return 0;
    }
    let warps = u64::from(threads.div_ceil(WARP_SIZE));
    let registers = warps * (u64::from(kernel.registers.max(1)) * u64::from(WARP_SIZE)).next_multiple_of(REGISTER_UNIT);
    let shared = dynamic_shared
        .saturating_add((kernel.static_shared + SHARED_RESERVED_PER_BLOCK).into())
        .checked_next_multiple_of(SHARED_UNIT)
        .unwrap_or(u64::MAX);
    let limits = [
        BLOCKS_PER_MULTIPROCESSOR.into(),
        u64::from(THREADS_PER_MULTIPROCESSOR / WARP_SIZE) / warps,
        u64::from(REGISTERS_PER_MULTIPROCESSOR) / registers,
        u64::from(SHARED_PER_MULTIPROCESSOR) / shared,
    ];
    limits.into_iter().min().and_then(|blocks| u32::try_from(blocks).ok()).unwrap_or(0)
}

/// Bytes of dynamic shared memory for each of `blocks` resident blocks.
pub(in crate::driver) fn dynamic_shared_for(kernel: &KernelAttributes, blocks: u32) -> u32 {
    let each = SHARED_PER_MULTIPROCESSOR / blocks.max(1) / SHARED_UNIT as u32 * SHARED_UNIT as u32;
    let free = each.saturating_sub(SHARED_RESERVED_PER_BLOCK).min(SHARED_PER_BLOCK_OPTIN);
    free.saturating_sub(kernel.static_shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_limits() {
        let mut kernel = KernelAttributes {
            max_threads: 1024,
            required_block: None,
            static_shared: 0,
            local: 0,
            constant: 0,
            registers: 16,
            ptx_version: 80,
            target: 80,
        };
        let blocks = |kernel: &KernelAttributes, threads, shared| blocks_per_multiprocessor(kernel, threads, shared);
        assert_eq!(blocks(&kernel, 32, 0), 32);
        assert_eq!(blocks(&kernel, 256, 0), 8);
        assert_eq!(blocks(&kernel, 256, 48 << 10), 3);
        assert_eq!(blocks(&kernel, 256, u64::MAX), 0);
        assert_eq!(blocks(&kernel, 1025, 0), 0);
        assert_eq!(blocks(&kernel, 0, 0), 0);
        for n in 1..=8 {
            assert!(blocks(&kernel, 256, dynamic_shared_for(&kernel, n).into()) >= n, "{n}");
        }
        kernel.registers = 64;
        assert_eq!(blocks(&kernel, 1024, 0), 1);
    }
}
