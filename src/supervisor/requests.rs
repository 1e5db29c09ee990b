//! Requests of the control queue, each on a thread of its own: one that waits for its session's worker holds up
//! no other session's.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use vgpu_protocol::control::CONTROL_QUEUE_SIZE;
use vgpu_protocol::DeviceInfo;
use vhost_user_backend::VringT;
use virtio_queue::{DescriptorChain, QueueOwnedT, Reader, Writer};
use vm_memory::{GuestAddressSpace, GuestMemoryLoadGuard, GuestMemoryMmap};

use super::control::{Control, MAX_REQUEST};
use super::memory::VmMemory;
use super::table::SessionTable;
use super::vring::ObservedVring;

/// As many as a guest can have under way that waits for their answers; what is beyond waits in the ring.
const MOST: usize = CONTROL_QUEUE_SIZE as usize;

type Chain = DescriptorChain<GuestMemoryLoadGuard<GuestMemoryMmap<()>>>;

/// What requests act on, and how many are under way.
pub struct Requests {
    table: Arc<SessionTable>,
    memory: VmMemory,
    devices: Arc<[DeviceInfo]>,
    /// All vrings of the device, the control queue's first.
    vrings: OnceLock<Vec<ObservedVring>>,
    under_way: Mutex<usize>,
    ended: Condvar,
}

/// Stands for a request under way.
struct Ticket(Arc<Requests>);

impl Drop for Ticket {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.ended.notify_all();
    }
}

impl Requests {
    /// None is under way.
    pub fn new(table: Arc<SessionTable>, memory: VmMemory, devices: Arc<[DeviceInfo]>) -> Arc<Requests> {
        let (vrings, under_way, ended) = Default::default();
        Arc::new(Requests { table, memory, devices, vrings, under_way, ended })
    }

    /// Names the vrings that the daemon made, in the order of queues.
    pub fn attach(&self, vrings: Vec<ObservedVring>) {
        let _ = self.vrings.set(vrings);
    }

    /// The control queue's ring.
    pub fn control_ring(&self) -> Option<&ObservedVring> {
        self.vrings.get().and_then(|vrings| vrings.first())
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than `most` are under way; their number is locked.
    fn fewer_than(&self, most: usize) -> MutexGuard<'_, usize> {
        self.ended.wait_while(self.count(), |count| *count >= most).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until none is under way. None begins meanwhile if the ring has stopped.
    pub fn settle(&self) {
        drop(self.fewer_than(1));
    }

    /// Starts on what the guest has offered, and returns when there is no more of it.
    pub fn serve(self: &Arc<Self>, vring: &ObservedVring) -> Result<(), virtio_queue::Error> {
        loop {
            vring.disable_notification()?;
            // Counted before it is taken: `settle` must not miss one in between.
            while let (ticket, Some(chain)) = (self.begin(), self.next(vring)?) {
                self.start(ticket, chain, vring);
            }
            if !vring.enable_notification()? {
                return Ok(());
            }
        }
    }

    fn begin(self: &Arc<Self>) -> Ticket {
        *self.fewer_than(MOST) += 1;
        Ticket(self.clone())
    }

    fn next(&self, vring: &ObservedVring) -> Result<Option<Chain>, virtio_queue::Error> {
        let mut state = vring.get_mut();
        if !state.is_enabled() {
            return Ok(None);
        }
        let mut iter = state.get_queue_mut().iter(self.memory.memory())?;
        Ok(iter.next())
    }

    fn start(self: &Arc<Self>, ticket: Ticket, chain: Chain, vring: &ObservedVring) {
        let (requests, request, ring) = (self.clone(), chain.clone(), vring.clone());
        let run = move || {
            requests.answer(request, &ring);
            drop(ticket);
        };
        if let Err(error) = std::thread::Builder::new().name("request".into()).spawn(run) {
            log::error!("cannot start a thread for a control request, others wait for it: {error}");
            self.answer(chain, vring);
        }
    }

    /// Carries a request out and tells the guest.
    fn answer(&self, chain: Chain, vring: &ObservedVring) {
        let head = chain.head_index();
        let written = self.carry_out(chain);
        let told = vring.add_used(head, written).and_then(|()| vring.needs_notification());
        match told {
            Ok(true) => {
                if let Err(error) = vring.signal_used_queue() {
                    log::debug!("cannot signal the control queue: {error}");
                }
            }
            Ok(false) => {}
            Err(error) => log::debug!("control queue: {error}"),
        }
    }

    /// Carries out the request of a chain; returns the number of bytes written.
    fn carry_out(&self, chain: Chain) -> u32 {
        let memory = self.memory.memory();
        let mut request = Vec::new();
        let read = Reader::new(&*memory, chain.clone()).ok().and_then(|reader| {
            let mut limited = std::io::Read::take(reader, MAX_REQUEST as u64 + 1);
            std::io::Read::read_to_end(&mut limited, &mut request).ok()
        });
        if read.is_none() {
            request.clear();
        }
        let vrings = self.vrings.get().map_or(&[][..], Vec::as_slice);
        let control = Control { table: &self.table, vrings, devices: &self.devices };
        let reply = control.answer(&request);
        let written = Writer::new(&*memory, chain).ok().and_then(|mut writer| {
            let fits = writer.available_bytes().min(reply.len());
            let part = reply.get(..fits)?;
            std::io::Write::write_all(&mut writer, part).ok().map(|()| fits)
        });
        written.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }
}
