//! Hints about managed memory. It never moves and everyone can reach it, so what is hinted is noted and
//! told again, and nothing else follows from it.

use std::ffi::c_void;

use vgpu_protocol::cuda::hints::location_of;
use vgpu_protocol::cuda::{check_indices, CUmemLocation, CUresult, CUstream, CU_STREAM_LEGACY};

use super::abi::{bytes_mut, guard, values};
use super::core::{driver, Driver, Result, Target};

const ATTACH_GLOBAL: u32 = 1;
const ATTACH_HOST: u32 = 2;
const ATTACH_SINGLE: u32 = 4;

/// A range must lie in one allocation of managed memory.
fn check(driver: &Driver, ptr: u64, size: usize) -> Result {
    let range = driver.range_of(ptr).filter(|range| range.is_managed()).ok_or(CUresult::INVALID_VALUE)?;
    if range.size - (ptr - range.base) >= size as u64 {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

fn prefetch(driver: &Driver, ptr: u64, size: usize, location: CUmemLocation) -> Result {
    check(driver, ptr, size)?;
    driver.hints().prefetch(ptr, size as u64, location, |dev| driver.device(dev).map(drop))
}

/// Notes a hint; the location is a device or -1 for the host.
pub unsafe extern "C" fn cuMemAdvise(devPtr: u64, count: usize, advice: i32, device: i32) -> CUresult {
    // SAFETY: no pointers are involved.
    unsafe { cuMemAdvise_v2(devPtr, count, advice, location_of(device)) }
}

/// Notes a hint.
pub unsafe extern "C" fn cuMemAdvise_v2(devPtr: u64, count: usize, advice: i32, location: CUmemLocation) -> CUresult {
    guard(|| {
        let driver = driver()?;
        check(driver, devPtr, count)?;
        driver.hints().advise(devPtr, count as u64, advice, location, |dev| driver.device(dev).map(drop))
    })
}

/// Notes where a range is wanted, a device or -1 for the host.
pub unsafe extern "C" fn cuMemPrefetchAsync(devPtr: u64, count: usize, dstDevice: i32, hStream: CUstream) -> CUresult {
    // SAFETY: no pointers are involved.
    unsafe { cuMemPrefetchAsync_v2(devPtr, count, location_of(dstDevice), 0, hStream) }
}

/// Notes where a range is wanted.
pub unsafe extern "C" fn cuMemPrefetchAsync_v2(
    devPtr: u64,
    count: usize,
    location: CUmemLocation,
    flags: u32,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        Target::of(hStream as u64)?.refuse_captured()?;
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        prefetch(driver()?, devPtr, count, location)
    })
}

/// The ranges of a batch, all of which must be right before anything is done.
///
/// # Safety
/// Both arrays are null or have `count` elements.
unsafe fn ranges<'a>(
    ptrs: *const u64,
    sizes: *const usize,
    count: usize,
    flags: u64,
    stream: CUstream,
) -> Result<Vec<(&'a u64, &'a usize)>> {
    Target::of(stream as u64)?.refuse_captured()?;
    if count == 0 || flags != 0 || (stream as u64) <= CU_STREAM_LEGACY {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: as the caller says.
    let (ptrs, sizes) = unsafe { (values(ptrs, count)?, values(sizes, count)?) };
    let driver = driver()?;
    ptrs.iter().zip(sizes).try_for_each(|(ptr, size)| check(driver, *ptr, *size))?;
    Ok(ptrs.iter().zip(sizes).collect())
}

/// What is discarded may hold anything from now on, what it held before included.
pub unsafe extern "C" fn cuMemDiscardBatchAsync(
    dptrs: *const u64,
    sizes: *const usize,
    count: usize,
    flags: u64,
    hStream: CUstream,
) -> CUresult {
    // SAFETY: the driver API's contract.
    guard(|| unsafe { ranges(dptrs, sizes, count, flags, hStream) }.map(drop))
}

/// Notes where ranges are wanted.
pub unsafe extern "C" fn cuMemPrefetchBatchAsync(
    dptrs: *const u64,
    sizes: *const usize,
    count: usize,
    prefetchLocs: *const CUmemLocation,
    prefetchLocIdxs: *const usize,
    numPrefetchLocs: usize,
    flags: u64,
    hStream: CUstream,
) -> CUresult {
    guard(|| {
        // SAFETY: the driver API's contract.
        let ranges = unsafe { ranges(dptrs, sizes, count, flags, hStream) }?;
        // SAFETY: as above.
        let (locations, indices) =
            unsafe { (values(prefetchLocs, numPrefetchLocs)?, values(prefetchLocIdxs, numPrefetchLocs)?) };
        check_indices(indices, count)?;
        for (i, (ptr, size)) in ranges.into_iter().enumerate() {
            let entry = indices.partition_point(|first| *first <= i).saturating_sub(1);
            prefetch(driver()?, *ptr, *size, *locations.get(entry).ok_or(CUresult::INVALID_VALUE)?)?;
        }
        Ok(())
    })
}

/// As `cuMemPrefetchBatchAsync`.
pub unsafe extern "C" fn cuMemDiscardAndPrefetchBatchAsync(
    dptrs: *const u64,
    sizes: *const usize,
    count: usize,
    prefetchLocs: *const CUmemLocation,
    prefetchLocIdxs: *const usize,
    numPrefetchLocs: usize,
    flags: u64,
    hStream: CUstream,
) -> CUresult {
    // SAFETY: the contract is the same.
    unsafe {
        cuMemPrefetchBatchAsync(dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, flags, hStream)
    }
}

/// What was hinted about a range.
pub unsafe extern "C" fn cuMemRangeGetAttribute(
    data: *mut c_void,
    dataSize: usize,
    attribute: i32,
    devPtr: u64,
    count: usize,
) -> CUresult {
    guard(|| {
        check(driver()?, devPtr, count)?;
        // SAFETY: null or writable, by the driver API's contract.
        let room = unsafe { bytes_mut(data, dataSize) }?;
        driver()?.hints().attribute(attribute, devPtr, count as u64, room)
    })
}

/// Several answers at once.
pub unsafe extern "C" fn cuMemRangeGetAttributes(
    data: *mut *mut c_void,
    dataSizes: *const usize,
    attributes: *const i32,
    numAttributes: usize,
    devPtr: u64,
    count: usize,
) -> CUresult {
    guard(|| {
        if numAttributes == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: null or as long as said, by the driver API's contract.
        let (data, sizes) = unsafe { (values(data.cast_const(), numAttributes)?, values(dataSizes, numAttributes)?) };
        // SAFETY: as above.
        let attributes = unsafe { values(attributes, numAttributes) }?;
        check(driver()?, devPtr, count)?;
        for ((data, size), attribute) in data.iter().zip(sizes).zip(attributes) {
            // SAFETY: null or writable, by the driver API's contract.
            let room = unsafe { bytes_mut(*data, *size) }?;
            driver()?.hints().attribute(*attribute, devPtr, count as u64, room)?;
        }
        Ok(())
    })
}

/// Managed memory can be reached from every stream and the host at all times, so an association is a
/// promise of the application that nothing depends on.
pub unsafe extern "C" fn cuStreamAttachMemAsync(hStream: CUstream, dptr: u64, length: usize, flags: u32) -> CUresult {
    guard(|| {
        let target = Target::of(hStream as u64)?;
        target.refuse_captured()?;
        let range = target.context.driver.range_of(dptr).filter(|range| range.is_managed());
        let range = range.ok_or(CUresult::INVALID_VALUE)?;
        let whole = range.base == dptr && (length == 0 || length as u64 == range.size);
        let single_to_none = flags == ATTACH_SINGLE && (hStream as u64) <= CU_STREAM_LEGACY;
        match flags {
            ATTACH_GLOBAL | ATTACH_HOST | ATTACH_SINGLE if whole && !single_to_none => Ok(()),
            _ => Err(CUresult::INVALID_VALUE),
        }
    })
}
