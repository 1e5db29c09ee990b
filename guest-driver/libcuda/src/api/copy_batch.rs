//! Copies between contexts, in batches and with attributes.

use vgpu_protocol::cmd::CuCtxSynchronize;
use vgpu_protocol::cuda::{
    check_indices, CUcontext, CUmemcpyAttributes, CUresult, CUstream, CU_STREAM_LEGACY, SOURCE_DURING_CALL,
    SOURCE_IN_STREAM_ORDER,
};

use super::copy::{no_stream, End, Order};
use super::Result;
use crate::context::{self, Context};
use crate::driver::driver;
use crate::stub::{self, list, put_optional};

fn peer(raw: CUcontext) -> std::result::Result<&'static Context, CUresult> {
    if raw.is_null() {
        return Err(CUresult::INVALID_CONTEXT);
    }
    driver()?.contexts.find(raw)
}

/// Work of the other contexts comes before and after the copy.
fn settle_others(contexts: [&'static Context; 2]) -> Result {
    let current = context::required()?.handle;
    for other in contexts.iter().filter(|context| context.handle != current) {
        driver()?.session.call(other.handle.0, &CuCtxSynchronize {})?;
    }
    Ok(())
}

pub unsafe fn cuMemcpyPeer(dst: u64, dst_context: CUcontext, src: u64, src_context: CUcontext, size: usize) -> Result {
    let order = Order::new(no_stream(), true)?;
    let contexts = [peer(dst_context)?, peer(src_context)?];
    settle_others(contexts)?;
    order.on_device(dst, src, size)?;
    if contexts.iter().any(|context| Some(context.handle) != context::current().map(|current| current.handle)) {
        order.synchronise()?;
    }
    stub::settle(dst)?;
    stub::settle(src)
}

pub unsafe fn cuMemcpyPeerAsync(
    dst: u64,
    dst_context: CUcontext,
    src: u64,
    src_context: CUcontext,
    size: usize,
    stream: CUstream,
) -> Result {
    let order = Order::new(stream, false)?;
    peer(dst_context)?;
    peer(src_context)?;
    order.on_device(dst, src, size)
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
unsafe fn copy(order: Order, dst: u64, src: u64, size: usize, attributes: &CUmemcpyAttributes) -> Result {
    stub::refuse_captured(order.stream.0)?;
    if size == 0 {
        return Ok(());
    }
    let (to, from) = (order.classify(dst)?, order.classify(src)?);
    let pageable = match from {
        End::Host(address) => !order.is_pinned(address, size)?,
        End::Device(_) => false,
    };
    // Pageable memory is read by the call itself, which is too early if the stream still writes it.
    if pageable && attributes.srcAccessOrder == SOURCE_IN_STREAM_ORDER {
        order.synchronise()?;
    }
    // SAFETY: as the caller says.
    unsafe { order.copy(to, from, size)? };
    if !pageable && attributes.srcAccessOrder == SOURCE_DURING_CALL {
        order.synchronise()?;
    }
    Ok(())
}

/// # Safety
/// The arrays are null or as long as said; host memory is valid; `failed` is null or valid for a write.
#[allow(clippy::too_many_arguments)]
unsafe fn batch(
    dsts: *const u64,
    srcs: *const u64,
    sizes: *const usize,
    count: usize,
    attributes: *const CUmemcpyAttributes,
    indices: *const usize,
    attribute_count: usize,
    failed: *mut usize,
    stream: CUstream,
) -> Result {
    let order = Order::new(stream, false)?;
    if count == 0 || (stream as u64) <= CU_STREAM_LEGACY {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as the caller says.
    let (dsts, srcs, sizes) = unsafe { (list(dsts, count)?, list(srcs, count)?, list(sizes, count)?) };
    // SAFETY: as the caller says.
    let (attributes, indices) = unsafe { (list(attributes, attribute_count)?, list(indices, attribute_count)?) };
    check_indices(&indices, count)?;
    attributes.iter().try_for_each(check)?;
    for (i, ((dst, src), size)) in dsts.into_iter().zip(srcs).zip(sizes).enumerate() {
        let entry = indices.partition_point(|first| *first <= i).saturating_sub(1);
        let attributes = attributes.get(entry).ok_or(CUresult::INVALID_VALUE)?;
        // SAFETY: as the caller says.
        if let Err(error) = unsafe { copy(order, dst, src, size, attributes) } {
            // SAFETY: as the caller says.
            unsafe { put_optional(failed, i) };
            return Err(error);
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuMemcpyBatchAsync(
    dsts: *const u64,
    srcs: *const u64,
    sizes: *const usize,
    count: usize,
    attributes: *const CUmemcpyAttributes,
    indices: *const usize,
    attribute_count: usize,
    failed: *mut usize,
    stream: CUstream,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { batch(dsts, srcs, sizes, count, attributes, indices, attribute_count, failed, stream) }
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuMemcpyBatchAsync_v2(
    dsts: *const u64,
    srcs: *const u64,
    sizes: *const usize,
    count: usize,
    attributes: *const CUmemcpyAttributes,
    indices: *const usize,
    attribute_count: usize,
    stream: CUstream,
) -> Result {
    let failed = std::ptr::null_mut();
    // SAFETY: as for the caller.
    unsafe { batch(dsts, srcs, sizes, count, attributes, indices, attribute_count, failed, stream) }
}

pub unsafe fn cuMemcpyWithAttributesAsync(
    dst: u64,
    src: u64,
    size: usize,
    attributes: *const CUmemcpyAttributes,
    stream: CUstream,
) -> Result {
    let order = Order::new(stream, false)?;
    // SAFETY: the caller vouches for the pointer.
    let attributes = *unsafe { attributes.as_ref() }.ok_or(CUresult::INVALID_VALUE)?;
    check(&attributes)?;
    // SAFETY: as for the caller.
    unsafe { copy(order, dst, src, size, &attributes) }
}
