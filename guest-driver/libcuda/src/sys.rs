//! What the C library is needed for.

use std::ffi::CStr;

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

/// Reads a C string of the application; `None` for null.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that stays as it is during `'a`.
pub unsafe fn c_str<'a>(text: *const std::ffi::c_char) -> Option<&'a CStr> {
    // SAFETY: the caller vouches for it.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}
