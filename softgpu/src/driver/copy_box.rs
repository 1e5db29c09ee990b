//! Two- and three-dimensional copies, and copies of arrays.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    BoxCopy, CUarray, CUresult, CUstream, CopyEnd, Place, CUDA_MEMCPY2D, CUDA_MEMCPY3D, CUDA_MEMCPY3D_BATCH_OP,
};

use super::abi::{bytes, bytes_mut, copy_bytes, guard, out, values};
use super::core::{driver, Array, End, Result, Target};

/// Copies allowed in one batch.
const BATCH_MAX: usize = 1 << 20;

fn host(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

/// Makes a copy; one that is not asynchronous returns when host memory at either end is done with.
///
/// # Safety
/// Host memory that the copy names is valid for it, by the driver API's contract.
unsafe fn run(target: &Target, copy: &BoxCopy, asynchronous: bool) -> Result {
    if copy.is_empty() {
        return Ok(());
    }
    if driver()?.graphs.capture_box(|| Ok(target.view()), copy)? {
        return Ok(());
    }
    let checked = target.check_box(copy)?;
    match (checked.dst, checked.src) {
        (End::Device { address: to, strides: dst }, End::Device { address: from, strides: src }) => {
            target.copy_box((to, dst), (from, src), &checked)?;
            if checked.host && !asynchronous {
                target.synchronise()?;
            }
            Ok(())
        }
        (End::Device { address, strides: dst }, End::Host { address: from, strides: src }) => {
            // SAFETY: the caller's promise; the gaps between rows lie in the same buffer.
            let source = unsafe { bytes(host(from), src.span) }?;
            target.write_box((address, dst), (source, src), &checked)?;
            if asynchronous {
                return Ok(());
            }
            target.synchronise()
        }
        (End::Host { address: to, strides: dst }, End::Device { address, strides: src }) => {
            // SAFETY: as above.
            let target_bytes = unsafe { bytes_mut(host(to), dst.span) }?;
            target.read_box((target_bytes, dst), (address, src), &checked)
        }
        (End::Host { address: to, strides: dst }, End::Host { address: from, strides: src }) => {
            target.host_box(dst, src, &checked, |to_row, from_row| {
                let (to, from) = (host(to + to_row as u64), host(from + from_row as u64));
                // SAFETY: the caller's promise; the row lies in both boxes.
                unsafe { copy_bytes(to, from, checked.extent[0]) }
            })
        }
    }
}

/// # Safety
/// As for [`run`], and a non-null `copy` may be read.
unsafe fn described<T>(copy: *const T, target: &Target, asynchronous: bool) -> Result
where
    for<'a> BoxCopy: TryFrom<&'a T, Error = CUresult>,
{
    // SAFETY: the caller's promise.
    unsafe {
        let copy = values(copy, 1)?.first().ok_or(CUresult::INVALID_VALUE)?;
        run(target, &BoxCopy::try_from(copy)?, asynchronous)
    }
}

/// Copies rows.
pub unsafe extern "C" fn cuMemcpy2D_v2(pCopy: *const CUDA_MEMCPY2D) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { described(pCopy, &Target::legacy()?, false) })
}

/// Copies rows; there is no alignment that they would need.
pub unsafe extern "C" fn cuMemcpy2DUnaligned_v2(pCopy: *const CUDA_MEMCPY2D) -> CUresult {
    // SAFETY: the driver API's contract.
    unsafe { cuMemcpy2D_v2(pCopy) }
}

/// Copies rows in stream order.
pub unsafe extern "C" fn cuMemcpy2DAsync_v2(pCopy: *const CUDA_MEMCPY2D, hStream: CUstream) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { described(pCopy, &Target::of(hStream as u64)?, true) })
}

/// Copies slices of rows.
pub unsafe extern "C" fn cuMemcpy3D_v2(pCopy: *const CUDA_MEMCPY3D) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { described(pCopy, &Target::legacy()?, false) })
}

/// Copies slices of rows in stream order.
pub unsafe extern "C" fn cuMemcpy3DAsync_v2(pCopy: *const CUDA_MEMCPY3D, hStream: CUstream) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { described(pCopy, &Target::of(hStream as u64)?, true) })
}

/// The contexts at the two ends must exist, except those of arrays, which are not looked at.
///
/// # Safety
/// A non-null `copy` may be read.
unsafe fn check_peers(copy: *const CUDA_MEMCPY3D) -> Result {
    // SAFETY: the caller's promise.
    let copy = unsafe { values(copy, 1) }?.first().ok_or(CUresult::INVALID_VALUE)?;
    let ends = BoxCopy::try_from(copy)?;
    for (context, end) in [(copy.dstContext, ends.dst), (copy.srcContext, ends.src)] {
        let named = !matches!(end.place, Place::Array(_) | Place::Host(_));
        if named && driver()?.contexts.get(context as u64).is_none() {
            return Err(CUresult::INVALID_CONTEXT);
        }
    }
    Ok(())
}

/// Copies slices of rows between contexts.
pub unsafe extern "C" fn cuMemcpy3DPeer(pCopy: *const CUDA_MEMCPY3D) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe {
        check_peers(pCopy)?;
        described(pCopy, &Target::legacy()?, false)
    })
}

/// Copies slices of rows between contexts, in stream order.
pub unsafe extern "C" fn cuMemcpy3DPeerAsync(pCopy: *const CUDA_MEMCPY3D, hStream: CUstream) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe {
        check_peers(pCopy)?;
        described(pCopy, &Target::of(hStream as u64)?, true)
    })
}

/// # Safety
/// As for [`run`].
unsafe fn batch_op(op: &CUDA_MEMCPY3D_BATCH_OP, target: &Target) -> Result {
    let copy = op.resolve(|array| Array::of(array).map(|array| array.element.bytes()))?;
    // SAFETY: the caller's promise.
    unsafe { run(target, &copy, true) }
}

/// # Safety
/// `ops` has `count` readable copies, each as for [`run`]; a non-null `failed` is writable.
unsafe fn batch(
    count: usize,
    ops: *const CUDA_MEMCPY3D_BATCH_OP,
    failed: *mut usize,
    flags: u64,
    stream: CUstream,
) -> Result {
    if count == 0 || count > BATCH_MAX || flags != 0 || stream.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let target = Target::of(stream as u64)?;
    // SAFETY: the caller's promise.
    for (i, op) in unsafe { values(ops, count) }?.iter().enumerate() {
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { batch_op(op, &target) } {
            if !failed.is_null() {
                // SAFETY: the caller's promise.
                unsafe { out(failed) }?.write(i);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Makes several copies in stream order; says which one could not be made.
pub unsafe extern "C" fn cuMemcpy3DBatchAsync(
    numOps: usize,
    opList: *const CUDA_MEMCPY3D_BATCH_OP,
    failIdx: *mut usize,
    flags: u64,
    hStream: CUstream,
) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { batch(numOps, opList, failIdx, flags, hStream) })
}

/// Makes several copies in stream order.
pub unsafe extern "C" fn cuMemcpy3DBatchAsync_v2(
    numOps: usize,
    opList: *const CUDA_MEMCPY3D_BATCH_OP,
    flags: u64,
    hStream: CUstream,
) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { batch(numOps, opList, std::ptr::null_mut(), flags, hStream) })
}

/// Makes a copy with attributes in stream order.
pub unsafe extern "C" fn cuMemcpy3DWithAttributesAsync(
    op: *const CUDA_MEMCPY3D_BATCH_OP,
    flags: u64,
    hStream: CUstream,
) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { batch(1, op, std::ptr::null_mut(), flags, hStream) })
}

/// Copies consecutive bytes, of an array those of its first row.
///
/// # Safety
/// As for [`run`].
pub(super) unsafe fn line(
    target: &Target,
    dst: (Place, usize),
    src: (Place, usize),
    size: usize,
    asynchronous: bool,
) -> Result {
    let copy = BoxCopy { dst: CopyEnd::line(dst.0, dst.1), src: CopyEnd::line(src.0, src.1), extent: [size, 1, 1] };
    // SAFETY: the caller's promise.
    unsafe { run(target, &copy, asynchronous) }
}

/// Copies between any two addresses, each of which tells by itself whose memory it is.
pub unsafe extern "C" fn cuMemcpy(dst: u64, src: u64, ByteCount: usize) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::legacy()?, unified(dst), unified(src), ByteCount, false) })
}

/// As `cuMemcpy`, in stream order.
pub unsafe extern "C" fn cuMemcpyAsync(dst: u64, src: u64, ByteCount: usize, hStream: CUstream) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::of(hStream as u64)?, unified(dst), unified(src), ByteCount, true) })
}

pub(super) fn unified(address: u64) -> (Place, usize) {
    (Place::Unified(address), 0)
}

fn array(array: CUarray, offset: usize) -> (Place, usize) {
    (Place::Array(array as u64), offset)
}

/// Copies from device memory to an array.
pub unsafe extern "C" fn cuMemcpyDtoA_v2(
    dstArray: CUarray,
    dstOffset: usize,
    srcDevice: u64,
    ByteCount: usize,
) -> CUresult {
    let src = (Place::Device(srcDevice), 0);
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::legacy()?, array(dstArray, dstOffset), src, ByteCount, false) })
}

/// Copies from an array to device memory.
pub unsafe extern "C" fn cuMemcpyAtoD_v2(
    dstDevice: u64,
    srcArray: CUarray,
    srcOffset: usize,
    ByteCount: usize,
) -> CUresult {
    let dst = (Place::Device(dstDevice), 0);
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::legacy()?, dst, array(srcArray, srcOffset), ByteCount, false) })
}

/// Copies from host memory to an array.
pub unsafe extern "C" fn cuMemcpyHtoA_v2(
    dstArray: CUarray,
    dstOffset: usize,
    srcHost: *const c_void,
    ByteCount: usize,
) -> CUresult {
    let src = (Place::Host(srcHost.expose_provenance() as u64), 0);
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::legacy()?, array(dstArray, dstOffset), src, ByteCount, false) })
}

/// Copies from host memory to an array in stream order.
pub unsafe extern "C" fn cuMemcpyHtoAAsync_v2(
    dstArray: CUarray,
    dstOffset: usize,
    srcHost: *const c_void,
    ByteCount: usize,
    hStream: CUstream,
) -> CUresult {
    let src = (Place::Host(srcHost.expose_provenance() as u64), 0);
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::of(hStream as u64)?, array(dstArray, dstOffset), src, ByteCount, true) })
}

/// Copies from an array to host memory.
pub unsafe extern "C" fn cuMemcpyAtoH_v2(
    dstHost: *mut c_void,
    srcArray: CUarray,
    srcOffset: usize,
    ByteCount: usize,
) -> CUresult {
    let dst = (Place::Host(dstHost.expose_provenance() as u64), 0);
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::legacy()?, dst, array(srcArray, srcOffset), ByteCount, false) })
}

/// Copies from an array to host memory in stream order.
pub unsafe extern "C" fn cuMemcpyAtoHAsync_v2(
    dstHost: *mut c_void,
    srcArray: CUarray,
    srcOffset: usize,
    ByteCount: usize,
    hStream: CUstream,
) -> CUresult {
    let dst = (Place::Host(dstHost.expose_provenance() as u64), 0);
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::of(hStream as u64)?, dst, array(srcArray, srcOffset), ByteCount, true) })
}

/// Copies between arrays.
pub unsafe extern "C" fn cuMemcpyAtoA_v2(
    dstArray: CUarray,
    dstOffset: usize,
    srcArray: CUarray,
    srcOffset: usize,
    ByteCount: usize,
) -> CUresult {
    let (dst, src) = (array(dstArray, dstOffset), array(srcArray, srcOffset));
    // SAFETY: the driver API's contract.
    guard(|| unsafe { line(&Target::legacy()?, dst, src, ByteCount, false) })
}
