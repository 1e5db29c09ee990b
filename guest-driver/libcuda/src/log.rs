//! The driver's log: why calls failed. Kept for `cuLogs*`, whether or not anybody reads it.

use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::{CUlogsCallback, CUresult};

/// Bytes of text that are kept; the driver API documents this bound.
const CAPACITY: usize = 25_600;
/// What stands in the place of entries that are gone or did not fit.
const TRUNCATED: &str = "[W] earlier messages are not shown";

/// How serious an entry is (`CUlogLevel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A call failed.
    Error = 0,
    /// Something works otherwise than the application may think.
    Warning = 1,
}

struct Callback {
    function: unsafe extern "C" fn(*mut c_void, i32, *const c_char, usize),
    user_data: *mut c_void,
    number: usize,
}

// SAFETY: the application hands both over to be used on whatever thread calls the driver.
unsafe impl Send for Callback {}

/// Entries and who wants to hear of new ones.
#[derive(Default)]
pub struct Log {
    entries: VecDeque<String>,
    /// Bytes of all entries, with a newline each.
    bytes: usize,
    /// Number of the first entry that is kept.
    first: u32,
    callbacks: Vec<Callback>,
    /// Callbacks registered so far.
    registered: usize,
}

static LOG: Mutex<Log> =
    Mutex::new(Log { entries: VecDeque::new(), bytes: 0, first: 0, callbacks: Vec::new(), registered: 0 });

/// The log of this process.
pub fn log() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds an entry and tells it to the callbacks.
pub fn add(level: Level, message: &str) {
    let letter = if level == Level::Error { 'E' } else { 'W' };
    let text = format!("[{letter}] {}", message.replace(['\n', '\0'], " "));
    let listeners: Vec<_> = {
        let mut log = log();
        log.push(text.clone());
        log.callbacks.iter().map(|callback| (callback.function, callback.user_data)).collect()
    };
    let length = text.len();
    let with_nul = text + "\0";
    for (function, user_data) in listeners {
        // SAFETY: the application registered the function for these arguments.
        unsafe { function(user_data, level as i32, with_nul.as_ptr().cast(), length) };
    }
}

impl Log {
    fn push(&mut self, text: String) {
        self.bytes += text.len() + 1;
        self.entries.push_back(text);
        while self.bytes > CAPACITY {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.len() + 1;
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Number of the next entry.
    pub fn end(&self) -> u32 {
        self.first.wrapping_add(self.entries.len() as u32)
    }

    /// The newest entries from number `from` (`None`: from the first) that fit `room` bytes, with a newline
    /// each, and behind a line that says so if some are missing. An error if not even the newest fits.
    pub fn text(&self, from: Option<u32>, room: usize) -> Result<String, CUresult> {
        let asked = from.unwrap_or(self.first);
        // Iterators only move forward: one from before the first entry is far behind the end.
        let wanted = self.end().wrapping_sub(asked) as usize;
        let kept = wanted.min(self.entries.len());
        let all: Vec<&str> = self.entries.iter().skip(self.entries.len() - kept).map(String::as_str).collect();
        let size = |entries: &[&str]| entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
        let mut lines = Vec::new();
        let mut shown = &all[..];
        if wanted > kept || size(shown) > room {
            lines.push(TRUNCATED);
            while !shown.is_empty() && size(&lines) + size(shown) > room {
                shown = &shown[1..];
            }
            if shown.is_empty() && !all.is_empty() {
                return Err(CUresult::INVALID_VALUE);
            }
        }
        lines.extend(shown);
        Ok(lines.into_iter().flat_map(|line| [line, "\n"]).collect())
    }

    /// Adds a callback; its number, never 0.
    pub fn register(&mut self, function: CUlogsCallback, user_data: *mut c_void) -> Result<usize, CUresult> {
        let function = function.ok_or(CUresult::INVALID_VALUE)?;
        self.registered += 1;
        self.callbacks.push(Callback { function, user_data, number: self.registered });
        Ok(self.registered)
    }

    /// Removes a callback.
    pub fn unregister(&mut self, number: usize) -> Result<(), CUresult> {
        let place = self.callbacks.iter().position(|callback| callback.number == number);
        self.callbacks.remove(place.ok_or(CUresult::INVALID_VALUE)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: &[&str]) -> Log {
        let mut log = Log::default();
        entries.iter().for_each(|entry| log.push((*entry).into()));
        log
    }

    #[test]
    fn test_text_starts_at_the_iterator() {
        let log = filled(&["one", "two", "three"]);
        assert_eq!(log.text(None, 100), Ok("one\ntwo\nthree\n".into()));
        assert_eq!(log.text(Some(1), 100), Ok("two\nthree\n".into()));
        assert_eq!(log.text(Some(log.end()), 100), Ok(String::new()));
    }

    #[test]
    fn test_text_that_does_not_fit_keeps_the_newest_and_says_so() {
        let log = filled(&["a first message of some length", "and a second one of some length", "three"]);
        let room = TRUNCATED.len() + 1 + "three\n".len();
        assert_eq!(log.text(None, room), Ok(format!("{TRUNCATED}\nthree\n")));
        assert_eq!(log.text(None, room - 1), Err(CUresult::INVALID_VALUE));
    }

    #[test]
    fn test_the_oldest_entries_make_room() {
        let mut log = Log::default();
        let long = "x".repeat(CAPACITY / 2);
        for _ in 0..3 {
            log.push(long.clone());
        }
        assert_eq!((log.entries.len(), log.end()), (1, 3));
        assert_eq!(log.text(Some(0), CAPACITY), Ok(format!("{TRUNCATED}\n{long}\n")));
        assert_eq!(log.text(Some(2), CAPACITY), Ok(format!("{long}\n")));
    }
}
