//! Options of the just-in-time compiler: the guest serves the log buffers, the worker's driver is told the numbers.
//! Names of symbols that are to be found elsewhere are refused.

use std::ffi::c_void;

use vgpu_protocol::cuda::{jit_option_is_number, CUresult, JIT_OPTIONS, JIT_RESULTS};

use crate::stub;

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
    numbers: Vec<(i32, u32)>,
    /// Where those lie that the driver overwrites, by their positions among the numbers.
    results: Vec<(usize, *mut *mut c_void)>,
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
                _ if jit_option_is_number(name) => {
                    if JIT_RESULTS.contains(&name) {
                        options.results.push((options.numbers.len(), value));
                    }
                    // SAFETY: as above.
                    options.numbers.push((name, unsafe { *value } as usize as u32));
                }
                // Names of symbols and what belongs to them.
                0..JIT_OPTIONS => return Err(CUresult::NOT_SUPPORTED),
                _ => return Err(CUresult::INVALID_VALUE),
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
        self.info.at.is_none() && self.error.at.is_none() && self.numbers.is_empty()
    }

    /// The numbers, as the worker is told them.
    pub fn numbers(&self) -> Vec<u8> {
        self.numbers.iter().flat_map(|(name, value)| [name.to_le_bytes(), value.to_le_bytes()]).flatten().collect()
    }

    /// Size of what is to be told of the numbers, bytes.
    pub fn values_size(&self) -> u32 {
        match self.results.is_empty() {
            true => 0,
            false => (self.numbers.len() * size_of::<u32>()) as u32,
        }
    }

    /// Hands what became of the numbers to the application.
    ///
    /// # Safety
    /// As for [`Options::read`], during the same call, or as long as the link exists.
    pub unsafe fn deliver_values(&self, values: &[u8]) {
        for (i, slot) in &self.results {
            if let Some(value) = values.chunks_exact(4).nth(*i).and_then(|value| value.first_chunk()) {
                // SAFETY: the slot is one of the caller's array of option values.
                unsafe { **slot = u32::from_le_bytes(*value) as usize as *mut c_void };
            }
        }
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
    fn test_numbers_are_told_and_results_come_back() {
        let names = [9, 1, ERROR_LOG_BUFFER_SIZE_BYTES, 2];
        let mut values: [*mut c_void; 4] = [80 as *mut c_void, 128 as *mut c_void, 6 as *mut c_void, 5 as *mut c_void];
        // SAFETY: the arrays are as large as they say.
        let options = unsafe { Options::read(4, names.as_ptr(), values.as_mut_ptr()) }.unwrap();
        assert_eq!((options.numbers().len(), options.numbers()[8..16].to_vec()), (24, vec![1, 0, 0, 0, 128, 0, 0, 0]));
        assert_eq!(options.values_size(), 12);
        // SAFETY: as above.
        unsafe { options.deliver_values(&[1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0x80, 0x3f]) };
        assert_eq!(values.map(|value| value as usize), [80, 64, 6, 0x3f80_0000]);
        for (name, error) in
            [(17, CUresult::NOT_SUPPORTED), (36, CUresult::INVALID_VALUE), (-1, CUresult::INVALID_VALUE)]
        {
            // SAFETY: as above.
            assert_eq!(unsafe { Options::read(1, &name, values.as_mut_ptr()) }.err(), Some(error));
        }
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
