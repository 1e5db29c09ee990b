//! Numbers as the C library prints them.

use super::printf::Spec;
use std::ffi::{c_char, c_int, CString};

/// An integer of 64 bits, for one of `diuoxX`.
pub(super) fn format_integer(spec: &Spec, value: u64) -> Vec<u8> {
    let format = c_format(spec, "ll");
    print(|buffer, len| {
        // SAFETY: the format has one conversion, which takes a `long long`, and `len`
        // bytes can be written to `buffer`.
        unsafe { libc::snprintf(buffer, len, format.as_ptr(), value) }
    })
}

/// A `double`, for one of `eEfFgGaA`.
pub(super) fn format_float(spec: &Spec, value: f64) -> Vec<u8> {
    let format = c_format(spec, "");
    print(|buffer, len| {
        // SAFETY: the format has one conversion, which takes a `double`, and `len`
        // bytes can be written to `buffer`.
        unsafe { libc::snprintf(buffer, len, format.as_ptr(), value) }
    })
}

/// The specification with all numbers written out.
fn c_format(spec: &Spec, length: &str) -> CString {
    let mut text = vec![b'%'];
    text.extend(spec.flags.iter().filter(|f| b"-+ #0".contains(f)));
    text.extend(spec.width.map(|w| w.to_string()).unwrap_or_default().bytes());
    text.extend(spec.precision.map(|p| format!(".{p}")).unwrap_or_default().bytes());
    text.extend(length.bytes());
    text.push(spec.conversion);
    CString::new(text).unwrap_or_default()
}

fn print(write: impl Fn(*mut c_char, usize) -> c_int) -> Vec<u8> {
    let needed = write(std::ptr::null_mut(), 0);
    let mut buffer = vec![0u8; usize::try_from(needed).unwrap_or(0) + 1];
    write(buffer.as_mut_ptr().cast(), buffer.len());
    buffer.pop();
    buffer
}
