//! The session's split virtqueue, driver side (virtio 1.3, 2.7), in the home.
//!
//! Slot `i` owns descriptors `2 i` (its batch) and `2 i + 1` (its reply), written once but for the
//! batch's length. Whatever the device writes into the used ring is checked; nonsense is [`Broken`].

use vgpu_protocol::session::{
    AVAIL_OFFSET, COMMAND_OFFSET, COMMAND_SIZE, DESC_OFFSET, QUEUE_SIZE, REPLY_OFFSET, REPLY_SIZE, SLOTS, USED_OFFSET,
};

use crate::sys::{full_fence, Shared};

/// The device broke the queue's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

const DESC_BYTES: usize = 16;
const DESC_LENGTH: usize = 8;
const FLAG_NEXT: u16 = 1;
const FLAG_WRITE: u16 = 2;
const AVAIL_INDEX: usize = AVAIL_OFFSET + 2;
const AVAIL_RING: usize = AVAIL_OFFSET + 4;
const USED_EVENT: usize = AVAIL_RING + 2 * QUEUE_SIZE as usize;
const USED_INDEX: usize = USED_OFFSET + 2;
const USED_RING: usize = USED_OFFSET + 4;
const USED_BYTES: usize = 8;
const AVAIL_EVENT: usize = USED_RING + USED_BYTES * QUEUE_SIZE as usize;

/// Driver side of the queue.
pub struct Ring {
    avail: u16,
    used: u16,
}

impl Ring {
    /// Writes the descriptor table; the home lies at guest-physical `home_address` for the device.
    pub fn new(home: &Shared, home_address: u64) -> Self {
        for slot in 0..SLOTS {
            let command = home_address + (COMMAND_OFFSET + slot * COMMAND_SIZE) as u64;
            let reply = home_address + (REPLY_OFFSET + slot * REPLY_SIZE) as u64;
            write_descriptor(home, 2 * slot, command, COMMAND_SIZE, FLAG_NEXT, 2 * slot + 1);
            write_descriptor(home, 2 * slot + 1, reply, REPLY_SIZE, FLAG_WRITE, 0);
        }
        home.store_u16(USED_EVENT, u16::MAX);
        Ring { avail: 0, used: 0 }
    }

    /// Makes a slot with a batch of `length` bytes available; `true` if the device wants to be told
    /// (2.7.10, event index).
    pub fn publish(&mut self, home: &Shared, slot: usize, length: usize) -> bool {
        home.store_u32(DESC_OFFSET + 2 * slot * DESC_BYTES + DESC_LENGTH, length as u32);
        let entry = AVAIL_RING + 2 * usize::from(self.avail % QUEUE_SIZE);
        home.store_u16(entry, 2 * slot as u16);
        let old = self.avail;
        self.avail = old.wrapping_add(1);
        home.store_u16_before_loads(AVAIL_INDEX, self.avail);
        needs_event(home.load_u16(AVAIL_EVENT), self.avail, old)
    }

    /// The next slot that the device is done with, and how many bytes it says it has written.
    pub fn next_used(&mut self, home: &Shared) -> Result<Option<(usize, u32)>, Broken> {
        let waiting = home.load_u16(USED_INDEX).wrapping_sub(self.used);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > QUEUE_SIZE {
            return Err(Broken);
        }
        let entry = USED_RING + USED_BYTES * usize::from(self.used % QUEUE_SIZE);
        let (head, written) = (home.load_u32(entry), home.load_u32(entry + 4));
        self.used = self.used.wrapping_add(1);
        match head {
            head if head % 2 == 0 && head < u32::from(QUEUE_SIZE) => Ok(Some((head as usize / 2, written))),
            _ => Err(Broken),
        }
    }
}

/// Asks for an interrupt at the next completion. It comes once; without asking none comes for the
/// next 65,535 completions.
pub fn arm(home: &Shared) {
    // What completes before the device sees the request passes the index asked for without an interrupt. A
    // device whose index never stands still completes enough to be looked at again.
    for _ in 0..QUEUE_SIZE {
        let used = home.load_u16(USED_INDEX);
        home.store_u16(USED_EVENT, used);
        full_fence();
        if home.load_u16(USED_INDEX) == used {
            return;
        }
    }
}

fn write_descriptor(home: &Shared, index: usize, address: u64, length: usize, flags: u16, next: usize) {
    let mut bytes = [0; DESC_BYTES];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&(next as u16).to_le_bytes());
    home.write(DESC_OFFSET + index * DESC_BYTES, &bytes);
}

fn needs_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::tests::test_home;

    fn use_slot(home: &Shared, index: u16, head: u32) {
        home.write(USED_RING + USED_BYTES * usize::from(index % QUEUE_SIZE), &head.to_le_bytes());
        home.store_u16(USED_INDEX, index.wrapping_add(1));
    }

    #[test]
    fn test_published_slots_come_back_in_the_devices_order() {
        let home = test_home();
        let mut ring = Ring::new(&home, 0x10_0000);
        assert!(ring.publish(&home, 3, 64));
        ring.publish(&home, 5, 64);
        assert_eq!(ring.next_used(&home), Ok(None));
        use_slot(&home, 0, 10);
        use_slot(&home, 1, 6);
        assert_eq!(ring.next_used(&home), Ok(Some((5, 0))));
        assert_eq!(ring.next_used(&home), Ok(Some((3, 0))));
        assert_eq!(ring.next_used(&home), Ok(None));
    }

    #[test]
    fn test_kick_is_left_out_until_the_device_asks() {
        let home = test_home();
        let mut ring = Ring::new(&home, 0);
        assert!(ring.publish(&home, 0, 64));
        assert!(!ring.publish(&home, 1, 64));
        home.store_u16(AVAIL_EVENT, 2);
        assert!(ring.publish(&home, 2, 64));
    }

    #[test]
    fn test_nonsense_in_the_used_ring_is_broken() {
        for head in [1, 7, 128, 130, u32::MAX] {
            let home = test_home();
            let mut ring = Ring::new(&home, 0);
            use_slot(&home, 0, head);
            assert_eq!(ring.next_used(&home), Err(Broken), "head {head}");
        }
        let home = test_home();
        let mut ring = Ring::new(&home, 0);
        home.store_u16(USED_INDEX, 129);
        assert_eq!(ring.next_used(&home), Err(Broken));
    }

    #[test]
    fn test_event_index_wraps() {
        assert!(needs_event(u16::MAX, 0, u16::MAX));
        assert!(!needs_event(5, 5, 4));
        assert!(needs_event(4, 5, 4));
    }
}
