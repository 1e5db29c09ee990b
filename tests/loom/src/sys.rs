//! A home in loom's memory: its ring indices, ring entries and status words are atomics; the bytes of commands and
//! replies are cells, in which loom finds any access that nothing orders after the last write.

use std::collections::HashMap;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU16, AtomicU32, Ordering};
use vgpu_protocol::session::{
    AVAIL_OFFSET, COMMAND_OFFSET, COMMAND_SIZE, DESC_OFFSET, QUEUE_SIZE, REPLY_OFFSET, REPLY_SIZE, USED_OFFSET,
};

/// Slots and entries of the rings that the model has: the first ones.
const SLOTS: usize = 2;
const ENTRIES: usize = 3;

/// Offset of the index in either ring, and of its entries.
const INDEX: usize = 2;
const RING: usize = 4;
/// Offset of the avail index.
pub const AVAIL_INDEX: usize = AVAIL_OFFSET + INDEX;
/// Offset of the word that asks for a signal.
pub const USED_EVENT: usize = AVAIL_OFFSET + RING + 2 * QUEUE_SIZE as usize;
/// Offset of the used index.
pub const USED_INDEX: usize = USED_OFFSET + INDEX;
/// Offset of the word that asks for doorbells.
pub const AVAIL_EVENT: usize = USED_OFFSET + RING + 8 * QUEUE_SIZE as usize;

/// Offset of the avail ring's entry for an index.
pub fn avail_entry(index: u16) -> usize {
    AVAIL_OFFSET + RING + 2 * usize::from(index % QUEUE_SIZE)
}

/// Offset of the used ring's entry for an index.
pub fn used_entry(index: u16) -> usize {
    USED_OFFSET + RING + 8 * usize::from(index % QUEUE_SIZE)
}

/// The home.
pub struct Shared {
    halves: HashMap<usize, AtomicU16>,
    words: HashMap<usize, AtomicU32>,
    bytes: HashMap<usize, UnsafeCell<Vec<u8>>>,
}

// SAFETY: loom checks every access to the cells.
unsafe impl Sync for Shared {}

impl Default for Shared {
    fn default() -> Self {
        let slots = 0..SLOTS;
        let entries = || 0..ENTRIES as u16;
        let halves = [AVAIL_INDEX, USED_EVENT, USED_INDEX, AVAIL_EVENT].into_iter().chain(entries().map(avail_entry));
        let lengths = slots.clone().map(|slot| DESC_OFFSET + 32 * slot + 8);
        let status = slots.clone().map(reply);
        let cells = slots.clone().map(command).chain(slots.map(reply));
        Shared {
            halves: halves.map(|offset| (offset, AtomicU16::new(0))).collect(),
            words: lengths
                .chain(status)
                .chain(entries().map(used_entry))
                .chain(entries().map(|index| used_entry(index) + 4))
                .map(|at| (at, AtomicU32::new(0)))
                .collect(),
            bytes: cells.map(|offset| (offset, UnsafeCell::new(vec![0; 256]))).collect(),
        }
    }
}

fn command(slot: usize) -> usize {
    COMMAND_OFFSET + slot * COMMAND_SIZE
}

fn reply(slot: usize) -> usize {
    REPLY_OFFSET + slot * REPLY_SIZE
}

impl Shared {
    /// The 16-bit atomic at an offset.
    pub fn half(&self, offset: usize) -> &AtomicU16 {
        &self.halves[&offset]
    }

    /// The 32-bit atomic at an offset.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[&offset]
    }

    pub fn load_u16(&self, offset: usize) -> u16 {
        self.half(offset).load(Ordering::Acquire)
    }

    pub fn store_u16(&self, offset: usize, value: u16) {
        self.half(offset).store(value, Ordering::Release);
    }

    /// As the client's where an exchange is no fence: loom takes one for less than x86 does.
    pub fn store_u16_before_loads(&self, offset: usize, value: u16) {
        self.store_u16(offset, value);
        full_fence();
    }

    pub fn load_u32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    pub fn store_u32(&self, offset: usize, value: u32) {
        // Lengths of descriptors that are not in the model are written, too.
        if let Some(word) = self.words.get(&offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Copies bytes out of a slot.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let (cell, at) = self.cell(offset).unwrap();
        // SAFETY: loom has checked the access.
        cell.with(|bytes| to.copy_from_slice(&unsafe { &*bytes }[at..at + to.len()]));
    }

    /// Copies bytes into a slot. The descriptors, which never change, are left out.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let Some((cell, at)) = self.cell(offset) else { return };
        // SAFETY: loom has checked the access.
        cell.with_mut(|bytes| unsafe { &mut *bytes }[at..at + from.len()].copy_from_slice(from));
    }

    fn cell(&self, offset: usize) -> Option<(&UnsafeCell<Vec<u8>>, usize)> {
        let (start, size) = match offset {
            COMMAND_OFFSET.. => (COMMAND_OFFSET, COMMAND_SIZE),
            REPLY_OFFSET.. => (REPLY_OFFSET, REPLY_SIZE),
            _ => return None,
        };
        let within = (offset - start) % size;
        self.bytes.get(&(offset - within)).map(|cell| (cell, within))
    }
}

/// As the client's.
pub fn full_fence() {
    fence(Ordering::SeqCst);
}
