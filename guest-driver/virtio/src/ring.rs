//! The driver's side of the control queue: a split virtqueue (virtio 1.3, 2.7) with one request at
//! a time. The device is not trusted: what it writes is read once and checked.

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
const REPLY_OFFSET: usize = 0x3000;
const REQUEST_OFFSET: usize = REPLY_OFFSET + MAX_REPLY;
/// Least size of the control memory, bytes.
pub const CONTROL_SIZE: usize = REQUEST_OFFSET + MAX_REQUEST;

/// Descriptor flags (virtio 1.3, 2.7.5).
const DESC_F_NEXT: u16 = 1;
const DESC_F_WRITE: u16 = 2;
/// Offset of the ring entries behind `flags` and `idx`, in both rings.
const RING_ENTRIES: usize = 4;

/// Longest wait for a reply. Destroying a session may have to wait for the GPU; anything longer
/// than this is a device that will never answer.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

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
    /// Used entries seen so far.
    used: u16,
    timeout: Duration,
}

impl ControlQueue {
    /// Sets the ring up in zeroed `memory`, which the device finds at `address`. Descriptor 0 is
    /// the request, descriptor 1 the reply.
    pub fn new(memory: Mapping, address: u64, timeout: Duration) -> Self {
        let queue = Self { memory, used: 0, timeout };
        queue.describe(0, address + REQUEST_OFFSET as u64, 0, DESC_F_NEXT, 1);
        queue.describe(1, address + REPLY_OFFSET as u64, MAX_REPLY as u32, DESC_F_WRITE, 0);
        queue
    }

    fn describe(&self, index: usize, address: u64, length: u32, flags: u16, next: u16) {
        let at = DESC_OFFSET + index * 16;
        self.memory.write(at, address);
        self.memory.write(at + 8, length);
        self.memory.write(at + 12, flags);
        self.memory.write(at + 14, next);
    }

    /// Sends `request` and copies the reply to `reply`; returns the reply's length.
    ///
    /// An error means that the device is unusable from here on.
    pub fn exchange(&mut self, request: &[u8], reply: &mut [u8], bell: &dyn Bell) -> Result<usize, TransportError> {
        self.submit(request)?;
        bell.ring();
        self.wait(bell)?;
        self.take_reply(reply)
    }

    fn submit(&self, request: &[u8]) -> Result<(), TransportError> {
        let length = u32::try_from(request.len()).ok().filter(|n| *n as usize <= MAX_REQUEST);
        let length = length.ok_or_else(|| TransportError::NoMemory("the control request is too long".into()))?;
        self.memory.copy_in(REQUEST_OFFSET, request);
        self.memory.write(DESC_OFFSET + 8, length);
        let slot = usize::from(self.used % CONTROL_QUEUE_SIZE);
        self.memory.write(AVAIL_OFFSET + RING_ENTRIES + 2 * slot, 0u16);
        // used_event (2.7.7): interrupt with the very next used entry.
        self.memory.write(AVAIL_OFFSET + RING_ENTRIES + 2 * usize::from(CONTROL_QUEUE_SIZE), self.used);
        self.memory.store_release(AVAIL_OFFSET + 2, self.used.wrapping_add(1));
        Ok(())
    }

    fn wait(&self, bell: &dyn Bell) -> Result<(), TransportError> {
        let start = Instant::now();
        loop {
            match self.memory.load_acquire(USED_OFFSET + 2).wrapping_sub(self.used) {
                0 => {}
                1 => return Ok(()),
                n => return Err(misbehaved(format!("it returned {n} requests where one was sent"))),
            }
            bell.check()?;
            let left = self.timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(TransportError::Device(format!("no answer for {} s", self.timeout.as_secs())));
            }
            bell.wait(left);
        }
    }

    fn take_reply(&mut self, reply: &mut [u8]) -> Result<usize, TransportError> {
        let entry = USED_OFFSET + RING_ENTRIES + 8 * usize::from(self.used % CONTROL_QUEUE_SIZE);
        let id: u32 = self.memory.read(entry);
        let length = self.memory.read::<u32>(entry + 4) as usize;
        self.used = self.used.wrapping_add(1);
        if id != 0 {
            return Err(misbehaved(format!("it returned descriptor {id} where 0 was sent")));
        }
        if length > MAX_REPLY || length > reply.len() {
            return Err(misbehaved(format!("it wrote a reply of {length} bytes")));
        }
        self.memory.copy_out(REPLY_OFFSET, reply.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

fn misbehaved(how: String) -> TransportError {
    TransportError::Device(format!("the control queue is broken: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::os::fd::AsFd;

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
        (ControlQueue::new(map(), 0x10_0000, Duration::from_millis(50)), device)
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
        let (mut queue, device) = queue(|memory| {
            let length = memory.read::<u32>(DESC_OFFSET + 8) as usize;
            let mut bytes = vec![0; length];
            memory.copy_out(REQUEST_OFFSET, &mut bytes);
            bytes.reverse();
            memory.copy_in(REPLY_OFFSET, &bytes);
            complete(memory, 0, length as u32);
        });
        // More rounds than the 16-bit indices count.
        for round in 0..70_000u32 {
            let request = round.to_le_bytes();
            let mut reply = [0; 16];
            assert_eq!(queue.exchange(&request, &mut reply, &device).unwrap(), 4);
            assert_eq!(reply[..4], round.to_be_bytes());
        }
    }

    #[test]
    fn addresses_in_the_descriptors_are_guest_physical() {
        let (queue, _) = queue(|_| {});
        assert_eq!(queue.memory.read::<u64>(DESC_OFFSET), 0x10_0000 + REQUEST_OFFSET as u64);
        assert_eq!(queue.memory.read::<u64>(DESC_OFFSET + 16), 0x10_0000 + REPLY_OFFSET as u64);
    }

    #[track_caller]
    fn assert_device_error(answer: impl FnMut(&Mapping) + 'static) {
        let (mut queue, device) = queue(answer);
        let error = queue.exchange(&[1; 8], &mut [0; 64], &device).unwrap_err();
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
        let (mut queue, mut device) = queue(|_| {});
        device.alive = false;
        queue.timeout = Duration::from_secs(3600);
        assert!(queue.exchange(&[1; 8], &mut [0; 64], &device).is_err());
    }

    #[test]
    fn a_request_that_does_not_fit_leaves_the_queue_usable() {
        let (mut queue, device) = queue(|memory| complete(memory, 0, 0));
        assert!(matches!(
            queue.exchange(&vec![0; MAX_REQUEST + 1], &mut [0; 64], &device),
            Err(TransportError::NoMemory(_))
        ));
        assert_eq!(queue.exchange(&[0; 8], &mut [0; 64], &device).unwrap(), 0);
    }
}
