//! The sessions by queue, and how they follow their rings.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
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
/// Lowest address a session's memory may have: nothing of a process lies this low by default.
const ARENA_FLOOR: u64 = 1 << 32;
/// End of user space with four-level page tables.
const ARENA_CEILING: u64 = 1 << 47;

/// All sessions of a device.
pub struct SessionTable {
    settings: Settings,
    memory: VmMemory,
    slots: Vec<Mutex<Option<Session>>>,
    control: Mutex<ControlRing>,
    meter: Mutex<Meter>,
    exchange: Arc<Exchange>,
}

#[derive(Default)]
struct ControlRing {
    live: bool,
    stopped_at: u16,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl SessionTable {
    /// An empty table for queues 1 to `sessions`.
    pub fn new(settings: Settings, memory: VmMemory, sessions: u32) -> Self {
        let slots = (0..sessions).map(|_| Mutex::new(None)).collect();
        let (control, meter) = Default::default();
        let exchange = Arc::new(Exchange::new(settings.totals));
        SessionTable { settings, memory, slots, control, meter, exchange }
    }

    fn slot(&self, queue: u32) -> Result<MutexGuard<'_, Option<Session>>, ControlStatus> {
        let index = usize::try_from(queue).ok().and_then(|q| q.checked_sub(1));
        index.and_then(|i| self.slots.get(i)).map(lock).ok_or(ControlStatus::BadQueue)
    }

    /// Starts a session on a queue; an older one there ends first.
    pub fn create(
        &self,
        queue: u32,
        vring: Option<&ObservedVring>,
        request: &SessionCreate,
    ) -> Result<(), ControlStatus> {
        let mut slot = self.slot(queue)?;
        *slot = None;
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
        let mapped = self.map_ranges(session, request.va, ranges);
        mapped.and_then(|()| session.ask(&Request::Chunk { va: request.va, length: total })).map(drop).inspect_err(
            |_| {
                let _ = session.ask(&Request::Unmap { va: request.va, length: total });
                session.forget_chunk(request.va, total);
            },
        )
    }

    fn map_ranges(&self, session: &Session, start: u64, ranges: &[MapRange]) -> Result<(), ControlStatus> {
        let mut va = start;
        for range in ranges {
            let piece = locate(&self.memory, range.address, range.length).map_err(|error| {
                log::error!("cannot duplicate the VM's memory file: {error}");
                ControlStatus::Host
            })?;
            let piece = piece.ok_or(ControlStatus::BadAddress)?;
            session.ask(&Request::Map { va, length: range.length, offset: piece.offset, memory: piece.memory })?;
            va += range.length;
        }
        Ok(())
    }

    /// Takes guest memory away from a session.
    pub fn unmap(&self, queue: u32, request: &SessionUnmap) -> Result<(), ControlStatus> {
        let mut slot = self.slot(queue)?;
        let session = slot.as_mut().filter(|s| s.running()).ok_or(ControlStatus::BadQueue)?;
        check_chunk(session.arena(), request.va, request.length)?;
        session.ask(&Request::Unmap { va: request.va, length: request.length })?;
        session.forget_chunk(request.va, request.length);
        Ok(())
    }

    /// Ends a session; its worker is gone on return.
    pub fn destroy(&self, queue: u32) -> Result<(), ControlStatus> {
        let session = self.slot(queue)?.take();
        if let Some(session) = &session {
            log::info!("session on queue {queue} ended (worker {})", session.pid());
        }
        session.map(drop).ok_or(ControlStatus::BadQueue)
    }

    /// Ends all sessions.
    pub fn clear(&self) {
        for slot in &self.slots {
            *lock(slot) = None;
        }
    }

    /// Adds the sessions' figures to `status`.
    pub fn measure(&self, status: &mut BackendStatus) {
        let mut busy = Duration::ZERO;
        let is_soft = self.settings.drain.is_none();
        let reading = self.settings.monitor.read(&status.uuid);
        if let Some(reading) = &reading {
            reading.tell(status);
        }
        for (slot, memory) in self.slots.iter().zip(status.session_memory.iter_mut().skip(1)) {
            let slot = lock(slot);
            let Some(session) = slot.as_ref().filter(|s| s.running()) else { continue };
            status.sessions += 1;
            busy += crate::sys::processor_time(session.pid()).unwrap_or_default();
            if let Some(reading) = &reading {
                *memory = reading.memory_of(session.pid()).unwrap_or(*memory);
                status.memory_used = status.memory_used.saturating_add(if *memory == u64::MAX { 0 } else { *memory });
                continue;
            }
            let used = session.ask(&Request::Usage).unwrap_or(0);
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
            status.sensors.utilization = lock(&self.meter).look(Instant::now(), busy, cores);
        }
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
