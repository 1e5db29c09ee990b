//! Two- and three-dimensional copies, and copies of arrays. Pageable memory goes through the staging
//! area row by row, without the gaps between rows.

use std::ffi::c_void;

use vgpu_client::PIECE_SIZE;
use vgpu_protocol::cmd::{VgpuCopyBox, VgpuCopyBoxInline, VgpuCopyBoxPeer, VgpuCopyBoxWait};
use vgpu_protocol::cuda::{
    BoxCopy, CUarray, CUresult, CUstream, CopyEnd, Place, Strides, WireCopy, WireEnd, CUDA_MEMCPY2D, CUDA_MEMCPY3D,
    CUDA_MEMCPY3D_BATCH_OP, MEMORYTYPE_ARRAY, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST,
};
use vgpu_protocol::Handle;

use super::copy::{no_stream, End, Order, INLINE_SIZE};
use super::Result;
use crate::arrays;
use crate::context;
use crate::driver::driver;
use crate::stub::{self, bytes, bytes_mut};

/// Copies allowed in one batch.
const BATCH_MAX: usize = 1 << 20;

/// An end of a copy, its arguments checked.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    /// As the worker gets it. The address of linear memory is that of the box's first byte.
    pub(crate) wire: WireEnd,
    /// How the box lies in linear memory.
    strides: Option<Strides>,
    pinned: bool,
}

impl Side {
    fn new(order: Order, end: &CopyEnd, extent: [usize; 3]) -> std::result::Result<Side, CUresult> {
        let (kind, base) = match end.place {
            Place::Array(handle) => return Side::array(end, handle, extent),
            Place::Host(address) => (MEMORYTYPE_HOST, address),
            Place::Device(address) => (MEMORYTYPE_DEVICE, address),
            Place::Unified(address) => match order.classify(address)? {
                End::Host(address) => (MEMORYTYPE_HOST, address),
                End::Device(address) => (MEMORYTYPE_DEVICE, address),
            },
        };
        if base == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let strides = end.strides(extent)?;
        let first = base.checked_add(strides.start as u64).ok_or(CUresult::INVALID_VALUE)?;
        let pinned = match kind {
            MEMORYTYPE_HOST => order.is_pinned(first, strides.span)?,
            _ => {
                stub::check_range(first, strides.span as u64)?;
                false
            }
        };
        let (pitch, rows) = (strides.row as u64, (strides.slice / strides.row) as u64);
        let wire = WireEnd { kind: kind.into(), base: first, at: [0; 3], pitch, height: rows };
        Ok(Side { wire, strides: Some(strides), pinned })
    }

    fn array(end: &CopyEnd, handle: u64, extent: [usize; 3]) -> std::result::Result<Side, CUresult> {
        let shape = arrays::find(handle)?.shape;
        let element = shape.element().ok_or(CUresult::NOT_SUPPORTED)?;
        end.check_array(extent, shape.extent(), element.bytes())?;
        let at = end.at.map(|offset| offset as u64);
        let wire = WireEnd { kind: MEMORYTYPE_ARRAY.into(), base: handle, at, ..WireEnd::default() };
        Ok(Side { wire, strides: None, pinned: false })
    }

    /// The ends of a copy that is not empty.
    pub(crate) fn of(copy: &BoxCopy) -> std::result::Result<(Side, Side), CUresult> {
        let order = Order::new(no_stream(), false)?;
        Ok((Side::new(order, &copy.dst, copy.extent)?, Side::new(order, &copy.src, copy.extent)?))
    }

    /// The address and layout of host memory that only this process has.
    pub(crate) fn pageable(&self) -> Option<(u64, Strides)> {
        self.host().filter(|_| !self.pinned)
    }

    /// The address and layout of host memory.
    fn host(&self) -> Option<(u64, Strides)> {
        let strides = self.strides.filter(|_| self.wire.kind == MEMORYTYPE_HOST.into())?;
        Some((self.wire.base, strides))
    }

    /// Consecutive bytes of linear memory, if that is what a box of this extent is here.
    fn line(&self, [width, height, depth]: [usize; 3]) -> Option<End> {
        let strides = self.strides?;
        let packed = (height == 1 || strides.row == width) && (depth == 1 || strides.slice == width * height);
        let address = self.wire.base;
        packed.then_some(if self.host().is_some() { End::Host(address) } else { End::Device(address) })
    }

    /// The end where a part of the box starts.
    fn part(&self, at: [usize; 3]) -> WireEnd {
        let mut wire = self.wire;
        for (start, offset) in wire.at.iter_mut().zip(at) {
            *start += offset as u64;
        }
        wire
    }
}

/// A part of a box that fits a piece of the staging area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    at: [usize; 3],
    extent: [usize; 3],
}

/// Parts of at most `room` bytes each: whole slices, else whole rows, else bytes of a row.
fn parts([width, height, depth]: [usize; 3], room: usize) -> impl Iterator<Item = Part> {
    let wide = width.min(room);
    let high = if wide < width { 1 } else { height.min(room / width).max(1) };
    let deep = if high < height { 1 } else { depth.min(room / (width * height)).max(1) };
    let steps = |size: usize, step: usize| (0..size).step_by(step).map(move |at| (at, step.min(size - at)));
    steps(depth, deep).flat_map(move |(z, d)| {
        steps(height, high)
            .flat_map(move |(y, h)| steps(width, wide).map(move |(x, w)| Part { at: [x, y, z], extent: [w, h, d] }))
    })
}

impl Part {
    fn bytes(&self) -> usize {
        self.extent.iter().product()
    }

    /// Where the part's rows start in a box of these strides, in order.
    fn rows(self, strides: Strides) -> impl Iterator<Item = usize> {
        let [x, y, z] = self.at;
        let start = z * strides.slice + y * strides.row + x;
        strides.rows(self.extent[1], self.extent[2]).map(move |row| start + row)
    }

    /// The part without gaps, at an address.
    fn packed(&self, address: u64) -> WireEnd {
        let [width, height, _] = self.extent.map(|size| size as u64);
        WireEnd { kind: MEMORYTYPE_HOST.into(), base: address, at: [0; 3], pitch: width, height }
    }
}

fn wire(dst: WireEnd, src: WireEnd, extent: [usize; 3]) -> WireCopy {
    WireCopy { dst, src, extent: extent.map(|size| size as u64) }
}

/// # Safety
/// Host memory is valid for the copy; pinned memory until the stream has got there.
unsafe fn copy_box(order: Order, copy: &BoxCopy) -> Result {
    if copy.is_empty() {
        return Ok(());
    }
    let driver = driver()?;
    if driver.graphs.capture_box(|| driver.graphs.stream(order.stream.0), copy)? {
        return Ok(());
    }
    let extent = copy.extent;
    let (dst, src) = (Side::new(order, &copy.dst, extent)?, Side::new(order, &copy.src, extent)?);
    if let (Some(dst), Some(src)) = (dst.line(extent), src.line(extent)) {
        // SAFETY: as the caller says.
        return unsafe { order.copy(dst, src, extent.iter().product()) };
    }
    // SAFETY: as the caller says.
    unsafe {
        match (dst.host(), src.host()) {
            (Some(to), Some(from)) => on_host(order, to, from, extent),
            (None, Some(from)) if !src.pinned => {
                order.before_reading(src.wire.base)?;
                from_pageable(order, &dst, from, extent)
            }
            (Some(to), None) if !dst.pinned => to_pageable(order, to, &src, extent),
            _ => pinned(order, &dst, &src, extent),
        }
    }
}

/// Both ends are within the worker's reach.
fn pinned(order: Order, dst: &Side, src: &Side, extent: [usize; 3]) -> Result {
    let (copy, stream) = (wire(dst.wire, src.wire, extent), order.stream);
    if let Some([dst, src]) = owners(dst, src)? {
        stub::post(&VgpuCopyBoxPeer { copy, dst, src, stream })?;
        return if order.wait { order.synchronise() } else { Ok(()) };
    }
    if dst.pinned && order.wait {
        return stub::call(&VgpuCopyBoxWait { copy, stream }).map(drop);
    }
    stub::post(&VgpuCopyBox { copy, stream })?;
    if src.pinned && order.wait {
        return order.synchronise();
    }
    Ok(())
}

/// The contexts whose memory the ends are, if that is of two devices. What belongs to no context is told by its address.
fn owners(dst: &Side, src: &Side) -> std::result::Result<Option<[Handle; 2]>, CUresult> {
    let driver = driver()?;
    if driver.device_count() == 1 {
        return Ok(None);
    }
    let range = |side: &Side| {
        let range = driver.memory.find(side.wire.base).filter(|_| side.wire.kind == MEMORYTYPE_DEVICE.into());
        range.filter(|range| range.context != Handle::NULL)
    };
    Ok(match (range(dst), range(src)) {
        (Some(dst), Some(src)) if dst.device != src.device => Some([dst.context, src.context]),
        _ => None,
    })
}

/// # Safety
/// Both boxes are valid.
unsafe fn on_host(
    order: Order,
    to: (u64, Strides),
    from: (u64, Strides),
    [width, height, depth]: [usize; 3],
) -> Result {
    // What the stream still has to do may concern either box.
    order.synchronise()?;
    for (to_row, from_row) in to.1.rows(height, depth).zip(from.1.rows(height, depth)) {
        let (to, from) = ((to.0 + to_row as u64) as *mut u8, (from.0 + from_row as u64) as *const u8);
        // SAFETY: as the caller says; rows may overlap.
        unsafe { std::ptr::copy(from, to, width) };
    }
    Ok(())
}

/// # Safety
/// The source is valid.
unsafe fn from_pageable(order: Order, dst: &Side, from: (u64, Strides), extent: [usize; 3]) -> Result {
    // SAFETY: as the caller says; the gaps between rows lie in the same buffer.
    let source = unsafe { bytes(from.0 as *const c_void, from.1.span)? };
    let context = context::required()?.handle.0;
    let session = order.session();
    let mut packed = Vec::new();
    for part in parts(extent, PIECE_SIZE) {
        packed.clear();
        for row in part.rows(from.1) {
            packed.extend_from_slice(source.get(row..row + part.extent[0]).ok_or(CUresult::INVALID_VALUE)?);
        }
        if part.bytes() <= INLINE_SIZE {
            let copy = wire(dst.part(part.at), WireEnd::default(), part.extent);
            stub::post(&VgpuCopyBoxInline { copy, stream: order.stream, data: &packed })?;
            continue;
        }
        let piece = session.take_piece()?;
        session.fill_piece(&piece, &packed);
        let copy = wire(dst.part(part.at), part.packed(session.piece_address(&piece)), part.extent);
        session.post_with(context, &VgpuCopyBox { copy, stream: order.stream }, piece)?;
    }
    Ok(())
}

/// # Safety
/// The destination is valid.
unsafe fn to_pageable(order: Order, to: (u64, Strides), src: &Side, extent: [usize; 3]) -> Result {
    // SAFETY: as the caller says; the gaps between rows lie in the same buffer.
    let target = unsafe { bytes_mut(to.0 as *mut c_void, to.1.span)? };
    let session = order.session();
    let mut packed = vec![0; PIECE_SIZE.min(extent.iter().fold(1, |bytes: usize, size| bytes.saturating_mul(*size)))];
    for part in parts(extent, PIECE_SIZE) {
        let piece = session.take_piece()?;
        let copy = wire(part.packed(session.piece_address(&piece)), src.part(part.at), part.extent);
        let copied = stub::create(&VgpuCopyBoxWait { copy, stream: order.stream });
        let buffer = packed.get_mut(..part.bytes()).ok_or(CUresult::UNKNOWN)?;
        if copied.is_ok() {
            session.read_piece(&piece, buffer, buffer.len());
        }
        session.give_back(piece, None);
        copied?;
        for (row, bytes) in part.rows(to.1).zip(buffer.chunks(part.extent[0])) {
            target.get_mut(row..row + bytes.len()).ok_or(CUresult::INVALID_VALUE)?.copy_from_slice(bytes);
        }
    }
    stub::latched()
}

/// # Safety
/// As for the copy that is described.
unsafe fn described<T>(order: Order, copy: *const T) -> Result
where
    for<'a> BoxCopy: TryFrom<&'a T, Error = CUresult>,
{
    // SAFETY: the caller vouches for the description.
    let copy = unsafe { copy.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: as the caller says.
    unsafe { copy_box(order, &BoxCopy::try_from(copy)?) }
}

pub unsafe fn cuMemcpy2D_v2(copy: *const CUDA_MEMCPY2D) -> Result {
    // SAFETY: as for the caller.
    unsafe { described(Order::new(no_stream(), true)?, copy) }
}

pub unsafe fn cuMemcpy2DUnaligned_v2(copy: *const CUDA_MEMCPY2D) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuMemcpy2D_v2(copy) }
}

pub unsafe fn cuMemcpy2DAsync_v2(copy: *const CUDA_MEMCPY2D, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { described(Order::new(stream, false)?, copy) }
}

pub unsafe fn cuMemcpy3D_v2(copy: *const CUDA_MEMCPY3D) -> Result {
    // SAFETY: as for the caller.
    unsafe { described(Order::new(no_stream(), true)?, copy) }
}

pub unsafe fn cuMemcpy3DAsync_v2(copy: *const CUDA_MEMCPY3D, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { described(Order::new(stream, false)?, copy) }
}

/// The contexts at the two ends must exist, except those of arrays and host memory, which are not
/// looked at.
///
/// # Safety
/// `copy` is null or valid for a read.
unsafe fn check_peers(copy: *const CUDA_MEMCPY3D) -> Result {
    // SAFETY: as the caller says.
    let copy = unsafe { stub::input(copy)? };
    let ends = BoxCopy::try_from(&copy)?;
    for (context, end) in [(copy.dstContext, ends.dst), (copy.srcContext, ends.src)] {
        if !matches!(end.place, Place::Array(_) | Place::Host(_)) {
            driver()?.contexts.find(context.cast())?;
        }
    }
    Ok(())
}

pub unsafe fn cuMemcpy3DPeer(copy: *const CUDA_MEMCPY3D) -> Result {
    // SAFETY: as for the caller.
    unsafe {
        check_peers(copy)?;
        cuMemcpy3D_v2(copy)
    }
}

pub unsafe fn cuMemcpy3DPeerAsync(copy: *const CUDA_MEMCPY3D, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe {
        check_peers(copy)?;
        cuMemcpy3DAsync_v2(copy, stream)
    }
}

fn element_bytes(array: u64) -> std::result::Result<usize, CUresult> {
    arrays::find(array)?.shape.element().map(|element| element.bytes()).ok_or(CUresult::NOT_SUPPORTED)
}

/// # Safety
/// `ops` has `count` copies whose host memory is valid; `failed` is null or valid for a write.
unsafe fn batch(
    count: usize,
    ops: *const CUDA_MEMCPY3D_BATCH_OP,
    failed: *mut usize,
    flags: u64,
    stream: CUstream,
) -> Result {
    let order = Order::new(stream, false)?;
    if count == 0 || count > BATCH_MAX || flags != 0 || stream.is_null() || ops.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    for i in 0..count {
        // SAFETY: as the caller says.
        let made = unsafe { stub::input(ops.wrapping_add(i)) }
            .and_then(|op| op.resolve(element_bytes))
            // SAFETY: as the caller says.
            .and_then(|copy| unsafe { copy_box(order, &copy) });
        if let Err(error) = made {
            // SAFETY: as the caller says.
            unsafe { stub::put_optional(failed, i) };
            return Err(error);
        }
    }
    Ok(())
}

pub unsafe fn cuMemcpy3DBatchAsync(
    count: usize,
    ops: *const CUDA_MEMCPY3D_BATCH_OP,
    failed: *mut usize,
    flags: u64,
    stream: CUstream,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { batch(count, ops, failed, flags, stream) }
}

pub unsafe fn cuMemcpy3DBatchAsync_v2(
    count: usize,
    ops: *const CUDA_MEMCPY3D_BATCH_OP,
    flags: u64,
    stream: CUstream,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { batch(count, ops, std::ptr::null_mut(), flags, stream) }
}

pub unsafe fn cuMemcpy3DWithAttributesAsync(op: *const CUDA_MEMCPY3D_BATCH_OP, flags: u64, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { batch(1, op, std::ptr::null_mut(), flags, stream) }
}

/// Copies consecutive bytes to or from the first row of an array.
///
/// # Safety
/// Host memory is valid for `size` bytes.
unsafe fn line(order: Order, dst: CopyEnd, src: CopyEnd, size: usize) -> Result {
    // SAFETY: as the caller says.
    unsafe { copy_box(order, &BoxCopy { dst, src, extent: [size, 1, 1] }) }
}

fn array(array: CUarray, offset: usize) -> CopyEnd {
    CopyEnd::line(Place::Array(array as u64), offset)
}

fn device(address: u64) -> CopyEnd {
    CopyEnd::line(Place::Device(address), 0)
}

fn host(address: *const c_void) -> CopyEnd {
    CopyEnd::line(Place::Host(address as u64), 0)
}

pub unsafe fn cuMemcpyDtoA_v2(dst: CUarray, offset: usize, src: u64, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(no_stream(), true)?, array(dst, offset), device(src), size) }
}

pub unsafe fn cuMemcpyAtoD_v2(dst: u64, src: CUarray, offset: usize, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(no_stream(), true)?, device(dst), array(src, offset), size) }
}

pub unsafe fn cuMemcpyHtoA_v2(dst: CUarray, offset: usize, src: *const c_void, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(no_stream(), true)?, array(dst, offset), host(src), size) }
}

pub unsafe fn cuMemcpyHtoAAsync_v2(
    dst: CUarray,
    offset: usize,
    src: *const c_void,
    size: usize,
    stream: CUstream,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(stream, false)?, array(dst, offset), host(src), size) }
}

pub unsafe fn cuMemcpyAtoH_v2(dst: *mut c_void, src: CUarray, offset: usize, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(no_stream(), true)?, host(dst), array(src, offset), size) }
}

pub unsafe fn cuMemcpyAtoHAsync_v2(
    dst: *mut c_void,
    src: CUarray,
    offset: usize,
    size: usize,
    stream: CUstream,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(stream, false)?, host(dst), array(src, offset), size) }
}

pub unsafe fn cuMemcpyAtoA_v2(dst: CUarray, to: usize, src: CUarray, from: usize, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { line(Order::new(no_stream(), true)?, array(dst, to), array(src, from), size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_parts_cover_a_box_once_and_fit() {
        for extent in [[10, 3, 2], [3, 10, 4], [100, 1, 1], [1, 1, 50], [7, 7, 7], [16, 4, 4]] {
            let mut seen = vec![0u8; extent.iter().product()];
            for part in parts(extent, 16) {
                assert!(part.bytes() <= 16, "{part:?}");
                for z in part.at[2]..part.at[2] + part.extent[2] {
                    for y in part.at[1]..part.at[1] + part.extent[1] {
                        for x in part.at[0]..part.at[0] + part.extent[0] {
                            seen[(z * extent[1] + y) * extent[0] + x] += 1;
                        }
                    }
                }
            }
            assert!(seen.iter().all(|count| *count == 1), "{extent:?}");
        }
    }

    #[test]
    fn test_rows_of_a_part_lie_in_the_box() {
        let strides = Strides { start: 0, row: 32, slice: 128, span: 0 };
        let part = Part { at: [4, 1, 1], extent: [8, 2, 2] };
        assert_eq!(part.rows(strides).collect::<Vec<_>>(), [164, 196, 292, 324]);
    }
}
