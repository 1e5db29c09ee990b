//! The session's shared memory: the home at its base, chunks behind it, all at the addresses that
//! they have in the client.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use rustix::io::Errno;
use vgpu_protocol::control::ControlStatus;
use vgpu_protocol::session::{HOME_SIZE, STAGING_OFFSET, STAGING_SIZE};

use super::arena_sys as sys;

/// A piece of guest memory that the GPU may use.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    length: u64,
    /// The driver knows it (`cuMemHostRegister`).
    registered: bool,
}

/// The shared address range.
#[derive(Debug)]
pub struct Arena {
    base: u64,
    most: u64,
    chunks: Mutex<BTreeMap<u64, Chunk>>,
    /// Some chunk, or the staging area, waits for being registered.
    pending: AtomicBool,
    /// The driver knows the staging area, so that it copies from and to there without blocking.
    staging: AtomicBool,
}

fn host(what: &'static str) -> impl Fn(Errno) -> ControlStatus {
    move |error| {
        log::error!("cannot {what}: {error}");
        ControlStatus::Host
    }
}

impl Arena {
    /// Reserves `[base, base + size)` and maps the home at its start. Chunks may have `most` bytes in all.
    pub fn create(base: u64, size: u64, memory: OwnedFd, offset: u64, most: u64) -> Result<Arena, ControlStatus> {
        sys::reserve(base, size).map_err(|error| match error {
            Errno::NOMEM => ControlStatus::Limit,
            _ => ControlStatus::BaseTaken,
        })?;
        sys::map(base, HOME_SIZE as u64, memory, offset).map_err(host("map a session's home"))?;
        let (pending, staging) = (AtomicBool::new(true), AtomicBool::new(false));
        Ok(Arena { base, most, chunks: Mutex::default(), pending, staging })
    }

    /// Address of the home in this process.
    pub fn home(&self) -> u64 {
        self.base
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Chunk>> {
        self.chunks.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Maps a piece of a chunk to come; the supervisor has checked that the range is the arena's.
    pub fn map(&self, va: u64, length: u64, memory: OwnedFd, offset: u64) -> Result<(), ControlStatus> {
        if overlaps(&self.lock(), va, length) {
            return Err(ControlStatus::BadAddress);
        }
        sys::map(va, length, memory, offset).map_err(host("map guest memory"))
    }

    /// Makes the pieces mapped in a range a chunk.
    pub fn add(&self, va: u64, length: u64) -> Result<(), ControlStatus> {
        let mut chunks = self.lock();
        if overlaps(&chunks, va, length) {
            return Err(ControlStatus::BadAddress);
        }
        let all = chunks.values().try_fold(length, |sum, chunk| sum.checked_add(chunk.length));
        if all.is_none_or(|bytes| bytes > self.most) {
            return Err(ControlStatus::Limit);
        }
        chunks.insert(va, Chunk { length, registered: false });
        self.pending.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes a chunk away, or pieces that never became one; `unregister` is called for a chunk that
    /// the driver knows.
    pub fn unmap(&self, va: u64, length: u64, unregister: impl FnOnce(u64)) -> Result<(), ControlStatus> {
        let mut chunks = self.lock();
        match chunks.get(&va).copied() {
            Some(chunk) if chunk.length == length => {
                chunks.remove(&va);
                if chunk.registered {
                    unregister(va);
                }
            }
            _ if overlaps(&chunks, va, length) => return Err(ControlStatus::BadAddress),
            _ => {}
        }
        sys::unmap(va, length).map_err(host("unmap guest memory"))
    }

    /// Makes chunks known to the driver; `register` says whether it took one.
    pub fn register(&self, mut register: impl FnMut(u64, u64) -> bool) {
        if !self.pending.load(Ordering::Relaxed) || !self.pending.swap(false, Ordering::Acquire) {
            return;
        }
        if !self.staging.load(Ordering::Acquire) {
            let registered = register(self.base + STAGING_OFFSET as u64, STAGING_SIZE as u64);
            self.staging.store(registered, Ordering::Release);
        }
        for (va, chunk) in self.lock().iter_mut().filter(|(_, c)| !c.registered) {
            chunk.registered = register(*va, chunk.length);
        }
    }

    /// A context has ended, and with it what the driver knew through it.
    pub fn forget_registrations(&self) {
        let mut chunks = self.lock();
        chunks.values_mut().for_each(|chunk| chunk.registered = false);
        self.staging.store(false, Ordering::Release);
        self.pending.store(true, Ordering::Release);
    }

    /// Whether chunks cover `[va, va + length)`.
    pub fn in_chunks(&self, va: u64, length: u64) -> bool {
        covered(&self.lock(), va, length)
    }

    /// Whether the driver copies from and to this range in stream order, without blocking.
    pub fn is_pinned(&self, va: u64, length: u64) -> bool {
        match self.in_staging(va, length) {
            true => self.staging.load(Ordering::Acquire),
            false => self.in_chunks(va, length),
        }
    }

    /// Whether the range lies in the home's staging area.
    pub fn in_staging(&self, va: u64, length: u64) -> bool {
        let start = self.base + STAGING_OFFSET as u64;
        let end = self.base + HOME_SIZE as u64;
        va >= start && va.checked_add(length).is_some_and(|last| last <= end)
    }

    /// Copies a range of the session's memory out, once. `None` if it is not all the session's.
    pub fn read(&self, va: u64, length: u64) -> Option<Vec<u8>> {
        // The lock keeps the range mapped while it is read.
        let chunks = self.lock();
        let allowed = self.in_staging(va, length) || covered(&chunks, va, length);
        let length = usize::try_from(length).ok()?;
        allowed.then(|| sys::copy_out(va, length))
    }
}

fn overlaps(chunks: &BTreeMap<u64, Chunk>, va: u64, length: u64) -> bool {
    let end = va.saturating_add(length);
    chunks.range(..end).next_back().is_some_and(|(start, chunk)| start + chunk.length > va)
}

fn covered(chunks: &BTreeMap<u64, Chunk>, va: u64, length: u64) -> bool {
    let Some(end) = va.checked_add(length) else { return false };
    let mut at = va;
    loop {
        match chunks.range(..=at).next_back() {
            Some((start, chunk)) if start + chunk.length >= end && *start <= at => return start + chunk.length > at,
            Some((start, chunk)) if start + chunk.length > at => at = start + chunk.length,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(list: &[(u64, u64)]) -> BTreeMap<u64, Chunk> {
        list.iter().map(|(va, length)| (*va, Chunk { length: *length, registered: false })).collect()
    }

    #[test]
    fn test_ranges_may_span_adjacent_chunks_but_no_gap() {
        let map = chunks(&[(0x1000, 0x1000), (0x2000, 0x1000), (0x4000, 0x1000)]);
        assert!(covered(&map, 0x1000, 0x2000));
        assert!(covered(&map, 0x1800, 0x1000));
        assert!(covered(&map, 0x2fff, 1));
        assert!(!covered(&map, 0x2fff, 2));
        assert!(!covered(&map, 0x3000, 0));
        assert!(!covered(&map, 0xfff, 2));
        assert!(!covered(&map, u64::MAX, 2));
        assert!(!covered(&map, 0x4000, u64::MAX));
    }

    #[test]
    fn test_overlap() {
        let map = chunks(&[(0x2000, 0x1000)]);
        assert!(overlaps(&map, 0x2000, 1));
        assert!(overlaps(&map, 0x1000, 0x1001));
        assert!(overlaps(&map, 0x2fff, 0x1000));
        assert!(!overlaps(&map, 0x1000, 0x1000));
        assert!(!overlaps(&map, 0x3000, 0x1000));
    }
}
