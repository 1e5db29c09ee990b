//! A stream's order of work.
//!
//! Every piece of work takes the next number; number `n` runs when `n - 1` has completed. Jobs are run
//! by the queue's executor thread, turns by the thread that took them, so that a synchronous operation
//! on an idle stream costs two locks and no thread switch.
//!
//! Work may wait for points of other queues. Those exist before the work takes its own number, hence
//! the waits form no cycle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vgpu_protocol::cuda::CUresult;

use super::Result;

/// Jobs that can be pending; the next one waits for room.
const LIMIT: usize = 16 << 10;
/// How long a thread looks for what it waits for before it sleeps: about what sleeping and waking cost.
const SPIN: Duration = Duration::from_micros(20);

/// Work for the executor thread. It does not panic.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// One stream's queue. Dropping it lets pending jobs run to their end.
pub(super) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when the lowest awaited number has completed.
    progress: Condvar,
    /// Notified when the executor can go on.
    work: Condvar,
    /// Highest number taken, written under the lock.
    taken: AtomicU64,
    /// Highest number completed, written under the lock.
    completed: AtomicU64,
}

struct State {
    jobs: VecDeque<Entry>,
    /// Lowest number that somebody waits for.
    awaited: u64,
    executor: Executor,
    closed: bool,
}

struct Entry {
    number: u64,
    after: Vec<Point>,
    job: Job,
}

#[derive(PartialEq)]
enum Executor {
    Absent,
    Awake,
    Asleep,
}

/// A place in a queue's order: reached when all work up to it has completed.
#[derive(Clone)]
pub(super) struct Point {
    shared: Arc<Shared>,
    number: u64,
}

impl Point {
    pub(super) fn reached(&self) -> bool {
        self.shared.completed.load(Ordering::Acquire) >= self.number
    }

    pub(super) fn wait(&self) {
        if !self.reached() && !spin_until(|| self.reached()) {
            drop(self.shared.wait(self.shared.lock(), self.number));
        }
    }
}

/// The right to work at the head of a queue; dropping it completes the work.
pub(super) struct Turn<'q> {
    shared: &'q Shared,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.complete(self.number);
    }
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    awaited: u64::MAX,
                    executor: Executor::Absent,
                    closed: false,
                }),
                progress: Condvar::new(),
                work: Condvar::new(),
                taken: AtomicU64::new(0),
                completed: AtomicU64::new(0),
            }),
        }
    }

    /// Whether all work has completed.
    pub(super) fn is_idle(&self) -> bool {
        let taken = self.shared.taken.load(Ordering::Acquire);
        self.shared.completed.load(Ordering::Acquire) >= taken
    }

    /// The place after all work so far.
    pub(super) fn point(&self) -> Point {
        Point { shared: self.shared.clone(), number: self.shared.taken.load(Ordering::Acquire) }
    }

    /// Hands a job to the executor, to run after the given points. Waits while the queue is full.
    pub(super) fn submit(&self, after: Vec<Point>, job: Job) -> Result<Point> {
        let mut state = self.shared.lock();
        while state.jobs.len() >= LIMIT {
            let first = state.jobs.front().map_or(0, |entry| entry.number);
            state = self.shared.wait(state, first);
        }
        if state.executor == Executor::Absent {
            self.start_executor()?;
            state.executor = Executor::Awake;
        }
        let number = self.shared.take_number(&mut state);
        state.jobs.push_back(Entry { number, after, job });
        if state.executor == Executor::Asleep {
            state.executor = Executor::Awake;
            self.shared.work.notify_one();
        }
        Ok(Point { shared: self.shared.clone(), number })
    }

    /// Waits for the head of the queue, then works on the calling thread.
    pub(super) fn turn(&self) -> Turn<'_> {
        let mut state = self.shared.lock();
        let number = self.shared.take_number(&mut state);
        drop(self.shared.wait(state, number - 1));
        Turn { shared: &self.shared, number }
    }

    /// A turn, if that needs no waiting.
    pub(super) fn turn_if_idle(&self) -> Option<Turn<'_>> {
        let mut state = self.shared.lock();
        if !self.is_idle() {
            return None;
        }
        let number = self.shared.take_number(&mut state);
        Some(Turn { shared: &self.shared, number })
    }

    fn start_executor(&self) -> Result {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("stream".into());
        thread.spawn(move || shared.execute()).map(drop).map_err(|_| CUresult::OPERATING_SYSTEM)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_number(&self, _locked: &mut State) -> u64 {
        self.taken.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Waits until `number` has completed.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>, number: u64) -> MutexGuard<'a, State> {
        while self.completed.load(Ordering::Acquire) < number {
            state.awaited = state.awaited.min(number);
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn complete(&self, number: u64) {
        let mut state = self.lock();
        self.completed.store(number, Ordering::Release);
        if state.awaited <= number {
            state.awaited = u64::MAX;
            self.progress.notify_all();
        }
        let ready = state.jobs.front().is_some_and(|entry| entry.number == number + 1);
        if ready && state.executor == Executor::Asleep {
            state.executor = Executor::Awake;
            self.work.notify_one();
        }
    }

    /// The executor thread: runs jobs until the queue is closed and empty.
    fn execute(&self) {
        while let Some(entry) = self.next_job() {
            let _turn = Turn { shared: self, number: entry.number };
            entry.after.iter().for_each(Point::wait);
            (entry.job)();
        }
    }

    fn next_job(&self) -> Option<Entry> {
        spin_until(|| self.taken.load(Ordering::Acquire) > self.completed.load(Ordering::Acquire));
        let mut state = self.lock();
        loop {
            let next = self.completed.load(Ordering::Acquire) + 1;
            if state.jobs.front().is_some_and(|entry| entry.number == next) {
                return state.jobs.pop_front();
            }
            if state.closed && state.jobs.is_empty() {
                return None;
            }
            state.executor = Executor::Asleep;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.executor = Executor::Awake;
        }
    }
}

/// Whether `done` became true within [`SPIN`].
fn spin_until(done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > SPIN {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &Arc<Mutex<Vec<u32>>>, value: u32) -> Job {
        let log = log.clone();
        Box::new(move || log.lock().unwrap().push(value))
    }

    #[test]
    fn jobs_and_turns_run_in_the_order_of_their_submission() {
        let queue = Queue::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        for i in 0..3000 {
            if i % 3 == 0 {
                let _turn = queue.turn();
                log.lock().unwrap().push(i);
            } else {
                queue.submit(Vec::new(), push(&log, i)).unwrap();
            }
        }
        queue.point().wait();
        assert_eq!(*log.lock().unwrap(), (0..3000).collect::<Vec<_>>());
    }

    #[test]
    fn work_waits_for_points_of_other_queues() {
        let (first, second) = (Queue::new(), Queue::new());
        let log = Arc::new(Mutex::new(Vec::new()));
        let held = first.turn();
        let point = first.submit(Vec::new(), push(&log, 1)).unwrap();
        second.submit(vec![point], push(&log, 2)).unwrap();
        assert!(second.turn_if_idle().is_none() && !second.is_idle());
        drop(held);
        second.point().wait();
        assert_eq!(*log.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn a_dropped_queue_still_runs_its_jobs() {
        let queue = Queue::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        let point = queue.submit(Vec::new(), push(&log, 1)).unwrap();
        drop(queue);
        point.wait();
        assert_eq!(*log.lock().unwrap(), [1]);
    }
}
