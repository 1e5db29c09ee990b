//! The sessions by queue, and how they follow their rings.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use vgpu_protocol::control::{
    BackendStatus, ControlStatus, MapRange, SessionCreate, SessionMap, SessionUnmap, MAX_RANGES,
};
use vgpu_protocol::session::{ARENA_SIZE, CHUNK_GRANULE, HOME_SIZE};
use vgpu_protocol::API_HASH;
use vhost_user_backend::VringT;

use super::exchange::Exchange;
use super::load::Meter;
use super::memory::{locate, VmMemory};
use super::session::{Session, Settings};
use super::vring::{ObservedVring, Observer, RingState};
use crate::channel::Request;

const PAGE: u64 = 4096;
/// How long all workers together may take to tell how much memory they use.
const LOOK_TIME: Duration = Duration::from_millis(300);
/// Lowest address a session's memory may have: nothing of a process lies this low by default.
const ARENA_FLOOR: u64 = 1 << 32;
/// End of user space with four-level page tables.
const ARENA_CEILING: u64 = 1 << 47;

/// All sessions of a device.
pub struct SessionTable {
    settings: Settings,
    memory: VmMemory,
    slots: Vec<Slot>,
    control: Mutex<ControlRing>,
    meter: Mutex<Meter>,
    exchange: Arc<Exchange>,
}

/// A session queue's place.
#[derive(Default)]
struct Slot {
    /// Locked while something is done to it, which may take as long as its worker does.
    session: Mutex<Option<Session>>,
    /// What was last known of it.
    figures: Mutex<Option<Figures>>,
}

/// Figures of a session that runs.
#[derive(Clone, Copy, Debug)]
struct Figures {
    worker: i32,
    /// GPU memory in use as the worker says, bytes.
    used: u64,
}

#[derive(Default)]
struct ControlRing {
    live: bool,
    stopped_at: u16,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// The lock, unless somebody has it.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A slot's session, if it runs.
fn running(slot: &Option<Session>) -> Option<&Session> {
    slot.as_ref().filter(|session| session.running())
}

/// Ends the session of a slot, if there is one. It stays there while its worker does not end.
fn end(slot: &mut Option<Session>) -> Result<(), ControlStatus> {
    if slot.as_ref().is_some_and(|session| !session.end()) {
        return Err(ControlStatus::Host);
    }
    *slot = None;
    Ok(())
}

impl SessionTable {
    /// An empty table for queues 1 to `sessions`.
    pub fn new(settings: Settings, memory: VmMemory, sessions: u32) -> Self {
        let slots = (0..sessions).map(|_| Slot::default()).collect();
        let (control, meter) = Default::default();
        let exchange = Arc::new(Exchange::new(&settings.totals));
        SessionTable { settings, memory, slots, control, meter, exchange }
    }

    fn place(&self, queue: u32) -> Result<&Slot, ControlStatus> {
        let index = usize::try_from(queue).ok().and_then(|q| q.checked_sub(1));
        index.and_then(|i| self.slots.get(i)).ok_or(ControlStatus::BadQueue)
    }

    fn slot(&self, queue: u32) -> Result<MutexGuard<'_, Option<Session>>, ControlStatus> {
        self.place(queue).map(|place| lock(&place.session))
    }

    /// Starts a session on a queue; an older one there ends first.
    pub fn create(
        &self,
        queue: u32,
        vring: Option<&ObservedVring>,
        request: &SessionCreate,
    ) -> Result<(), ControlStatus> {
        let place = self.place(queue)?;
        let mut slot = lock(&place.session);
        end(&mut slot)?;
        if request.api_hash != API_HASH {
            return Err(ControlStatus::Version);
        }
        check_arena(request.arena_base, request.arena_size)?;
        if !request.home.is_multiple_of(PAGE) {
            return Err(ControlStatus::BadAddress);
        }
        let ring = vring.ok_or(ControlStatus::BadQueue)?.state().map_err(|error| {
            log::error!("cannot duplicate the eventfds of queue {queue}: {error}");
            ControlStatus::Host
        })?;
        if !ring.live {
            return Err(ControlStatus::BadQueue);
        }
        let session = Session::create(&self.settings, &self.memory, &self.exchange, request, ring)?;
        log::info!("session on queue {queue}: client {} (user {}), worker {}", request.pid, request.uid, session.pid());
        *lock(&place.figures) = Some(Figures { worker: session.pid(), used: 0 });
        *slot = Some(session);
        Ok(())
    }

    /// Adds guest memory to a session's arena.
    pub fn map(&self, queue: u32, request: &SessionMap, ranges: &[MapRange]) -> Result<(), ControlStatus> {
        let mut slot = self.slot(queue)?;
        let session = slot.as_mut().filter(|s| s.running()).ok_or(ControlStatus::BadQueue)?;
        if ranges.is_empty() || ranges.len() > MAX_RANGES {
            return Err(ControlStatus::Malformed);
        }
        let total = ranges.iter().try_fold(0u64, |sum, r| {
            let aligned = r.length > 0 && (r.address | r.length) % PAGE == 0;
            aligned.then(|| sum.checked_add(r.length)).flatten()
        });
        let total = total.ok_or(ControlStatus::Malformed)?;
        check_chunk(session.arena(), request.va, total)?;
        session.note_chunk(request.va, total)?;
        let deadline = Session::deadline();
        let mapped = self.map_ranges(session, request.va, ranges, deadline);
        let chunk = Request::Chunk { va: request.va, length: total };
        mapped.and_then(|()| session.ask_until(&chunk, deadline)).map(drop).inspect_err(|_| {
            let _ = session.ask_until(&Request::Unmap { va: request.va, length: total }, deadline);
            session.forget_chunk(request.va, total);
        })
    }

    fn map_ranges(
        &self,
        session: &Session,
        start: u64,
        ranges: &[MapRange],
        deadline: Instant,
    ) -> Result<(), ControlStatus> {
        let mut va = start;
        for range in ranges {
            let piece = locate(&self.memory, range.address, range.length).map_err(|error| {
                log::error!("cannot duplicate the VM's memory file: {error}");
                ControlStatus::Host
            })?;
            let piece = piece.ok_or(ControlStatus::BadAddress)?;
            let map = Request::Map { va, length: range.length, offset: piece.offset, memory: piece.memory };
            session.ask_until(&map, deadline)?;
            va += range.length;
        }
        Ok(())
    }

    /// Takes guest memory away from a session.
    pub fn unmap(&self, queue: u32, request: &SessionUnmap) -> Result<(), ControlStatus> {
        let mut slot = self.slot(queue)?;
        let session = slot.as_mut().filter(|s| s.running()).ok_or(ControlStatus::BadQueue)?;
        check_chunk(session.arena(), request.va, request.length)?;
        let unmap = Request::Unmap { va: request.va, length: request.length };
        session.ask_until(&unmap, Session::deadline())?;
        session.forget_chunk(request.va, request.length);
        Ok(())
    }

    /// Ends a session; its worker is gone if that succeeds.
    pub fn destroy(&self, queue: u32) -> Result<(), ControlStatus> {
        let mut slot = self.slot(queue)?;
        let worker = slot.as_ref().map(Session::pid).ok_or(ControlStatus::BadQueue)?;
        end(&mut slot)?;
        log::info!("session on queue {queue} ended (worker {worker})");
        Ok(())
    }

    /// Ends all sessions.
    pub fn clear(&self) {
        for slot in &self.slots {
            *lock(&slot.session) = None;
        }
    }

    /// Adds the sessions' figures to `status`. Whoever does not tell them in time is known by the last ones.
    pub fn measure(&self, status: &mut BackendStatus) {
        // One at a time: looks do not keep each other from the sessions.
        let mut meter = lock(&self.meter);
        let mut busy = Duration::ZERO;
        let is_soft = self.settings.drain.is_none();
        let reading = self.settings.monitor.read(&status.uuid);
        if let Some(reading) = &reading {
            reading.tell(status);
        }
        let figures = self.look(reading.is_none());
        for (figures, memory) in figures.into_iter().zip(status.session_memory.iter_mut().skip(1)) {
            let Some(Figures { worker, used }) = figures else { continue };
            status.sessions += 1;
            busy += crate::sys::processor_time(worker).unwrap_or_default();
            if let Some(reading) = &reading {
                *memory = reading.memory_of(worker).unwrap_or(*memory);
                status.memory_used = status.memory_used.saturating_add(if *memory == u64::MAX { 0 } else { *memory });
                continue;
            }
            // A host GPU's figure covers all processes; each software GPU's is its session's own.
            if is_soft {
                *memory = used;
                status.memory_used = status.memory_used.saturating_add(used);
            } else {
                status.memory_used = status.memory_used.max(used);
            }
        }
        // A host GPU's load does not show in its workers' processor time.
        if is_soft {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            status.sensors.utilization = meter.look(Instant::now(), busy, cores);
        }
    }

    /// The sessions' figures by queue, with their workers' answers if they are to be asked: all at once first.
    fn look(&self, ask: bool) -> Vec<Option<Figures>> {
        let open: Vec<_> = self.slots.iter().map(|slot| try_lock(&slot.session)).collect();
        if ask {
            open.iter().flatten().filter_map(|slot| running(slot)).for_each(Session::ask_usage);
        }
        let deadline = Instant::now() + LOOK_TIME;
        let figures = self.slots.iter().zip(open).map(|(slot, session)| {
            let mut known = lock(&slot.figures);
            // What is locked is being worked on, and as it was.
            if let Some(session) = session {
                let before = known.map_or(0, |figures| figures.used);
                *known = running(&session).map(|session| Figures {
                    worker: session.pid(),
                    used: ask.then(|| session.usage(deadline)).flatten().unwrap_or(before),
                });
            }
            *known
        });
        figures.collect()
    }

    /// The control ring has stopped and nothing of it is under way.
    pub fn control_stopped(&self, index: u16) {
        *lock(&self.control) = ControlRing { live: false, stopped_at: index };
    }

    /// The control ring starts. When it does not go on where it stopped, the guest has reset the
    /// device: its sessions are no more, and their memory belongs to something else.
    fn control_changed(&self, ring: &RingState) {
        let mut control = lock(&self.control);
        if ring.live && !control.live {
            control.live = true;
            if ring.index != control.stopped_at {
                self.clear();
            }
        }
    }

    fn session_ring_changed(&self, queue: usize, vring: &ObservedVring, ring: RingState) {
        let Ok(mut slot) = self.slot(u32::try_from(queue).unwrap_or(0)) else { return };
        let Some(session) = slot.as_mut() else { return };
        match (ring.live, session.stopped_at()) {
            (false, None) => {
                if let Some(index) = session.stop() {
                    vring.set_queue_next_avail(index);
                }
            }
            (true, Some(index)) if index == ring.index => {
                if let Err(error) = session.start(ring) {
                    log::error!("queue {queue} cannot go on: {error}");
                }
            }
            (true, Some(_)) => *slot = None,
            _ => {}
        }
    }
}

impl Observer for SessionTable {
    fn changed(&self, index: usize, vring: &ObservedVring) {
        match vring.state() {
            Ok(ring) if index == 0 => self.control_changed(&ring),
            Ok(ring) => self.session_ring_changed(index, vring, ring),
            Err(error) => log::error!("cannot duplicate the eventfds of queue {index}: {error}"),
        }
    }

    fn call_replaced(&self, index: usize, vring: &ObservedVring) {
        let Ok(slot) = self.slot(u32::try_from(index).unwrap_or(0)) else { return };
        let Some(session) = slot.as_ref().filter(|s| s.running()) else { return };
        let call: Option<OwnedFd> = match vring.state() {
            Ok(ring) => ring.call,
            Err(error) => return log::error!("cannot duplicate the eventfds of queue {index}: {error}"),
        };
        if let Err(error) = session.set_call(call) {
            log::error!("queue {index} does not get its new call eventfd: {error}");
        }
    }
}

/// A session's address range must be able to hold its home and lie where a process has room.
fn check_arena(base: u64, size: u64) -> Result<(), ControlStatus> {
    let end = base.checked_add(size).ok_or(ControlStatus::BadAddress)?;
    let aligned = (base | size).is_multiple_of(CHUNK_GRANULE);
    let fits = base >= ARENA_FLOOR && end <= ARENA_CEILING && size >= HOME_SIZE as u64;
    if !aligned || !fits {
        return Err(ControlStatus::BadAddress);
    }
    if size > ARENA_SIZE {
        Err(ControlStatus::Limit)
    } else {
        Ok(())
    }
}

/// A chunk lies behind the home, inside the arena, in whole granules.
fn check_chunk((base, size): (u64, u64), va: u64, length: u64) -> Result<(), ControlStatus> {
    let end = va.checked_add(length).ok_or(ControlStatus::BadAddress)?;
    let aligned = (va | length).is_multiple_of(CHUNK_GRANULE);
    let inside = va >= base + HOME_SIZE as u64 && end <= base + size;
    if length > 0 && aligned && inside {
        Ok(())
    } else {
        Err(ControlStatus::BadAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x2000_0000_0000;

    #[test]
    fn test_arena_must_lie_in_user_space() {
        assert_eq!(check_arena(BASE, ARENA_SIZE), Ok(()));
        assert_eq!(check_arena(0, ARENA_SIZE), Err(ControlStatus::BadAddress));
        assert_eq!(check_arena(u64::MAX - 1, ARENA_SIZE), Err(ControlStatus::BadAddress));
        assert_eq!(check_arena(BASE, 0), Err(ControlStatus::BadAddress));
        assert_eq!(check_arena(BASE + 4096, ARENA_SIZE), Err(ControlStatus::BadAddress));
        assert_eq!(check_arena(BASE, 2 * ARENA_SIZE), Err(ControlStatus::Limit));
    }

    #[test]
    fn test_chunk_must_not_overlap_the_home() {
        let arena = (BASE, ARENA_SIZE);
        let home = HOME_SIZE as u64;
        assert_eq!(check_chunk(arena, BASE + home, CHUNK_GRANULE), Ok(()));
        for (va, length) in [
            (BASE, CHUNK_GRANULE),
            (BASE + home, 0),
            (BASE + home, 4096),
            (BASE + ARENA_SIZE, CHUNK_GRANULE),
            (u64::MAX - CHUNK_GRANULE + 1, CHUNK_GRANULE),
            (BASE + home, u64::MAX - CHUNK_GRANULE + 1),
        ] {
            assert_eq!(check_chunk(arena, va, length), Err(ControlStatus::BadAddress), "{va:#x} {length:#x}");
        }
    }
}
