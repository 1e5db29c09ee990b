//! Contexts: owners of streams and memory, with one sticky error.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::CUresult;

use super::queue::{Point, Turn};
use super::state::Driver;
use super::{Device, Result, Stream, StreamKind};
use vgpu_engine::engine::DeviceHeap;

/// Operations up to this size run on the caller's thread where the stream is idle: handing them over
/// costs about as much, and needs another core.
pub(super) const INLINE_BYTES: u64 = 512 << 10;

const STACK_DEFAULT: u64 = 1024;
const STACK_MAX: u64 = 512 << 10;
const PRINTF_DEFAULT: u64 = 1 << 20;
const PRINTF_MAX: u64 = 1 << 30;
const HEAP_DEFAULT: u64 = 8 << 20;

/// One CUDA context.
pub(in crate::driver) struct Context {
    pub(in crate::driver) driver: &'static Driver,
    pub(in crate::driver) device: &'static Device,
    pub(in crate::driver) handle: u64,
    /// Unique in the process's life.
    pub(in crate::driver) id: u64,
    /// How threads wait, in the words of `cuCtxCreate`: kept for those who ask.
    pub(in crate::driver) flags: AtomicU32,
    /// `cuCtxCreate` and `cuCtxAttach` without their `cuCtxDetach`.
    usage: AtomicU32,
    /// Set once the context has failed or ends: running kernels stop.
    pub(super) cancel: Arc<AtomicBool>,
    pub(super) heap: DeviceHeap,
    /// The first error that kernels or asynchronous work met, 0 if none.
    error: AtomicU32,
    streams: Mutex<Streams>,
    stack_limit: AtomicU64,
    printf_limit: AtomicU64,
}

struct Streams {
    legacy: Arc<Stream>,
    /// All others that were not destroyed.
    open: Vec<Arc<Stream>>,
    /// Destroyed ones that had work left.
    ending: Vec<Arc<Stream>>,
    /// What all later work waits for (`cuCtxWaitEvent`).
    gates: Vec<Point>,
}

/// A limit of a context that can be read and set (`CUlimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Limit {
    /// Bytes of stack per thread.
    Stack,
    /// Bytes that a launch may print.
    PrintfFifo,
    /// Bytes of the heap behind device-side `malloc`.
    MallocHeap,
}

impl Limit {
    /// The limit of this number, or `CUDA_ERROR_UNSUPPORTED_LIMIT`.
    pub(in crate::driver) fn from_number(number: i32) -> Result<Limit> {
        match number {
            0 => Ok(Limit::Stack),
            1 => Ok(Limit::PrintfFifo),
            2 => Ok(Limit::MallocHeap),
            _ => Err(CUresult::UNSUPPORTED_LIMIT),
        }
    }
}

impl Context {
    /// A context with its default stream, entered in the driver's registry.
    pub(in crate::driver) fn new(driver: &'static Driver, device: &'static Device, flags: u32) -> Arc<Context> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let make = |handle| {
            Arc::new_cyclic(|context| Context {
                driver,
                device,
                handle,
                id: CREATED.fetch_add(1, Ordering::Relaxed) + 1,
                flags: AtomicU32::new(flags),
                usage: AtomicU32::new(1),
                cancel: Arc::default(),
                heap: DeviceHeap::new(&device.memory, HEAP_DEFAULT),
                error: AtomicU32::new(0),
                streams: Mutex::new(Streams {
                    legacy: Arc::new(Stream::new(StreamKind::Legacy, context.clone(), 0)),
                    open: Vec::new(),
                    ending: Vec::new(),
                    gates: Vec::new(),
                }),
                stack_limit: AtomicU64::new(STACK_DEFAULT),
                printf_limit: AtomicU64::new(PRINTF_DEFAULT),
            })
        };
        driver.contexts.insert_with(make).1
    }

    /// The sticky error, if there is one.
    pub(in crate::driver) fn check(&self) -> Result {
        match self.error.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(CUresult(code)),
        }
    }

    /// Makes `error` sticky, unless there is one already, and stops the context's kernels.
    pub(super) fn fail(&self, error: CUresult) {
        let _ = self.error.compare_exchange(0, error.0, Ordering::AcqRel, Ordering::Acquire);
        self.cancel.store(true, Ordering::Release);
    }

    /// The legacy default stream.
    pub(super) fn legacy(&self) -> Arc<Stream> {
        self.streams().legacy.clone()
    }

    /// Another user, who will detach it.
    pub(in crate::driver) fn attach(&self) {
        self.usage.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a user away, unless it is the last: then the context is to be destroyed.
    pub(in crate::driver) fn detach(&self) -> bool {
        let fewer = |usage: u32| usage.checked_sub(1).filter(|usage| *usage > 0);
        self.usage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    /// A new stream of this context.
    pub(super) fn add_stream(self: &Arc<Self>, kind: StreamKind, priority: i32) -> Arc<Stream> {
        let stream = Arc::new(Stream::new(kind, Arc::downgrade(self), priority));
        self.streams().open.push(stream.clone());
        stream
    }

    /// A new stream with a handle.
    pub(in crate::driver) fn create_stream(self: &Arc<Self>, kind: StreamKind, priority: i32) -> u64 {
        self.driver.streams.insert(self.add_stream(kind, priority))
    }

    /// The stream takes no more work; what it has still runs.
    pub(super) fn forget_stream(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams();
        streams.open.retain(|open| !Arc::ptr_eq(open, stream));
        streams.ending.retain(|ending| !ending.queue.is_idle());
        if !stream.queue.is_idle() {
            streams.ending.push(stream.clone());
        }
    }

    /// Queues a job. After an error of the context it is skipped; if it fails, the context has failed.
    pub(super) fn submit(
        self: &Arc<Self>,
        stream: &Stream,
        job: impl FnOnce(&Context) -> Result + Send + 'static,
    ) -> Result<Point> {
        self.submit_after(stream, Vec::new(), job)
    }

    /// As [`Context::submit`], and the job also waits for `after`.
    pub(super) fn submit_after(
        self: &Arc<Self>,
        stream: &Stream,
        mut after: Vec<Point>,
        job: impl FnOnce(&Context) -> Result + Send + 'static,
    ) -> Result<Point> {
        self.before(stream, &mut after);
        let context = self.clone();
        stream.queue.submit(after, Box::new(move || context.execute(job)))
    }

    /// Queues a call that is made whatever happens, with the context's error if it has one by then.
    pub(in crate::driver) fn submit_callback(
        self: &Arc<Self>,
        stream: &Stream,
        callback: impl FnOnce(CUresult) + Send + 'static,
    ) -> Result {
        let call = move |context: &Context| callback(context.check().err().unwrap_or(CUresult::SUCCESS));
        self.submit_whatever(stream, Vec::new(), call).map(drop)
    }

    /// As [`Context::submit_after`], for a job that is done whatever happens.
    pub(super) fn submit_whatever(
        self: &Arc<Self>,
        stream: &Stream,
        mut after: Vec<Point>,
        job: impl FnOnce(&Context) + Send + 'static,
    ) -> Result<Point> {
        self.before(stream, &mut after);
        let context = self.clone();
        stream.queue.submit(after, Box::new(move || job(&context)))
    }

    /// All work that is submitted from now on waits for `point`.
    pub(super) fn add_gate(&self, point: Point) {
        self.streams().gates.push(point);
    }

    /// Runs an operation on the calling thread, in its stream's order.
    pub(super) fn run(&self, stream: &Stream, operation: impl FnOnce() -> Result) -> Result {
        let mut after = Vec::new();
        self.before(stream, &mut after);
        let _turn = stream.queue.turn();
        after.iter().for_each(Point::wait);
        self.check()?;
        operation()
    }

    /// The right to work on the stream now, if nothing has to be awaited.
    pub(super) fn idle_turn<'s>(&self, stream: &'s Stream) -> Option<Turn<'s>> {
        let mut after = Vec::new();
        self.before(stream, &mut after);
        if after.is_empty() {
            stream.queue.turn_if_idle()
        } else {
            None
        }
    }

    /// Whether all work of the stream, and what that waits for, has completed.
    pub(in crate::driver) fn is_idle(&self, stream: &Stream) -> bool {
        let mut after = Vec::new();
        self.predecessors(stream, &mut after);
        after.is_empty() && stream.queue.is_idle()
    }

    /// Waits for the work of one stream.
    pub(in crate::driver) fn synchronise_stream(&self, stream: &Stream) -> Result {
        self.barrier(stream).iter().for_each(Point::wait);
        self.driver.release_excess();
        self.check()
    }

    /// Waits for the work of all streams.
    pub(in crate::driver) fn synchronise(&self) -> Result {
        self.pending().iter().for_each(Point::wait);
        self.driver.release_excess();
        self.check()
    }

    /// What work that follows all present work of the stream has to wait for.
    pub(super) fn barrier(&self, stream: &Stream) -> Vec<Point> {
        let mut after = vec![stream.queue.point()];
        self.predecessors(stream, &mut after);
        after
    }

    /// Where all streams of the context stand, as far as they have work.
    pub(super) fn pending(&self) -> Vec<Point> {
        let mut streams = self.streams();
        streams.ending.retain(|stream| !stream.queue.is_idle());
        let all = streams.open.iter().chain(&streams.ending).chain([&streams.legacy]);
        all.filter(|stream| !stream.queue.is_idle()).map(|stream| stream.queue.point()).collect()
    }

    /// Stops the context's kernels and ends everything that it owns. Other threads that have it
    /// current get `CUDA_ERROR_CONTEXT_IS_DESTROYED`.
    pub(in crate::driver) fn destroy(&self) {
        self.fail(CUresult::CONTEXT_IS_DESTROYED);
        self.error.store(CUresult::CONTEXT_IS_DESTROYED.0, Ordering::Release);
        self.pending().iter().for_each(Point::wait);
        let driver = self.driver;
        driver.graphs.forget_context(self.handle);
        driver.contexts.remove(self.handle);
        let own = |context: &std::sync::Weak<Context>| std::ptr::eq(context.as_ptr(), self);
        driver.streams.remove_where(|stream| own(&stream.context));
        driver.events.remove_where(|event| own(&event.context));
        driver.functions.remove_where(|function| function.context == self.handle);
        driver.modules.remove_where(|module| module.context == self.handle);
        driver.links.remove_where(|link| link.lock().unwrap_or_else(PoisonError::into_inner).context == self.handle);
        for library in driver.libraries.all() {
            library.forget_context(self.handle);
        }
        for kernel in driver.kernels.all() {
            kernel.forget_context(self.handle);
        }
        driver.drop_context_arrays(self.handle);
        self.forget_peers();
        driver.free_context_memory(self.handle);
        self.streams().open.clear();
    }

    /// `cuCtxGetLimit`.
    pub(in crate::driver) fn limit(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Stack => self.stack_limit.load(Ordering::Relaxed),
            Limit::PrintfFifo => self.printf_limit.load(Ordering::Relaxed),
            Limit::MallocHeap => self.heap.limit(),
        }
    }

    /// `cuCtxSetLimit`: the heap's size is fixed once a kernel has used it.
    pub(in crate::driver) fn set_limit(&self, limit: Limit, value: u64) -> Result {
        match limit {
            Limit::Stack if value <= STACK_MAX => self.stack_limit.store(value, Ordering::Relaxed),
            Limit::PrintfFifo if value <= PRINTF_MAX => self.printf_limit.store(value, Ordering::Relaxed),
            Limit::MallocHeap if value <= self.driver.config.memory_bytes => {
                if !self.heap.set_limit(value) {
                    return Err(CUresult::INVALID_VALUE);
                }
            }
            _ => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    }

    /// What new work on `stream` has to wait for.
    fn before(&self, stream: &Stream, after: &mut Vec<Point>) {
        {
            let mut streams = self.streams();
            streams.gates.retain(|gate| !gate.reached());
            after.extend(streams.gates.iter().cloned());
        }
        self.predecessors(stream, after);
    }

    /// What work on `stream` has to wait for by the rules of the legacy default stream.
    fn predecessors(&self, stream: &Stream, after: &mut Vec<Point>) {
        let streams = self.streams();
        let mut add = |other: &Stream| {
            if !other.queue.is_idle() {
                after.push(other.queue.point());
            }
        };
        match stream.kind {
            StreamKind::NonBlocking => {}
            StreamKind::Blocking => add(&streams.legacy),
            StreamKind::Legacy => {
                let blocking = |s: &&Arc<Stream>| s.kind == StreamKind::Blocking;
                streams.open.iter().chain(&streams.ending).filter(blocking).for_each(|s| add(s));
            }
        }
    }

    fn execute(&self, job: impl FnOnce(&Context) -> Result) {
        if self.check().is_err() {
            return;
        }
        // A panic is a bug of ours; it costs the context, not the process.
        let outcome = catch_unwind(AssertUnwindSafe(|| job(self)));
        if let Err(code) = outcome.unwrap_or(Err(CUresult::UNKNOWN)) {
            self.fail(code);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
