//! A forked child shares the parent's queue but must not touch it.

use std::sync::atomic::{AtomicI32, Ordering};

use crate::sys;

static DESCRIPTORS: [AtomicI32; 3] = [const { AtomicI32::new(-1) }; 3];

/// Closes the session's descriptors in forked children, so that the broker sees the parent's end.
pub fn close_on_fork(descriptors: [i32; 3]) {
    for (slot, fd) in DESCRIPTORS.iter().zip(descriptors) {
        slot.store(fd, Ordering::Release);
    }
    sys::on_fork_child(in_child);
}

extern "C" fn in_child() {
    sys::close_in_child(DESCRIPTORS.iter().map(|slot| slot.swap(-1, Ordering::AcqRel)).filter(|fd| *fd >= 0));
}
