//! The driver's state in this process: absent until `cuInit`, gone when the process exits or forks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use vgpu_client::{location, Broker, OpenError, Session};
use vgpu_graphs::Graphs;
use vgpu_protocol::broker::BrokerError;
use vgpu_protocol::cmd::VgpuDeviceInfo;
use vgpu_protocol::cuda::{attribute as attr, CUresult};
use vgpu_protocol::{reported_cuda_version, DeviceInfo, ATTRIBUTE_UNKNOWN, DEFAULT_CUDA_VERSION, DEVICES_MAX};

use crate::arrays::Arrays;
use crate::context::Contexts;
use crate::function::Functions;
use crate::graph::{Guest, RecordedEvents};
use crate::hostfunc::HostFunctions;
use crate::ipc::Few;
use crate::library::Libraries;
use crate::link::Links;
use crate::memory::Memory;
use crate::pool::Pools;
use crate::stream::Streams;
use crate::vmm::Vmm;
use crate::{sys, trace};

static DRIVER: OnceLock<Driver> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());
static EXITING: AtomicBool = AtomicBool::new(false);

/// Everything that `cuInit` set up.
pub struct Driver {
    /// The connection to the worker.
    pub session: &'static Session,
    /// The session's devices.
    devices: Vec<DeviceInfo>,
    /// Contexts.
    pub contexts: Contexts,
    /// Kernels.
    pub functions: Functions,
    /// Libraries that are not loaded yet.
    pub libraries: Libraries,
    /// Links in progress.
    pub links: Links,
    /// Memory that the application allocated.
    pub memory: Memory,
    /// What other processes have been given: the backend is told when it ends.
    pub exported: Few,
    /// Events of several processes.
    pub shared_events: Few,
    /// Mapped physical memory.
    pub vmm: Vmm,
    /// Memory pools.
    pub pools: Pools,
    /// Streams.
    pub streams: Streams,
    /// Arrays.
    pub arrays: Arrays,
    /// Callbacks.
    pub host_functions: HostFunctions,
    /// Graphs and captures.
    pub graphs: Graphs<Guest>,
    /// Events that stand for work.
    pub recorded_events: RecordedEvents,
}

/// The driver of this process.
pub fn driver() -> Result<&'static Driver, CUresult> {
    let driver = DRIVER.get().ok_or(CUresult::NOT_INITIALIZED)?;
    if EXITING.load(Ordering::Relaxed) {
        return Err(CUresult::DEINITIALIZED);
    }
    if !driver.session.is_ours() {
        return Err(CUresult::NOT_INITIALIZED);
    }
    Ok(driver)
}

/// The CUDA version that the device's driver offers, as 1000 * major + 10 * minor. Programs ask before
/// `cuInit`; then the broker knows.
pub fn version() -> i32 {
    static ASKED: OnceLock<i32> = OnceLock::new();
    let asked = || Broker::connect().ok()?.status().ok()?.0.backend.driver_version.try_into().ok();
    let told = match DRIVER.get().and_then(|driver| driver.devices.first()) {
        Some(device) => device.driver_version,
        None => *ASKED.get_or_init(|| asked().unwrap_or(DEFAULT_CUDA_VERSION)),
    };
    reported_cuda_version(told)
}

/// `cuInit`: opens the session. May be tried again after a failure.
pub fn initialise() -> Result<(), CUresult> {
    if DRIVER.get().is_some() {
        return driver().map(drop);
    }
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if DRIVER.get().is_some() {
        return Ok(());
    }
    let session = Session::open(sys::print).map_err(|error| explain(&error))?;
    let devices = fetch_devices(session)?;
    trace::start();
    let _ = DRIVER.set(Driver {
        session,
        contexts: Contexts::new(devices.len()),
        exported: Few::default(),
        shared_events: Few::default(),
        vmm: Vmm::default(),
        pools: Pools::new(devices.len()),
        devices,
        functions: Functions::default(),
        libraries: Libraries::default(),
        links: Links::default(),
        memory: Memory::default(),
        streams: Streams::default(),
        arrays: Arrays::default(),
        host_functions: HostFunctions::default(),
        graphs: Graphs::new(Guest),
        recorded_events: RecordedEvents::default(),
    });
    sys::at_exit(on_exit);
    Ok(())
}

extern "C" fn on_exit() {
    if let Ok(driver) = driver() {
        trace::summarise(driver.session.round_trips());
    }
    EXITING.store(true, Ordering::Relaxed);
}

/// What the application is told, and, if asked for, why.
fn explain(error: &OpenError) -> CUresult {
    match error {
        OpenError::Refused(BrokerError::Version) => {
            trace::warn(&error.to_string());
            CUresult::SYSTEM_DRIVER_MISMATCH
        }
        _ => {
            trace::explain(|| format!("no device: {error}"));
            CUresult::NO_DEVICE
        }
    }
}

fn fetch_devices(session: &'static Session) -> Result<Vec<DeviceInfo>, CUresult> {
    let first = session.call(0, &VgpuDeviceInfo { dev: 0 })?.info;
    session.set_is_cpu(first.is_cpu != 0);
    let mut devices = vec![first];
    for dev in (1..first.device_count).take(DEVICES_MAX - 1) {
        devices.push(session.call(0, &VgpuDeviceInfo { dev })?.info);
    }
    if let Some(location) = session.location() {
        for (number, device) in (0..).zip(&mut devices) {
            place(device, location::of_gpu(location, number));
        }
    }
    Ok(devices)
}

/// In a VM the device is where the guest sees it, not where the host's GPU is.
fn place(device: &mut DeviceInfo, location: [u32; 3]) {
    for (attribute, number) in [attr::PCI_DOMAIN_ID, attr::PCI_BUS_ID, attr::PCI_DEVICE_ID].into_iter().zip(location) {
        if let Some(value) = device.attributes.get_mut(attribute as usize) {
            *value = number as i32;
        }
    }
}

impl Driver {
    /// Number of devices.
    pub fn device_count(&self) -> i32 {
        self.devices.len() as i32
    }

    /// A device by its number.
    pub fn device(&self, dev: i32) -> Result<&DeviceInfo, CUresult> {
        usize::try_from(dev).ok().and_then(|dev| self.devices.get(dev)).ok_or(CUresult::INVALID_DEVICE)
    }

    /// A device attribute.
    pub fn attribute(&self, dev: i32, attribute: i32) -> Result<i32, CUresult> {
        let info = self.device(dev)?;
        let value = usize::try_from(attribute).ok().and_then(|i| info.attributes.get(i)).copied();
        value.filter(|value| *value != ATTRIBUTE_UNKNOWN).ok_or(CUresult::INVALID_VALUE)
    }
}
