//! Stream capture: which streams capture into which graph, what the next node of each depends on, and
//! which calls are not allowed meanwhile (CUDA driver API, `cuStreamBeginCapture` and
//! `cuThreadExchangeStreamCaptureMode`).

use std::cell::Cell;
use std::collections::HashMap;
use std::thread::ThreadId;

use vgpu_protocol::cuda::{CUgraphEdgeData, CUresult};

use crate::graph::Store;
use crate::node::{Edge, Params};
use crate::Result;

/// How a capture, or a thread, regards potentially unsafe calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are not allowed in any thread.
    #[default]
    Global,
    /// They are not allowed in the capture's thread.
    ThreadLocal,
    /// They are allowed.
    Relaxed,
}

impl TryFrom<i32> for Mode {
    type Error = CUresult;

    fn try_from(mode: i32) -> Result<Self> {
        match mode {
            0 => Ok(Mode::Global),
            1 => Ok(Mode::ThreadLocal),
            2 => Ok(Mode::Relaxed),
            _ => Err(CUresult::INVALID_VALUE),
        }
    }
}

thread_local! {
    static THREAD_MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Sets the calling thread's mode; the one before.
pub fn exchange_mode(mode: Mode) -> Mode {
    THREAD_MODE.replace(mode)
}

/// A stream as captures see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Unique among the streams of all contexts and threads.
    pub key: u64,
    /// Its context.
    pub context: u64,
    /// Whether it is the legacy default stream.
    pub is_legacy: bool,
    /// Whether it and the legacy default stream wait for each other.
    pub is_blocking: bool,
}

/// `CUstreamCaptureStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not capturing.
    None = 0,
    /// Capturing.
    Active = 1,
    /// Capturing, and a rule was broken.
    Invalidated = 2,
}

struct Capture {
    graph: u64,
    /// Whether the graph was the application's before.
    into_existing: bool,
    origin: u64,
    thread: ThreadId,
    mode: Mode,
    invalid: bool,
}

struct Capturing {
    capture: u64,
    stream: Stream,
    dependencies: Vec<Edge>,
    /// What was last reported: it stays where it is until the next call for the stream.
    reported: Reported,
}

/// What came of a capture.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Graph that it added to.
    pub graph: u64,
    /// Whether the graph was the application's before.
    pub into_existing: bool,
    /// Whether the graph is good.
    pub outcome: Result,
}

/// A dependency set as `cuStreamGetCaptureInfo` returns it: addresses of arrays that the capture keeps.
#[derive(Default)]
pub struct Reported {
    nodes: Box<[u64]>,
    data: Box<[CUgraphEdgeData]>,
}

impl Reported {
    /// Handles of the nodes.
    pub fn nodes(&self) -> &[u64] {
        &self.nodes
    }

    /// What the dependencies mean.
    pub fn data(&self) -> &[CUgraphEdgeData] {
        &self.data
    }
}

/// What a stream that captures is asked for.
pub struct Info<'a> {
    /// Unique number of the capture.
    pub id: u64,
    /// Graph that it adds to.
    pub graph: u64,
    /// What the next node will depend on.
    pub dependencies: &'a Reported,
}

struct Recorded {
    capture: u64,
    dependencies: Vec<Edge>,
}

/// All captures in progress.
#[derive(Default)]
pub struct Captures {
    captures: HashMap<u64, Capture>,
    streams: HashMap<u64, Capturing>,
    /// Events that were last recorded in a capture, be it in progress or not.
    events: HashMap<u64, Recorded>,
    last_id: u64,
}

impl Captures {
    /// Whether nothing has to be looked at: no capture, and no event that was recorded in one.
    pub fn is_quiet(&self) -> bool {
        self.captures.is_empty() && self.events.is_empty()
    }

    /// Starts to capture into `graph`.
    pub fn begin(&mut self, stream: Stream, mode: Mode, graph: u64, existing: Option<Vec<Edge>>) -> Result {
        if stream.is_legacy {
            return Err(CUresult::STREAM_CAPTURE_UNSUPPORTED);
        }
        if self.streams.contains_key(&stream.key) {
            return Err(CUresult::ILLEGAL_STATE);
        }
        self.last_id += 1;
        let into_existing = existing.is_some();
        let dependencies = existing.unwrap_or_default();
        let thread = std::thread::current().id();
        let capture = Capture { graph, into_existing, origin: stream.key, thread, mode, invalid: false };
        self.captures.insert(self.last_id, capture);
        let capturing = Capturing { capture: self.last_id, stream, dependencies, reported: Reported::default() };
        self.streams.insert(stream.key, capturing);
        Ok(())
    }

    /// Ends a capture. An error means that it goes on.
    pub fn end(&mut self, stream: Stream, store: &Store) -> Result<Ended> {
        let capturing = self.streams.get(&stream.key).ok_or(CUresult::ILLEGAL_STATE)?;
        let id = capturing.capture;
        let capture = self.captures.get(&id).ok_or(CUresult::ILLEGAL_STATE)?;
        if capture.origin != stream.key {
            self.invalidate(id);
            return Err(CUresult::STREAM_CAPTURE_UNMATCHED);
        }
        if capture.mode != Mode::Relaxed && capture.thread != std::thread::current().id() {
            return Err(CUresult::STREAM_CAPTURE_WRONG_THREAD);
        }
        let outcome = match capture.invalid {
            true => Err(CUresult::STREAM_CAPTURE_INVALIDATED),
            false if self.is_joined(id, stream, store) => Ok(()),
            false => Err(CUresult::STREAM_CAPTURE_UNJOINED),
        };
        let ended = Ended { graph: capture.graph, into_existing: capture.into_existing, outcome };
        self.captures.remove(&id);
        self.streams.retain(|_, capturing| capturing.capture != id);
        Ok(ended)
    }

    /// Whether all that other streams captured comes before the end of the origin.
    fn is_joined(&self, id: u64, origin: Stream, store: &Store) -> bool {
        let ends = |key: &u64| self.streams[key].dependencies.iter().map(|edge| edge.node);
        let joined = store.ancestors(ends(&origin.key));
        let mut others = self.streams.iter().filter(|(key, c)| c.capture == id && **key != origin.key);
        others.all(|(key, _)| ends(key).all(|node| joined.contains(&node) || store.nodes.get(node).is_err()))
    }

    fn invalidate(&mut self, id: u64) {
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.invalid = true;
        }
    }

    fn is_invalid(&self, id: u64) -> bool {
        self.captures.get(&id).is_none_or(|capture| capture.invalid)
    }

    /// Captures of streams that wait for the legacy default stream of the context.
    fn implicit(&self, context: u64) -> Vec<u64> {
        let blocking = |c: &&Capturing| c.stream.is_blocking && c.stream.context == context;
        self.streams.values().filter(blocking).map(|c| c.capture).collect()
    }

    /// Whether work given to the stream is captured. The legacy default stream may not be used while a
    /// stream captures that waits for it.
    pub fn is_captured(&mut self, stream: Stream) -> Result<bool> {
        if let Some(capturing) = self.streams.get(&stream.key) {
            return match self.is_invalid(capturing.capture) {
                true => Err(CUresult::STREAM_CAPTURE_INVALIDATED),
                false => Ok(true),
            };
        }
        if stream.is_legacy {
            let captures = self.implicit(stream.context);
            if !captures.is_empty() {
                captures.into_iter().for_each(|id| self.invalidate(id));
                return Err(CUresult::STREAM_CAPTURE_IMPLICIT);
            }
        }
        Ok(false)
    }

    /// Adds a node behind what the stream has captured so far.
    pub fn add(&mut self, stream: Stream, store: &mut Store, params: Params) -> Result<u64> {
        let capturing = self.streams.get_mut(&stream.key).ok_or(CUresult::ILLEGAL_STATE)?;
        let capture = self.captures.get(&capturing.capture).ok_or(CUresult::ILLEGAL_STATE)?;
        let node = store.add(capture.graph, &capturing.dependencies, params)?;
        capturing.dependencies = vec![Edge::after(node)];
        Ok(node)
    }

    /// The graph that a stream captures into.
    pub fn graph(&self, stream: Stream) -> Result<u64> {
        let capturing = self.streams.get(&stream.key).ok_or(CUresult::ILLEGAL_STATE)?;
        self.captures.get(&capturing.capture).map(|capture| capture.graph).ok_or(CUresult::ILLEGAL_STATE)
    }

    /// The stream's status. Asking for that of the legacy default stream breaks no capture.
    pub fn status(&self, stream: Stream) -> Result<Status> {
        match self.streams.get(&stream.key) {
            Some(capturing) if self.is_invalid(capturing.capture) => Ok(Status::Invalidated),
            Some(_) => Ok(Status::Active),
            None if stream.is_legacy && !self.implicit(stream.context).is_empty() => {
                Err(CUresult::STREAM_CAPTURE_IMPLICIT)
            }
            None => Ok(Status::None),
        }
    }

    /// What is known of the capture of a stream whose status is active.
    pub fn info(&mut self, stream: Stream) -> Result<Info<'_>> {
        let capturing = self.streams.get_mut(&stream.key).ok_or(CUresult::ILLEGAL_STATE)?;
        let capture = self.captures.get(&capturing.capture).ok_or(CUresult::ILLEGAL_STATE)?;
        capturing.reported = Reported {
            nodes: capturing.dependencies.iter().map(|edge| edge.node).collect(),
            data: capturing.dependencies.iter().map(|edge| edge.data).collect(),
        };
        Ok(Info { id: capturing.capture, graph: capture.graph, dependencies: &capturing.reported })
    }

    /// Adds to what the stream's next node depends on, or replaces it.
    pub fn update(&mut self, stream: Stream, edges: Vec<Edge>, replace: bool, store: &Store) -> Result {
        let graph = match self.status(stream)? {
            Status::None => return Err(CUresult::ILLEGAL_STATE),
            Status::Invalidated => return Err(CUresult::STREAM_CAPTURE_INVALIDATED),
            Status::Active => self.graph(stream)?,
        };
        for edge in &edges {
            if store.nodes.get(edge.node)?.graph != graph {
                return Err(CUresult::INVALID_VALUE);
            }
        }
        let capturing = self.streams.get_mut(&stream.key).ok_or(CUresult::ILLEGAL_STATE)?;
        if replace {
            capturing.dependencies.clear();
        }
        merge(&mut capturing.dependencies, edges);
        Ok(())
    }

    /// An event is recorded in a stream; whether a capture takes it.
    pub fn record(&mut self, event: u64, stream: Stream) -> Result<bool> {
        if !self.is_captured(stream)? {
            self.events.remove(&event);
            return Ok(false);
        }
        let Capturing { capture, dependencies, .. } = self.streams.get(&stream.key).ok_or(CUresult::ILLEGAL_STATE)?;
        self.events.insert(event, Recorded { capture: *capture, dependencies: dependencies.clone() });
        Ok(true)
    }

    /// A stream waits for an event; whether a capture takes it. `is_recorded`: the event stands for work
    /// outside of captures.
    pub fn wait(&mut self, stream: Stream, event: u64, is_recorded: bool) -> Result<bool> {
        let Some(recorded) = self.events.get(&event) else {
            if !self.is_captured(stream)? {
                return Ok(false);
            }
            if is_recorded {
                self.invalidate(self.streams[&stream.key].capture);
                return Err(CUresult::STREAM_CAPTURE_ISOLATION);
            }
            return Ok(true);
        };
        let (capture, dependencies) = (recorded.capture, recorded.dependencies.clone());
        if !self.captures.contains_key(&capture) {
            return Err(CUresult::CAPTURED_EVENT);
        }
        if self.is_invalid(capture) {
            return Err(CUresult::STREAM_CAPTURE_INVALIDATED);
        }
        match self.streams.get_mut(&stream.key) {
            Some(capturing) if capturing.capture == capture => merge(&mut capturing.dependencies, dependencies),
            Some(capturing) => {
                let other = capturing.capture;
                self.invalidate(capture);
                self.invalidate(other);
                return Err(CUresult::STREAM_CAPTURE_MERGE);
            }
            None if stream.is_legacy => {
                self.invalidate(capture);
                return Err(CUresult::STREAM_CAPTURE_IMPLICIT);
            }
            None => {
                let capturing = Capturing { capture, stream, dependencies, reported: Reported::default() };
                self.streams.insert(stream.key, capturing);
            }
        }
        Ok(true)
    }

    /// A call asks for the state of an event, or waits for it.
    pub fn check_event(&mut self, event: u64) -> Result {
        match self.events.get(&event).map(|recorded| recorded.capture) {
            Some(capture) => {
                self.invalidate(capture);
                Err(CUresult::CAPTURED_EVENT)
            }
            None => self.check_unsafe(),
        }
    }

    /// An event is destroyed.
    pub fn forget_event(&mut self, event: u64) {
        self.events.remove(&event);
    }

    /// A call asks for the state of a stream, or waits for it.
    pub fn check_stream(&mut self, stream: Stream) -> Result {
        match self.streams.get(&stream.key).map(|capturing| capturing.capture) {
            Some(capture) => {
                self.invalidate(capture);
                Err(CUresult::STREAM_CAPTURE_UNSUPPORTED)
            }
            None => self.is_captured(stream).and_then(|_| self.check_unsafe()),
        }
    }

    /// A stream is destroyed: a capture that it takes part in cannot be completed.
    pub fn forget_stream(&mut self, stream: Stream) {
        let Some(gone) = self.streams.remove(&stream.key) else { return };
        self.invalidate(gone.capture);
        if self.captures.get(&gone.capture).is_some_and(|capture| capture.origin == stream.key) {
            self.captures.remove(&gone.capture);
            self.streams.retain(|_, capturing| capturing.capture != gone.capture);
        }
    }

    /// A call waits for all streams of a context.
    pub fn check_context(&mut self, context: u64) -> Result {
        let inside = |c: &&Capturing| c.stream.context == context;
        let captures: Vec<u64> = self.streams.values().filter(inside).map(|c| c.capture).collect();
        if captures.is_empty() {
            return self.check_unsafe();
        }
        captures.into_iter().for_each(|id| self.invalidate(id));
        Err(CUresult::STREAM_CAPTURE_UNSUPPORTED)
    }

    /// A context ends, and with it the captures that have a stream of it.
    pub fn forget_context(&mut self, context: u64) -> Vec<u64> {
        let inside = |c: &&Capturing| c.stream.context == context;
        let gone: Vec<u64> = self.streams.values().filter(inside).map(|c| c.capture).collect();
        self.streams.retain(|_, capturing| !gone.contains(&capturing.capture));
        let captures = gone.into_iter().filter_map(|id| self.captures.remove(&id));
        captures.filter(|capture| !capture.into_existing).map(|capture| capture.graph).collect()
    }

    /// An operation that cannot be captured is given to a stream that captures.
    pub fn refuse(&mut self, stream: Stream) -> CUresult {
        if let Some(capturing) = self.streams.get(&stream.key) {
            self.invalidate(capturing.capture);
        }
        CUresult::STREAM_CAPTURE_UNSUPPORTED
    }

    /// A call that captures do not see, such as an allocation: prohibited as the modes of the thread and
    /// of the captures say.
    pub fn check_unsafe(&mut self) -> Result {
        let (thread, own) = (std::thread::current().id(), THREAD_MODE.get());
        let prohibits = |capture: &Capture| match own {
            Mode::Relaxed => false,
            _ if capture.thread == thread => capture.mode != Mode::Relaxed,
            Mode::Global => capture.mode == Mode::Global,
            Mode::ThreadLocal => false,
        };
        let mut prohibited = false;
        for capture in self.captures.values_mut().filter(|capture| prohibits(capture)) {
            capture.invalid = true;
            prohibited = true;
        }
        match prohibited {
            true => Err(CUresult::STREAM_CAPTURE_UNSUPPORTED),
            false => Ok(()),
        }
    }
}

/// Adds edges from nodes that are not there yet.
fn merge(edges: &mut Vec<Edge>, more: Vec<Edge>) {
    for edge in more {
        if !edges.iter().any(|known| known.node == edge.node) {
            edges.push(edge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(key: u64) -> Stream {
        Stream { key, context: 1, is_legacy: key == 0, is_blocking: key % 2 == 1 }
    }

    struct Bench {
        store: Store,
        captures: Captures,
        graph: u64,
    }

    fn begin(key: u64, mode: Mode) -> Bench {
        let (mut store, mut captures) = (Store::new(), Captures::default());
        let graph = store.create();
        captures.begin(stream(key), mode, graph, None).unwrap();
        Bench { store, captures, graph }
    }

    impl Bench {
        fn add(&mut self, key: u64) -> u64 {
            self.captures.add(stream(key), &mut self.store, Params::Empty).unwrap()
        }

        fn end(&mut self, key: u64) -> Result<(u64, Result)> {
            self.captures.end(stream(key), &self.store).map(|ended| (ended.graph, ended.outcome))
        }
    }

    #[test]
    fn test_fork_and_join_through_events() {
        let mut bench = begin(2, Mode::Global);
        let first = bench.add(2);
        assert_eq!(bench.captures.record(100, stream(2)), Ok(true));
        assert_eq!(bench.captures.wait(stream(3), 100, false), Ok(true));
        let (left, right) = (bench.add(2), bench.add(3));
        assert_eq!(bench.captures.record(101, stream(3)), Ok(true));
        assert_eq!(bench.captures.wait(stream(2), 101, false), Ok(true));
        let last = bench.add(2);
        let before = |node| bench.store.nodes.get(node).unwrap().dependencies.clone();
        assert_eq!((before(left), before(right)), (vec![Edge::after(first)], vec![Edge::after(first)]));
        assert_eq!(before(last), [Edge::after(left), Edge::after(right)]);
        assert_eq!(bench.end(3), Err(CUresult::STREAM_CAPTURE_UNMATCHED));
        let mut bench = begin(2, Mode::Global);
        bench.add(2);
        assert_eq!(bench.end(2), Ok((bench.graph, Ok(()))));
        assert_eq!(bench.end(2), Err(CUresult::ILLEGAL_STATE));
    }

    #[test]
    fn test_unjoined_work_is_an_error() {
        let mut bench = begin(2, Mode::Global);
        bench.captures.record(100, stream(2)).unwrap();
        bench.captures.wait(stream(3), 100, false).unwrap();
        assert!(matches!(bench.end(2), Ok((_, Ok(())))), "a fork without work has nothing to join");
        let mut bench = begin(2, Mode::Global);
        bench.captures.record(100, stream(2)).unwrap();
        bench.captures.wait(stream(3), 100, false).unwrap();
        bench.add(3);
        assert_eq!(bench.end(2), Ok((bench.graph, Err(CUresult::STREAM_CAPTURE_UNJOINED))));
        assert_eq!(bench.captures.status(stream(3)), Ok(Status::None));
        assert_eq!(bench.captures.wait(stream(4), 100, false), Err(CUresult::CAPTURED_EVENT));
        assert_eq!(bench.captures.record(100, stream(4)), Ok(false));
        assert!(bench.captures.is_quiet());
    }

    #[test]
    fn test_broken_rules_invalidate() {
        type Break = fn(&mut Captures) -> Result;
        let breaks: [(Break, CUresult); 6] = [
            (|c| c.check_stream(stream(3)), CUresult::STREAM_CAPTURE_UNSUPPORTED),
            (|c| c.check_context(1), CUresult::STREAM_CAPTURE_UNSUPPORTED),
            (|c| c.check_unsafe(), CUresult::STREAM_CAPTURE_UNSUPPORTED),
            (|c| c.is_captured(stream(0)).map(drop), CUresult::STREAM_CAPTURE_IMPLICIT),
            (|c| c.wait(stream(3), 7, true).map(drop), CUresult::STREAM_CAPTURE_ISOLATION),
            (|c| c.record(8, stream(3)).and_then(|_| c.check_event(8)), CUresult::CAPTURED_EVENT),
        ];
        for (i, (broken, error)) in breaks.into_iter().enumerate() {
            let mut bench = begin(3, Mode::Global);
            assert_eq!(broken(&mut bench.captures), Err(error), "rule {i}");
            assert_eq!(bench.captures.status(stream(3)), Ok(Status::Invalidated), "rule {i}");
            assert_eq!(bench.captures.is_captured(stream(3)), Err(CUresult::STREAM_CAPTURE_INVALIDATED));
            assert_eq!(bench.end(3), Ok((bench.graph, Err(CUresult::STREAM_CAPTURE_INVALIDATED))));
        }
    }

    #[test]
    fn test_modes_decide_who_may_make_unsafe_calls() {
        // The capture's mode, the thread's own, whether the thread is the capture's, and the verdict.
        let cases = [
            (Mode::Global, Mode::Global, true, false),
            (Mode::Global, Mode::Global, false, false),
            (Mode::Global, Mode::ThreadLocal, true, false),
            (Mode::Global, Mode::ThreadLocal, false, true),
            (Mode::Global, Mode::Relaxed, true, true),
            (Mode::ThreadLocal, Mode::Global, true, false),
            (Mode::ThreadLocal, Mode::Global, false, true),
            (Mode::Relaxed, Mode::Global, true, true),
            (Mode::Relaxed, Mode::Global, false, true),
        ];
        for case @ (capture, thread, same, allowed) in cases {
            let mut bench = begin(2, capture);
            let ask = |captures: &mut Captures| {
                let before = exchange_mode(thread);
                let answer = captures.check_unsafe();
                exchange_mode(before);
                answer.is_ok()
            };
            let answer = match same {
                true => ask(&mut bench.captures),
                false => std::thread::scope(|scope| scope.spawn(|| ask(&mut bench.captures)).join().unwrap()),
            };
            assert_eq!(answer, allowed, "{case:?}");
        }
    }

    #[test]
    fn test_captures_end_with_their_context() {
        let mut bench = begin(2, Mode::Global);
        assert!(bench.captures.forget_context(7).is_empty());
        assert_eq!(bench.captures.status(stream(2)), Ok(Status::Active));
        assert_eq!(bench.captures.forget_context(1), [bench.graph]);
        assert_eq!(bench.captures.status(stream(2)), Ok(Status::None));
        assert_eq!(bench.captures.check_unsafe(), Ok(()));
    }

    #[test]
    fn test_captures_do_not_merge_and_end_in_their_thread() {
        let mut bench = begin(2, Mode::ThreadLocal);
        let other = bench.store.create();
        bench.captures.begin(stream(4), Mode::ThreadLocal, other, None).unwrap();
        assert_eq!(bench.captures.begin(stream(4), Mode::Global, other, None), Err(CUresult::ILLEGAL_STATE));
        assert_eq!(
            bench.captures.begin(stream(0), Mode::Global, other, None),
            Err(CUresult::STREAM_CAPTURE_UNSUPPORTED)
        );
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| bench.end(4)).join().unwrap());
        assert_eq!(elsewhere, Err(CUresult::STREAM_CAPTURE_WRONG_THREAD));
        bench.captures.record(1, stream(2)).unwrap();
        assert_eq!(bench.captures.wait(stream(4), 1, false), Err(CUresult::STREAM_CAPTURE_MERGE));
        assert_eq!(bench.captures.status(stream(2)), Ok(Status::Invalidated));
    }

    #[test]
    fn test_the_legacy_stream_is_free_beside_streams_that_do_not_wait_for_it() {
        let mut bench = begin(2, Mode::Global);
        assert_eq!(bench.captures.is_captured(stream(0)), Ok(false));
        assert_eq!(bench.captures.status(stream(0)), Ok(Status::None));
        let mut bench = begin(3, Mode::Global);
        assert_eq!(bench.captures.status(stream(0)), Err(CUresult::STREAM_CAPTURE_IMPLICIT));
        assert_eq!(bench.captures.status(stream(3)), Ok(Status::Active));
        assert!(bench.captures.is_captured(stream(0)).is_err());
    }
}
