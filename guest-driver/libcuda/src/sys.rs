//! What the C library is needed for.

use std::ffi::{c_void, CStr};
use std::os::fd::RawFd;

use vgpu_protocol::cuda::CUhostFn;

/// No more can be done to a file with these.
const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

extern "C" {
    static mut stdout: *mut libc::FILE;
}

/// Writes what kernels printed, behind what the program itself has printed so far.
pub fn print(text: &[u8]) {
    // SAFETY: `stdout` is the C library's stream, which locks itself; the slice is valid.
    unsafe {
        libc::fwrite(text.as_ptr().cast(), 1, text.len(), stdout);
        libc::fflush(stdout);
    }
}

/// Has `handler` called when the process exits.
pub fn at_exit(handler: extern "C" fn()) {
    // SAFETY: a plain function in a library that is never unloaded.
    unsafe { libc::atexit(handler) };
}

/// The low half of the calling thread's `pthread_self`.
pub fn thread_id() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { libc::pthread_self() as u32 }
}

/// Calls a host function of a graph.
///
/// # Safety
/// The function may be called with this argument now.
pub unsafe fn call_host(function: CUhostFn, data: usize) {
    if let Some(function) = function {
        // SAFETY: as the caller says.
        unsafe { function(std::ptr::with_exposed_provenance_mut(data)) };
    }
}

/// Copies bytes by their addresses.
///
/// # Safety
/// `from` is readable and `to` writable for `size` bytes; they may overlap.
pub unsafe fn copy_bytes(to: u64, from: u64, size: usize) {
    let to = std::ptr::with_exposed_provenance_mut::<u8>(to as usize);
    let from = std::ptr::with_exposed_provenance::<u8>(from as usize);
    // SAFETY: as the caller says.
    unsafe { std::ptr::copy(from, to, size) };
}

/// Whether something is mapped in all pages of a range.
pub fn is_mapped(start: *const c_void, size: usize) -> bool {
    const PAGE: usize = 4096;
    let within = start.addr() % PAGE;
    let Some(size) = size.checked_add(within) else { return false };
    // SAFETY: asynchronous writing back does nothing to memory; the kernel checks the addresses.
    unsafe { libc::msync(start.byte_sub(within).cast_mut(), size, libc::MS_ASYNC) == 0 }
}

/// Reads a C string of the application; `None` for null.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that stays as it is during `'a`.
pub unsafe fn c_str<'a>(text: *const std::ffi::c_char) -> Option<&'a CStr> {
    // SAFETY: the caller vouches for it.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// A new file with these bytes, which nobody can change; the descriptor is the caller's.
pub fn sealed_file(name: &CStr, bytes: &[u8]) -> Option<RawFd> {
    // SAFETY: the calls take a C string, a buffer of its length and a descriptor that is nobody else's yet.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if fd < 0 {
            return None;
        }
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        if written != bytes.len() as isize || libc::fcntl(fd, libc::F_ADD_SEALS, SEALS) != 0 {
            libc::close(fd);
            return None;
        }
        Some(fd)
    }
}

/// Fills `bytes` from a file of [`sealed_file`], of which a descriptor may be anything.
pub fn read_sealed_file(fd: RawFd, bytes: &mut [u8]) -> Option<()> {
    // SAFETY: the calls take a number that need not be a descriptor, and a buffer of its length.
    let read = unsafe {
        match libc::fcntl(fd, libc::F_GET_SEALS) {
            SEALS => libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0),
            _ => -1,
        }
    };
    (read == bytes.len() as isize).then_some(())
}
