//! Hints about managed memory. It never moves and everyone can reach it, so what is hinted is noted and
//! told again, and nothing else follows from it.

use std::ffi::c_void;

use vgpu_protocol::cuda::hints::location_of;
use vgpu_protocol::cuda::{attribute as attr, check_indices, CUmemLocation, CUresult, CUstream, CU_STREAM_LEGACY};

use super::Result;
use crate::driver::{driver, Driver};
use crate::memory::Kind;
use crate::stub::{self, bytes_mut, list};

const ATTACH_GLOBAL: u32 = 1;
const ATTACH_HOST: u32 = 2;
const ATTACH_SINGLE: u32 = 4;

/// A range must lie in one allocation of managed memory.
fn check(driver: &Driver, ptr: u64, size: usize) -> Result {
    let range = driver.memory.find(ptr).filter(|range| range.kind == Kind::Managed).ok_or(CUresult::INVALID_VALUE)?;
    if range.size - (ptr - range.start) >= size as u64 {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// A device that managed memory may be hinted to.
fn can_be_named(driver: &Driver, dev: i32) -> Result {
    match driver.attribute(dev, attr::CONCURRENT_MANAGED_ACCESS) {
        Ok(0) | Err(_) => Err(CUresult::INVALID_DEVICE),
        Ok(_) => Ok(()),
    }
}

pub unsafe fn cuMemAdvise(ptr: u64, size: usize, advice: i32, device: i32) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { cuMemAdvise_v2(ptr, size, advice, location_of(device)) }
}

pub unsafe fn cuMemAdvise_v2(ptr: u64, size: usize, advice: i32, location: CUmemLocation) -> Result {
    let driver = driver()?;
    check(driver, ptr, size)?;
    driver.memory.hints().advise(ptr, size as u64, advice, location, |dev| can_be_named(driver, dev))
}

fn prefetch(driver: &Driver, ptr: u64, size: usize, location: CUmemLocation) -> Result {
    check(driver, ptr, size)?;
    driver.memory.hints().prefetch(ptr, size as u64, location, |dev| can_be_named(driver, dev))
}

pub unsafe fn cuMemPrefetchAsync(ptr: u64, size: usize, device: i32, stream: CUstream) -> Result {
    // SAFETY: no pointers are involved.
    unsafe { cuMemPrefetchAsync_v2(ptr, size, location_of(device), 0, stream) }
}

pub unsafe fn cuMemPrefetchAsync_v2(
    ptr: u64,
    size: usize,
    location: CUmemLocation,
    flags: u32,
    stream: CUstream,
) -> Result {
    let driver = driver()?;
    crate::stream::find(stream as u64)?;
    stub::refuse_captured(stream as u64)?;
    if flags != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    prefetch(driver, ptr, size, location)
}

/// The ranges of a batch, all of which must be right before anything is done.
///
/// # Safety
/// Both arrays are null or have `count` elements.
unsafe fn ranges(
    driver: &Driver,
    ptrs: *const u64,
    sizes: *const usize,
    count: usize,
    flags: u64,
    stream: CUstream,
) -> std::result::Result<Vec<(u64, usize)>, CUresult> {
    crate::stream::find(stream as u64)?;
    stub::refuse_captured(stream as u64)?;
    if count == 0 || flags != 0 || (stream as u64) <= CU_STREAM_LEGACY {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as the caller says.
    let (ptrs, sizes) = unsafe { (list(ptrs, count)?, list(sizes, count)?) };
    let ranges: Vec<_> = ptrs.into_iter().zip(sizes).collect();
    ranges.iter().try_for_each(|(ptr, size)| check(driver, *ptr, *size))?;
    Ok(ranges)
}

pub unsafe fn cuMemDiscardBatchAsync(
    ptrs: *const u64,
    sizes: *const usize,
    count: usize,
    flags: u64,
    stream: CUstream,
) -> Result {
    // What is discarded may hold anything from now on, what it held before included.
    // SAFETY: the caller vouches for the arrays.
    unsafe { ranges(driver()?, ptrs, sizes, count, flags, stream) }.map(drop)
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuMemPrefetchBatchAsync(
    ptrs: *const u64,
    sizes: *const usize,
    count: usize,
    locations: *const CUmemLocation,
    indices: *const usize,
    location_count: usize,
    flags: u64,
    stream: CUstream,
) -> Result {
    let driver = driver()?;
    // SAFETY: the caller vouches for the arrays.
    let ranges = unsafe { ranges(driver, ptrs, sizes, count, flags, stream)? };
    // SAFETY: as above.
    let (locations, indices) = unsafe { (list(locations, location_count)?, list(indices, location_count)?) };
    check_indices(&indices, count)?;
    for (i, (ptr, size)) in ranges.into_iter().enumerate() {
        let entry = indices.partition_point(|first| *first <= i).saturating_sub(1);
        prefetch(driver, ptr, size, *locations.get(entry).ok_or(CUresult::INVALID_VALUE)?)?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuMemDiscardAndPrefetchBatchAsync(
    ptrs: *const u64,
    sizes: *const usize,
    count: usize,
    locations: *const CUmemLocation,
    indices: *const usize,
    location_count: usize,
    flags: u64,
    stream: CUstream,
) -> Result {
    // SAFETY: as for the caller.
    unsafe { cuMemPrefetchBatchAsync(ptrs, sizes, count, locations, indices, location_count, flags, stream) }
}

pub unsafe fn cuMemRangeGetAttribute(
    data: *mut c_void,
    data_size: usize,
    attribute: i32,
    ptr: u64,
    size: usize,
) -> Result {
    let driver = driver()?;
    check(driver, ptr, size)?;
    // SAFETY: the caller vouches for the buffer.
    let room = unsafe { bytes_mut(data, data_size)? };
    driver.memory.hints().attribute(attribute, ptr, size as u64, room)
}

pub unsafe fn cuMemRangeGetAttributes(
    data: *mut *mut c_void,
    data_sizes: *const usize,
    attributes: *const i32,
    count: usize,
    ptr: u64,
    size: usize,
) -> Result {
    stub::ready()?;
    if count == 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the arrays.
    let (data, sizes, attributes) =
        unsafe { (list(data.cast_const(), count)?, list(data_sizes, count)?, list(attributes, count)?) };
    for ((data, data_size), attribute) in data.into_iter().zip(sizes).zip(attributes) {
        // SAFETY: the caller vouches for each buffer.
        unsafe { cuMemRangeGetAttribute(data, data_size, attribute, ptr, size)? };
    }
    Ok(())
}

/// Managed memory can be reached from every stream and the host at all times, so an association is a
/// promise of the application that nothing depends on.
pub unsafe fn cuStreamAttachMemAsync(stream: CUstream, ptr: u64, size: usize, flags: u32) -> Result {
    let driver = driver()?;
    crate::stream::find(stream as u64)?;
    stub::refuse_captured(stream as u64)?;
    let range = driver.memory.find(ptr).filter(|range| range.kind == Kind::Managed).ok_or(CUresult::INVALID_VALUE)?;
    let whole = range.start == ptr && (size == 0 || size as u64 == range.size);
    let single_to_none = flags == ATTACH_SINGLE && (stream as u64) <= CU_STREAM_LEGACY;
    match flags {
        ATTACH_GLOBAL | ATTACH_HOST | ATTACH_SINGLE if whole && !single_to_none => Ok(()),
        _ => Err(CUresult::INVALID_VALUE),
    }
}
