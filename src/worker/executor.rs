//! Running batches on one thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vgpu_protocol::cuda::{self, CUresult};
use vgpu_protocol::session::{ReplyHeader, REPLY_SIZE};
use vgpu_protocol::{cmd, opcode_name, Command, Handle, HandleKind, Reader, Writer};

use super::batch::{self, Item};
use super::context::{Context, Failure};
use super::dispatch::{dispatch, may_block};
use super::ffi::driver;
use super::ledger::Pointer;
use super::ring::Pending;
use super::session::Session;

/// Copies up to this size are made at once rather than handed to another thread, bytes.
const SHORT_COPY: u64 = 1 << 20;
/// With more streams than this a context is not looked through before it is synchronised.
const FEW_STREAMS: usize = 8;

/// A batch in private memory, and the chain to answer.
pub struct Batch {
    /// Where the reply goes.
    pub pending: Pending,
    /// Header and commands.
    pub bytes: Vec<u8>,
}

impl Batch {
    /// The guest thread that sent it.
    pub fn lane(&self) -> u32 {
        batch::header(&self.bytes).lane
    }
}

/// Runs commands on the thread that owns it.
pub struct Executor {
    session: Arc<Session>,
    patience: Duration,
    /// The context made current on this thread: handle, pointer, and when it was looked up.
    context: (Handle, Pointer, u32),
    outputs: Vec<u8>,
}

impl Executor {
    /// An executor for the calling thread. `patience`: how long a command that is about to be done
    /// is waited for before it counts as blocking.
    pub fn new(session: Arc<Session>, patience: Duration) -> Self {
        let epoch = session.epoch();
        Executor { session, patience, context: (Handle::NULL, 0, epoch), outputs: vec![0; REPLY_SIZE] }
    }

    /// Runs a batch and answers it, up to a last command that would block: then the batch comes
    /// back, to be given to [`Executor::finish`] on a thread that may block.
    pub fn run(&mut self, batch: Batch) -> Option<Batch> {
        let header = batch::header(&batch.bytes);
        let Some(items) = batch::parse(&batch.bytes) else {
            log::debug!("malformed batch {}", header.sequence);
            self.answer(&batch.pending, header.sequence, Err(Failure::Malformed));
            return None;
        };
        self.enter(Handle(header.context));
        let mut last = Ok(0);
        for item in &items {
            if item.waits() && may_block(item.opcode) && self.blocks(item, header.lane) {
                return Some(batch);
            }
            last = self.execute(item, header.lane, batch.pending.capacity());
            if may_block(item.opcode) {
                // A driver flushes what kernels print when it synchronises.
                self.session.output.drain();
            }
        }
        self.answer(&batch.pending, header.sequence, last);
        None
    }

    /// Runs the last command of a batch, the others having run, and answers.
    pub fn finish(&mut self, batch: &Batch) {
        let header = batch::header(&batch.bytes);
        self.enter(Handle(header.context));
        let result = match batch::parse(&batch.bytes).as_deref() {
            Some([.., last]) => self.execute(last, header.lane, batch.pending.capacity()),
            _ => Err(Failure::Malformed),
        };
        self.session.output.drain();
        self.answer(&batch.pending, header.sequence, result);
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
        let mut outputs = std::mem::take(&mut self.outputs);
        let room = capacity.min(outputs.len());
        let mut writer = Writer::new(outputs.get_mut(..room).unwrap_or_default());
        let mut context = self.context(lane, room);
        let result = dispatch(item.opcode, &mut context, &mut Reader::new(item.payload), &mut writer);
        let length = writer.used();
        self.outputs = outputs;
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

    fn answer(&self, pending: &Pending, sequence: u64, result: Result<usize, Failure>) {
        let (latched, opcode) = self.session.take_latched();
        let length = result.unwrap_or(0);
        let header = ReplyHeader {
            result: result.err().map_or(CUresult::SUCCESS, Failure::result).0,
            latched: latched.0,
            latched_opcode: u32::from(opcode),
            output: u32::from(self.session.output.has_text()),
            sequence,
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
            cmd::CuStreamSynchronize::OPCODE => {
                let command = cmd::CuStreamSynchronize::decode(&mut payload)?;
                stream_is_idle(&context, command.hStream)
            }
            cmd::CuEventSynchronize::OPCODE => {
                let command = cmd::CuEventSynchronize::decode(&mut payload)?;
                let event = context.resolve(HandleKind::Event, command.hEvent)?;
                ready(driver!(context, cuEventQuery(event.cast())))
            }
            cmd::CuCtxSynchronize::OPCODE => context_is_idle(&context),
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
