//! One session: its worker, and what happens to it when the ring stops, the VM pauses or the
//! worker dies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vgpu_protocol::control::{ControlStatus, SessionCreate};
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{ERROR_OFFSET, HOME_SIZE, STATE_DEAD, STATE_OFFSET};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use super::exchange::{Exchange, Member};
use super::launcher::Launcher;
use super::memory::{locate, VmMemory};
use super::monitor::Monitor;
use super::process::{wait, Worker};
use super::vring::RingState;
use crate::args::Totals;
use crate::channel::Request;
use crate::exchange::Resource;

/// How long a worker may take to start, which a driver's start is part of.
const START_TIME: Duration = Duration::from_secs(30);
/// How long it may take with all that another request of the guest or the frontend needs of it, besides draining:
/// nothing else waits for the GPU.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The least share of the processors that a session can have: a guest does not get more than its own.
const MOST_NICE: i32 = 19;

/// What sessions are made with.
#[derive(Clone)]
pub struct Settings {
    /// What starts workers.
    pub launcher: Arc<Launcher>,
    /// What tells the state of a host's GPUs.
    pub monitor: Arc<Monitor>,
    /// How long work of a GPU that cannot be frozen is awaited when the ring stops; `None`: its
    /// work runs in the worker's own threads and stops with them.
    pub drain: Option<Duration>,
    /// What all sessions of a VM may have together.
    pub totals: Totals,
}

/// A session and its worker process.
pub struct Session {
    worker: Worker,
    reaper: Option<JoinHandle<()>>,
    fate: Arc<Watched>,
    /// The ring's next avail index while it is stopped.
    stopped_at: Option<u16>,
    drain: Option<Duration>,
    arena: (u64, u64),
    /// Length of its chunks by address, bytes.
    chunks: BTreeMap<u64, u64>,
    /// What it shares with other sessions.
    shared: Member,
}

/// What becomes of a session whose worker ends.
struct Fate {
    memory: VmMemory,
    home: u64,
    call: Option<File>,
    /// The guest's memory may be written to.
    ring_live: bool,
    dead: bool,
    /// The end was wanted: nobody needs to be told.
    dismissed: bool,
}

impl Fate {
    /// Tells the client, unless the guest's memory is off limits now.
    fn announce(&mut self) {
        if !self.dead || self.dismissed || !self.ring_live {
            return;
        }
        let memory = self.memory.memory();
        let store = |offset: usize, value: u32| {
            memory.store(value, GuestAddress(self.home.wrapping_add(offset as u64)), Ordering::Release)
        };
        if store(ERROR_OFFSET, CUresult::UNKNOWN.0).and_then(|()| store(STATE_OFFSET, STATE_DEAD)).is_err() {
            log::debug!("the home of a dead session is not in the VM's memory any more");
        }
        if let Some(call) = &mut self.call {
            let _ = call.write(&1u64.to_ne_bytes());
        }
        self.dismissed = true;
    }
}

/// A session's fate, and a bell for the worker's end.
struct Watched {
    fate: Mutex<Fate>,
    ended: Condvar,
}

fn lock(watched: &Watched) -> MutexGuard<'_, Fate> {
    watched.fate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An internal failure, told to the guest as `Host`.
fn host(what: &'static str) -> impl Fn(io::Error) -> ControlStatus {
    move |error| {
        log::error!("cannot {what}: {error}");
        ControlStatus::Host
    }
}

impl Session {
    /// Starts a worker for `request` and lets it serve `ring` from index 0.
    pub fn create(
        settings: &Settings,
        memory: &VmMemory,
        exchange: &Arc<Exchange>,
        request: &SessionCreate,
        ring: RingState,
    ) -> Result<Session, ControlStatus> {
        let home = locate(memory, request.home, HOME_SIZE as u64)
            .map_err(host("duplicate the VM's memory file"))?
            .ok_or(ControlStatus::BadAddress)?;
        let nice = u8::try_from(request.nice.clamp(0, MOST_NICE)).unwrap_or(0);
        let worker = Worker::spawn(&settings.launcher, nice, request.uid).map_err(host("start a worker"))?;
        let fate = Mutex::new(Fate {
            memory: memory.clone(),
            home: request.home,
            call: None,
            ring_live: false,
            dead: false,
            dismissed: false,
        });
        let fate = Arc::new(Watched { fate, ended: Condvar::new() });
        let reaper_fate = fate.clone();
        let pid = worker.id();
        let reaper = std::thread::Builder::new().name("reaper".into()).spawn(move || {
            let end = wait(pid);
            let mut fate = lock(&reaper_fate);
            fate.dead = true;
            if !fate.dismissed {
                match end {
                    Ok(end) => log::warn!("worker {pid} died ({end}): its session is lost"),
                    Err(error) => log::error!("cannot wait for worker {pid}: {error}"),
                }
            }
            fate.announce();
            reaper_fate.ended.notify_all();
        });
        let (shared, exchange) = exchange.join(worker.pid()).map_err(host("serve what sessions share"))?;
        let mut session = Session {
            worker,
            reaper: Some(reaper.map_err(host("start a thread"))?),
            fate,
            stopped_at: Some(0),
            drain: settings.drain,
            arena: (request.arena_base, request.arena_size),
            chunks: BTreeMap::new(),
            shared,
        };
        let create = Request::Create {
            base: request.arena_base,
            size: request.arena_size,
            home: request.home,
            offset: home.offset,
            memory: home.memory,
            exchange,
        };
        session.ask_until(&create, Instant::now() + START_TIME)?;
        session.start(RingState { index: 0, ..ring })?;
        Ok(session)
    }

    /// The session's shared address range: start and size, bytes.
    pub fn arena(&self) -> (u64, u64) {
        self.arena
    }

    /// Counts a chunk to come, unless the VM's sessions have too much pinned memory, or this one a chunk there.
    pub fn note_chunk(&mut self, va: u64, length: u64) -> Result<(), ControlStatus> {
        if self.chunks.contains_key(&va) {
            return Err(ControlStatus::BadAddress);
        }
        if !self.shared.have(Resource::Pinned, self.pinned().saturating_add(length)) {
            return Err(ControlStatus::Limit);
        }
        self.chunks.insert(va, length);
        Ok(())
    }

    /// A chunk is there no more. Parts of one never are one.
    pub fn forget_chunk(&mut self, va: u64, length: u64) {
        if self.chunks.get(&va) == Some(&length) {
            self.chunks.remove(&va);
            self.shared.have(Resource::Pinned, self.pinned());
        }
    }

    fn pinned(&self) -> u64 {
        self.chunks.values().fold(0, |sum, length| sum.saturating_add(*length))
    }

    /// The worker's process id, for messages.
    pub fn pid(&self) -> i32 {
        self.worker.pid()
    }

    /// Whether the worker serves the ring.
    pub fn running(&self) -> bool {
        let fate = lock(&self.fate);
        self.stopped_at.is_none() && !fate.dead && !fate.dismissed
    }

    /// The index at which the ring was stopped, if it is.
    pub fn stopped_at(&self) -> Option<u16> {
        self.stopped_at
    }

    /// Until when a request that comes now must have been dealt with.
    pub fn deadline() -> Instant {
        Instant::now() + ANSWER_TIME
    }

    /// Asks the worker. One that does not answer in time is killed: its client must not wait for it.
    pub fn ask_until(&self, request: &Request, deadline: Instant) -> Result<u64, ControlStatus> {
        match self.worker.channel().call(request, deadline) {
            Ok(reply) => reply.into_result(),
            Err(error) => {
                if !lock(&self.fate).dead {
                    log::error!("worker {} does not answer ({error}): killed", self.worker.pid());
                }
                self.worker.kill();
                Err(ControlStatus::Host)
            }
        }
    }

    /// Asks for the GPU memory in use, which [`Session::usage`] tells.
    pub fn ask_usage(&self) {
        // Whether it is dead, and what to do then, is for others to find out.
        let _ = self.worker.channel().post(&Request::Usage);
    }

    /// GPU memory in use, bytes; `None` if the worker does not say until `deadline`. Then it may say so next time.
    pub fn usage(&self, deadline: Instant) -> Option<u64> {
        self.worker.channel().collect(deadline).ok().flatten()?.into_result().ok()
    }

    /// Serves the ring from where it stopped.
    pub fn start(&mut self, ring: RingState) -> Result<(), ControlStatus> {
        let Some(kick) = ring.kick else { return Err(ControlStatus::BadQueue) };
        let call = ring.call.as_ref().map(|c| c.try_clone()).transpose().map_err(host("duplicate an eventfd"))?;
        self.worker.thaw();
        {
            let mut fate = lock(&self.fate);
            fate.call = ring.call.map(File::from);
            fate.ring_live = true;
            fate.announce();
        }
        self.stopped_at = None;
        let start = Request::Start { index: ring.index, event_idx: ring.event_idx, kick, call };
        self.ask_until(&start, Session::deadline()).map(drop)
    }

    /// Stops the ring: on return nothing of the session touches the guest's memory. Returns the
    /// index to go on from, `None` if the session did not survive.
    pub fn stop(&mut self) -> Option<u16> {
        if let Some(index) = self.stopped_at {
            return Some(index);
        }
        let drain_ms = self.drain.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX - 1));
        let deadline = Session::deadline() + self.drain.unwrap_or_default();
        let index = self.ask_until(&Request::Stop { drain_ms }, deadline).ok();
        let index = index.and_then(|index| u16::try_from(index).ok());
        if index.is_none() {
            // Its client learns it now: after the ring has stopped is too late.
            self.worker.kill();
            self.reap();
        } else if let Err(error) = self.worker.freeze() {
            log::error!("cannot freeze worker {}: {error}; killed", self.worker.pid());
            self.worker.kill();
            self.reap();
        }
        lock(&self.fate).ring_live = false;
        self.stopped_at = index;
        index
    }

    /// Signals completions through another eventfd from now on.
    pub fn set_call(&self, call: Option<std::os::fd::OwnedFd>) -> Result<(), ControlStatus> {
        let copy = call.as_ref().map(|c| c.try_clone()).transpose().map_err(host("duplicate an eventfd"))?;
        lock(&self.fate).call = copy.map(File::from);
        self.ask_until(&Request::SetCall { call }, Session::deadline()).map(drop)
    }

    /// Kills the worker; whether it is gone in time. A driver in the kernel may hold on to it.
    pub fn end(&self) -> bool {
        lock(&self.fate).dismissed = true;
        self.worker.kill();
        let waited = self.fate.ended.wait_timeout_while(lock(&self.fate), ANSWER_TIME, |fate| !fate.dead);
        let gone = waited.unwrap_or_else(PoisonError::into_inner).0.dead;
        if !gone {
            log::error!("worker {} was killed and does not end: its memory stays with it", self.worker.pid());
        }
        gone
    }

    fn reap(&mut self) {
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

impl Drop for Session {
    /// Kills the worker and waits until it is gone.
    fn drop(&mut self) {
        lock(&self.fate).dismissed = true;
        self.worker.kill();
        self.reap();
        crate::logging::tell_left_out();
    }
}
