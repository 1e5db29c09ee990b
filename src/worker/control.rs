//! The worker's side of the supervisor's requests. None of them waits for the GPU, except a stop
//! that drains.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vgpu_protocol::control::ControlStatus;
use vgpu_protocol::cuda;
use vgpu_protocol::session::{HEARTBEAT_MS, HOME_SIZE};
use vgpu_protocol::{DriverApi, HandleKind};
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::arena::Arena;
use super::arena_sys;
use super::context::Failure;
use super::dispatcher::{Bell, Dispatcher};
use super::ffi::driver;
use super::output::Output;
use super::ring::Ring;
use super::session::Session;
use super::sharing::Sharing;
use super::wait::until;
use super::watch::Watch;
use crate::args::{self, Executor, Quotas};
use crate::channel::{Channel, Reply, Request};
use crate::exchange::Exchange;
use crate::exit;

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// the connection to the supervisor failed
    #[error("the connection to the supervisor failed: {0}")]
    Channel(#[from] io::Error),
}

/// A session being served.
struct Serving {
    session: Arc<Session>,
    bell: Arc<Bell>,
    usage: Usage,
}

/// Carries out the supervisor's requests.
pub struct Control {
    busy_poll: Duration,
    is_cpu: bool,
    api: DriverApi,
    quotas: Quotas,
    totals: args::Totals,
    /// How long a call of the driver may take; `None`: as long as it likes.
    call_time: Option<Duration>,
    output: Arc<Output>,
    serving: Option<Serving>,
}

fn host(what: &'static str) -> impl Fn(io::Error) -> ControlStatus {
    move |error| {
        log::error!("cannot {what}: {error}");
        ControlStatus::Host
    }
}

impl Control {
    /// Waits for a session.
    pub fn new(args: &Executor, api: DriverApi, output: Arc<Output>) -> Self {
        let busy_poll = Duration::from_micros(args.busy_poll);
        let is_cpu = args.gpu.is_cpu();
        let call_time = (!is_cpu).then(|| args.call_time());
        let (quotas, totals) = (args.quotas, args.totals);
        Control { busy_poll, is_cpu, quotas, totals, call_time, api, output, serving: None }
    }

    /// Answers requests until the supervisor closes the connection.
    pub fn serve(mut self, channel: &Channel) -> Result<(), ControlError> {
        while let Some(request) = channel.next()? {
            let reply = match self.answer(request) {
                Ok(value) => Reply { status: 0, value },
                Err(status) => Reply::status(status),
            };
            channel.reply(reply)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> Result<u64, ControlStatus> {
        if let Request::Create { base, size, home, offset, memory, exchange } = request {
            let arena = Arena::create(base, size, memory, offset, self.quotas.pinned)?;
            let sharing = Sharing::new(Exchange::new(exchange), self.totals);
            return self.create(arena, home, sharing).map(|()| 0);
        }
        let serving = self.serving.as_ref().ok_or(ControlStatus::BadQueue)?;
        let session = &serving.session;
        match request {
            Request::Create { .. } => Err(ControlStatus::BadQueue),
            Request::Map { va, length, offset, memory } => session.arena.map(va, length, memory, offset).map(|()| 0),
            Request::Chunk { va, length } => session.arena.add(va, length).map(|()| 0),
            Request::Unmap { va, length } => session.arena.unmap(va, length, |va| unregister(session, va)).map(|()| 0),
            Request::Start { index, event_idx, kick, call } => {
                session.ring.start(index, event_idx, call);
                serving.bell.set_doorbell(kick);
                Ok(0)
            }
            Request::SetCall { call } => {
                session.ring.set_call(call);
                Ok(0)
            }
            Request::Stop { drain_ms } => stop(session, drain_ms.map(Duration::from_millis)),
            Request::Usage => Ok(serving.usage.ask(session)),
        }
    }

    fn create(&mut self, arena: Arena, home: u64, sharing: Sharing) -> Result<(), ControlStatus> {
        if self.serving.is_some() {
            return Err(ControlStatus::BadQueue);
        }
        let region = arena_sys::region(arena.home(), HOME_SIZE).map_err(io::Error::other);
        let region = region.map_err(host("address the home"))?;
        let region = GuestRegionMmap::new(region, GuestAddress(home)).ok_or(ControlStatus::BadAddress)?;
        let ring = Ring::new(Arc::new(region)).ok_or(ControlStatus::BadAddress)?;
        let (api, output) = (self.api.clone(), self.output.clone());
        crate::quota::ask(sharing.totals.clone());
        let session = Arc::new(Session::new(api, self.is_cpu, self.quotas, arena, ring, output, sharing));
        let bell = Bell::new().map_err(host("make an eventfd"))?;
        let dispatcher = Dispatcher::new(session.clone(), bell.clone(), self.busy_poll);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        thread("dispatcher").spawn(move || dispatcher.run()).map_err(host("start a thread"))?;
        let (beating, call_time) = (session.clone(), self.call_time);
        thread("heartbeat").spawn(move || beat(&beating, call_time)).map_err(host("start a thread"))?;
        if self.totals.amounts().iter().any(Option::is_some) {
            let settling = session.clone();
            thread("quotas").spawn(move || settle(&settling)).map_err(host("start a thread"))?;
        }
        self.serving = Some(Serving { session, bell, usage: Usage::default() });
        Ok(())
    }
}

/// Gives back to the VM's other sessions what this one has no more, from time to time: what counts may be
/// locked while the driver works.
fn settle(session: &Session) {
    loop {
        std::thread::sleep(Duration::from_millis(50));
        session.settle();
    }
}

/// Shows the client that the process lives, twice as often as promised, and ends it when the driver does
/// not come back.
fn beat(session: &Session, call_time: Option<Duration>) {
    const PAUSE: Duration = Duration::from_millis(HEARTBEAT_MS / 2);
    let mut watch = call_time.map(|patience| Watch::new(patience, PAUSE));
    for count in (1..=u32::MAX).cycle() {
        session.ring.beat(count);
        std::thread::sleep(PAUSE);
        if watch.as_mut().is_some_and(|watch| watch.hangs(&session.progress)) {
            log::error!("the GPU's driver does not come back from a call (--call-timeout): the session ends");
            crate::sys::end(exit::RUNTIME);
        }
    }
}

/// Stops the ring. With a time to drain, work that may still write to the session's memory is
/// awaited: commands being run first, then what they have started on the GPU.
fn stop(session: &Arc<Session>, drain: Option<Duration>) -> Result<u64, ControlStatus> {
    let index = u64::from(session.ring.stop());
    let Some(limit) = drain else { return Ok(index) };
    let deadline = Some(Instant::now() + limit);
    let in_time = |happened: bool| {
        if !happened {
            log::warn!("work of the GPU does not end in time for the VM to stop: the session is given up");
        }
        happened.then_some(()).ok_or(ControlStatus::Host)
    };
    in_time(until(deadline, || session.ring.is_quiet()))?;
    let working = session.clone();
    let drainer = std::thread::Builder::new().name("drain".into()).spawn(move || synchronize(&working));
    let drainer = drainer.map_err(host("start a thread"))?;
    in_time(until(deadline, || drainer.is_finished()))?;
    Ok(index)
}

/// Waits for all work in all contexts. A context that has failed has no work left.
fn synchronize(session: &Session) {
    for context in session.ledger.all(HandleKind::Context) {
        let done: Result<(), Failure> = (|| {
            driver!(session, cuCtxSetCurrent(context as cuda::CUcontext))?;
            driver!(session, cuCtxSynchronize())
        })();
        if let Err(error) = done {
            log::debug!("draining: {}", error.result());
        }
    }
}

/// Makes some context of the session current on this thread; the driver asks for one.
fn with_context<T>(session: &Session, call: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
    let context = session.ledger.all(HandleKind::Context).first().copied()?;
    let result = (|| {
        driver!(session, cuCtxSetCurrent(context as cuda::CUcontext))?;
        let value = call()?;
        driver!(session, cuCtxSetCurrent(std::ptr::null_mut()))?;
        Ok(value)
    })();
    result.inspect_err(|error: &Failure| log::debug!("{}", error.result())).ok()
}

fn unregister(session: &Session, va: u64) {
    with_context(session, || driver!(session, cuMemHostUnregister(va as *mut std::ffi::c_void)));
}

/// GPU memory in use, bytes, as last heard of: a driver that is busy, say with compiling, lets whoever asks wait.
#[derive(Default)]
struct Usage(Arc<Asked>);

#[derive(Default)]
struct Asked {
    bytes: AtomicU64,
    under_way: AtomicBool,
}

impl Usage {
    fn ask(&self, session: &Arc<Session>) -> u64 {
        /// What a driver that is not busy needs by far.
        const PATIENCE: Duration = Duration::from_millis(100);
        if !self.0.under_way.swap(true, Ordering::AcqRel) {
            let (asked, session) = (self.0.clone(), session.clone());
            let thread = std::thread::Builder::new().name("usage".into()).spawn(move || {
                asked.bytes.store(usage(&session).unwrap_or(0), Ordering::Release);
                asked.under_way.store(false, Ordering::Release);
            });
            if thread.is_err() {
                self.0.under_way.store(false, Ordering::Release);
            }
        }
        until(Some(Instant::now() + PATIENCE), || !self.0.under_way.load(Ordering::Acquire));
        self.0.bytes.load(Ordering::Acquire)
    }
}

/// GPU memory in use, bytes.
fn usage(session: &Session) -> Option<u64> {
    with_context(session, || {
        let (mut free, mut total) = (0, 0);
        driver!(session, cuMemGetInfo_v2(&mut free, &mut total))?;
        Ok(total.saturating_sub(free) as u64)
    })
}
