//! Copies of boxes between the session's memory, the device's and arrays.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    CUarray, CUresult, CopyEnd, Place, WireCopy, WireEnd, CUDA_MEMCPY3D, MEMORYTYPE_ARRAY, MEMORYTYPE_DEVICE,
    MEMORYTYPE_HOST,
};
use vgpu_protocol::{cmd, Handle, HandleKind};

use super::copy::{check_host, stream};
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::driver;

/// An end as the driver takes it: its kind, and the address or the array.
struct End {
    kind: u32,
    address: u64,
    array: CUarray,
    end: CopyEnd,
}

fn size(value: u64) -> Result<usize, Failure> {
    usize::try_from(value).map_err(|_| Failure::INVALID_VALUE)
}

fn pointer(address: u64) -> *mut c_void {
    address as usize as *mut c_void
}

/// Looks up an array; checks that host memory is the session's.
fn resolve(ctx: &Context<'_>, wire: &WireEnd, extent: [usize; 3]) -> Result<End, Failure> {
    let [x, y, z] = wire.at;
    let place = Place::Host(wire.base);
    let at = [size(x)?, size(y)?, size(z)?];
    let end = CopyEnd { place, at, pitch: size(wire.pitch)?, height: size(wire.height)? };
    let kind = u32::try_from(wire.kind).map_err(|_| Failure::INVALID_VALUE)?;
    let mut resolved = End { kind, address: wire.base, array: std::ptr::null_mut(), end };
    match kind {
        MEMORYTYPE_DEVICE => {}
        MEMORYTYPE_HOST => {
            let strides = end.strides(extent).map_err(Failure::Cuda)?;
            let first = wire.base.checked_add(strides.start as u64).ok_or(Failure::INVALID_VALUE)?;
            check_host(ctx, first, strides.span as u64)?;
        }
        MEMORYTYPE_ARRAY => {
            resolved.address = 0;
            resolved.array = ctx.resolve(HandleKind::Array, Handle(wire.base))?.cast();
        }
        _ => return Err(Failure::INVALID_VALUE),
    }
    Ok(resolved)
}

/// Has the driver make a copy whose ends are checked.
fn run(ctx: &Context<'_>, dst: End, src: End, extent: [usize; 3], stream: Handle) -> Result<(), Failure> {
    let copy = params(dst, src, extent);
    let stream = self::stream(ctx, stream)?;
    driver!(ctx, cuMemcpy3DAsync_v2(&copy, stream))
}

/// A copy as the driver takes it, its ends checked.
pub(super) fn copy_params(ctx: &Context<'_>, copy: &WireCopy) -> Result<CUDA_MEMCPY3D, Failure> {
    let extent = extent(copy)?;
    Ok(params(resolve(ctx, &copy.dst, extent)?, resolve(ctx, &copy.src, extent)?, extent))
}

fn params(dst: End, src: End, [width, height, depth]: [usize; 3]) -> CUDA_MEMCPY3D {
    CUDA_MEMCPY3D {
        srcXInBytes: src.end.at[0],
        srcY: src.end.at[1],
        srcZ: src.end.at[2],
        srcLOD: 0,
        srcMemoryType: src.kind,
        srcHost: pointer(src.address),
        srcDevice: src.address,
        srcArray: src.array,
        srcContext: std::ptr::null_mut(),
        srcPitch: src.end.pitch,
        srcHeight: src.end.height,
        dstXInBytes: dst.end.at[0],
        dstY: dst.end.at[1],
        dstZ: dst.end.at[2],
        dstLOD: 0,
        dstMemoryType: dst.kind,
        dstHost: pointer(dst.address),
        dstDevice: dst.address,
        dstArray: dst.array,
        dstContext: std::ptr::null_mut(),
        dstPitch: dst.end.pitch,
        dstHeight: dst.end.height,
        WidthInBytes: width,
        Height: height,
        Depth: depth,
    }
}

fn extent(copy: &WireCopy) -> Result<[usize; 3], Failure> {
    let [width, height, depth] = copy.extent;
    if width == 0 || height == 0 || depth == 0 {
        return Err(Failure::INVALID_VALUE);
    }
    Ok([size(width)?, size(height)?, size(depth)?])
}

/// `vgpuCopyBox`. Into chunks, but not into staging: a copy into pageable memory would hold up the
/// other lanes.
pub fn copy_box(ctx: &mut Context<'_>, command: cmd::VgpuCopyBox) -> Result<cmd::VgpuCopyBoxReply, Failure> {
    let extent = extent(&command.copy)?;
    let (dst, src) = (resolve(ctx, &command.copy.dst, extent)?, resolve(ctx, &command.copy.src, extent)?);
    if dst.kind == MEMORYTYPE_HOST {
        let strides = dst.end.strides(extent).map_err(Failure::Cuda)?;
        let first = dst.address.checked_add(strides.start as u64).ok_or(Failure::INVALID_VALUE)?;
        if !ctx.session.arena.in_chunks(first, strides.span as u64) {
            return Err(Failure::INVALID_VALUE);
        }
    }
    let source = match src.kind {
        MEMORYTYPE_HOST => Some((src.address, src.end.strides(extent).map_err(Failure::Cuda)?)),
        _ => None,
    };
    run(ctx, dst, src, extent, command.stream)?;
    if let Some((address, strides)) = source {
        let stream = stream(ctx, command.stream)?;
        ctx.sent(address.saturating_add(strides.start as u64), strides.span as u64, stream);
    }
    Ok(cmd::VgpuCopyBoxReply {})
}

/// `vgpuCopyBoxPeer`.
pub fn copy_box_peer(
    ctx: &mut Context<'_>,
    command: cmd::VgpuCopyBoxPeer,
) -> Result<cmd::VgpuCopyBoxPeerReply, Failure> {
    if [command.copy.dst.kind, command.copy.src.kind] != [u64::from(MEMORYTYPE_DEVICE); 2] {
        return Err(Failure::INVALID_VALUE);
    }
    let context = |handle| ctx.entry(HandleKind::Context, handle).map(|entry| pointer(entry.pointer as u64));
    let copy = CUDA_MEMCPY3D {
        dstContext: context(command.dst)?,
        srcContext: context(command.src)?,
        ..copy_params(ctx, &command.copy)?
    };
    let stream = stream(ctx, command.stream)?;
    driver!(ctx, cuMemcpy3DPeerAsync(&copy, stream))?;
    Ok(cmd::VgpuCopyBoxPeerReply {})
}

/// `vgpuCopyBoxInline`. The source, rows without gaps, is pageable memory of this process: read when
/// the driver returns.
pub fn copy_box_inline(
    ctx: &mut Context<'_>,
    command: cmd::VgpuCopyBoxInline<'_>,
) -> Result<cmd::VgpuCopyBoxInlineReply, Failure> {
    let extent = extent(&command.copy)?;
    let dst = resolve(ctx, &command.copy.dst, extent)?;
    let address = command.data.as_ptr() as u64;
    let end = CopyEnd { pitch: extent[0], height: extent[1], ..CopyEnd::line(Place::Host(address), 0) };
    let strides = end.strides(extent).map_err(Failure::Cuda)?;
    if strides.span != command.data.len() || dst.kind == MEMORYTYPE_HOST {
        return Err(Failure::Cuda(CUresult::INVALID_VALUE));
    }
    let src = End { kind: MEMORYTYPE_HOST, address, array: std::ptr::null_mut(), end };
    run(ctx, dst, src, extent, command.stream)?;
    Ok(cmd::VgpuCopyBoxInlineReply {})
}

/// `vgpuCopyBoxWait`. The data is there when the reply is.
pub fn copy_box_wait(
    ctx: &mut Context<'_>,
    command: cmd::VgpuCopyBoxWait,
) -> Result<cmd::VgpuCopyBoxWaitReply, Failure> {
    let extent = extent(&command.copy)?;
    let (dst, src) = (resolve(ctx, &command.copy.dst, extent)?, resolve(ctx, &command.copy.src, extent)?);
    run(ctx, dst, src, extent, command.stream)?;
    let stream = stream(ctx, command.stream)?;
    driver!(ctx, cuStreamSynchronize(stream))?;
    Ok(cmd::VgpuCopyBoxWaitReply {})
}
