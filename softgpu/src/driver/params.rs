//! Kernel parameters: from the C arrays to one parameter block.

use std::ffi::c_void;

use vgpu_protocol::cuda::CUresult;

use super::abi::{bytes, values};
use super::core::Result;
use vgpu_engine::engine::Kernel;

/// `CU_LAUNCH_PARAM_*`: the keys in an `extra` array.
const END: usize = 0;
const BUFFER_POINTER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// A parameter block behind which at most this much padding is ignored, bytes.
const PADDING: usize = 16;

/// Copies a kernel's parameters.
///
/// # Safety
/// Non-null `each` has a pointer to every parameter of the kernel; non-null `extra` is a list of keys
/// and values that ends with `CU_LAUNCH_PARAM_END` and whose buffer has the size that it says.
pub(super) unsafe fn pack(kernel: &Kernel, each: *mut *mut c_void, extra: *mut *mut c_void) -> Result<Vec<u8>> {
    match (each.is_null(), extra.is_null()) {
        (true, true) if kernel.params().is_empty() => Ok(vec![0; kernel.param_bytes()]),
        // SAFETY: the caller's promise.
        (false, true) => unsafe { gather(kernel, each) },
        // SAFETY: the caller's promise.
        (true, false) => unsafe { take_buffer(kernel, extra) },
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// # Safety
/// As for [`pack`].
unsafe fn gather(kernel: &Kernel, each: *mut *mut c_void) -> Result<Vec<u8>> {
    // SAFETY: the caller's promise.
    let pointers = unsafe { values(each.cast_const(), kernel.params().len()) }?;
    let mut block = vec![0; kernel.param_bytes()];
    for (param, pointer) in kernel.params().iter().zip(pointers) {
        let size = param.size as usize;
        // SAFETY: the caller's promise.
        let value = unsafe { bytes(pointer.cast_const(), size) }?;
        let place = block.get_mut(param.offset as usize..).and_then(|rest| rest.get_mut(..size));
        place.ok_or(CUresult::INVALID_IMAGE)?.copy_from_slice(value);
    }
    Ok(block)
}

/// # Safety
/// As for [`pack`].
unsafe fn take_buffer(kernel: &Kernel, extra: *mut *mut c_void) -> Result<Vec<u8>> {
    let (mut buffer, mut size) = (std::ptr::null_mut(), None);
    let mut at = extra;
    // Two keys have values; a longer list is not one.
    for _ in 0..3 {
        // SAFETY: `extra` goes on until its end, which was not reached yet.
        let key = *unsafe { values(at.cast_const(), 1) }?.first().ok_or(CUresult::INVALID_VALUE)?;
        if key.addr() == END {
            break;
        }
        // SAFETY: every key but the end has a value behind it.
        let value = *unsafe { values(at.cast_const(), 2) }?.last().ok_or(CUresult::INVALID_VALUE)?;
        match key.addr() {
            BUFFER_POINTER => buffer = value,
            // SAFETY: the value points to a `size_t`.
            BUFFER_SIZE => size = unsafe { values(value.cast_const().cast::<usize>(), 1) }?.first().copied(),
            _ => return Err(CUresult::INVALID_VALUE),
        }
        // Not dereferenced before it is known that the list goes on.
        at = at.wrapping_add(2);
    }
    let (size, wanted) = (size.ok_or(CUresult::INVALID_VALUE)?, kernel.param_bytes());
    if size < wanted || size > wanted.next_multiple_of(PADDING) {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { bytes(buffer.cast_const(), wanted) }?.to_vec())
}
