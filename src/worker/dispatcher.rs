//! The loop that takes batches from the ring and runs them in the order of their submission. A
//! command that blocks is finished by a waiter; later batches of its lane wait for it, other lanes go on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};

use super::executor::{Batch, Executor, Outcome};
use super::session::{lock, Session};
use super::waiters::Waiters;

/// How often a ring without a usable doorbell is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// After so long, others have their turns between two looks: what is waited for may be one of them that has none.
const SPIN: Duration = Duration::from_micros(5);
/// How many times longer a client's call is waited for than new work.
const PATIENCE: u32 = 4;
/// Sleep between looks at fences, nanoseconds.
const NAP_NANOSECONDS: i64 = 50_000;

/// Wakes the dispatcher from other threads.
pub struct Bell {
    doorbell: Mutex<Option<Arc<OwnedFd>>>,
    finished: Mutex<Vec<u32>>,
    rung: AtomicBool,
    wake: OwnedFd,
}

impl Bell {
    /// A bell nobody has rung.
    pub fn new() -> io::Result<Arc<Bell>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let rung = AtomicBool::new(false);
        Ok(Arc::new(Bell { doorbell: Mutex::default(), finished: Mutex::default(), rung, wake }))
    }

    /// Listens to another doorbell of the client.
    pub fn set_doorbell(&self, doorbell: OwnedFd) {
        *lock(&self.doorbell) = Some(Arc::new(doorbell));
        self.ring();
    }

    /// Makes the dispatcher look.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// A lane's blocking command is done.
    pub fn lane_finished(&self, lane: u32) {
        lock(&self.finished).push(lane);
        self.ring();
    }
}

/// The loop's state.
pub struct Dispatcher {
    session: Arc<Session>,
    bell: Arc<Bell>,
    executor: Executor,
    waiters: Waiters,
    busy_poll: Duration,
    /// Looking for a while has brought nothing: only fences are waited for.
    napping: bool,
    /// Lanes with a blocked command, and the batches behind it.
    blocked: HashMap<u32, VecDeque<Batch>>,
}

impl Dispatcher {
    /// Prepares the loop for the calling thread.
    pub fn new(session: Arc<Session>, bell: Arc<Bell>, busy_poll: Duration) -> Self {
        let done = bell.clone();
        let waiters = Waiters::new(session.clone(), Box::new(move |lane| done.lane_finished(lane)));
        let executor = Executor::new(session.clone(), busy_poll * PATIENCE);
        Dispatcher { session, bell, executor, waiters, busy_poll, napping: false, blocked: HashMap::new() }
    }

    /// Serves the ring for the rest of the process's life.
    pub fn run(mut self) {
        let mut bytes = Vec::new();
        loop {
            let mut barren = !self.resume_lanes();
            while let Some(pending) = self.session.ring.pop(&mut bytes) {
                barren = false;
                self.napping = false;
                bytes = self.submit(Batch::new(pending, bytes));
                self.resume_lanes();
                self.settle();
            }
            if barren && self.session.ring.has_work() {
                // The client's avail index is absurd: do not look at it all the time.
                std::thread::sleep(LOOK_EVERY);
            }
            if !self.look() {
                self.sleep();
            }
        }
    }

    /// Runs a batch, or puts it behind the one that its lane waits for. Returns memory for the next.
    fn submit(&mut self, batch: Batch) -> Vec<u8> {
        if let Some(behind) = self.blocked.get_mut(&batch.lane()) {
            self.session.ring.end();
            behind.push_back(batch);
            return Vec::new();
        }
        self.execute(batch)
    }

    fn execute(&mut self, batch: Batch) -> Vec<u8> {
        match self.executor.run(batch) {
            Outcome::Answered(memory) => {
                self.session.ring.end();
                return memory;
            }
            Outcome::Deferred => {}
            Outcome::Blocked(batch) => self.hand_over(batch),
        }
        Vec::new()
    }

    /// Answers what is due.
    fn settle(&mut self) {
        if self.executor.has_deferred() {
            for batch in self.executor.settle() {
                self.hand_over(batch);
            }
        }
    }

    fn hand_over(&mut self, blocking: Batch) {
        self.blocked.entry(blocking.lane()).or_default();
        if let Err(error) = self.waiters.hand_over(blocking) {
            // Without threads the session cannot keep its promises; its client is told by our death.
            log::error!("cannot start a thread: {error}");
            std::process::exit(1);
        }
    }

    /// Goes on with lanes whose blocking command is done. Returns whether the bell had been rung.
    fn resume_lanes(&mut self) -> bool {
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return false;
        }
        let finished = std::mem::take(&mut *lock(&self.bell.finished));
        for lane in finished {
            self.resume(lane);
        }
        true
    }

    fn resume(&mut self, lane: u32) {
        let mut behind = self.blocked.remove(&lane).unwrap_or_default();
        while let Some(batch) = behind.pop_front() {
            if !self.session.ring.begin() {
                // Asked for again when the ring starts, which rings the bell.
                behind.push_front(batch);
                self.blocked.insert(lane, behind);
                lock(&self.bell.finished).push(lane);
                return;
            }
            self.execute(batch);
            if let Some(again) = self.blocked.get_mut(&lane) {
                again.append(&mut behind);
            }
        }
    }

    /// Looks for work for a while without sleeping.
    fn look(&mut self) -> bool {
        let start = Instant::now();
        loop {
            self.session.progress.step();
            self.settle();
            if self.session.ring.has_work() || self.bell.rung.load(Ordering::Acquire) {
                self.napping = false;
                return true;
            }
            if self.napping || (start.elapsed() >= self.busy_poll && !self.executor.is_patient()) {
                return false;
            }
            if start.elapsed() < SPIN {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Sleeps until the client or another thread rings.
    fn sleep(&mut self) {
        let stopped = self.session.ring.is_stopped();
        if !stopped && self.session.ring.enable_doorbell() {
            return;
        }
        // Fences are looked at; nothing rings for them.
        self.napping = self.executor.has_deferred();
        let nap = self.napping.then_some(Timespec { tv_sec: 0, tv_nsec: NAP_NANOSECONDS });
        let doorbell = lock(&self.bell.doorbell).clone().filter(|_| !stopped);
        let mut fds = vec![PollFd::new(&self.bell.wake, PollFlags::IN)];
        fds.extend(doorbell.as_deref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        self.session.progress.rest();
        let ready = poll(&mut fds, nap.as_ref());
        let trouble = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let broken = fds.get(1).is_some_and(|fd| fd.revents().intersects(trouble));
        drop(fds);
        if ready.is_err() || broken {
            std::thread::sleep(LOOK_EVERY);
        }
        silence(&self.bell.wake);
        if let Some(doorbell) = doorbell.filter(|_| !broken) {
            silence(&doorbell);
        }
        self.session.ring.disable_doorbell();
    }
}

/// Resets an eventfd that is readable. Only asked after `poll`, since a client's may block.
fn silence(fd: &OwnedFd) {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::read(fd, &mut [0u8; 8]);
    }
}
