//! Copies of boxes: rows of bytes in slices, in linear memory or in arrays.

use std::ffi::c_void;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{CUarray, CUmemLocation, CUresult};

/// `CU_MEMORYTYPE_HOST`.
pub const MEMORYTYPE_HOST: u32 = 1;
/// `CU_MEMORYTYPE_DEVICE`.
pub const MEMORYTYPE_DEVICE: u32 = 2;
/// `CU_MEMORYTYPE_ARRAY`.
pub const MEMORYTYPE_ARRAY: u32 = 3;
/// `CU_MEMORYTYPE_UNIFIED`.
pub const MEMORYTYPE_UNIFIED: u32 = 4;

/// Parameters of a two-dimensional copy (`cuMemcpy2D`).
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_MEMCPY2D {
    pub srcXInBytes: usize,
    pub srcY: usize,
    pub srcMemoryType: u32,
    pub srcHost: *const c_void,
    pub srcDevice: u64,
    pub srcArray: CUarray,
    pub srcPitch: usize,
    pub dstXInBytes: usize,
    pub dstY: usize,
    pub dstMemoryType: u32,
    pub dstHost: *mut c_void,
    pub dstDevice: u64,
    pub dstArray: CUarray,
    pub dstPitch: usize,
    pub WidthInBytes: usize,
    pub Height: usize,
}

/// Parameters of a three-dimensional copy (`cuMemcpy3D`, and `cuMemcpy3DPeer`, whose contexts lie in
/// the fields that `cuMemcpy3D` reserves).
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_MEMCPY3D {
    pub srcXInBytes: usize,
    pub srcY: usize,
    pub srcZ: usize,
    pub srcLOD: usize,
    pub srcMemoryType: u32,
    pub srcHost: *const c_void,
    pub srcDevice: u64,
    pub srcArray: CUarray,
    pub srcContext: *mut c_void,
    pub srcPitch: usize,
    pub srcHeight: usize,
    pub dstXInBytes: usize,
    pub dstY: usize,
    pub dstZ: usize,
    pub dstLOD: usize,
    pub dstMemoryType: u32,
    pub dstHost: *mut c_void,
    pub dstDevice: u64,
    pub dstArray: CUarray,
    pub dstContext: *mut c_void,
    pub dstPitch: usize,
    pub dstHeight: usize,
    pub WidthInBytes: usize,
    pub Height: usize,
    pub Depth: usize,
}

/// Attributes of the copies of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, non_snake_case)]
pub struct CUmemcpyAttributes {
    /// `CUmemcpySrcAccessOrder`.
    pub srcAccessOrder: u32,
    pub srcLocHint: CUmemLocation,
    pub dstLocHint: CUmemLocation,
    pub flags: u32,
}

impl CUmemcpyAttributes {
    /// `CU_MEMCPY_SRC_ACCESS_ORDER_ANY`.
    pub const SOURCE_ANY: u32 = 3;
}

/// `CU_MEMCPY_SRC_ACCESS_ORDER_STREAM`: the source is read when the stream gets there.
pub const SOURCE_IN_STREAM_ORDER: u32 = 1;
/// `CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL`: the source is read before the call returns.
pub const SOURCE_DURING_CALL: u32 = 2;

/// Checks which entry of a batch's list holds from which element on: from the first one, in order.
pub fn check_indices(indices: &[usize], count: usize) -> Result<(), CUresult> {
    let rising = indices.is_sorted_by(|before, after| before < after);
    if indices.first() == Some(&0) && rising && indices.last().is_some_and(|last| *last < count) {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// One end of a copy of a batch: a pointer or an array, by `kind`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct CUmemcpy3DOperand {
    pub kind: u32,
    /// {pointer, row length, layer height, location} or {array, x, y, z}; in elements.
    pub op: [u64; 4],
}

/// `CU_MEMCPY_OPERAND_TYPE_POINTER`.
pub const OPERAND_POINTER: u32 = 1;
/// `CU_MEMCPY_OPERAND_TYPE_ARRAY`.
pub const OPERAND_ARRAY: u32 = 2;

/// One copy of `cuMemcpy3DBatchAsync`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, non_snake_case, non_camel_case_types)]
pub struct CUDA_MEMCPY3D_BATCH_OP {
    pub src: CUmemcpy3DOperand,
    pub dst: CUmemcpy3DOperand,
    pub extent: [usize; 3],
    pub srcAccessOrder: u32,
    pub flags: u32,
}

/// Which memory one end of a copy lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Host memory.
    Host(u64),
    /// Device memory, or a host address that the device uses too.
    Device(u64),
    /// Either; the address tells.
    Unified(u64),
    /// An array's handle.
    Array(u64),
}

/// One end of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyEnd {
    /// The memory.
    pub place: Place,
    /// Where the box starts: bytes, rows, slices.
    pub at: [usize; 3],
    /// Bytes from row to row; 0 where there is one row.
    pub pitch: usize,
    /// Rows from slice to slice; 0 where there is one slice.
    pub height: usize,
}

/// A copy with its ends: bytes, rows, slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxCopy {
    /// What is written.
    pub dst: CopyEnd,
    /// What is read.
    pub src: CopyEnd,
    /// The box.
    pub extent: [usize; 3],
}

/// A box in linear memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// The first byte, from the end's address on.
    pub start: usize,
    /// From row to row.
    pub row: usize,
    /// From slice to slice.
    pub slice: usize,
    /// From the first byte to behind the last one.
    pub span: usize,
}

impl CopyEnd {
    fn new(
        kind: u32,
        [host, device, array]: [u64; 3],
        at: [usize; 3],
        [pitch, height]: [usize; 2],
    ) -> Result<Self, CUresult> {
        let place = match kind {
            MEMORYTYPE_HOST => Place::Host(host),
            MEMORYTYPE_DEVICE => Place::Device(device),
            MEMORYTYPE_UNIFIED => Place::Unified(device),
            MEMORYTYPE_ARRAY => Place::Array(array),
            _ => return Err(CUresult::INVALID_VALUE),
        };
        Ok(CopyEnd { place, at, pitch, height })
    }

    /// Consecutive bytes.
    pub fn line(place: Place, offset: usize) -> Self {
        CopyEnd { place, at: [offset, 0, 0], pitch: 0, height: 0 }
    }

    /// How a box of this extent, which is not empty, lies in linear memory.
    pub fn strides(&self, [width, height, depth]: [usize; 3]) -> Result<Strides, CUresult> {
        let [x, y, z] = self.at;
        let row_end = add(x, width)?;
        let slice_end = add(y, height)?;
        // A size that was left out does not matter where there is nothing to step to.
        let pitch = if self.pitch == 0 && height == 1 && depth == 1 { row_end } else { self.pitch };
        let rows = if self.height == 0 && depth == 1 { slice_end } else { self.height };
        if pitch < row_end || rows < slice_end {
            return Err(CUresult::INVALID_VALUE);
        }
        let slice = multiply(pitch, rows)?;
        let start = add(add(multiply(z, slice)?, multiply(y, pitch)?)?, x)?;
        let last = add(multiply(depth - 1, slice)?, multiply(height - 1, pitch)?)?;
        let span = add(last, width)?;
        add(start, span)?;
        Ok(Strides { start, row: pitch, slice, span })
    }

    /// Whether a box of this extent lies in an array of these dimensions (elements, rows, slices).
    pub fn check_array(&self, extent: [usize; 3], array: [usize; 3], element: usize) -> Result<(), CUresult> {
        let limits = [multiply(array[0], element)?, array[1], array[2]];
        let mut sides = self.at.iter().zip(extent).zip(limits);
        let inside = sides.all(|((at, size), limit)| at.checked_add(size).is_some_and(|end| end <= limit));
        if inside && self.at[0].is_multiple_of(element) && extent[0].is_multiple_of(element) {
            Ok(())
        } else {
            Err(CUresult::INVALID_VALUE)
        }
    }
}

fn add(a: usize, b: usize) -> Result<usize, CUresult> {
    a.checked_add(b).ok_or(CUresult::INVALID_VALUE)
}

fn multiply(a: usize, b: usize) -> Result<usize, CUresult> {
    a.checked_mul(b).ok_or(CUresult::INVALID_VALUE)
}

impl Strides {
    /// Where the rows of a box of this height and depth start, from its first byte on, in order.
    pub fn rows(self, height: usize, depth: usize) -> impl Iterator<Item = usize> {
        (0..depth).flat_map(move |z| (0..height).map(move |y| z * self.slice + y * self.row))
    }
}

impl BoxCopy {
    /// Whether nothing is copied.
    pub fn is_empty(&self) -> bool {
        self.extent.contains(&0)
    }
}

impl TryFrom<&CUDA_MEMCPY2D> for BoxCopy {
    type Error = CUresult;

    fn try_from(c: &CUDA_MEMCPY2D) -> Result<Self, CUresult> {
        let src = [c.srcHost as u64, c.srcDevice, c.srcArray as u64];
        let dst = [c.dstHost as u64, c.dstDevice, c.dstArray as u64];
        Ok(BoxCopy {
            dst: CopyEnd::new(c.dstMemoryType, dst, [c.dstXInBytes, c.dstY, 0], [c.dstPitch, 0])?,
            src: CopyEnd::new(c.srcMemoryType, src, [c.srcXInBytes, c.srcY, 0], [c.srcPitch, 0])?,
            extent: [c.WidthInBytes, c.Height, 1],
        })
    }
}

impl TryFrom<&CUDA_MEMCPY3D> for BoxCopy {
    type Error = CUresult;

    fn try_from(c: &CUDA_MEMCPY3D) -> Result<Self, CUresult> {
        if c.srcLOD != 0 || c.dstLOD != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let src = [c.srcHost as u64, c.srcDevice, c.srcArray as u64];
        let dst = [c.dstHost as u64, c.dstDevice, c.dstArray as u64];
        let (to, from) = ([c.dstXInBytes, c.dstY, c.dstZ], [c.srcXInBytes, c.srcY, c.srcZ]);
        Ok(BoxCopy {
            dst: CopyEnd::new(c.dstMemoryType, dst, to, [c.dstPitch, c.dstHeight])?,
            src: CopyEnd::new(c.srcMemoryType, src, from, [c.srcPitch, c.srcHeight])?,
            extent: [c.WidthInBytes, c.Height, c.Depth],
        })
    }
}

impl From<&BoxCopy> for CUDA_MEMCPY3D {
    fn from(copy: &BoxCopy) -> Self {
        let end = |end: &CopyEnd| match end.place {
            Place::Host(address) => (MEMORYTYPE_HOST, [address, 0, 0]),
            Place::Device(address) => (MEMORYTYPE_DEVICE, [0, address, 0]),
            Place::Unified(address) => (MEMORYTYPE_UNIFIED, [0, address, 0]),
            Place::Array(handle) => (MEMORYTYPE_ARRAY, [0, 0, handle]),
        };
        let ((dst_kind, dst), (src_kind, src)) = (end(&copy.dst), end(&copy.src));
        let host = |address: u64| std::ptr::with_exposed_provenance_mut::<c_void>(address as usize);
        CUDA_MEMCPY3D {
            srcXInBytes: copy.src.at[0],
            srcY: copy.src.at[1],
            srcZ: copy.src.at[2],
            srcLOD: 0,
            srcMemoryType: src_kind,
            srcHost: host(src[0]),
            srcDevice: src[1],
            srcArray: src[2] as CUarray,
            srcContext: std::ptr::null_mut(),
            srcPitch: copy.src.pitch,
            srcHeight: copy.src.height,
            dstXInBytes: copy.dst.at[0],
            dstY: copy.dst.at[1],
            dstZ: copy.dst.at[2],
            dstLOD: 0,
            dstMemoryType: dst_kind,
            dstHost: host(dst[0]),
            dstDevice: dst[1],
            dstArray: dst[2] as CUarray,
            dstContext: std::ptr::null_mut(),
            dstPitch: copy.dst.pitch,
            dstHeight: copy.dst.height,
            WidthInBytes: copy.extent[0],
            Height: copy.extent[1],
            Depth: copy.extent[2],
        }
    }
}

/// `CU_MEMCPY_SRC_ACCESS_ORDER_STREAM` to `_ANY`.
const ACCESS_ORDERS: std::ops::RangeInclusive<u32> = 1..=3;
/// `CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE`: a hint.
const BATCH_FLAGS: u32 = 1;

impl CUDA_MEMCPY3D_BATCH_OP {
    /// The copy, given the bytes of an array's element by its handle.
    pub fn resolve(&self, element: impl Fn(u64) -> Result<usize, CUresult>) -> Result<BoxCopy, CUresult> {
        let size = |operand: &CUmemcpy3DOperand| match operand.kind {
            OPERAND_POINTER => Ok(None),
            OPERAND_ARRAY => element(operand.op[0]).map(Some),
            _ => Err(CUresult::INVALID_VALUE),
        };
        let (dst, src) = (size(&self.dst)?, size(&self.src)?);
        let differ = matches!((dst, src), (Some(dst), Some(src)) if dst != src);
        let wrong = !ACCESS_ORDERS.contains(&self.srcAccessOrder) || self.flags & !BATCH_FLAGS != 0;
        if differ || wrong || self.extent.contains(&0) {
            return Err(CUresult::INVALID_VALUE);
        }
        let element = dst.or(src).unwrap_or(1);
        let end = |operand: &CUmemcpy3DOperand| -> Result<CopyEnd, CUresult> {
            let [first, a, b, c] = operand.op.map(|value| value as usize);
            if operand.kind == OPERAND_ARRAY {
                return Ok(CopyEnd {
                    at: [multiply(a, element)?, b, c],
                    ..CopyEnd::line(Place::Array(operand.op[0]), 0)
                });
            }
            let packed = |size: usize, extent: usize| if size == 0 { extent } else { size };
            let (row, layer) = (packed(a, self.extent[0]), packed(b, self.extent[1]));
            let place = Place::Unified(first as u64);
            Ok(CopyEnd { pitch: multiply(row, element)?, height: layer, ..CopyEnd::line(place, 0) })
        };
        let [width, height, depth] = self.extent;
        Ok(BoxCopy { dst: end(&self.dst)?, src: end(&self.src)?, extent: [multiply(width, element)?, height, depth] })
    }
}

/// One end of a copy on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WireEnd {
    /// `MEMORYTYPE_HOST`, `_DEVICE` or `_ARRAY`.
    pub kind: u64,
    /// An address, or an array's handle.
    pub base: u64,
    /// Where the box starts: bytes, rows, slices.
    pub at: [u64; 3],
    /// Bytes from row to row.
    pub pitch: u64,
    /// Rows from slice to slice.
    pub height: u64,
}

/// A copy on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct WireCopy {
    /// What is written.
    pub dst: WireEnd,
    /// What is read.
    pub src: WireEnd,
    /// Bytes, rows, slices.
    pub extent: [u64; 3],
}

const _: () = assert!(size_of::<CUDA_MEMCPY2D>() == 128 && size_of::<CUDA_MEMCPY3D>() == 200);
const _: () = assert!(size_of::<CUDA_MEMCPY3D_BATCH_OP>() == 112 && size_of::<CUmemLocation>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn end(at: [usize; 3], pitch: usize, height: usize) -> CopyEnd {
        CopyEnd { place: Place::Host(0), at, pitch, height }
    }

    #[test]
    fn test_strides_follow_the_formula_of_cuda() {
        let strides = end([3, 2, 1], 16, 5).strides([8, 3, 2]).unwrap();
        assert_eq!((strides.start, strides.row, strides.slice, strides.span), ((5 + 2) * 16 + 3, 16, 80, 80 + 32 + 8));
        assert_eq!(strides.rows(2, 2).collect::<Vec<_>>(), [0, 16, 80, 96]);
    }

    #[test]
    fn test_sizes_may_be_left_out_only_where_nothing_follows() {
        assert!(end([0; 3], 0, 0).strides([8, 1, 1]).is_ok());
        assert!(end([0; 3], 8, 0).strides([8, 4, 1]).is_ok());
        for (pitch, height, extent) in [(0, 0, [8, 2, 1]), (8, 0, [8, 2, 2]), (7, 2, [8, 2, 1]), (8, 1, [8, 2, 2])] {
            assert_eq!(end([0; 3], pitch, height).strides(extent), Err(CUresult::INVALID_VALUE), "{extent:?}");
        }
    }

    #[test]
    fn test_absurd_sizes_are_errors() {
        for at in [[usize::MAX, 0, 0], [0, usize::MAX, 0], [0, 0, usize::MAX]] {
            assert!(end(at, 16, 16).strides([1, 1, 1]).is_err(), "{at:?}");
        }
        assert!(end([0; 3], usize::MAX, 3).strides([1, 2, 3]).is_err());
        let array = CopyEnd::line(Place::Array(1), usize::MAX);
        assert!(array.check_array([4, 1, 1], [8, 1, 1], 4).is_err());
        assert!(CopyEnd::line(Place::Array(1), 28).check_array([4, 1, 1], [8, 1, 1], 4).is_ok());
        assert!(CopyEnd::line(Place::Array(1), 2).check_array([4, 1, 1], [8, 1, 1], 4).is_err());
    }
}
