//! The driver's log.

use std::ffi::{c_char, c_void};

use vgpu_protocol::cuda::{CUlogsCallback, CUresult};

use super::Result;
use crate::log::log;
use crate::stub::{bytes_mut, give, path};

fn check_flags(flags: u32) -> Result {
    if flags == 0 {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

pub unsafe fn cuLogsRegisterCallback(
    callback: CUlogsCallback,
    user_data: *mut c_void,
    out: *mut *mut c_void,
) -> Result {
    let number = log().register(callback, user_data)?;
    // SAFETY: the caller vouches for the pointer, which may be null.
    unsafe { crate::stub::put_optional(out, number as *mut c_void) };
    Ok(())
}

pub unsafe fn cuLogsUnregisterCallback(callback: *mut c_void) -> Result {
    log().unregister(callback as usize)
}

pub unsafe fn cuLogsCurrent(iterator: *mut u32, flags: u32) -> Result {
    check_flags(flags)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(iterator, log().end()) }
}

/// The text from the iterator on (all of it for null), after which the iterator is at the end.
///
/// # Safety
/// `iterator` is null or valid for reads and writes.
unsafe fn take(iterator: *mut u32, room: usize) -> std::result::Result<String, CUresult> {
    let log = log();
    // SAFETY: as the caller says.
    let from = unsafe { (!iterator.is_null()).then(|| iterator.read_unaligned()) };
    let text = log.text(from, room)?;
    // SAFETY: as the caller says; it may be null.
    unsafe { crate::stub::put_optional(iterator, log.end()) };
    Ok(text)
}

pub unsafe fn cuLogsDumpToFile(iterator: *mut u32, name: *const c_char, flags: u32) -> Result {
    check_flags(flags)?;
    // SAFETY: the caller vouches for string and iterator.
    let (name, text) = unsafe { (path(name)?, take(iterator, usize::MAX)?) };
    std::fs::write(name, text).map_err(|_| CUresult::INVALID_VALUE)
}

pub unsafe fn cuLogsDumpToMemory(iterator: *mut u32, buffer: *mut c_char, size: *mut usize, flags: u32) -> Result {
    check_flags(flags)?;
    if size.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the pointer, which is not null.
    let capacity = unsafe { size.read_unaligned() };
    // SAFETY: the caller vouches for the buffer.
    let target = unsafe { bytes_mut(buffer.cast(), capacity)? };
    let room = capacity.checked_sub(1).ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the caller vouches for the iterator.
    let text = unsafe { take(iterator, room) };
    let written = text.as_ref().map_or("", String::as_str).as_bytes();
    for (to, from) in target.iter_mut().zip(written.iter().chain(&[0])) {
        *to = *from;
    }
    // SAFETY: as above.
    unsafe { give(size, written.len())? };
    text.map(drop)
}
