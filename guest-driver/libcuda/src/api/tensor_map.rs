//! Tensor maps: the worker's driver encodes them, since only it knows their layout.

use std::ffi::c_void;

use vgpu_protocol::cmd::{
    VgpuTensorMapIm2col, VgpuTensorMapIm2colWide, VgpuTensorMapReplaceAddress, VgpuTensorMapTiled,
};
use vgpu_protocol::cuda::{CUresult, CUtensorMap};

use super::Result;
use crate::stub::{self, bytes, check_out, give};

/// Highest rank of a tensor.
const RANK_MAX: usize = 5;

/// The tensor's rank, if there is room for the map.
fn begin(map: *mut CUtensorMap, rank: u32) -> std::result::Result<usize, CUresult> {
    stub::ready()?;
    check_out(map)?;
    let rank = rank as usize;
    if (1..=RANK_MAX).contains(&rank) {
        Ok(rank)
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// The bytes of an array of the application's.
///
/// # Safety
/// `at` is null or has `count` elements.
unsafe fn array<'a, T>(at: *const T, count: usize) -> std::result::Result<&'a [u8], CUresult> {
    // SAFETY: as the caller says.
    unsafe { bytes(at.cast(), count * size_of::<T>()) }
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuTensorMapEncodeTiled(
    map: *mut CUtensorMap,
    data_type: i32,
    rank: u32,
    address: *mut c_void,
    dims: *const u64,
    strides: *const u64,
    sides: *const u32,
    element_strides: *const u32,
    interleave: i32,
    swizzle: i32,
    promotion: i32,
    fill: i32,
) -> Result {
    let count = begin(map, rank)?;
    // SAFETY: the caller vouches for the arrays and the output.
    unsafe {
        let command = VgpuTensorMapTiled {
            data_type,
            rank,
            address: address as u64,
            dims: array(dims, count)?,
            strides: array(strides, count - 1)?,
            sides: array(sides, count)?,
            element_strides: array(element_strides, count)?,
            interleave,
            swizzle,
            promotion,
            fill,
        };
        give(map, stub::create(&command)?.map)
    }
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuTensorMapEncodeIm2col(
    map: *mut CUtensorMap,
    data_type: i32,
    rank: u32,
    address: *mut c_void,
    dims: *const u64,
    strides: *const u64,
    lower: *const i32,
    upper: *const i32,
    channels: u32,
    pixels: u32,
    element_strides: *const u32,
    interleave: i32,
    swizzle: i32,
    promotion: i32,
    fill: i32,
) -> Result {
    let count = begin(map, rank)?;
    let corners = count.checked_sub(2).ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the caller vouches for the arrays and the output.
    unsafe {
        let command = VgpuTensorMapIm2col {
            data_type,
            rank,
            address: address as u64,
            dims: array(dims, count)?,
            strides: array(strides, count - 1)?,
            lower: array(lower, corners)?,
            upper: array(upper, corners)?,
            channels,
            pixels,
            element_strides: array(element_strides, count)?,
            interleave,
            swizzle,
            promotion,
            fill,
        };
        give(map, stub::create(&command)?.map)
    }
}

#[allow(clippy::too_many_arguments)]
pub unsafe fn cuTensorMapEncodeIm2colWide(
    map: *mut CUtensorMap,
    data_type: i32,
    rank: u32,
    address: *mut c_void,
    dims: *const u64,
    strides: *const u64,
    lower: i32,
    upper: i32,
    channels: u32,
    pixels: u32,
    element_strides: *const u32,
    interleave: i32,
    mode: i32,
    swizzle: i32,
    promotion: i32,
    fill: i32,
) -> Result {
    let count = begin(map, rank)?;
    // SAFETY: the caller vouches for the arrays and the output.
    unsafe {
        let command = VgpuTensorMapIm2colWide {
            data_type,
            rank,
            address: address as u64,
            dims: array(dims, count)?,
            strides: array(strides, count - 1)?,
            lower,
            upper,
            channels,
            pixels,
            element_strides: array(element_strides, count)?,
            interleave,
            mode,
            swizzle,
            promotion,
            fill,
        };
        give(map, stub::create(&command)?.map)
    }
}

pub unsafe fn cuTensorMapReplaceAddress(map: *mut CUtensorMap, address: *mut c_void) -> Result {
    stub::ready()?;
    check_out(map)?;
    // SAFETY: the caller vouches for the map.
    unsafe {
        let command = VgpuTensorMapReplaceAddress { before: map.read_unaligned(), address: address as u64 };
        give(map, stub::create(&command)?.map)
    }
}
