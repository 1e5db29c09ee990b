//! The driver's side of the control queue: a split virtqueue (virtio 1.3, 2.7) with several requests
//! under way, each of its own thread. The device answers them in any order. It is not trusted: what it
//! writes is read once and checked.

use std::sync::atomic::{fence, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vgpu_protocol::control::CONTROL_QUEUE_SIZE;

use crate::sys::Mapping;
use crate::{TransportError, MAX_REPLY, MAX_REQUEST};

/// Offset of the descriptor table in the control memory.
pub const DESC_OFFSET: usize = 0;
/// Offset of the avail ring.
pub const AVAIL_OFFSET: usize = 0x1000;
/// Offset of the used ring.
pub const USED_OFFSET: usize = 0x2000;
/// Slot *i* has descriptors 2*i* (the request) and 2*i*+1 (the reply), and a part of the memory behind the rings.
const SLOTS_OFFSET: usize = 0x3000;
const SLOT_SIZE: usize = MAX_REPLY + MAX_REQUEST;
/// Requests under way at a time.
const SLOTS: usize = CONTROL_QUEUE_SIZE as usize / 2;
/// Least size of the control memory, bytes.
pub const CONTROL_SIZE: usize = SLOTS_OFFSET + SLOTS * SLOT_SIZE;

/// Descriptor flags (virtio 1.3, 2.7.5).
const DESC_F_NEXT: u16 = 1;
const DESC_F_WRITE: u16 = 2;
/// Offset of the ring entries behind `flags` and `idx`, in both rings.
const RING_ENTRIES: usize = 4;

/// What the control queue needs of its transport.
pub trait Bell {
    /// Tells the device that there is a request.
    fn ring(&self);
    /// Waits until the device may have answered, at most `limit`.
    fn wait(&self, limit: Duration);
    /// Whether the device is still there.
    fn check(&self) -> Result<(), TransportError>;
}

/// The control queue.
pub struct ControlQueue {
    memory: Mapping,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    slots: [Slot; SLOTS],
    /// Requests sent so far: the avail ring's index.
    sent: u16,
    /// Used entries seen so far.
    seen: u16,
    /// A thread waits for the device; the others wait for that one.
    looking: bool,
    /// Why nothing works any more.
    broken: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Slot {
    #[default]
    Free,
    Sent,
    /// With a reply of this length, bytes.
    Answered(usize),
}

impl State {
    fn usable(&self) -> Result<(), TransportError> {
        self.broken.as_ref().map_or(Ok(()), |reason| Err(TransportError::Device(reason.clone())))
    }

    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == Slot::Free)
    }
}

impl ControlQueue {
    /// Sets the ring up in zeroed `memory`, which the device finds at `address`.
    pub fn new(memory: Mapping, address: u64) -> Self {
        let queue = Self { memory, state: Mutex::default(), changed: Condvar::new() };
        for slot in 0..SLOTS {
            let (reply, request) = (address + reply_offset(slot) as u64, address + request_offset(slot) as u64);
            queue.describe(2 * slot, request, 0, DESC_F_NEXT, 2 * slot as u16 + 1);
            queue.describe(2 * slot + 1, reply, MAX_REPLY as u32, DESC_F_WRITE, 0);
        }
        queue
    }

    fn describe(&self, index: usize, address: u64, length: u32, flags: u16, next: u16) {
        let at = DESC_OFFSET + index * 16;
        self.memory.write(at, address);
        self.memory.write(at + 8, length);
        self.memory.write(at + 12, flags);
        self.memory.write(at + 14, next);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `request` and copies the reply, which must come within `limit`, to `reply`; returns the reply's length.
    /// Other threads' requests neither wait for this one nor keep it waiting, as long as there are slots.
    ///
    /// A [`TransportError::Device`] means that the device is unusable from here on.
    pub fn exchange(
        &self,
        request: &[u8],
        reply: &mut [u8],
        limit: Duration,
        bell: &dyn Bell,
    ) -> Result<usize, TransportError> {
        let deadline = Instant::now() + limit;
        let slot = self.submit(request, deadline)?;
        bell.ring();
        let answered = self.wait(slot, deadline, bell).and_then(|length| {
            let reply =
                reply.get_mut(..length).ok_or_else(|| misbehaved(format!("it wrote a reply of {length} bytes")))?;
            self.memory.copy_out(reply_offset(slot), reply);
            Ok(length)
        });
        let mut state = self.lock();
        match &answered {
            Ok(_) => state.slots.iter_mut().skip(slot).take(1).for_each(|slot| *slot = Slot::Free),
            // The device may still write to this slot, and has lost the others' trust as well.
            Err(TransportError::Device(reason)) if state.broken.is_none() => state.broken = Some(reason.clone()),
            Err(_) => {}
        }
        drop(state);
        self.changed.notify_all();
        answered
    }

    /// Puts a request on the ring, once there is a slot.
    fn submit(&self, request: &[u8], deadline: Instant) -> Result<usize, TransportError> {
        let length = u32::try_from(request.len()).ok().filter(|n| *n as usize <= MAX_REQUEST);
        let length = length.ok_or_else(|| TransportError::NoMemory("the control request is too long".into()))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let full = |state: &mut State| state.broken.is_none() && state.free_slot().is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), left, full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.usable()?;
        let slot = state.free_slot();
        let slot = slot.ok_or_else(|| TransportError::NoMemory("the device has no time for more requests".into()))?;
        self.memory.copy_in(request_offset(slot), request);
        self.memory.write(DESC_OFFSET + 2 * slot * 16 + 8, length);
        let entry = usize::from(state.sent % CONTROL_QUEUE_SIZE);
        self.memory.write(AVAIL_OFFSET + RING_ENTRIES + 2 * entry, 2 * slot as u16);
        state.sent = state.sent.wrapping_add(1);
        state.slots.iter_mut().skip(slot).take(1).for_each(|slot| *slot = Slot::Sent);
        self.memory.store_release(AVAIL_OFFSET + 2, state.sent);
        Ok(slot)
    }

    /// Waits for a slot's reply; its length. One of the threads that wait looks for all.
    fn wait(&self, slot: usize, deadline: Instant, bell: &dyn Bell) -> Result<usize, TransportError> {
        let mut state = self.lock();
        loop {
            state.usable()?;
            if !state.looking {
                self.collect(&mut state)?;
            }
            if let Some(Slot::Answered(length)) = state.slots.get(slot) {
                return Ok(*length);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TransportError::Device("it does not answer a request".into()));
            }
            if state.looking {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.looking = true;
            drop(state);
            let there = bell.check();
            if there.is_ok() {
                bell.wait(left);
            }
            state = self.lock();
            state.looking = false;
            self.changed.notify_all();
            there?;
        }
    }

    /// Notes what the device has answered, and has it interrupt with the next answer.
    fn collect(&self, state: &mut State) -> Result<(), TransportError> {
        loop {
            let used = self.memory.load_acquire(USED_OFFSET + 2);
            let sent = state.slots.iter().filter(|slot| **slot == Slot::Sent).count();
            let answered = used.wrapping_sub(state.seen);
            if usize::from(answered) > sent {
                return Err(misbehaved(format!("it returned {answered} requests where {sent} were sent")));
            }
            while state.seen != used {
                self.take_reply(state)?;
            }
            // used_event (2.7.7); what was answered before it was set may have been without an interrupt.
            self.memory.write(AVAIL_OFFSET + RING_ENTRIES + 2 * usize::from(CONTROL_QUEUE_SIZE), state.seen);
            fence(Ordering::SeqCst);
            if self.memory.load_acquire(USED_OFFSET + 2) == state.seen {
                return Ok(());
            }
        }
    }

    fn take_reply(&self, state: &mut State) -> Result<(), TransportError> {
        let entry = USED_OFFSET + RING_ENTRIES + 8 * usize::from(state.seen % CONTROL_QUEUE_SIZE);
        let id: u32 = self.memory.read(entry);
        let length = self.memory.read::<u32>(entry + 4) as usize;
        state.seen = state.seen.wrapping_add(1);
        let slot = id.is_multiple_of(2).then(|| state.slots.get_mut(id as usize / 2)).flatten();
        let slot = slot.filter(|slot| **slot == Slot::Sent);
        let slot = slot.ok_or_else(|| misbehaved(format!("it returned descriptor {id}, which was not sent")))?;
        if length > MAX_REPLY {
            return Err(misbehaved(format!("it wrote a reply of {length} bytes")));
        }
        *slot = Slot::Answered(length);
        Ok(())
    }
}

fn reply_offset(slot: usize) -> usize {
    SLOTS_OFFSET + slot * SLOT_SIZE
}

fn request_offset(slot: usize) -> usize {
    reply_offset(slot) + MAX_REPLY
}

fn misbehaved(how: String) -> TransportError {
    TransportError::Device(format!("the control queue is broken: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::os::fd::AsFd;

    const LIMIT: Duration = Duration::from_millis(50);

    type Answer = Box<dyn FnMut(&Mapping)>;

    /// A device that answers, inside `ring`, whatever the test wants it to.
    struct FakeDevice {
        memory: Mapping,
        answer: RefCell<Answer>,
        alive: bool,
    }

    impl Bell for FakeDevice {
        fn ring(&self) {
            (self.answer.borrow_mut())(&self.memory);
        }
        fn wait(&self, _limit: Duration) {}
        fn check(&self) -> Result<(), TransportError> {
            self.alive.then_some(()).ok_or(TransportError::Device("gone".into()))
        }
    }

    fn queue(answer: impl FnMut(&Mapping) + 'static) -> (ControlQueue, FakeDevice) {
        let size = CONTROL_SIZE.next_multiple_of(4096);
        let fd = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, size as u64).unwrap();
        let map = || Mapping::new(fd.as_fd(), 0, size).unwrap();
        let device = FakeDevice { memory: map(), answer: RefCell::new(Box::new(answer)), alive: true };
        (ControlQueue::new(map(), 0x10_0000), device)
    }

    fn complete(memory: &Mapping, id: u32, length: u32) {
        let index = memory.load_acquire(USED_OFFSET + 2);
        let entry = USED_OFFSET + RING_ENTRIES + 8 * usize::from(index % CONTROL_QUEUE_SIZE);
        memory.write(entry, id);
        memory.write(entry + 4, length);
        memory.store_release(USED_OFFSET + 2, index.wrapping_add(1));
    }

    #[test]
    fn requests_arrive_and_replies_return_over_many_rounds() {
        let (queue, device) = queue(|memory| {
            let length = memory.read::<u32>(DESC_OFFSET + 8) as usize;
            let mut bytes = vec![0; length];
            memory.copy_out(request_offset(0), &mut bytes);
            bytes.reverse();
            memory.copy_in(reply_offset(0), &bytes);
            complete(memory, 0, length as u32);
        });
        // More rounds than the 16-bit indices count.
        for round in 0..70_000u32 {
            let request = round.to_le_bytes();
            let mut reply = [0; 16];
            assert_eq!(queue.exchange(&request, &mut reply, LIMIT, &device).unwrap(), 4);
            assert_eq!(reply[..4], round.to_be_bytes());
        }
    }

    #[test]
    fn addresses_in_the_descriptors_are_guest_physical() {
        let (queue, _) = queue(|_| {});
        assert_eq!(queue.memory.read::<u64>(DESC_OFFSET), 0x10_0000 + request_offset(0) as u64);
        assert_eq!(queue.memory.read::<u64>(DESC_OFFSET + 16), 0x10_0000 + reply_offset(0) as u64);
    }

    #[track_caller]
    fn assert_device_error(answer: impl FnMut(&Mapping) + 'static) {
        let (queue, device) = queue(answer);
        let error = queue.exchange(&[1; 8], &mut [0; 64], LIMIT, &device).unwrap_err();
        assert!(matches!(error, TransportError::Device(_)), "{error}");
    }

    #[test]
    fn a_reply_longer_than_its_buffer_is_an_error() {
        assert_device_error(|memory| complete(memory, 0, 65));
        assert_device_error(|memory| complete(memory, 0, u32::MAX));
    }

    #[test]
    fn an_unknown_used_id_is_an_error() {
        assert_device_error(|memory| complete(memory, 1, 8));
        assert_device_error(|memory| complete(memory, 2, 8));
        assert_device_error(|memory| complete(memory, u32::MAX, 8));
    }

    #[test]
    fn a_jumping_used_index_is_an_error() {
        assert_device_error(|memory| memory.store_release(USED_OFFSET + 2, 7));
        assert_device_error(|memory| memory.store_release(USED_OFFSET + 2, u16::MAX));
    }

    #[test]
    fn a_silent_device_is_an_error() {
        assert_device_error(|_| {});
    }

    #[test]
    fn a_device_that_goes_away_while_waiting_is_an_error() {
        let (queue, mut device) = queue(|_| {});
        device.alive = false;
        let hour = Duration::from_secs(3600);
        assert!(queue.exchange(&[1; 8], &mut [0; 64], hour, &device).is_err());
    }

    #[test]
    fn a_request_that_does_not_fit_leaves_the_queue_usable() {
        let (queue, device) = queue(|memory| complete(memory, 0, 0));
        assert!(matches!(
            queue.exchange(&vec![0; MAX_REQUEST + 1], &mut [0; 64], LIMIT, &device),
            Err(TransportError::NoMemory(_))
        ));
        assert_eq!(queue.exchange(&[0; 8], &mut [0; 64], LIMIT, &device).unwrap(), 0);
    }

    /// A device that answers when it is told to; it wakes nobody.
    struct SlowDevice(Mapping);

    impl Bell for SlowDevice {
        fn ring(&self) {}
        fn wait(&self, _limit: Duration) {
            std::thread::yield_now();
        }
        fn check(&self) -> Result<(), TransportError> {
            Ok(())
        }
    }

    impl SlowDevice {
        fn await_requests(&self, count: u16) {
            while self.0.load_acquire(AVAIL_OFFSET + 2) != count {
                std::thread::yield_now();
            }
        }

        /// Sends back, as the reply, the one byte of the request that was the `number`-th to be sent.
        fn answer(&self, number: u16) {
            let entry = AVAIL_OFFSET + RING_ENTRIES + 2 * usize::from(number % CONTROL_QUEUE_SIZE);
            let slot = usize::from(self.0.read::<u16>(entry)) / 2;
            self.0.write::<u8>(reply_offset(slot), self.0.read(request_offset(slot)));
            complete(&self.0, 2 * slot as u32, 1);
        }
    }

    fn slow_queue() -> (ControlQueue, SlowDevice) {
        let (queue, device) = queue(|_| {});
        (queue, SlowDevice(device.memory))
    }

    #[test]
    fn requests_are_answered_in_any_order() {
        let (queue, device) = slow_queue();
        let hour = Duration::from_secs(3600);
        let ask = |byte: u8| {
            let mut reply = [0; 4];
            assert_eq!(queue.exchange(&[byte], &mut reply, hour, &device).unwrap(), 1);
            assert_eq!(reply[0], byte);
        };
        for round in 0..200u16 {
            std::thread::scope(|scope| {
                let first = scope.spawn(|| ask(round as u8));
                device.await_requests(3 * round + 1);
                let others = [scope.spawn(|| ask(!round as u8)), scope.spawn(|| ask(7))];
                device.await_requests(3 * round + 3);
                device.answer(3 * round + 2);
                device.answer(3 * round + 1);
                others.into_iter().for_each(|other| other.join().unwrap());
                assert!(!first.is_finished());
                device.answer(3 * round);
            });
        }
    }

    #[test]
    fn more_requests_than_slots_wait_for_one() {
        let (queue, device) = slow_queue();
        let hour = Duration::from_secs(3600);
        std::thread::scope(|scope| {
            let count = 2 * SLOTS as u16;
            for _ in 0..count {
                scope.spawn(|| queue.exchange(&[1], &mut [0; 4], hour, &device).unwrap());
            }
            device.await_requests(SLOTS as u16);
            let late = queue.exchange(&[1], &mut [0; 4], LIMIT, &device).unwrap_err();
            assert!(matches!(late, TransportError::NoMemory(_)), "the device lives: {late}");
            for number in 0..count {
                // Each answer frees a slot for one more.
                device.answer(number);
                device.await_requests((number + 1 + SLOTS as u16).min(count));
            }
        });
    }

    #[test]
    fn an_answer_that_was_given_already_ends_all_waits() {
        let (queue, device) = slow_queue();
        let hour = Duration::from_secs(3600);
        std::thread::scope(|scope| {
            let waits = [0; 2].map(|_| scope.spawn(|| queue.exchange(&[1], &mut [0; 4], hour, &device)));
            device.await_requests(2);
            complete(&device.0, 0, 1);
            complete(&device.0, 0, 1);
            let failed = waits.map(|wait| wait.join().unwrap().is_err());
            assert!(failed.contains(&true));
        });
        assert!(queue.exchange(&[1], &mut [0; 4], hour, &device).is_err());
    }
}
