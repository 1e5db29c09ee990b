//! Waiting for the device: spin a little, linger, then park, and notice when nobody will ever answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ERROR_OFFSET, HEARTBEAT_MS, HEARTBEAT_OFFSET, STATE_DEAD, STATE_OFFSET};

use crate::park::Park;
use crate::ring;
use crate::sys::Shared;

/// How long a thread spins before it parks.
const SPIN: Duration = Duration::from_micros(50);
/// How long it spins before it lets others that want its processor have a turn now and then: with more threads than
/// processors the one that it waits for may be among them.
const ALONE: Duration = Duration::from_micros(5);
/// How long a thread that lingers looks again and again, between others' turns on its processor, before it
/// parks: being woken takes tens of microseconds, which then are a few percent of the wait.
const LINGER: Duration = Duration::from_millis(1);
/// Sleep of a parked thread without interrupts, at first and at most.
const NAP: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));
/// Looks without a new heartbeat, [`HEARTBEAT_MS`] apart, after which the worker is taken for dead. One that has died
/// by itself says so at once: this is for the end of the whole backend, and a busy host may keep a worker waiting for
/// seconds.
const STILL_LOOKS: u32 = 50;

/// The session's state of life, and how its threads wait.
pub struct Waiter {
    completion: OwnedFd,
    interrupts: bool,
    broker: OwnedFd,
    spin: Duration,
    lingers: AtomicBool,
    error: AtomicU32,
    park: Park,
}

impl Waiter {
    /// `broker`: the session's socket, whose end is the session's end.
    pub fn new(completion: OwnedFd, interrupts: bool, broker: OwnedFd) -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        Waiter {
            completion,
            interrupts,
            broker,
            spin: if alone { Duration::ZERO } else { SPIN },
            lingers: AtomicBool::new(false),
            error: AtomicU32::new(0),
            park: Park::default(),
        }
    }

    /// Whether waits linger from now on: for a device that needs no processor of this machine.
    pub fn set_lingers(&self, lingers: bool) {
        self.lingers.store(lingers && !self.spin.is_zero(), Ordering::Relaxed);
    }

    /// An error once the session has ended.
    pub fn alive(&self) -> Result<(), CUresult> {
        match self.error.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(CUresult(code)),
        }
    }

    /// Ends the session for all threads; returns the error that every call gets from now on.
    pub fn fail(&self, error: CUresult) -> CUresult {
        let error = if error == CUresult::SUCCESS { CUresult::UNKNOWN } else { error };
        let _ = self.error.compare_exchange(0, error.0, Ordering::AcqRel, Ordering::Acquire);
        self.park.wake();
        CUresult(self.error.load(Ordering::Acquire))
    }

    /// Returns when `done` says so, or with the error that ended the session. `done` may take what it
    /// waits for: it is not asked again once it has said yes.
    pub fn wait(&self, home: &Shared, mut done: impl FnMut() -> bool) -> Result<(), CUresult> {
        if self.spin(&mut done) {
            return Ok(());
        }
        let mut pulse = Pulse::new(home);
        let mut nap = NAP.0;
        loop {
            if done() {
                return Ok(());
            }
            self.alive()?;
            self.check(home, &mut pulse)?;
            if self.interrupts {
                if self.park(home, &mut done) {
                    return Ok(());
                }
            } else {
                std::thread::sleep(nap);
                nap = (nap * 2).min(NAP.1);
            }
        }
    }

    fn spin(&self, done: &mut impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if done() {
                    return true;
                }
                std::hint::spin_loop();
            }
            let elapsed = start.elapsed();
            if elapsed >= ALONE {
                std::thread::yield_now();
            }
            if elapsed >= self.spin && (elapsed >= LINGER || !self.lingers.load(Ordering::Relaxed)) {
                return false;
            }
        }
    }

    /// Sleeps until a completion, at most one heartbeat, unless `done` says yes first: returns whether it did.
    fn park(&self, home: &Shared, done: &mut impl FnMut() -> bool) -> bool {
        let limit = Duration::from_millis(HEARTBEAT_MS);
        self.park.park(limit, done, || ring::arm(home), || self.sleep())
    }

    fn sleep(&self) {
        let mut fds = [PollFd::new(&self.completion, PollFlags::IN), PollFd::new(&self.broker, PollFlags::empty())];
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: HEARTBEAT_MS as i64 * 1_000_000 }));
        if fds[0].revents().contains(PollFlags::IN) {
            // Several signals are worth no more than one.
            let _ = rustix::io::read(&self.completion, &mut [0u8; 256]);
        }
    }

    fn check(&self, home: &Shared, pulse: &mut Pulse) -> Result<(), CUresult> {
        if home.load_u32(STATE_OFFSET) == STATE_DEAD {
            return Err(self.fail(reported_error(home.load_u32(ERROR_OFFSET))));
        }
        match pulse.look(home, Instant::now()) {
            Look::Early | Look::Beating => Ok(()),
            Look::Still if is_closed(self.broker.as_fd()) => Err(self.fail(CUresult::UNKNOWN)),
            Look::Still => Ok(()),
            Look::Stopped => Err(self.fail(CUresult::UNKNOWN)),
        }
    }
}

/// The worker's reason, if it is an error code at all.
fn reported_error(code: u32) -> CUresult {
    let error = CUresult(code);
    if error.describe().is_some() {
        error
    } else {
        CUresult::UNKNOWN
    }
}

fn is_closed(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(n) if n > 0)
}

/// Watches the worker's heartbeat during one wait.
struct Pulse {
    value: u32,
    looked: Instant,
    still: u32,
}

#[derive(Debug, PartialEq)]
enum Look {
    Early,
    Beating,
    Still,
    Stopped,
}

impl Pulse {
    fn new(home: &Shared) -> Self {
        Pulse { value: home.load_u32(HEARTBEAT_OFFSET), looked: Instant::now(), still: 0 }
    }

    fn look(&mut self, home: &Shared, now: Instant) -> Look {
        if now.duration_since(self.looked) < Duration::from_millis(HEARTBEAT_MS) {
            return Look::Early;
        }
        self.looked = now;
        let value = home.load_u32(HEARTBEAT_OFFSET);
        if value != self.value {
            self.value = value;
            self.still = 0;
            return Look::Beating;
        }
        self.still += 1;
        if self.still >= STILL_LOOKS {
            Look::Stopped
        } else {
            Look::Still
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sys::AddressSpace;
    use rustix::event::{eventfd, EventfdFlags};
    use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
    use std::sync::atomic::AtomicU64;
    use vgpu_protocol::session::{AVAIL_OFFSET, HOME_SIZE, QUEUE_SIZE, USED_OFFSET};

    /// Memory of that many bytes, as a broker hands it out.
    pub fn test_memory(length: usize) -> OwnedFd {
        let memory = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, length as u64).unwrap();
        memory
    }

    /// A second mapping of a home, or the only one.
    pub fn map_home(memory: BorrowedFd<'_>) -> Shared {
        static NEXT: AtomicU64 = AtomicU64::new(0x5000_0000_0000);
        let at = NEXT.fetch_add(HOME_SIZE as u64, Ordering::Relaxed);
        let space = AddressSpace::reserve(at, HOME_SIZE).unwrap();
        space.map(memory, 0, at, HOME_SIZE).unwrap();
        Shared::new(&space, at, HOME_SIZE).unwrap()
    }

    /// A home that nobody else has.
    pub fn test_home() -> Shared {
        map_home(test_memory(HOME_SIZE).as_fd())
    }

    fn waiter(interrupts: bool) -> (Waiter, OwnedFd) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let completion = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        (Waiter::new(completion, interrupts, ours.into()), theirs.into())
    }

    #[test]
    fn test_heartbeat_that_stands_still_ends_the_session() {
        let home = test_home();
        let mut pulse = Pulse::new(&home);
        let mut now = Instant::now();
        for _ in 1..STILL_LOOKS {
            now += Duration::from_millis(HEARTBEAT_MS);
            assert_eq!(pulse.look(&home, now), Look::Still);
        }
        home.store_u32(HEARTBEAT_OFFSET, 1);
        now += Duration::from_millis(HEARTBEAT_MS);
        assert_eq!(pulse.look(&home, now), Look::Beating);
        for _ in 1..STILL_LOOKS {
            now += Duration::from_millis(HEARTBEAT_MS);
            assert_eq!(pulse.look(&home, now), Look::Still);
        }
        assert_eq!(pulse.look(&home, now), Look::Early);
        assert_eq!(pulse.look(&home, now + Duration::from_millis(HEARTBEAT_MS)), Look::Stopped);
    }

    #[test]
    fn test_waits_end_when_the_worker_says_it_is_dead() {
        for interrupts in [false, true] {
            let home = test_home();
            let (waiter, _broker) = waiter(interrupts);
            home.store_u32(ERROR_OFFSET, CUresult::LAUNCH_FAILED.0);
            home.store_u32(STATE_OFFSET, STATE_DEAD);
            assert_eq!(waiter.wait(&home, || false), Err(CUresult::LAUNCH_FAILED));
            assert_eq!(waiter.alive(), Err(CUresult::LAUNCH_FAILED));
        }
    }

    #[test]
    fn test_wait_ends_when_the_broker_goes() {
        let home = test_home();
        let (waiter, broker) = waiter(true);
        drop(broker);
        assert_eq!(waiter.wait(&home, || false), Err(CUresult::UNKNOWN));
    }

    #[test]
    fn test_what_was_taken_while_parking_is_not_taken_twice() {
        let home = test_home();
        let (waiter, _broker) = waiter(true);
        home.store_u16(USED_OFFSET + 2, 7);
        let event = AVAIL_OFFSET + 4 + 2 * usize::from(QUEUE_SIZE);
        let mut taken = 0;
        let armed = || {
            let armed = home.load_u16(event) == 7;
            taken += u32::from(armed);
            armed
        };
        waiter.wait(&home, armed).unwrap();
        assert_eq!(taken, 1);
    }

    #[test]
    fn test_many_threads_wait_for_interrupts() {
        let home = test_home();
        let (waiter, _broker) = waiter(true);
        let flags: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for flag in &flags {
                scope.spawn(|| waiter.wait(&home, || flag.load(Ordering::Acquire) == 1).unwrap());
            }
            for flag in &flags {
                flag.store(1, Ordering::Release);
                rustix::io::write(&waiter.completion, &1u64.to_ne_bytes()).unwrap();
            }
        });
    }
}
