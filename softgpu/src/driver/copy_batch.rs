//! Copies between contexts, in batches and with attributes.

use vgpu_protocol::cuda::{
    check_indices, CUcontext, CUmemcpyAttributes, CUresult, CUstream, Place, CU_STREAM_LEGACY, SOURCE_DURING_CALL,
    SOURCE_IN_STREAM_ORDER,
};

use super::abi::{guard, out, values};
use super::copy::captured;
use super::copy_box::{line, unified};
use super::core::{driver, Context, Result, Target};

fn peer(handle: CUcontext) -> Result<std::sync::Arc<Context>> {
    driver()?.contexts.get(handle as u64).ok_or(CUresult::INVALID_CONTEXT)
}

/// Copies between the memory of two contexts, in order with the work of both.
pub unsafe extern "C" fn cuMemcpyPeer(
    dstDevice: u64,
    dstContext: CUcontext,
    srcDevice: u64,
    srcContext: CUcontext,
    ByteCount: usize,
) -> CUresult {
    guard(|| {
        let target = Target::legacy()?;
        let contexts = [peer(dstContext)?, peer(srcContext)?];
        let others = || contexts.iter().filter(|context| context.handle != target.context.handle);
        others().try_for_each(|context| context.synchronise())?;
        target.copy(dstDevice, srcDevice, ByteCount as u64)?;
        if others().next().is_some() {
            target.synchronise()?;
        }
        target.settle(dstDevice)?;
        target.settle(srcDevice)
    })
}

/// Copies between the memory of two contexts, in stream order.
pub unsafe extern "C" fn cuMemcpyPeerAsync(
    dstDevice: u64,
    dstContext: CUcontext,
    srcDevice: u64,
    srcContext: CUcontext,
    ByteCount: usize,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        peer(dstContext)?;
        peer(srcContext)?;
        if captured(hStream, Place::Device(dstDevice), Place::Device(srcDevice), ByteCount)? {
            return Ok(());
        }
        let target = Target::of(hStream as u64)?;
        target.copy(dstDevice, srcDevice, ByteCount as u64)
    })
}

fn check(attributes: &CUmemcpyAttributes) -> Result {
    let known = (SOURCE_IN_STREAM_ORDER..=CUmemcpyAttributes::SOURCE_ANY).contains(&attributes.srcAccessOrder);
    if known && attributes.flags <= 1 {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// # Safety
/// Host ends are valid for `size` bytes.
unsafe fn copy(target: &Target, dst: u64, src: u64, size: usize, attributes: &CUmemcpyAttributes) -> Result {
    target.refuse_captured()?;
    let pageable = target.context.driver.range_of(src).is_none();
    // Pageable memory is read by the call itself, which is too early if the stream still writes it.
    if pageable && attributes.srcAccessOrder == SOURCE_IN_STREAM_ORDER {
        target.synchronise()?;
    }
    // SAFETY: as the caller says.
    unsafe { line(target, unified(dst), unified(src), size, true) }?;
    if !pageable && attributes.srcAccessOrder == SOURCE_DURING_CALL {
        target.synchronise()?;
    }
    Ok(())
}

/// Makes several copies in stream order; says which one could not be made.
pub unsafe extern "C" fn cuMemcpyBatchAsync(
    dsts: *const u64,
    srcs: *const u64,
    sizes: *const usize,
    count: usize,
    attrs: *const CUmemcpyAttributes,
    attrsIdxs: *const usize,
    numAttrs: usize,
    failIdx: *mut usize,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        if count == 0 || (hStream as u64) <= CU_STREAM_LEGACY {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: null or as long as said, by the driver API's contract.
        let (dsts, srcs, sizes) = unsafe { (values(dsts, count)?, values(srcs, count)?, values(sizes, count)?) };
        // SAFETY: as above.
        let (attributes, indices) = unsafe { (values(attrs, numAttrs)?, values(attrsIdxs, numAttrs)?) };
        check_indices(indices, count)?;
        attributes.iter().try_for_each(check)?;
        for (i, ((dst, src), size)) in dsts.iter().zip(srcs).zip(sizes).enumerate() {
            let entry = indices.partition_point(|first| *first <= i).saturating_sub(1);
            let attributes = attributes.get(entry).ok_or(CUresult::INVALID_VALUE)?;
            // SAFETY: host memory is valid, by the driver API's contract.
            if let Err(error) = unsafe { copy(&target, *dst, *src, *size, attributes) } {
                if !failIdx.is_null() {
                    // SAFETY: writable, by the driver API's contract.
                    unsafe { out(failIdx) }?.write(i);
                }
                return Err(error);
            }
        }
        Ok(())
    })
}

/// Makes several copies in stream order.
pub unsafe extern "C" fn cuMemcpyBatchAsync_v2(
    dsts: *const u64,
    srcs: *const u64,
    sizes: *const usize,
    count: usize,
    attrs: *const CUmemcpyAttributes,
    attrsIdxs: *const usize,
    numAttrs: usize,
    hStream: CUstream,
) -> CUresult {
    let failed = std::ptr::null_mut();
    // SAFETY: the contract is the same.
    unsafe { cuMemcpyBatchAsync(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, failed, hStream) }
}

/// Makes a copy with attributes in stream order.
pub unsafe extern "C" fn cuMemcpyWithAttributesAsync(
    dst: u64,
    src: u64,
    size: usize,
    attr: *const CUmemcpyAttributes,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        // SAFETY: null or readable, by the driver API's contract.
        let [attributes] = (unsafe { values(attr, 1) })? else { return Err(CUresult::INVALID_VALUE) };
        check(attributes)?;
        // SAFETY: host memory is valid, by the driver API's contract.
        unsafe { copy(&target, dst, src, size, attributes) }
    })
}
