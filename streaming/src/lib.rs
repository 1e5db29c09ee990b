//! Copies of memory past the cache.
//!
//! Bytes that lie modified in one core's cache reach another core many times more slowly than bytes from
//! memory do: these copies are for buffers that one process fills and another one's core empties.

use std::ptr;

/// Below this size a plain copy is as fast, bytes.
const STREAMED: usize = 32 << 10;

/// A cache line, bytes.
const BLOCK: usize = 64;

/// Copies `length` bytes, of which the target will not be in this core's cache afterwards.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `length` bytes, and they do not overlap.
pub unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    let head = to.align_offset(BLOCK);
    let blocks = length.saturating_sub(head) / BLOCK * BLOCK;
    if length < STREAMED || blocks == 0 {
        // SAFETY: as the caller says.
        return unsafe { ptr::copy_nonoverlapping(from, to, length) };
    }
    let tail = head + blocks;
    // SAFETY: the three parts make up the caller's ranges, and the middle one starts at a block.
    unsafe {
        ptr::copy_nonoverlapping(from, to, head);
        copy_blocks(from.add(head), to.add(head), blocks);
        ptr::copy_nonoverlapping(from.add(tail), to.add(tail), length - tail);
    }
}

/// # Safety
/// As for [`copy`]; `to` and `length` are multiples of [`BLOCK`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_blocks(from: *const u8, to: *mut u8, length: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const WORD: usize = size_of::<__m128i>();
    for at in (0..length).step_by(BLOCK) {
        // SAFETY: `at + BLOCK` is at most `length`; every x86-64 has these instructions.
        unsafe {
            let (from, to) = (from.add(at), to.add(at));
            let words = [0, 1, 2, 3].map(|i| _mm_loadu_si128(from.add(i * WORD).cast()));
            for (i, word) in words.into_iter().enumerate() {
                _mm_stream_si128(to.add(i * WORD).cast(), word);
            }
        }
    }
    // SAFETY: every x86-64 has it. Streaming stores are not ordered with the one that announces them.
    unsafe { _mm_sfence() };
}

/// # Safety
/// As for [`copy`].
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_blocks(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: as the caller says.
    unsafe { ptr::copy_nonoverlapping(from, to, length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_all_bytes_and_no_others_are_copied_whatever_the_alignment() {
        let from: Vec<u8> = (0..3 * STREAMED).map(|i| (i % 251) as u8 + 1).collect();
        for (source, target) in [(0, 0), (1, 0), (0, 1), (5, 63), (63, 64)] {
            for length in [0, 1, STREAMED - 1, STREAMED, STREAMED + 1, 2 * STREAMED + 77] {
                let mut to = vec![0; 3 * STREAMED];
                let part = &from[source..source + length];
                // SAFETY: both are slices of that length, of different vectors.
                unsafe { copy(part.as_ptr(), to[target..target + length].as_mut_ptr(), length) };
                assert_eq!(&to[target..target + length], part, "{length} bytes");
                assert!(to[..target].iter().chain(&to[target + length..]).all(|byte| *byte == 0), "{length} bytes");
            }
        }
    }
}
