//! Options of the just-in-time compiler: the guest serves the log buffers; the rest is tuning that
//! the worker's driver chooses itself.

use std::ffi::c_void;

use vgpu_protocol::cuda::{jit_option_is_number, CUresult};

use crate::stub;

const WALL_TIME: i32 = 2;
const INFO_LOG_BUFFER: i32 = 3;
const INFO_LOG_BUFFER_SIZE_BYTES: i32 = 4;
const ERROR_LOG_BUFFER: i32 = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES: i32 = 6;
/// Largest log that is fetched, bytes.
const MAX_LOG: usize = 4096;

/// A buffer of the application for a log.
#[derive(Default)]
struct LogBuffer {
    at: Option<*mut c_void>,
    size: Option<*mut *mut c_void>,
    /// The buffer's size, bytes: the value is overwritten with what was used.
    capacity: usize,
}

impl LogBuffer {
    /// # Safety
    /// `size` is valid for reads.
    unsafe fn set_size(&mut self, size: *mut *mut c_void) {
        self.size = Some(size);
        // SAFETY: as the caller says.
        self.capacity = unsafe { *size } as usize as u32 as usize;
    }

    /// Fills the buffer with as much of `log` as fits, ends it with NUL, and says how much it was.
    ///
    /// # Safety
    /// The pointers are still valid; the buffer is as large as the application says.
    unsafe fn fill(&self, log: &[u8]) -> Result<(), CUresult> {
        let capacity = self.capacity;
        let Some(at) = self.at.filter(|at| !at.is_null() && capacity > 0) else { return Ok(()) };
        // SAFETY: the application vouches for the size it passed.
        let buffer = unsafe { stub::bytes_mut(at, capacity)? };
        let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
        let length = text.len().min(capacity - 1);
        let (head, tail) = buffer.split_at_mut(length);
        head.copy_from_slice(&text[..length]);
        tail[0] = 0;
        if let Some(size) = self.size {
            let written = if length == 0 { 0 } else { length + 1 };
            // SAFETY: `size` points into the caller's array of option values.
            unsafe { *size = written as *mut c_void };
        }
        Ok(())
    }
}

/// A call's options.
#[derive(Default)]
pub struct Options {
    info: LogBuffer,
    error: LogBuffer,
    /// Options that are numbers.
    pub numbers: Vec<(i32, u32)>,
    /// Whether there are options of which nothing is known here.
    pub others: bool,
}

// SAFETY: the application lets the driver use the buffers until the call, or the link, has ended, on
// whatever thread.
unsafe impl Send for Options {}

impl Options {
    /// Reads the options. A null array of values stands for no values at all.
    ///
    /// # Safety
    /// The arrays are null or have `count` elements that live as long as the call.
    pub unsafe fn read(count: u32, names: *const i32, values: *mut *mut c_void) -> Result<Self, CUresult> {
        let mut options = Options::default();
        if count > 0 && names.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        for i in 0..if values.is_null() { 0 } else { count as usize } {
            // SAFETY: both arrays have `count` elements.
            let (name, value) = unsafe { (*names.add(i), values.add(i)) };
            match name {
                // SAFETY: as above.
                INFO_LOG_BUFFER => options.info.at = Some(unsafe { *value }),
                // SAFETY: as above.
                INFO_LOG_BUFFER_SIZE_BYTES => unsafe { options.info.set_size(value) },
                // SAFETY: as above.
                ERROR_LOG_BUFFER => options.error.at = Some(unsafe { *value }),
                // SAFETY: as above.
                ERROR_LOG_BUFFER_SIZE_BYTES => unsafe { options.error.set_size(value) },
                // SAFETY: as above.
                _ if jit_option_is_number(name) => options.numbers.push((name, unsafe { *value } as usize as u32)),
                _ => options.others |= name != WALL_TIME,
            }
        }
        Ok(options)
    }

    /// Size of the log to ask for, bytes.
    pub fn log_size(&self) -> u32 {
        MAX_LOG as u32
    }

    /// Whether the call came without options.
    pub fn is_empty(&self) -> bool {
        self.info.at.is_none() && self.error.at.is_none() && self.numbers.is_empty() && !self.others
    }

    /// Hands the log of a load with that result to the application.
    ///
    /// # Safety
    /// As for [`Options::read`], during the same call.
    pub unsafe fn deliver(&self, result: CUresult, log: &[u8]) -> Result<(), CUresult> {
        let (info, error) = if result == CUresult::SUCCESS { (log, &[][..]) } else { (&[][..], log) };
        // SAFETY: as the caller says.
        unsafe {
            self.info.fill(info)?;
            self.error.fill(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_error_log_is_cut_to_its_buffer_and_sizes_are_told() {
        let mut error = [0xffu8; 8];
        let mut info = [0xffu8; 8];
        let names = [ERROR_LOG_BUFFER, ERROR_LOG_BUFFER_SIZE_BYTES, 7, INFO_LOG_BUFFER_SIZE_BYTES, INFO_LOG_BUFFER];
        let mut values: [*mut c_void; 5] =
            [error.as_mut_ptr().cast(), 6 as *mut c_void, 4 as *mut c_void, 8 as *mut c_void, info.as_mut_ptr().cast()];
        // SAFETY: the arrays and buffers are as large as they say.
        unsafe {
            let options = Options::read(5, names.as_ptr(), values.as_mut_ptr()).unwrap();
            options.deliver(CUresult::INVALID_PTX, b"line 3: bad\0\0").unwrap();
        }
        assert_eq!(&error, b"line \0\xff\xff");
        assert_eq!((info[0], values[1] as usize, values[3] as usize), (0, 6, 0));
    }

    #[test]
    fn test_null_values_are_no_options() {
        // SAFETY: null arrays are allowed.
        unsafe {
            assert!(Options::read(2, [0, 1].as_ptr(), std::ptr::null_mut()).is_ok());
            assert!(Options::read(2, std::ptr::null(), std::ptr::null_mut()).is_err());
        }
    }
}
