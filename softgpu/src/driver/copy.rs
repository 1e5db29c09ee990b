//! Copies and fills.

use std::ffi::c_void;

use vgpu_engine::memory::Plain;
use vgpu_graphs::Fill;
use vgpu_protocol::cuda::{CUresult, CUstream, Place};

use super::abi::{bytes, bytes_mut, guard};
use super::core::{driver, Rows, Target};

/// Copies from the host; returns when it is done.
pub unsafe extern "C" fn cuMemcpyHtoD_v2(dstDevice: u64, srcHost: *const c_void, ByteCount: usize) -> CUresult {
    guard(|| {
        // SAFETY: null or readable, by the driver API's contract; only copied from.
        let source = unsafe { bytes(srcHost, ByteCount) }?;
        Target::legacy()?.write(dstDevice, source)
    })
}

/// Copies to the host; returns when it is done.
pub unsafe extern "C" fn cuMemcpyDtoH_v2(dstHost: *mut c_void, srcDevice: u64, ByteCount: usize) -> CUresult {
    guard(|| {
        // SAFETY: null or writable, by the driver API's contract; only copied to.
        let destination = unsafe { bytes_mut(dstHost, ByteCount) }?;
        Target::legacy()?.read(destination, srcDevice)
    })
}

/// Copies within device memory.
pub unsafe extern "C" fn cuMemcpyDtoD_v2(dstDevice: u64, srcDevice: u64, ByteCount: usize) -> CUresult {
    guard(|| {
        let target = Target::legacy()?;
        target.copy(dstDevice, srcDevice, ByteCount as u64)?;
        target.settle(dstDevice)?;
        target.settle(srcDevice)
    })
}

/// Copies from the host in stream order. Registered memory is read when its turn comes, other memory
/// before the call returns.
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    dstDevice: u64,
    srcHost: *const c_void,
    ByteCount: usize,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        let source = srcHost.expose_provenance() as u64;
        if captured(hStream, Place::Device(dstDevice), Place::Host(source), ByteCount)? {
            return Ok(());
        }
        let target = Target::of(hStream as u64)?;
        if target.reaches(source, ByteCount as u64) {
            return target.copy(dstDevice, source, ByteCount as u64);
        }
        // SAFETY: null or readable, by the driver API's contract; only copied from.
        target.write_pageable(dstDevice, unsafe { bytes(srcHost, ByteCount) }?)
    })
}

/// Copies to the host in stream order. Into registered memory it is asynchronous; into other memory
/// it is done when the call returns.
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    dstHost: *mut c_void,
    srcDevice: u64,
    ByteCount: usize,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        let destination = dstHost.expose_provenance() as u64;
        if captured(hStream, Place::Host(destination), Place::Device(srcDevice), ByteCount)? {
            return Ok(());
        }
        let target = Target::of(hStream as u64)?;
        if target.reaches(destination, ByteCount as u64) {
            return target.copy(destination, srcDevice, ByteCount as u64);
        }
        // SAFETY: null or writable, by the driver API's contract; only copied to.
        target.read(unsafe { bytes_mut(dstHost, ByteCount) }?, srcDevice)
    })
}

/// Copies within device memory in stream order.
pub unsafe extern "C" fn cuMemcpyDtoDAsync_v2(
    dstDevice: u64,
    srcDevice: u64,
    ByteCount: usize,
    hStream: CUstream,
) -> CUresult {
    guard(|| Target::of(hStream as u64)?.copy(dstDevice, srcDevice, ByteCount as u64))
}

/// Whether a capture takes a copy.
pub(super) fn captured(stream: CUstream, dst: Place, src: Place, size: usize) -> Result<bool, CUresult> {
    driver()?.graphs.capture_copy(stream as u64, dst, src, size)
}

/// Fills, unless a capture takes it.
fn fill<T: Plain + Into<u32> + Send + 'static>(
    stream: CUstream,
    [base, pitch, width, height]: [usize; 4],
    value: T,
) -> Result<(), CUresult> {
    let fill = || Fill::rows(base as u64, pitch, value.into(), size_of::<T>() as u32, width, height);
    match width == 0 || height == 0 || !driver()?.graphs.capture_fill(stream as u64, fill)? {
        true => Target::of(stream as u64)?.fill(rows::<T>(base as u64, pitch, width, height)?, value),
        false => Ok(()),
    }
}

macro_rules! fills {
    ($($name:ident $rows:ident $asynchronous:ident $rows_asynchronous:ident $ty:ty, $what:literal;)*) => {$(
        #[doc = concat!("Sets `N` ", $what, " of device memory.")]
        pub unsafe extern "C" fn $name(dstDevice: u64, value: $ty, N: usize) -> CUresult {
            guard(|| {
                let target = Target::legacy()?;
                target.fill(line::<$ty>(dstDevice, N)?, value)?;
                target.settle(dstDevice)
            })
        }

        #[doc = concat!("Sets `Height` rows of `Width` ", $what, "; the pitch is in bytes.")]
        pub unsafe extern "C" fn $rows(
            dstDevice: u64,
            dstPitch: usize,
            value: $ty,
            Width: usize,
            Height: usize,
        ) -> CUresult {
            guard(|| {
                let target = Target::legacy()?;
                target.fill(rows::<$ty>(dstDevice, dstPitch, Width, Height)?, value)?;
                target.settle(dstDevice)
            })
        }

        #[doc = concat!("Sets `N` ", $what, " of device memory in stream order.")]
        pub unsafe extern "C" fn $asynchronous(dstDevice: u64, value: $ty, N: usize, hStream: CUstream) -> CUresult {
            guard(|| fill(hStream, [dstDevice as usize, 0, N, 1], value))
        }

        #[doc = concat!("Sets `Height` rows of `Width` ", $what, " in stream order; the pitch is in bytes.")]
        pub unsafe extern "C" fn $rows_asynchronous(
            dstDevice: u64,
            dstPitch: usize,
            value: $ty,
            Width: usize,
            Height: usize,
            hStream: CUstream,
        ) -> CUresult {
            guard(|| fill(hStream, [dstDevice as usize, dstPitch, Width, Height], value))
        }
    )*};
}

fills! {
    cuMemsetD8_v2 cuMemsetD2D8_v2 cuMemsetD8Async cuMemsetD2D8Async u8, "bytes";
    cuMemsetD16_v2 cuMemsetD2D16_v2 cuMemsetD16Async cuMemsetD2D16Async u16, "16-bit values";
    cuMemsetD32_v2 cuMemsetD2D32_v2 cuMemsetD32Async cuMemsetD2D32Async u32, "32-bit values";
}

/// `count` values in one row.
fn line<T>(base: u64, count: usize) -> Result<Rows, CUresult> {
    rows::<T>(base, 0, count, 1)
}

fn rows<T>(base: u64, pitch: usize, count: usize, height: usize) -> Result<Rows, CUresult> {
    let width = (count as u64).checked_mul(size_of::<T>() as u64).ok_or(CUresult::INVALID_VALUE)?;
    Ok(Rows { base, pitch: pitch as u64, width, height: height as u64 })
}
