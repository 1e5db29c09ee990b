//! The options of module loading: log buffers and compile time. The others choose between ways of
//! compiling that make no difference here; names of symbols that are to be found elsewhere are refused.

use std::ffi::c_void;
use std::time::Instant;

use vgpu_protocol::cuda::{jit_option_is_number, CUresult, JIT_OPTIONS};

use super::abi::{values, values_mut};
use super::core::{JitLog, Result};

const THREADS_PER_BLOCK: i32 = 1;
const WALL_TIME: i32 = 2;
const INFO_LOG_BUFFER: i32 = 3;
const INFO_LOG_BUFFER_SIZE: i32 = 4;
const ERROR_LOG_BUFFER: i32 = 5;
const ERROR_LOG_BUFFER_SIZE: i32 = 6;
const LOGS: [i32; 4] = [INFO_LOG_BUFFER, INFO_LOG_BUFFER_SIZE, ERROR_LOG_BUFFER, ERROR_LOG_BUFFER_SIZE];
const TARGET: i32 = 9;
/// No driver knows more options than this.
const OPTIONS_MAX: u32 = 64;

/// The options of one call. Logs are written when it is finished.
pub(super) struct JitOptions<'a> {
    options: &'a [i32],
    values: &'a mut [*mut c_void],
    /// Sizes of the two log buffers as given, bytes. The values are overwritten with what was used.
    rooms: [usize; 2],
    start: Instant,
}

// SAFETY: whoever made the options vouches for the arrays and buffers for all of `'a`, and nothing
// about them belongs to a thread.
unsafe impl Send for JitOptions<'_> {}

impl<'a> JitOptions<'a> {
    /// Options without values are ignored.
    ///
    /// # Safety
    /// Non-null `options` and `values` have `count` elements, and log buffers among the values have
    /// the sizes that the values say, all for `'a`.
    pub(super) unsafe fn new(count: u32, options: *const i32, values_: *mut *mut c_void) -> Result<JitOptions<'a>> {
        let start = Instant::now();
        if count == 0 || values_.is_null() {
            return Ok(JitOptions { options: &[], values: &mut [], rooms: [0; 2], start });
        }
        if count > OPTIONS_MAX {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the caller's promise.
        let (options, values) = unsafe { (values(options, count as usize)?, values_mut(values_, count as usize)?) };
        if options.iter().any(|option| !(0..JIT_OPTIONS).contains(option)) {
            return Err(CUresult::INVALID_VALUE);
        }
        let is_known = |option: &i32| jit_option_is_number(*option) || LOGS.contains(option);
        if !options.iter().all(is_known) {
            return Err(CUresult::NOT_SUPPORTED);
        }
        if options.contains(&TARGET) && options.contains(&THREADS_PER_BLOCK) {
            return Err(CUresult::INVALID_VALUE);
        }
        let mut this = JitOptions { options, values, rooms: [0; 2], start };
        let room = |option| this.index(option).map_or(0, |index| this.values[index].addr());
        this.rooms = [room(INFO_LOG_BUFFER_SIZE), room(ERROR_LOG_BUFFER_SIZE)];
        Ok(this)
    }

    /// Fills the log buffers and the compile time, which is in milliseconds.
    pub(super) fn finish(&mut self, log: &JitLog) {
        let milliseconds = self.start.elapsed().as_secs_f32() * 1e3;
        if let Some(index) = self.index(WALL_TIME) {
            self.values[index] = std::ptr::without_provenance_mut(milliseconds.to_bits() as usize);
        }
        let [info, error] = self.rooms;
        self.write(INFO_LOG_BUFFER, INFO_LOG_BUFFER_SIZE, info, &log.info);
        self.write(ERROR_LOG_BUFFER, ERROR_LOG_BUFFER_SIZE, error, &log.error);
    }

    /// Writes as much of `text` as fits with a NUL, and its length in place of the buffer's size.
    fn write(&mut self, buffer: i32, size: i32, room: usize, text: &str) {
        let (Some(buffer), Some(size)) = (self.index(buffer), self.index(size)) else { return };
        // SAFETY: promised at construction.
        let room = unsafe { values_mut(self.values[buffer].cast::<u8>(), room) };
        let written = match room {
            Ok([text_room @ .., end]) => {
                let len = text.len().min(text_room.len());
                text_room[..len].copy_from_slice(&text.as_bytes()[..len]);
                text_room.get_mut(len).unwrap_or(end).clone_from(&0);
                len
            }
            _ => 0,
        };
        self.values[size] = std::ptr::without_provenance_mut(written);
    }

    fn index(&self, option: i32) -> Option<usize> {
        self.options.iter().position(|given| *given == option)
    }
}
