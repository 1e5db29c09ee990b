//! Events: points in streams, with the time they were reached.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vgpu_protocol::cuda::CUresult;

use super::queue::Point;
use super::shared_event::SharedEvent;
use super::{Context, Result, StreamKind, Target};
use vgpu_engine::memory::SharedFile;

/// `CU_EVENT_BLOCKING_SYNC`, `CU_EVENT_DISABLE_TIMING` and `CU_EVENT_INTERPROCESS`.
const FLAGS: u32 = 7;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

/// One event.
pub(in crate::driver) struct Event {
    pub(super) context: Weak<Context>,
    timing: bool,
    last: Mutex<Option<Record>>,
    /// Of an inter-process event, in place of `last`.
    shared: Option<Arc<SharedEvent>>,
}

/// What an event last recorded.
#[derive(Clone)]
struct Record {
    point: Point,
    /// Nanoseconds of the driver's clock, valid once the point is reached.
    time: Arc<AtomicU64>,
}

impl Event {
    /// Creates an event.
    pub(in crate::driver) fn create(context: &Arc<Context>, flags: u32) -> Result<u64> {
        if flags & !FLAGS != 0 || flags & (INTERPROCESS | DISABLE_TIMING) == INTERPROCESS {
            return Err(CUresult::INVALID_VALUE);
        }
        let shared = match flags & INTERPROCESS {
            0 => None,
            _ => Some(SharedEvent::create().map_err(|_| CUresult::OUT_OF_MEMORY)?),
        };
        Ok(Event::insert(context, flags & DISABLE_TIMING == 0, shared))
    }

    /// An event that another process has created.
    pub(in crate::driver) fn open(context: &Arc<Context>, file: Arc<SharedFile>) -> Result<u64> {
        let shared = SharedEvent::open(file).map_err(|_| CUresult::MAP_FAILED)?;
        Ok(Event::insert(context, false, Some(shared)))
    }

    fn insert(context: &Arc<Context>, timing: bool, shared: Option<SharedEvent>) -> u64 {
        let (context, driver) = (Arc::downgrade(context), context.driver);
        driver.events.insert(Arc::new(Event { context, timing, last: Mutex::new(None), shared: shared.map(Arc::new) }))
    }

    /// The file by which other processes know an inter-process event.
    pub(in crate::driver) fn file(&self) -> Option<&Arc<SharedFile>> {
        self.shared.as_ref().map(|shared| shared.file())
    }

    /// Captures the work of a stream of the same context.
    pub(in crate::driver) fn record(&self, target: &Target) -> Result {
        let Target { context, stream } = target;
        if !std::ptr::eq(self.context.as_ptr(), Arc::as_ptr(context)) {
            return Err(CUresult::INVALID_HANDLE);
        }
        if let Some(shared) = &self.shared {
            if let Some(_turn) = context.idle_turn(stream) {
                shared.complete(shared.take());
                return Ok(());
            }
            let (done, record) = (shared.clone(), shared.take());
            // The other processes are told even if the context fails: its work is done then.
            let told = context.submit_callback(stream, move |_| done.complete(record));
            return told.inspect_err(|_| shared.complete(record));
        }
        let time = Arc::new(AtomicU64::new(0));
        let point = if let Some(_turn) = context.idle_turn(stream) {
            time.store(context.driver.now(), Ordering::Release);
            stream.queue.point()
        } else {
            let time = time.clone();
            context.submit(stream, move |context| {
                time.store(context.driver.now(), Ordering::Release);
                Ok(())
            })?
        };
        *self.last() = Some(Record { point, time });
        Ok(())
    }

    /// Captures the work of all streams of the event's context.
    pub(in crate::driver) fn record_context(&self, context: &Arc<Context>) -> Result {
        if !std::ptr::eq(self.context.as_ptr(), Arc::as_ptr(context)) {
            return Err(CUresult::INVALID_HANDLE);
        }
        let time = Arc::new(AtomicU64::new(0));
        let stamp = time.clone();
        let point = aside(context, context.pending(), move |context| {
            stamp.store(context.driver.now(), Ordering::Release);
        })?;
        self.set(context, point, time)
    }

    /// Makes all later work of a context wait for what the event captured.
    pub(in crate::driver) fn hold_context(&self, context: &Arc<Context>) -> Result {
        if let Some(point) = self.point(context)?.filter(|point| !point.reached()) {
            context.add_gate(point);
        }
        Ok(())
    }

    /// Makes later work of a stream wait for what the event captured.
    pub(in crate::driver) fn hold(&self, target: &Target) -> Result {
        match self.point(&target.context)? {
            Some(point) if !point.reached() => {
                target.context.submit_after(&target.stream, vec![point], |_| Ok(())).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether the captured work has completed; true for an event that captured nothing.
    pub(in crate::driver) fn is_complete(&self) -> bool {
        match &self.shared {
            Some(shared) => shared.is_done(shared.last()),
            None => self.record_taken().is_none_or(|record| record.point.reached()),
        }
    }

    /// Waits for the captured work.
    pub(in crate::driver) fn wait(&self) {
        let context = self.context.upgrade();
        if let Some(shared) = &self.shared {
            let ended = || context.as_ref().is_none_or(|context| context.cancel.load(Ordering::Acquire));
            shared.wait(shared.last(), ended);
        }
        if let Some(record) = self.record_taken() {
            record.point.wait();
        }
        if let Some(context) = context {
            context.driver.release_excess();
        }
    }

    /// The sticky error of the event's context.
    pub(in crate::driver) fn check_context(&self) -> Result {
        self.context.upgrade().ok_or(CUresult::CONTEXT_IS_DESTROYED)?.check()
    }

    /// Milliseconds from `start` to `end`.
    pub(in crate::driver) fn elapsed(start: &Event, end: &Event) -> Result<f32> {
        if start.device() != end.device() {
            return Err(CUresult::INVALID_HANDLE);
        }
        let (Some(first), Some(last)) = (start.record_taken(), end.record_taken()) else {
            return Err(CUresult::INVALID_HANDLE);
        };
        if !start.timing || !end.timing {
            return Err(CUresult::INVALID_HANDLE);
        }
        if !first.point.reached() || !last.point.reached() {
            return Err(CUresult::NOT_READY);
        }
        let time = |record: &Record| record.time.load(Ordering::Acquire) as f64;
        Ok(((time(&last) - time(&first)) / 1e6) as f32)
    }

    /// Number of its context's device.
    fn device(&self) -> Option<i32> {
        self.context.upgrade().map(|context| context.device.ordinal)
    }

    /// Whether it was ever recorded by this process.
    pub(super) fn is_recorded(&self) -> bool {
        self.shared.is_some() || self.record_taken().is_some()
    }

    /// A place in the order of this process's work that is reached when the captured work has completed, if
    /// there is any.
    pub(super) fn point(&self, context: &Arc<Context>) -> Result<Option<Point>> {
        let Some(shared) = &self.shared else { return Ok(self.record_taken().map(|record| record.point)) };
        let record = shared.last();
        if shared.is_done(record) {
            return Ok(None);
        }
        let shared = shared.clone();
        let wait = move |context: &Context| shared.wait(record, || context.cancel.load(Ordering::Acquire));
        aside(context, Vec::new(), wait).map(Some)
    }

    /// Makes the event stand for a place of the context that was reached at `time`.
    pub(super) fn set(&self, context: &Arc<Context>, point: Point, time: Arc<AtomicU64>) -> Result {
        match &self.shared {
            Some(shared) => {
                let (done, record) = (shared.clone(), shared.take());
                let told = aside(context, vec![point], move |_| done.complete(record));
                told.map(drop).inspect_err(|_| shared.complete(record))
            }
            None => {
                *self.last() = Some(Record { point, time });
                Ok(())
            }
        }
    }

    fn record_taken(&self) -> Option<Record> {
        self.last().clone()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Record>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues a job in a stream for it alone, since no other may have to wait for it.
fn aside(context: &Arc<Context>, after: Vec<Point>, job: impl FnOnce(&Context) + Send + 'static) -> Result<Point> {
    let stream = context.add_stream(StreamKind::NonBlocking, 0);
    let point = context.submit_whatever(&stream, after, job);
    stream.end();
    point
}
