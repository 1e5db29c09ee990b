//! The threads that compile kernels beside those that run them, and which kernel is next.

use super::tier::{Compiler, Job, Shape};
use std::sync::{mpsc, Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Stack of a thread that compiles: compilers recurse over long chains of instructions.
const STACK: usize = 64 << 20;

/// Of so many threads that run kernels one more compiles, up to so many.
const PER_COMPILER: usize = 4;
const MOST: usize = 4;

/// A kernel that waits for a thread.
struct Order {
    job: Job,
    shape: Shape,
    /// Dropped when it is done; somebody waits for it.
    done: Option<mpsc::Sender<()>>,
}

impl Order {
    /// What compiling it gains for its cost: time that it has kept the interpreter busy by instruction, which are
    /// what compiling takes its time for.
    fn worth(&self) -> u64 {
        match self.done {
            Some(_) => u64::MAX,
            None => self.job.spent() / self.job.instructions().max(1),
        }
    }
}

#[derive(Default)]
struct State {
    waiting: Vec<Order>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl State {
    /// The most worthwhile, of equals the one that has waited longest.
    fn next(&mut self) -> Option<Order> {
        let worths = self.waiting.iter().map(Order::worth).enumerate();
        let (index, _) = worths.reduce(|best, other| if other.1 > best.1 { other } else { best })?;
        Some(self.waiting.remove(index))
    }
}

struct Shared {
    compiler: Arc<dyn Compiler>,
    state: Mutex<State>,
    /// Notified when there is something to do, or nothing any more.
    news: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles until the engine has gone.
    fn work(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(Order { job, shape, done }) = state.next() else {
                state.idle += 1;
                state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            drop(state);
            job.run(&*self.compiler, shape);
            drop(done);
            state = self.lock();
        }
    }
}

/// Threads that compile: nobody has to wait for them, and they need more stack than others. They start when there is
/// something to do, and end, after what they are at, when this is dropped.
pub(super) struct Compilers {
    shared: Arc<Shared>,
    most: usize,
}

impl Compilers {
    /// Beside so many threads that run kernels.
    pub(super) fn new(compiler: Arc<dyn Compiler>, threads: usize) -> Compilers {
        let shared = Shared { compiler, state: Mutex::default(), news: Condvar::new() };
        Compilers { shared: Arc::new(shared), most: (threads / PER_COMPILER).clamp(1, MOST) }
    }

    /// Has a kernel compiled; `done` is dropped when that is over, and goes first.
    pub(super) fn order(&self, job: Job, shape: Shape, done: Option<mpsc::Sender<()>>) {
        let mut state = self.shared.lock();
        state.waiting.push(Order { job, shape, done });
        if state.waiting.len() > state.idle && state.threads < self.most {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("softgpu-compile".into()).stack_size(STACK);
            // Without any thread nothing is compiled, and everything is interpreted.
            state.threads += usize::from(thread.spawn(move || shared.work()).is_ok());
        }
        if state.threads == 0 {
            state.waiting.clear();
        }
        self.shared.news.notify_one();
    }
}

impl Drop for Compilers {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting.clear();
        self.shared.news.notify_all();
    }
}
