//! The transport in a VM: the virtual GPU's PCI function, driven through sysfs.
//!
//! Where the VM has an IOMMU and the kernel's module `vfio-pci` is loaded, the device's interrupt (its one MSI-X vector)
//! signals the completion sockets that [`Transport::open_queue`] gives out; else, where `uio_pci_generic` is loaded, INTx
//! does. Elsewhere clients sleep and look.

mod capability;
pub mod hugepages;
mod interrupts;
mod keeper;
mod registers;
pub mod sysfs;
mod vfio;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::EventfdFlags;
use vgpu_protocol::control::{
    ControlHeader, ControlOp, DeviceConfig, CONTROL_QUEUE_SIZE, MAGIC, MAX_SESSIONS, PROTOCOL_VERSION,
};
use vgpu_protocol::session;

use self::hugepages::{Hugepages, HUGEPAGE};
use self::interrupts::Interrupts;
use self::keeper::Keeper;
use self::registers::{Doorbell, QueueAddresses, Registers};
use self::sysfs::{Function, Taken};
use self::vfio::Vfio;
use crate::ring::{self, Bell, ControlQueue, CONTROL_SIZE};
use crate::sys::Mapping;
use crate::{QueueAccess, SharedMemory, Transport, TransportError, MAX_REPLY};
use zerocopy::IntoBytes;

const _: () = assert!(session::HOME_SIZE == HUGEPAGE && CONTROL_SIZE <= HUGEPAGE);

/// Hugepages for chunks that should be there at start: a client's first chunk has 16.
const CHUNK_PAGES: u64 = 16;
/// How long a device may take for its first interrupt, which is asked for at the start.
const INTERRUPT_LIMIT: Duration = Duration::from_millis(500);
/// How long the answer may take.
const FIRST_ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Time between two looks at the control queue.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// A virtual GPU on the PCI bus.
pub struct Pci {
    keeper: Option<Keeper>,
    /// Where there are some, and whether they come. What tells them stays open: the kernel stops the device when it is
    /// closed.
    interrupts: Option<Interrupts>,
    interrupted: bool,
    /// Where they come by messages.
    vfio: Option<Vfio>,
    taken: Taken,
    location: String,
    pool: Hugepages,
    config: DeviceConfig,
    control: ControlQueue,
    bell: ControlBell,
    /// Held for the device: the control queue's memory.
    _control_memory: SharedMemory,
    /// Per session queue its doorbell, and its home unless a session has it.
    queues: Vec<SessionQueue>,
}

struct SessionQueue {
    doorbell: Doorbell,
    home: Mutex<Option<SharedMemory>>,
}

impl SessionQueue {
    fn home(&self) -> MutexGuard<'_, Option<SharedMemory>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pci {
    /// Opens the device at `address` ("0000:00:03.0"), or the first that is found; `None` when
    /// there is none. `sysfs` is where sysfs is mounted. The calling process must have one thread.
    pub fn open(sysfs: &Path, address: Option<&str>) -> Result<Option<Self>, TransportError> {
        let functions = Function::find_all(sysfs).map_err(TransportError::set_up("cannot list PCI devices"))?;
        let mut wanted = functions.into_iter().filter(|function| address.is_none_or(|a| a == function.address()));
        let Some(function) = wanted.next() else { return Ok(None) };
        let taken = function.take()?;
        let vfio = find_driver(&function)?;
        match Self::start(&function, Hugepages::new(sysfs), vfio.is_some()) {
            Ok(started) => {
                let keeper = Keeper::start(&function);
                let keeper =
                    keeper.inspect_err(|error| log::warn!("nothing stops the device if vgpud is killed: {error}"));
                let mut device = started.with(taken, vfio, function.address(), keeper.ok());
                device.interrupts = device.find_interrupts(&function, Path::new("/dev"));
                device.interrupted = device.await_interrupt(&function);
                Ok(Some(device))
            }
            Err(error) => {
                drop(vfio);
                taken.restore();
                Err(error)
            }
        }
    }

    /// Starts the device, which interrupts through its first MSI-X vector if that is enabled.
    fn start(function: &Function, pool: Hugepages, has_msix: bool) -> Result<Started, TransportError> {
        function.enable()?;
        let sizes = function.bar_sizes();
        let structures = capability::parse(&function.config()?, &sizes)?;
        let mut registers = Registers::new(&structures, |bar| {
            function.map_bar(bar, sizes.get(usize::from(bar)).copied().unwrap_or(0))
        })?;
        if has_msix {
            registers.use_msix();
        }
        registers.negotiate()?;
        let config = registers.device_config()?;
        check_config(&config)?;
        let sessions = config.sessions.min(MAX_SESSIONS).min(u32::from(registers.queues()).saturating_sub(1));
        let homes = affordable_homes(&pool, sessions)?;
        // A device that fails half-way must not go on with memory that is freed then.
        let set_up = Started::set_up(registers.clone(), pool, config, homes);
        let started = set_up.and_then(|started| registers.start().map(|()| started));
        started.inspect_err(|_| drop(registers.reset()))
    }
}

/// Gives the function to a driver that tells of its interrupts: `vfio-pci` where there is an IOMMU, else
/// `uio_pci_generic`, if it is loaded.
fn find_driver(function: &Function) -> Result<Option<Vfio>, TransportError> {
    if function.driver().as_deref() == Some(sysfs::VFIO) {
        // By another vgpud, which was killed, or by somebody who uses it.
        let vfio = Vfio::open(function);
        return vfio.map(Some).map_err(TransportError::set_up(format_args!(
            "{0} is bound to the driver vfio-pci and cannot be had; release it with: echo {0} > \
             /sys/bus/pci/drivers/vfio-pci/unbind",
            function.address()
        )));
    }
    if function.has_iommu() && function.bind(sysfs::VFIO) {
        match Vfio::open(function) {
            Ok(vfio) => return Ok(Some(vfio)),
            Err(error) => log::warn!("{} does not give the device's interrupts: {error}", sysfs::VFIO),
        }
        function.unbind();
    }
    if !function.bind(sysfs::UIO) {
        log::info!("without the kernel's module {}, completions are found by looking", sysfs::UIO);
    }
    Ok(None)
}

fn check_config(config: &DeviceConfig) -> Result<(), TransportError> {
    if config.magic != MAGIC {
        return Err(TransportError::SetUp("the PCI device is of another kind: its config space is not ours".into()));
    }
    if config.version != PROTOCOL_VERSION {
        return Err(TransportError::SetUp(format!(
            "the backend speaks protocol version {}, vgpud version {PROTOCOL_VERSION}: install the same release in guest and host",
            config.version
        )));
    }
    Ok(())
}

/// How many session queues get a home: all, unless hugepages are short. Half of what there is stays
/// for chunks.
fn affordable_homes(pool: &Hugepages, sessions: u32) -> Result<u32, TransportError> {
    pool.reserve(1 + u64::from(sessions) + CHUNK_PAGES);
    let available = pool.available();
    let homes = u32::try_from((available / 2).min(u64::from(sessions))).unwrap_or(sessions);
    if homes == 0 {
        return Err(TransportError::NoMemory(format!(
            "{available} hugepages of 2 MiB are free: reserve more with: sysctl vm.nr_hugepages=64"
        )));
    }
    if homes < sessions {
        log::warn!(
            "{available} hugepages of 2 MiB are free, enough for {homes} of {sessions} sessions; \
             reserve more (sysctl vm.nr_hugepages=64) and restart vgpud"
        );
    }
    Ok(homes)
}

/// A device that runs, before it is known whom it was taken from.
struct Started {
    pool: Hugepages,
    config: DeviceConfig,
    control: ControlQueue,
    control_memory: SharedMemory,
    bell: ControlBell,
    queues: Vec<SessionQueue>,
}

impl Started {
    /// Sets up the control queue and `homes` session queues.
    fn set_up(registers: Registers, pool: Hugepages, config: DeviceConfig, homes: u32) -> Result<Self, TransportError> {
        let control_memory = pool.allocate(HUGEPAGE as u64)?;
        let base = control_memory.address();
        let mapping = Mapping::new(control_memory.fd(), 0, HUGEPAGE)
            .map_err(TransportError::set_up("cannot map the control queue's memory"))?;
        let at = |desc: usize, avail: usize, used: usize, base: u64| QueueAddresses {
            desc: base + desc as u64,
            avail: base + avail as u64,
            used: base + used as u64,
        };
        let rings = at(ring::DESC_OFFSET, ring::AVAIL_OFFSET, ring::USED_OFFSET, base);
        let doorbell = registers.enable_queue(0, CONTROL_QUEUE_SIZE, rings)?;
        let mut queues = Vec::new();
        for queue in 1..=homes as u16 {
            let home = pool.allocate(HUGEPAGE as u64)?;
            let rings = at(session::DESC_OFFSET, session::AVAIL_OFFSET, session::USED_OFFSET, home.address());
            let doorbell = registers.enable_queue(queue, session::QUEUE_SIZE, rings)?;
            queues.push(SessionQueue { doorbell, home: Mutex::new(Some(home)) });
        }
        Ok(Self {
            pool,
            config,
            control: ControlQueue::new(mapping, base),
            control_memory,
            bell: ControlBell { registers, doorbell },
            queues,
        })
    }

    fn with(self, taken: Taken, vfio: Option<Vfio>, location: &str, keeper: Option<Keeper>) -> Pci {
        Pci {
            keeper,
            interrupts: None,
            interrupted: false,
            vfio,
            taken,
            location: location.to_string(),
            pool: self.pool,
            config: self.config,
            control: self.control,
            bell: self.bell,
            _control_memory: self.control_memory,
            queues: self.queues,
        }
    }
}

impl Pci {
    /// What tells of interrupts, if there is something.
    fn find_interrupts(&self, function: &Function, dev: &Path) -> Option<Interrupts> {
        let started = match &self.vfio {
            Some(vfio) => vfio.vector().and_then(Interrupts::start_on),
            None => Interrupts::start(function, dev, self.bell.registers.isr()?),
        };
        match started {
            Ok(interrupts) => Some(interrupts),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("completions are found by looking: the device's interrupts cannot be had: {error}");
                None
            }
        }
    }

    /// Whether interrupts come: a request is made for which there must be one.
    fn await_interrupt(&self, function: &Function) -> bool {
        let Some(interrupts) = &self.interrupts else { return false };
        let status = ControlHeader { op: ControlOp::Status as u32, queue: 0 };
        let answered = self.control(status.as_bytes(), &mut [0; MAX_REPLY], FIRST_ANSWER_LIMIT);
        if answered.is_ok() && interrupts.wait_for_first(INTERRUPT_LIMIT) {
            let driver = function.driver().unwrap_or_default();
            log::info!("completions are told by interrupts, through {driver}");
            return true;
        }
        log::warn!("completions are found by looking: the device's interrupts do not come");
        false
    }

    fn queue(&self, queue: u32) -> Result<&SessionQueue, TransportError> {
        let slot = (queue as usize).checked_sub(1).and_then(|index| self.queues.get(index));
        slot.ok_or_else(|| TransportError::NoMemory(format!("there is no session queue {queue}")))
    }
}

impl Transport for Pci {
    fn config(&self) -> &DeviceConfig {
        &self.config
    }

    fn location(&self) -> &str {
        &self.location
    }

    fn sessions(&self) -> u32 {
        self.queues.len() as u32
    }

    fn control(&self, request: &[u8], reply: &mut [u8], limit: Duration) -> Result<usize, TransportError> {
        self.control.exchange(request, reply, limit, &self.bell)
    }

    fn open_queue(&self, queue: u32) -> Result<QueueAccess, TransportError> {
        let doorbell = eventfd()?;
        let completion = match &self.interrupts {
            Some(interrupts) if self.interrupted => interrupts
                .add(queue)
                .map_err(|error| TransportError::NoMemory(format!("a socket for completions: {error}")))?,
            _ => eventfd()?,
        };
        let home = self.queue(queue)?.home().take();
        let home = home.ok_or_else(|| TransportError::NoMemory(format!("session queue {queue} has lost its home")))?;
        Ok(QueueAccess { home, doorbell, completion, interrupts: self.interrupted, relay: true })
    }

    fn close_queue(&self, queue: u32, home: SharedMemory) -> Result<(), TransportError> {
        if let Some(interrupts) = &self.interrupts {
            interrupts.remove(queue);
        }
        // The device knows the home by its address: the next session gets the same page.
        let home = self.pool.renew(home)?;
        *self.queue(queue)?.home() = Some(home);
        Ok(())
    }

    fn bell(&self) -> Option<crate::Bell> {
        let doorbells: Vec<Doorbell> = self.queues.iter().map(|queue| queue.doorbell.clone()).collect();
        Some(Box::new(move |queue| {
            if let Some(doorbell) = (queue as usize).checked_sub(1).and_then(|index| doorbells.get(index)) {
                doorbell.ring();
            }
        }))
    }

    fn allocate(&self, length: u64) -> Result<SharedMemory, TransportError> {
        self.pool.allocate(length)
    }

    fn release(&self, memory: SharedMemory) -> Result<(), TransportError> {
        self.pool.retract(memory).map_err(|error| TransportError::NoMemory(format!("hugepages stay in use: {error}")))
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn check(&self) -> Result<(), TransportError> {
        self.bell.check()
    }

    fn shut_down(&mut self) {
        self.interrupts = None;
        match self.bell.registers.reset() {
            Ok(()) => {
                if let Some(keeper) = self.keeper.take() {
                    keeper.dismiss();
                }
                // As long as it is open, the function cannot be taken from its driver.
                self.vfio = None;
                self.taken.restore();
            }
            Err(error) => log::warn!("{error}"),
        }
    }
}

/// The control queue's doorbell, and the registers that tell when the device goes.
struct ControlBell {
    registers: Registers,
    doorbell: Doorbell,
}

impl Bell for ControlBell {
    fn ring(&self) {
        self.doorbell.ring();
    }

    fn wait(&self, limit: Duration) {
        std::thread::sleep(LOOK_INTERVAL.min(limit));
    }

    fn check(&self) -> Result<(), TransportError> {
        self.registers.check()
    }
}

fn eventfd() -> Result<OwnedFd, TransportError> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| TransportError::NoMemory(format!("eventfd: {error}")))
}
