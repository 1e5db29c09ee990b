//! Events: points in streams, with the time they were reached.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vgpu_protocol::cuda::CUresult;

use super::queue::Point;
use super::{Context, Result, StreamKind, Target};

/// `CU_EVENT_BLOCKING_SYNC`, `CU_EVENT_DISABLE_TIMING` and `CU_EVENT_INTERPROCESS`.
const FLAGS: u32 = 7;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

/// One event.
pub(in crate::driver) struct Event {
    pub(super) context: Weak<Context>,
    timing: bool,
    last: Mutex<Option<Record>>,
}

/// What an event last recorded.
#[derive(Clone)]
struct Record {
    point: Point,
    /// Nanoseconds of the driver's clock, valid once the point is reached.
    time: Arc<AtomicU64>,
}

impl Event {
    /// Creates an event; inter-process events are not supported.
    pub(in crate::driver) fn create(context: &Arc<Context>, flags: u32) -> Result<u64> {
        if flags & !FLAGS != 0 || flags & (INTERPROCESS | DISABLE_TIMING) == INTERPROCESS {
            return Err(CUresult::INVALID_VALUE);
        }
        if flags & INTERPROCESS != 0 {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let event =
            Event { context: Arc::downgrade(context), timing: flags & DISABLE_TIMING == 0, last: Mutex::new(None) };
        Ok(context.driver.events.insert(Arc::new(event)))
    }

    /// Captures the work of a stream of the same context.
    pub(in crate::driver) fn record(&self, target: &Target) -> Result {
        let Target { context, stream } = target;
        if !std::ptr::eq(self.context.as_ptr(), Arc::as_ptr(context)) {
            return Err(CUresult::INVALID_HANDLE);
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
        // A stream for this alone, since no other may have to wait for all of them.
        let stream = context.add_stream(StreamKind::NonBlocking, 0);
        let submitted = context.submit_after(&stream, context.pending(), move |context| {
            stamp.store(context.driver.now(), Ordering::Release);
            Ok(())
        });
        stream.end();
        *self.last() = Some(Record { point: submitted?, time });
        Ok(())
    }

    /// Makes all later work of a context wait for what the event captured.
    pub(in crate::driver) fn hold_context(&self, context: &Context) {
        if let Some(Record { point, .. }) = self.record_taken().filter(|record| !record.point.reached()) {
            context.add_gate(point);
        }
    }

    /// Makes later work of a stream wait for what the event captured.
    pub(in crate::driver) fn hold(&self, target: &Target) -> Result {
        match self.record_taken() {
            Some(Record { point, .. }) if !point.reached() => {
                target.context.submit_after(&target.stream, vec![point], |_| Ok(())).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether the captured work has completed; true for an event that captured nothing.
    pub(in crate::driver) fn is_complete(&self) -> bool {
        self.record_taken().is_none_or(|record| record.point.reached())
    }

    /// Waits for the captured work.
    pub(in crate::driver) fn wait(&self) {
        if let Some(record) = self.record_taken() {
            record.point.wait();
        }
        if let Some(context) = self.context.upgrade() {
            context.driver.release_excess();
        }
    }

    /// The sticky error of the event's context.
    pub(in crate::driver) fn check_context(&self) -> Result {
        self.context.upgrade().ok_or(CUresult::CONTEXT_IS_DESTROYED)?.check()
    }

    /// Milliseconds from `start` to `end`.
    pub(in crate::driver) fn elapsed(start: &Event, end: &Event) -> Result<f32> {
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

    /// The place in its stream's order that the event stands for, if it was ever recorded.
    pub(super) fn point(&self) -> Option<Point> {
        self.record_taken().map(|record| record.point)
    }

    /// Makes the event stand for a place that was reached at `time`.
    pub(super) fn set(&self, point: Point, time: Arc<AtomicU64>) {
        *self.last() = Some(Record { point, time });
    }

    fn record_taken(&self) -> Option<Record> {
        self.last().clone()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Record>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
