//! What arrays take of a GPU's memory.

use vgpu_protocol::cuda::CUDA_ARRAY3D_DESCRIPTOR;

/// Bytes of an array with so many levels, before the driver rounds up. Of a format without plain
/// channels (compressed or planar) an element counts as a byte.
pub(super) fn array_bytes(array: &CUDA_ARRAY3D_DESCRIPTOR, levels: u32) -> u64 {
    let element = array.element().map_or(1, |element| element.bytes() as u64);
    let level = |n: u32| {
        let [width, height, depth] = array.extent().map(|size| size as u64);
        let shrunk = |size: u64| size.checked_shr(n).unwrap_or(0).max(1);
        let depth = if array.is_layered() { depth } else { shrunk(depth) };
        [shrunk(width), shrunk(height), depth].iter().fold(element, |bytes, size| bytes.saturating_mul(*size))
    };
    (0..levels.min(u64::BITS)).fold(0, |bytes: u64, n| bytes.saturating_add(level(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_arrays_count_all_their_levels_and_layers() {
        let flat = CUDA_ARRAY3D_DESCRIPTOR { Width: 8, Height: 4, Format: 0x20, NumChannels: 4, ..Default::default() };
        assert_eq!((array_bytes(&flat, 1), array_bytes(&flat, 3)), (512, 512 + 128 + 32));
        let layered = CUDA_ARRAY3D_DESCRIPTOR { Depth: 6, Flags: 1, ..flat };
        assert_eq!(array_bytes(&layered, 2), 6 * (512 + 128));
        let absurd = CUDA_ARRAY3D_DESCRIPTOR { Width: usize::MAX, Height: usize::MAX, ..flat };
        assert_eq!(array_bytes(&absurd, 2), u64::MAX);
    }
}
