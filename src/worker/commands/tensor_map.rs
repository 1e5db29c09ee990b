//! Tensor maps, which only the driver can encode. It needs no GPU for that.

use std::ffi::c_void;

use vgpu_protocol::cmd;
use vgpu_protocol::cuda::CUtensorMap;

use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

/// Highest rank of a tensor.
const RANK_MAX: usize = 5;

/// A little-endian array of one entry per dimension; `short` leaves out the first one, as strides do.
fn array<T, const N: usize>(
    bytes: &[u8],
    rank: u32,
    short: usize,
    read: fn([u8; N]) -> T,
) -> Result<[T; RANK_MAX], Failure>
where
    T: Copy + Default,
{
    let rank = rank as usize;
    if !(1..=RANK_MAX).contains(&rank) || bytes.len() != (rank - short) * N {
        return Err(Failure::INVALID_VALUE);
    }
    let mut values = [T::default(); RANK_MAX];
    for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(N)) {
        *value = read(chunk.try_into().map_err(|_| Failure::Malformed)?);
    }
    Ok(values)
}

/// A corner has an entry for each dimension but batch and channel.
const CORNER_SHORT: usize = 2;

fn corner(bytes: &[u8], rank: u32) -> Result<[i32; RANK_MAX], Failure> {
    if (rank as usize) < CORNER_SHORT {
        return Err(Failure::INVALID_VALUE);
    }
    array(bytes, rank, CORNER_SHORT, i32::from_le_bytes)
}

fn device(address: u64) -> *mut c_void {
    address as usize as *mut c_void
}

/// `vgpuTensorMapTiled`.
pub fn tensor_map_tiled(
    ctx: &mut Context<'_>,
    c: cmd::VgpuTensorMapTiled<'_>,
) -> Result<cmd::VgpuTensorMapTiledReply, Failure> {
    let dims = array(c.dims, c.rank, 0, u64::from_le_bytes)?;
    let strides = array(c.strides, c.rank, 1, u64::from_le_bytes)?;
    let sides = array(c.sides, c.rank, 0, u32::from_le_bytes)?;
    let steps = array(c.element_strides, c.rank, 0, u32::from_le_bytes)?;
    let mut map = CUtensorMap::default();
    driver!(
        ctx,
        cuTensorMapEncodeTiled(
            &mut map,
            c.data_type,
            c.rank,
            device(c.address),
            dims.as_ptr(),
            strides.as_ptr(),
            sides.as_ptr(),
            steps.as_ptr(),
            c.interleave,
            c.swizzle,
            c.promotion,
            c.fill,
        )
    )?;
    Ok(cmd::VgpuTensorMapTiledReply { map })
}

/// `vgpuTensorMapIm2col`.
pub fn tensor_map_im2col(
    ctx: &mut Context<'_>,
    c: cmd::VgpuTensorMapIm2col<'_>,
) -> Result<cmd::VgpuTensorMapIm2colReply, Failure> {
    let dims = array(c.dims, c.rank, 0, u64::from_le_bytes)?;
    let strides = array(c.strides, c.rank, 1, u64::from_le_bytes)?;
    let (lower, upper) = (corner(c.lower, c.rank)?, corner(c.upper, c.rank)?);
    let steps = array(c.element_strides, c.rank, 0, u32::from_le_bytes)?;
    let mut map = CUtensorMap::default();
    driver!(
        ctx,
        cuTensorMapEncodeIm2col(
            &mut map,
            c.data_type,
            c.rank,
            device(c.address),
            dims.as_ptr(),
            strides.as_ptr(),
            lower.as_ptr(),
            upper.as_ptr(),
            c.channels,
            c.pixels,
            steps.as_ptr(),
            c.interleave,
            c.swizzle,
            c.promotion,
            c.fill,
        )
    )?;
    Ok(cmd::VgpuTensorMapIm2colReply { map })
}

/// `vgpuTensorMapIm2colWide`.
pub fn tensor_map_im2col_wide(
    ctx: &mut Context<'_>,
    c: cmd::VgpuTensorMapIm2colWide<'_>,
) -> Result<cmd::VgpuTensorMapIm2colWideReply, Failure> {
    let dims = array(c.dims, c.rank, 0, u64::from_le_bytes)?;
    let strides = array(c.strides, c.rank, 1, u64::from_le_bytes)?;
    let steps = array(c.element_strides, c.rank, 0, u32::from_le_bytes)?;
    let mut map = CUtensorMap::default();
    driver!(
        ctx,
        cuTensorMapEncodeIm2colWide(
            &mut map,
            c.data_type,
            c.rank,
            device(c.address),
            dims.as_ptr(),
            strides.as_ptr(),
            c.lower,
            c.upper,
            c.channels,
            c.pixels,
            steps.as_ptr(),
            c.interleave,
            c.mode,
            c.swizzle,
            c.promotion,
            c.fill,
        )
    )?;
    Ok(cmd::VgpuTensorMapIm2colWideReply { map })
}

/// `vgpuTensorMapReplaceAddress`.
pub fn tensor_map_replace_address(
    ctx: &mut Context<'_>,
    c: cmd::VgpuTensorMapReplaceAddress,
) -> Result<cmd::VgpuTensorMapReplaceAddressReply, Failure> {
    let mut map = c.before;
    driver!(ctx, cuTensorMapReplaceAddress(&mut map, device(c.address)))?;
    Ok(cmd::VgpuTensorMapReplaceAddressReply { map })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_arrays_have_one_entry_per_dimension() {
        let two = [1u64, 2].map(u64::to_le_bytes).concat();
        assert_eq!(array(&two, 2, 0, u64::from_le_bytes), Ok([1, 2, 0, 0, 0]));
        assert_eq!(array(&two, 3, 1, u64::from_le_bytes), Ok([1, 2, 0, 0, 0]));
        assert_eq!(array(&[], 1, 1, u64::from_le_bytes), Ok([0; RANK_MAX]));
        for (bytes, rank) in [(&two[..], 1), (&two[..], 3), (&two[..15], 2), (&[], 0), (&[], 6), (&[], u32::MAX)] {
            assert_eq!(array(bytes, rank, 0, u64::from_le_bytes), Err(Failure::INVALID_VALUE), "{rank}");
        }
        assert_eq!(corner(&[], 1), Err(Failure::INVALID_VALUE));
        assert_eq!(corner(&[], 2), Ok([0; RANK_MAX]));
    }
}
