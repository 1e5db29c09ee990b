//! A CUDA process's session: its queue, its shared memory and its handles.

mod due;
mod flush;
mod memory;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vgpu_protocol::broker::BrokerError;
use vgpu_protocol::cmd::VgpuReadOutput;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ARENA_BASES, ARENA_SIZE, HOME_SIZE, SLOTS};
use vgpu_protocol::{Command, Reader, Reply};

use crate::arena::Arena;
use crate::broker::{Broker, OpenError, Opened};
use crate::handles::Handles;
use crate::reply::{Outcome, MAX_BODY};
use crate::staging::{Piece, Staging};
use crate::stream::{News, Refusal, Stream, Ticket};
use crate::sys::{AddressSpace, ForkPage, Shared};
use crate::wait::Waiter;
use crate::{fork, lane, location, reply};

pub use due::DueFunctions;

/// Free slots below which commands are gathered instead of submitted one by one.
const BUSY_SLOTS: usize = SLOTS / 2;
/// Slots that calls which wait leave free, so that what they wait for can still be sent.
const SPARE_SLOTS: usize = 2;
/// Text fetched at a time, and most fetches before a call returns.
const OUTPUT_SIZE: u32 = 4096;
const OUTPUT_FETCHES: usize = 4096;

/// A call that was sent and whose reply has not been read.
#[must_use]
#[derive(Debug)]
pub struct Pending(Ticket);

/// The session of this process. It lives until the process ends.
pub struct Session {
    base: u64,
    space: Arc<AddressSpace>,
    home: Shared,
    doorbell: OwnedFd,
    broker: Mutex<Broker>,
    stream: Mutex<Stream>,
    waiter: Waiter,
    staging: Staging,
    is_cpu: AtomicBool,
    arena: Mutex<Arena>,
    handles: Handles,
    /// Error code in the low half, opcode in the high one.
    latched: AtomicU64,
    output: AtomicBool,
    printer: Mutex<fn(&[u8])>,
    /// Something may wait to be submitted.
    gathered: AtomicBool,
    asleep: Mutex<()>,
    flush: Condvar,
    flusher: AtomicBool,
    round_trips: AtomicU64,
    alive: ForkPage,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Connects to the broker and opens the process's session. `printer` gets what kernels print.
    pub fn open(printer: fn(&[u8])) -> Result<&'static Session, OpenError> {
        Self::open_on(Broker::connect()?, printer)
    }

    /// As [`Session::open`], on a connection that is there already.
    pub fn open_on(broker: Broker, printer: fn(&[u8])) -> Result<&'static Session, OpenError> {
        let (space, home, opened) = place(&broker)?;
        let alive = ForkPage::new().map_err(|e| OpenError::System("cannot map memory", e))?;
        let watched = broker.as_fd().try_clone_to_owned();
        let watched = watched.map_err(|_| OpenError::System("cannot copy a descriptor", rustix::io::Errno::MFILE))?;
        fork::close_on_fork([broker.as_fd().as_raw_fd(), watched.as_raw_fd(), opened.doorbell.as_raw_fd()]);
        let base = space.base();
        Ok(Box::leak(Box::new(Session {
            base,
            space,
            stream: Mutex::new(Stream::new(&home, opened.session.home_address)),
            home,
            doorbell: opened.doorbell,
            broker: Mutex::new(broker),
            waiter: Waiter::new(opened.completion, opened.session.interrupts == 1, watched),
            staging: Staging::new(),
            is_cpu: AtomicBool::new(false),
            arena: Mutex::new(Arena::new(base + HOME_SIZE as u64, base + ARENA_SIZE)),
            handles: Handles::default(),
            latched: AtomicU64::new(0),
            output: AtomicBool::new(false),
            printer: Mutex::new(printer),
            gathered: AtomicBool::new(false),
            asleep: Mutex::new(()),
            flush: Condvar::new(),
            flusher: AtomicBool::new(false),
            round_trips: AtomicU64::new(0),
            alive,
        })))
    }

    /// Whether the calling process opened this session, and not a parent from which it forked.
    pub fn is_ours(&self) -> bool {
        self.alive.is_parent()
    }

    /// The handles of the session.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Where the device lies on the guest's PCI bus: domain, bus, device. `None` without a VM.
    pub fn location(&self) -> Option<[u32; 3]> {
        let (status, _) = lock(&self.broker).status().ok()?;
        location::parse(&status.location)
    }

    /// Calls that waited for a reply so far.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Sends a command without waiting.
    pub fn post<'a, C: Command<'a>>(&'static self, context: u64, command: &C) -> Result<(), CUresult> {
        self.post_in_batch(context, command, false).map(drop)
    }

    /// As [`Session::post`], for a command that uses a piece of the staging area, which is free again when
    /// its batch is done.
    pub fn post_with<'a, C: Command<'a>>(
        &'static self,
        context: u64,
        command: &C,
        piece: Piece,
    ) -> Result<(), CUresult> {
        let posted = self.post_in_batch(context, command, true);
        self.give_back(piece, posted.as_ref().ok().copied());
        posted.map(drop)
    }

    /// Sends a command without waiting, as the last one of its batch or not. Returns the batch's number.
    fn post_in_batch<'a, C: Command<'a>>(
        &'static self,
        context: u64,
        command: &C,
        last: bool,
    ) -> Result<u64, CUresult> {
        let lane = lane::current();
        loop {
            self.waiter.alive()?;
            let mut stream = lock(&self.stream);
            self.reap_if_busy(&mut stream)?;
            match stream.append(&self.home, lane, context, command) {
                Ok((sequence, kick)) => {
                    if last {
                        stream.close();
                    }
                    self.flush_or_gather(stream, kick);
                    return Ok(sequence);
                }
                Err(Refusal::TooBig) => return Err(CUresult::INVALID_VALUE),
                Err(Refusal::Full) => {}
            }
            drop(stream);
            self.wait_for_slot()?;
        }
    }

    /// Sends a command that waits. To be finished with [`Session::finish`].
    pub fn begin<'a, C: Command<'a>>(&'static self, context: u64, command: &C) -> Result<Pending, CUresult> {
        if command.reply_capacity() > MAX_BODY {
            return Err(CUresult::INVALID_VALUE);
        }
        let lane = lane::current();
        loop {
            self.waiter.alive()?;
            let mut stream = lock(&self.stream);
            self.reap_if_busy(&mut stream)?;
            // The command is only appended when a slot is left for its batch.
            let needed = 1 + usize::from(stream.has_open()) + SPARE_SLOTS;
            if stream.free_slots() >= needed {
                return self.submit_waiting(stream, lane, context, command);
            }
            drop(stream);
            self.wait_for_slots(needed)?;
        }
    }

    fn submit_waiting<'a, C: Command<'a>>(
        &self,
        mut stream: MutexGuard<'_, Stream>,
        lane: u32,
        context: u64,
        command: &C,
    ) -> Result<Pending, CUresult> {
        let (_, kick) = stream.append(&self.home, lane, context, command).map_err(|_| CUresult::INVALID_VALUE)?;
        let (ticket, again) = stream.submit(&self.home, true).map_err(|_| CUresult::UNKNOWN)?;
        drop(stream);
        self.kick(kick || again);
        Ok(Pending(ticket))
    }

    /// Waits for the reply of a call and decodes it.
    pub fn finish<'a, C: Command<'a>>(&'static self, pending: Pending) -> Result<C::Reply, CUresult> {
        let outcome = self.outcome(pending)?;
        if outcome.output && C::OPCODE != VgpuReadOutput::OPCODE {
            self.output.store(true, Ordering::Release);
        }
        if C::OPCODE != VgpuReadOutput::OPCODE && self.output.swap(false, Ordering::AcqRel) {
            self.print_output()?;
        }
        if outcome.result != CUresult::SUCCESS {
            return Err(outcome.result);
        }
        let mut reader = Reader::new(&outcome.body);
        let reply = C::Reply::decode(&mut reader).and_then(|reply| reader.finish().map(|()| reply));
        reply.map_err(|_| self.waiter.fail(CUresult::UNKNOWN))
    }

    /// Sends a command and waits for its reply.
    pub fn call<'a, C: Command<'a>>(&'static self, context: u64, command: &C) -> Result<C::Reply, CUresult> {
        let pending = self.begin(context, command)?;
        self.finish::<C>(pending)
    }

    /// Takes the first error of the commands that nobody waited for, and the opcode that caused it.
    pub fn take_latched(&self) -> Option<(CUresult, u16)> {
        match self.latched.swap(0, Ordering::AcqRel) {
            0 => None,
            latched => Some((CUresult(latched as u32), (latched >> 32) as u16)),
        }
    }

    fn outcome(&self, pending: Pending) -> Result<Outcome, CUresult> {
        let Pending(ticket) = pending;
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.waiter.wait(&self.home, || reply::is_done(&self.home, ticket.slot))?;
        let outcome =
            reply::read(&self.home, ticket.slot, ticket.sequence).map_err(|_| self.waiter.fail(CUresult::UNKNOWN))?;
        let mut stream = lock(&self.stream);
        stream.consume(ticket);
        self.reap(&mut stream)?;
        drop(stream);
        self.note(News { latched: outcome.latched, output: false });
        Ok(outcome)
    }

    /// Looks at what the device has dealt with when it matters: a look costs as much as a launch.
    fn reap_if_busy(&self, stream: &mut Stream) -> Result<(), CUresult> {
        if stream.free_slots() <= BUSY_SLOTS {
            self.reap(stream)?;
        }
        Ok(())
    }

    fn reap(&self, stream: &mut Stream) -> Result<(), CUresult> {
        let news = stream.reap(&self.home).map_err(|_| self.waiter.fail(CUresult::UNKNOWN))?;
        self.note(news);
        Ok(())
    }

    fn note(&self, news: News) {
        if let Some((error, opcode)) = news.latched {
            let latched = u64::from(opcode) << 32 | u64::from(error.0);
            let _ = self.latched.compare_exchange(0, latched, Ordering::AcqRel, Ordering::Acquire);
        }
        if news.output {
            self.output.store(true, Ordering::Release);
        }
    }

    /// Submits the open batch at once while the device keeps up; else leaves it to grow.
    fn flush_or_gather(&'static self, mut stream: MutexGuard<'_, Stream>, kick: bool) {
        let submitted = if stream.free_slots() > BUSY_SLOTS { stream.submit(&self.home, false).ok() } else { None };
        drop(stream);
        match submitted {
            Some((_, again)) => self.kick(kick || again),
            None => {
                self.kick(kick);
                self.wake_flusher();
            }
        }
    }

    fn kick(&self, wanted: bool) {
        if wanted {
            // A full eventfd counter (EAGAIN) means that the device has been told already.
            let _ = rustix::io::write(&self.doorbell, &1u64.to_ne_bytes());
        }
    }

    fn wait_for_slot(&self) -> Result<(), CUresult> {
        self.wait_for_slots(1)
    }

    fn wait_for_slots(&self, needed: usize) -> Result<(), CUresult> {
        let mut broken = Ok(());
        self.waiter.wait(&self.home, || {
            let mut stream = lock(&self.stream);
            broken = self.reap(&mut stream);
            broken.is_err() || stream.free_slots() >= needed
        })?;
        broken
    }

    fn print_output(&'static self) -> Result<(), CUresult> {
        let printer = lock(&self.printer);
        for _ in 0..OUTPUT_FETCHES {
            let reply = self.call(0, &VgpuReadOutput { size: OUTPUT_SIZE })?;
            printer(&reply.text);
            if reply.more == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Finds a base for the shared memory that is free here and in the worker, and maps the home there.
fn place(broker: &Broker) -> Result<(Arc<AddressSpace>, Shared, Opened), OpenError> {
    for base in ARENA_BASES {
        let Ok(space) = AddressSpace::reserve(base, ARENA_SIZE as usize) else { continue };
        let opened = match broker.open(base, ARENA_SIZE) {
            Err(OpenError::Refused(BrokerError::BaseTaken)) => continue,
            opened => opened?,
        };
        let home = space
            .map(opened.home.as_fd(), opened.session.home_offset, base, HOME_SIZE)
            .and_then(|()| Shared::new(&space, base, HOME_SIZE))
            .map_err(|error| OpenError::System("cannot map the session's memory", error))?;
        return Ok((space, home, opened));
    }
    Err(OpenError::NoAddressSpace)
}
