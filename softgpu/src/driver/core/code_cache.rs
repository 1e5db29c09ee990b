//! The code of images that were loaded before: loading one again, in another context or after it was unloaded,
//! compiles nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::image::{compile, JitLog};
use super::{Code, Result};

/// Images that are kept, bytes together; their code is some times as large.
const ROOM: usize = 8 << 20;
/// Images that are kept.
const MOST: usize = 64;

struct Entry {
    image: Box<[u8]>,
    code: Code,
    /// What the compiler said.
    info: String,
}

/// Compiled images, the ones used last in front.
pub(in crate::driver) struct CodeCache {
    room: usize,
    entries: Mutex<VecDeque<Entry>>,
}

impl Default for CodeCache {
    fn default() -> Self {
        CodeCache { room: ROOM, entries: Mutex::default() }
    }
}

impl CodeCache {
    /// The code of an image, for a device of this capability (times ten), which is the same at every call.
    pub(in crate::driver) fn compile(&self, image: &[u8], capability: u32, log: &mut JitLog) -> Result<Code> {
        if let Some((code, info)) = self.find(image) {
            log.info.push_str(&info);
            return Ok(code);
        }
        let mut own = JitLog::default();
        let compiled = compile(image, capability, &mut own);
        log.info.push_str(&own.info);
        log.error.push_str(&own.error);
        let code = compiled?;
        self.keep(Entry { image: image.into(), code: code.clone(), info: own.info });
        Ok(code)
    }

    fn find(&self, image: &[u8]) -> Option<(Code, String)> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let index = entries.iter().position(|entry| *entry.image == *image)?;
        let entry = entries.remove(index)?;
        let found = (entry.code.clone(), entry.info.clone());
        entries.push_front(entry);
        Some(found)
    }

    fn keep(&self, entry: Entry) {
        if entry.image.len() > self.room {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_front(entry);
        let mut bytes: usize = entries.iter().map(|entry| entry.image.len()).sum();
        while bytes > self.room || entries.len() > MOST {
            let Some(oldest) = entries.pop_back() else { return };
            bytes -= oldest.image.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn text(name: usize, length: usize) -> Vec<u8> {
        let mut text = format!(".version 7.0\n.target sm_50\n.address_size 64\n.visible .entry k{name}() {{ ret; }}\n");
        text.extend(std::iter::repeat_n(' ', length.saturating_sub(text.len())));
        text.into_bytes()
    }

    fn load(cache: &CodeCache, image: &[u8]) -> Code {
        cache.compile(image, 80, &mut JitLog::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_image_is_compiled_once() {
        let cache = CodeCache::default();
        let (first, again) = (load(&cache, &text(1, 0)), load(&cache, &text(1, 0)));
        assert!(Arc::ptr_eq(&first.module, &again.module));
        assert!(!Arc::ptr_eq(&first.module, &load(&cache, &text(2, 0)).module), "another image");
    }

    #[test]
    fn errors_are_told_each_time() {
        let cache = CodeCache::default();
        for _ in 0..2 {
            let mut log = JitLog::default();
            assert!(cache.compile(b".version 7.0\nnonsense", 80, &mut log).is_err());
            assert!(log.error.contains("line"), "{}", log.error);
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_when_there_is_no_room() {
        let third = 1000;
        let cache = CodeCache { room: 3 * third, ..CodeCache::default() };
        let codes: Vec<Code> = (0..3).map(|name| load(&cache, &text(name, third))).collect();
        assert!(Arc::ptr_eq(&codes[0].module, &load(&cache, &text(0, third)).module));
        load(&cache, &text(3, third));
        assert!(Arc::ptr_eq(&codes[0].module, &load(&cache, &text(0, third)).module), "it was used since");
        assert!(!Arc::ptr_eq(&codes[1].module, &load(&cache, &text(1, third)).module));
    }
}
