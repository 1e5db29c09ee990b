//! The C side of an entry point: raw pointers become references, results and panics become codes.

use std::ffi::{c_char, c_void, CStr};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{catch_unwind, AssertUnwindSafe};

use vgpu_protocol::cuda::{CUhostFn, CUresult, CUstream, CUstreamCallback};

use super::core::Result;
use vgpu_images::fatbin;

/// Runs the body of an entry point. A panic is a bug of ours and must not unwind into C.
pub(super) fn guard(body: impl FnOnce() -> Result) -> CUresult {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CUresult::SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => CUresult::UNKNOWN,
    }
}

/// A place to put a result; null or a misaligned pointer is `CUDA_ERROR_INVALID_VALUE`.
///
/// # Safety
/// A non-null `pointer` may be written to for `'a`.
pub(super) unsafe fn out<'a, T>(pointer: *mut T) -> Result<&'a mut MaybeUninit<T>> {
    if !pointer.is_aligned() {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: aligned; `MaybeUninit` demands no initialised value; the caller vouches for the rest.
    unsafe { pointer.cast::<MaybeUninit<T>>().as_mut() }.ok_or(CUresult::INVALID_VALUE)
}

/// As [`out`], for results the caller may not want.
///
/// # Safety
/// As for [`out`].
pub(super) unsafe fn out_opt<'a, T>(pointer: *mut T) -> Result<Option<&'a mut MaybeUninit<T>>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise is the same.
    unsafe { out(pointer) }.map(Some)
}

/// Fills an optional result.
pub(super) fn set<T>(place: Option<&mut MaybeUninit<T>>, value: T) {
    if let Some(place) = place {
        place.write(value);
    }
}

/// `len` values to read; null is an error unless there are none.
///
/// # Safety
/// A non-null `pointer` has `len` readable values for `'a`.
pub(super) unsafe fn values<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_range(pointer, len)?;
    // SAFETY: non-null, aligned and of a possible size; the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// `len` bytes to read.
///
/// # Safety
/// As for [`values`].
pub(super) unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise is the same.
    unsafe { values(pointer.cast(), len) }
}

/// `len` values to fill.
///
/// # Safety
/// A non-null `pointer` has `len` initialised, writable values for `'a`, to which nothing else refers.
pub(super) unsafe fn values_mut<'a, T>(pointer: *mut T, len: usize) -> Result<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_range(pointer, len)?;
    // SAFETY: non-null, aligned and of a possible size; the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// `len` bytes to fill.
///
/// # Safety
/// As for [`values_mut`].
pub(super) unsafe fn bytes_mut<'a>(pointer: *mut c_void, len: usize) -> Result<&'a mut [u8]> {
    // SAFETY: the caller's promise is the same.
    unsafe { values_mut(pointer.cast(), len) }
}

fn check_range<T>(pointer: *const T, len: usize) -> Result {
    let size = len.checked_mul(size_of::<T>()).filter(|size| isize::try_from(*size).is_ok());
    if pointer.is_null() || !pointer.is_aligned() || size.is_none() {
        return Err(CUresult::INVALID_VALUE);
    }
    Ok(())
}

/// A NUL-terminated name. One that is not UTF-8 names nothing: `CUDA_ERROR_NOT_FOUND`.
///
/// # Safety
/// A non-null `pointer` is a C string that lives for `'a`.
pub(super) unsafe fn name<'a>(pointer: *const c_char) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: non-null; the caller vouches for the terminator.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| CUresult::NOT_FOUND)
}

/// `__fatBinC_Wrapper_t`, as nvcc writes it: {magic u32, version u32, container}.
const WRAPPER_MAGIC: u32 = 0x4662_43b1;
const ELF_MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");

/// A module image: the bytes of a fat binary's container or of PTX text without its NUL, or the
/// magic of an ELF file, which is all of it that is needed.
///
/// # Safety
/// A non-null `pointer` leads to an image that describes its own extent: NUL-terminated text, a fat
/// binary or its wrapper, or an ELF file, which live for `'a`.
pub(super) unsafe fn image<'a>(pointer: *const c_void) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise.
    match unsafe { first_word(pointer.cast()) }? {
        WRAPPER_MAGIC => {
            // SAFETY: a wrapper is 24 bytes and holds the container's address.
            let container = unsafe { pointer.byte_add(8).cast::<*const c_void>().read_unaligned() };
            // SAFETY: the caller's promise.
            match unsafe { first_word(container.cast()) }? {
                // SAFETY: the caller's promise.
                fatbin::MAGIC => unsafe { fat_binary(container) },
                _ => Err(CUresult::INVALID_IMAGE),
            }
        }
        // SAFETY: the caller's promise.
        fatbin::MAGIC => unsafe { fat_binary(pointer) },
        // SAFETY: the word was there.
        ELF_MAGIC => unsafe { bytes(pointer, size_of::<u32>()) },
        // SAFETY: what is not binary is text, by the caller's promise.
        _ => Ok(unsafe { CStr::from_ptr(pointer.cast()) }.to_bytes()),
    }
}

/// The first four bytes; fewer if text ends among them.
///
/// # Safety
/// A non-null `pointer` leads to four bytes, or to a NUL among fewer.
unsafe fn first_word(pointer: *const u8) -> Result<u32> {
    if pointer.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let mut word = [0; 4];
    for (i, byte) in word.iter_mut().enumerate() {
        // SAFETY: no NUL came before this byte.
        *byte = unsafe { pointer.add(i).read() };
        if *byte == 0 {
            break;
        }
    }
    Ok(u32::from_le_bytes(word))
}

/// # Safety
/// `pointer` leads to a fat binary's container.
unsafe fn fat_binary<'a>(pointer: *const c_void) -> Result<&'a [u8]> {
    // SAFETY: the fixed header is there.
    let header = unsafe { bytes(pointer, fatbin::HEADER) }?;
    let size =
        fatbin::container_size(header).and_then(|size| usize::try_from(size).ok()).ok_or(CUresult::INVALID_IMAGE)?;
    // SAFETY: the container says its own size.
    unsafe { bytes(pointer, size) }
}

/// A host function with its argument.
pub(super) struct HostCall {
    function: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
}

// SAFETY: `cuLaunchHostFunc` hands both over to a thread of the driver; that is its contract.
unsafe impl Send for HostCall {}

impl HostCall {
    /// # Safety
    /// `function` may be called once with `argument`, from any thread.
    pub(super) unsafe fn new(function: CUhostFn, argument: *mut c_void) -> Result<HostCall> {
        let function = function.ok_or(CUresult::INVALID_VALUE)?;
        Ok(HostCall { function, argument })
    }

    /// Calls it.
    pub(super) fn call(self) {
        // SAFETY: promised at construction; `self` is consumed, so it is called once.
        unsafe { (self.function)(self.argument) }
    }
}

/// Calls a host function of a graph, which may be called again.
pub(super) fn call_host(function: CUhostFn, argument: usize) {
    if let Some(function) = function {
        // SAFETY: the node was given this function for this argument, to be called at every launch.
        unsafe { function(std::ptr::with_exposed_provenance_mut(argument)) }
    }
}

/// Host memory by its address.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn host_bytes<'a>(address: u64, len: usize) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise is the same.
    unsafe { bytes(std::ptr::with_exposed_provenance(address as usize), len) }
}

/// Host memory to fill, by its address.
///
/// # Safety
/// As for [`bytes_mut`].
pub(super) unsafe fn host_bytes_mut<'a>(address: u64, len: usize) -> Result<&'a mut [u8]> {
    // SAFETY: the caller's promise is the same.
    unsafe { bytes_mut(std::ptr::with_exposed_provenance_mut(address as usize), len) }
}

/// A stream's callback with its arguments.
pub(super) struct StreamCall {
    callback: unsafe extern "C" fn(CUstream, CUresult, *mut c_void),
    stream: CUstream,
    argument: *mut c_void,
}

// SAFETY: `cuStreamAddCallback` hands all of it over to a thread of the driver; that is its contract.
unsafe impl Send for StreamCall {}

impl StreamCall {
    /// # Safety
    /// `callback` may be called once with the other two, from any thread.
    pub(super) unsafe fn new(
        callback: CUstreamCallback,
        stream: CUstream,
        argument: *mut c_void,
    ) -> Result<StreamCall> {
        let callback = callback.ok_or(CUresult::INVALID_VALUE)?;
        Ok(StreamCall { callback, stream, argument })
    }

    /// Calls it.
    pub(super) fn call(self, status: CUresult) {
        // SAFETY: promised at construction; `self` is consumed, so it is called once.
        unsafe { (self.callback)(self.stream, status, self.argument) }
    }
}

/// Writes a result whose type depends on another argument.
///
/// # Safety
/// A non-null `pointer` has room for `value`.
pub(super) unsafe fn bytes_out(pointer: *mut c_void, value: &[u8]) -> Result {
    if pointer.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: non-null; the caller vouches for the room.
    unsafe { pointer.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) }
    Ok(())
}

/// A further descriptor of what a number of this process stands for, if it is one.
pub(super) fn duplicate(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: the call looks a number up, and the descriptor that it makes is nobody's yet.
    unsafe {
        let fd = libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Copies bytes of host memory.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes; they may overlap.
pub(super) unsafe fn copy_bytes(to: *mut c_void, from: *const c_void, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy(from.cast::<u8>(), to.cast::<u8>(), len) }
}
