//! Running batches on one thread.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vgpu_protocol::cuda::{self, CUresult, CUstream};
use vgpu_protocol::session::{BatchHeader, ReplyHeader, BATCH_POSTED, REPLY_SIZE};
use vgpu_protocol::{cmd, opcode_name, Command, Handle, HandleKind, Reader, Writer};

use super::batch::{self, Item};
use super::commands::begin_dto_h;
use super::context::{Context, Failure};
use super::dispatch::{dispatch, may_block};
use super::fences::Fence;
use super::ffi::driver;
use super::ledger::Pointer;
use super::ring::Pending;
use super::session::Session;

/// Copies up to this size are made at once rather than handed to another thread, bytes.
const SHORT_COPY: u64 = 1 << 20;
const SYNCHRONISE: u16 = cmd::CuStreamSynchronize::OPCODE;
const COPY_TO_HOST: u16 = cmd::VgpuCopyDtoHWait::OPCODE;
/// With more streams than this a context is not looked through before it is synchronised.
const FEW_STREAMS: usize = 8;

/// A batch in private memory, and the chain to answer.
pub struct Batch {
    /// Where the reply goes.
    pub pending: Pending,
    /// Header and commands.
    pub bytes: Vec<u8>,
    /// All that is left to do is to wait for the last command's stream.
    sent: bool,
}

impl Batch {
    /// A batch of which nothing has been run.
    pub fn new(pending: Pending, bytes: Vec<u8>) -> Self {
        Batch { pending, bytes, sent: false }
    }

    /// The guest thread that sent it.
    pub fn lane(&self) -> u32 {
        batch::header(&self.bytes).lane
    }
}

/// What became of a batch.
pub enum Outcome {
    /// It has its reply; its memory is for the next one.
    Answered(Vec<u8>),
    /// It gets its reply when [`Executor::settle`] finds its fences passed.
    Deferred,
    /// Its last command blocks: for [`Executor::finish`] on a thread that may.
    Blocked(Batch),
}

/// A batch whose reply waits for fences.
struct Deferred {
    batch: Batch,
    fences: Vec<Fence>,
    /// The stream that the last command waits for.
    wait: Option<Wait>,
}

/// A client's wait for a stream.
struct Wait {
    stream: Pointer,
    activity: u64,
    since: Instant,
}

/// A stream that is known to be idle as long as no command is run.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Idle {
    context: Pointer,
    stream: Pointer,
    activity: u64,
}

/// Runs commands on the thread that owns it.
pub struct Executor {
    session: Arc<Session>,
    patience: Duration,
    /// The context made current on this thread: handle, pointer, and when it was looked up.
    context: (Handle, Pointer, u32),
    outputs: Vec<u8>,
    staged: Vec<Fence>,
    deferred: Vec<Deferred>,
    idle: Option<Idle>,
    /// A context that is known to be idle, and the activity up to which.
    idle_context: Option<(Pointer, u64)>,
}

impl Executor {
    /// An executor for the calling thread. `patience`: how long a command that is about to be done
    /// is waited for before it counts as blocking.
    pub fn new(session: Arc<Session>, patience: Duration) -> Self {
        let epoch = session.epoch();
        let context = (Handle::NULL, 0, epoch);
        let outputs = vec![0; REPLY_SIZE];
        Executor {
            session,
            patience,
            context,
            outputs,
            staged: Vec::new(),
            deferred: Vec::new(),
            idle: None,
            idle_context: None,
        }
    }

    /// Runs a batch, up to a last command that would block.
    pub fn run(&mut self, batch: Batch) -> Outcome {
        let header = batch::header(&batch.bytes);
        let Some(items) = batch::parse(&batch.bytes) else {
            log::debug!("malformed batch {}", header.sequence);
            self.answer(&batch.pending, &header, Err(Failure::Malformed));
            return Outcome::Answered(batch.bytes);
        };
        self.enter(Handle(header.context));
        let (mut last, mut waits) = (Ok(0), false);
        for item in items {
            let item = &item;
            waits = item.waits();
            self.session.progress.step();
            if waits && may_block(item.opcode) {
                match self.wait_for_stream(item, header.lane) {
                    Step::Done(result) => {
                        last = result;
                        continue;
                    }
                    Step::Fenced(fence, wait) => {
                        let batch = Batch { sent: true, ..batch };
                        self.deferred.push(Deferred { batch, fences: vec![fence], wait: Some(wait) });
                        return Outcome::Deferred;
                    }
                    Step::Other if self.blocks(item, header.lane) => return Outcome::Blocked(batch),
                    Step::Other => {}
                }
            }
            last = self.execute(item, header.lane, batch.pending.capacity());
            if item.opcode == cmd::CuCtxSynchronize::OPCODE && last.is_ok() {
                self.idle_context = Some((self.context.1, self.session.activity()));
            }
            if may_block(item.opcode) {
                self.take_output();
            }
        }
        let fences = std::mem::take(&mut self.staged);
        if fences.is_empty() || waits {
            self.answer(&batch.pending, &header, last);
            return Outcome::Answered(batch.bytes);
        }
        self.deferred.push(Deferred { batch, fences, wait: None });
        Outcome::Deferred
    }

    /// Runs the last command of a batch, the others having run, and answers.
    pub fn finish(&mut self, batch: &Batch) {
        let header = batch::header(&batch.bytes);
        self.enter(Handle(header.context));
        let result = match batch::parse(&batch.bytes).and_then(Iterator::last) {
            Some(last) if batch.sent => stream_of(&self.context(header.lane, 0), &last)
                .and_then(|stream| synchronise(&self.session, stream as Pointer))
                .map(|()| 0),
            Some(last) => self.execute(&last, header.lane, batch.pending.capacity()),
            None => Err(Failure::Malformed),
        };
        self.take_output();
        self.answer(&batch.pending, &header, result);
    }

    /// Takes in what kernels have printed: a driver writes it out when it synchronises.
    fn take_output(&self) {
        if self.session.prints.load(Ordering::Acquire) {
            self.session.output.drain();
        }
    }

    /// Whether replies wait for fences.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Whether some call is waited for here rather than by another thread.
    pub fn is_patient(&self) -> bool {
        self.deferred.iter().any(|deferred| deferred.wait.is_some())
    }

    /// Answers the batches whose fences have been passed. Calls that wait for longer than is good for
    /// the others come back, for [`Executor::finish`].
    pub fn settle(&mut self) -> Vec<Batch> {
        let mut blocked = Vec::new();
        let mut index = 0;
        while let Some(deferred) = self.deferred.get_mut(index) {
            let (api, fences) = (&self.session.api, &self.session.fences);
            let flush = deferred.wait.is_some() && self.session.has_to_flush();
            let mut error = Ok(());
            deferred.fences.retain(|fence| match fences.is_passed(api, *fence, flush) {
                Ok(passed) => !passed,
                Err(failure) => {
                    error = Err(failure);
                    false
                }
            });
            let patient = deferred.wait.as_ref().is_none_or(|wait| wait.since.elapsed() < self.patience);
            if !deferred.fences.is_empty() && patient {
                index += 1;
                continue;
            }
            let deferred = self.deferred.swap_remove(index);
            match deferred.wait {
                Some(_) if !deferred.fences.is_empty() => blocked.push(deferred.batch),
                Some(wait) => self.conclude(&deferred.batch, &wait, error),
                None => {
                    self.answer(&deferred.batch.pending, &batch::header(&deferred.batch.bytes), Ok(0));
                    self.session.ring.end();
                }
            }
        }
        blocked
    }

    /// Answers a call whose stream has got to where it waits for.
    fn conclude(&mut self, batch: &Batch, wait: &Wait, reached: Result<(), Failure>) {
        let header = batch::header(&batch.bytes);
        self.enter(Handle(header.context));
        // With a failure, the driver has more to say.
        let result = reached.or_else(|error| synchronise(&self.session, wait.stream).and(Err(error)));
        if result.is_ok() {
            let (context, stream, activity) = (self.context.1, wait.stream, wait.activity);
            self.idle = Some(Idle { context, stream, activity });
        }
        self.take_output();
        self.answer(&batch.pending, &header, result.map(|()| 0));
        self.session.ring.end();
    }

    /// Deals with the calls that wait for a stream, if there is a way without blocking.
    fn wait_for_stream(&mut self, item: &Item<'_>, lane: u32) -> Step {
        if self.context.1 == 0 || !matches!(item.opcode, SYNCHRONISE | COPY_TO_HOST) {
            return Step::Other;
        }
        let context = self.context(lane, 0);
        let stream = match begin(&context, item) {
            Ok(Some(stream)) => stream as Pointer,
            Ok(None) => return Step::Other,
            Err(error) => return Step::Done(Err(error)),
        };
        let activity = self.session.activity();
        let idle = Some(Idle { context: context.current, stream, activity });
        if item.opcode == SYNCHRONISE && self.idle == idle {
            return Step::Done(synchronise(&self.session, stream).map(|()| 0));
        }
        match self.session.fences.record(&self.session.api, context.current, stream as CUstream) {
            Ok(fence) => Step::Fenced(fence, Wait { stream, activity, since: Instant::now() }),
            Err(_) => Step::Done(synchronise(&self.session, stream).map(|()| 0)),
        }
    }

    /// Makes the batch's context current. One that does not exist (any more) leaves the thread
    /// without a context, and the driver refuses what needs one.
    fn enter(&mut self, handle: Handle) {
        let epoch = self.session.epoch();
        if (handle, epoch) != (self.context.0, self.context.2) {
            let pointer = self.session.ledger.get(HandleKind::Context, handle).map_or(0, |e| e.pointer);
            let made = self.set_current(pointer);
            self.context = (handle, if made.is_ok() { pointer } else { 0 }, epoch);
        }
        if self.context.1 != 0 {
            self.session.arena.register(|va, length| register(&self.session, va, length));
        }
    }

    fn set_current(&self, pointer: Pointer) -> Result<(), Failure> {
        driver!(self.session, cuCtxSetCurrent(pointer as cuda::CUcontext))
    }

    fn context(&self, lane: u32, capacity: usize) -> Context<'_> {
        Context::new(&self.session, lane, self.context.1, capacity)
    }

    /// Runs a command; the length of its outputs. An error nobody waits for is latched.
    fn execute(&mut self, item: &Item<'_>, lane: u32, capacity: usize) -> Result<usize, Failure> {
        let active = !only_asks(item.opcode);
        if active {
            self.session.note_activity();
        }
        if item.opcode == cmd::CuMemAllocFromPoolAsync::OPCODE {
            self.session.pools.store(true, Ordering::Release);
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        let room = capacity.min(outputs.len());
        let mut writer = Writer::new(outputs.get_mut(..room).unwrap_or_default());
        let mut context = self.context(lane, room);
        let result = dispatch(item.opcode, &mut context, &mut Reader::new(item.payload), &mut writer);
        let length = writer.used();
        self.staged.append(&mut context.staged);
        self.outputs = outputs;
        if active {
            self.session.note_activity();
        }
        log::trace!("lane {lane}: {} -> {:?}", opcode_name(item.opcode), result.map_err(Failure::result));
        match result {
            Err(error) if !item.waits() => {
                log::debug!("{} failed: {}", opcode_name(item.opcode), error.result());
                self.session.latch(item.opcode, error.result());
                Ok(0)
            }
            other => other.map(|()| length),
        }
    }

    fn answer(&self, pending: &Pending, batch: &BatchHeader, result: Result<usize, Failure>) {
        let (latched, opcode) = self.session.take_latched();
        let output = self.session.output.has_text();
        let nothing_to_tell = result.is_ok() && latched == CUresult::SUCCESS && !output;
        if batch.flags & BATCH_POSTED != 0 && nothing_to_tell {
            return self.session.ring.complete_in_silence(pending);
        }
        let length = result.unwrap_or(0);
        let header = ReplyHeader {
            result: result.err().map_or(CUresult::SUCCESS, Failure::result).0,
            latched: latched.0,
            latched_opcode: u32::from(opcode),
            output: u32::from(output),
            sequence: batch.sequence,
            ..ReplyHeader::default()
        };
        self.session.ring.complete(pending, header, self.outputs.get(..length).unwrap_or_default());
    }

    /// Whether a command would block for long. Looks for a moment, as long as nothing else waits.
    fn blocks(&self, item: &Item<'_>, lane: u32) -> bool {
        let start = Instant::now();
        loop {
            match self.is_ready(item, lane) {
                Ok(false) if start.elapsed() < self.patience && !self.session.ring.has_work() => std::hint::spin_loop(),
                Ok(ready) => return !ready,
                // The command itself will say what is wrong.
                Err(_) => return false,
            }
        }
    }

    /// Whether what a command waits for has happened; `false` for all that cannot be asked.
    fn is_ready(&self, item: &Item<'_>, lane: u32) -> Result<bool, Failure> {
        let context = self.context(lane, 0);
        let mut payload = Reader::new(item.payload);
        match item.opcode {
            cmd::CuEventSynchronize::OPCODE => {
                let command = cmd::CuEventSynchronize::decode(&mut payload)?;
                let event = context.resolve(HandleKind::Event, command.hEvent)?;
                ready(driver!(context, cuEventQuery(event.cast())))
            }
            cmd::CuCtxSynchronize::OPCODE => {
                let known = self.idle_context == Some((context.current, self.session.activity()));
                Ok(known || context_is_idle(&context)?)
            }
            cmd::VgpuCopyDtoHWait::OPCODE => {
                let command = cmd::VgpuCopyDtoHWait::decode(&mut payload)?;
                Ok(command.size <= SHORT_COPY && stream_is_idle(&context, command.stream)?)
            }
            cmd::VgpuCopyBoxWait::OPCODE => {
                let command = cmd::VgpuCopyBoxWait::decode(&mut payload)?;
                let bytes = command.copy.extent.iter().fold(1, |bytes: u64, size| bytes.saturating_mul(*size));
                Ok(bytes <= SHORT_COPY && stream_is_idle(&context, command.stream)?)
            }
            _ => Ok(false),
        }
    }
}

/// Whether a command gives no stream work, among those that come between work and a wait for it.
fn only_asks(opcode: u16) -> bool {
    let asks = [
        cmd::CuEventQuery::OPCODE,
        cmd::CuStreamQuery::OPCODE,
        cmd::CuMemGetInfoV2::OPCODE,
        cmd::CuCtxSynchronize::OPCODE,
    ];
    asks.contains(&opcode)
}

/// How a command that waits for a stream goes on.
enum Step {
    /// With the result.
    Done(Result<usize, Failure>),
    /// When the stream has passed the fence.
    Fenced(Fence, Wait),
    /// As other commands.
    Other,
}

/// Starts a command that waits for a stream; the stream. `None` if starting it may block.
fn begin(context: &Context<'_>, item: &Item<'_>) -> Result<Option<CUstream>, Failure> {
    if item.opcode == SYNCHRONISE {
        return stream_of(context, item).map(Some);
    }
    let command = cmd::VgpuCopyDtoHWait::decode(&mut Reader::new(item.payload))?;
    if !context.session.arena.is_pinned(command.dst, command.size) {
        return Ok(None);
    }
    context.session.note_activity();
    begin_dto_h(context, &command).map(Some)
}

fn synchronise(session: &Session, stream: Pointer) -> Result<(), Failure> {
    driver!(session, cuStreamSynchronize(stream as CUstream))
}

fn stream_of(context: &Context<'_>, item: &Item<'_>) -> Result<CUstream, Failure> {
    let mut payload = Reader::new(item.payload);
    let stream = match item.opcode {
        SYNCHRONISE => cmd::CuStreamSynchronize::decode(&mut payload)?.hStream,
        _ => cmd::VgpuCopyDtoHWait::decode(&mut payload)?.stream,
    };
    Ok(context.resolve(HandleKind::Stream, stream)?.cast())
}

fn ready(result: Result<(), Failure>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(Failure::Cuda(CUresult::NOT_READY)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn stream_is_idle(context: &Context<'_>, handle: Handle) -> Result<bool, Failure> {
    let stream = context.resolve(HandleKind::Stream, handle)?;
    ready(driver!(context, cuStreamQuery(stream.cast())))
}

fn context_is_idle(context: &Context<'_>) -> Result<bool, Failure> {
    let session = context.session;
    let Some(mut streams) = session.ledger.pointers(HandleKind::Stream, context.current, FEW_STREAMS) else {
        return Ok(false);
    };
    streams.extend(session.lane_streams(context.current));
    streams.push(0);
    for stream in streams {
        if !ready(driver!(context, cuStreamQuery(stream as cuda::CUstream)))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a chunk known to the driver, so that kernels and copies use it in place.
fn register(session: &Session, va: u64, length: u64) -> bool {
    const PORTABLE: u32 = 1;
    const DEVICEMAP: u32 = 2;
    let registered: Result<(), Failure> = outside_captures(session, || {
        let size = usize::try_from(length).map_err(|_| Failure::INVALID_VALUE)?;
        driver!(session, cuMemHostRegister_v2(va as *mut std::ffi::c_void, size, PORTABLE | DEVICEMAP))
    });
    match registered {
        Ok(()) => true,
        // Through a context that lives on.
        Err(Failure::Cuda(CUresult::HOST_MEMORY_ALREADY_REGISTERED)) => true,
        Err(error) => {
            log::warn!("the driver does not take {length} bytes of shared memory: {}", error.result());
            false
        }
    }
}

/// Makes a call of our own, which a capture of the application is no reason against.
fn outside_captures<T>(session: &Session, call: impl FnOnce() -> T) -> T {
    const RELAXED: i32 = 2;
    let mut mode = RELAXED;
    let mut exchange = || -> Result<(), Failure> { driver!(session, cuThreadExchangeStreamCaptureMode(&mut mode)) };
    let exchanged = exchange();
    let value = call();
    if exchanged.is_ok() {
        // Back to the mode that the first call has given.
        let _ = exchange();
    }
    value
}
