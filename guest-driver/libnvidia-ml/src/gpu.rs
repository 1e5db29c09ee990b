//! A virtual GPU as NVML describes it, from what the broker says.

use std::sync::atomic::{AtomicU32, Ordering};

use vgpu_client::{location, Broker, OpenError};
use vgpu_protocol::broker::{BrokerError, BrokerStatus, SessionStatus};
use vgpu_protocol::control::UNKNOWN;

use crate::error::Error;
use crate::types::{Memory, MemoryV2, PciInfoV2, PciInfoV3, ProcessV1, ProcessV2, Utilization};

/// Version of NVML's interface that this library follows; NVML's own version has the driver's release behind it.
const NVML_MAJOR: u32 = 13;
/// PCI device and vendor, as NVML packs them.
const PCI_DEVICE_ID: u32 = 0x1067_1af4;
const PCI_SUBSYSTEM_ID: u32 = 0x1100_1af4;
/// "Not available", for a number of bytes and for an instance.
const NO_BYTES: u64 = u64::MAX;
const NO_INSTANCE: u32 = u32::MAX;
/// More GPUs than a machine has.
const MOST: u32 = 64;

static INITIALISED: AtomicU32 = AtomicU32::new(0);

/// What is known about a GPU at this moment.
pub struct Gpu {
    number: u32,
    status: BrokerStatus,
    sessions: Vec<SessionStatus>,
}

/// CUDA version of the guest's libcuda; needs no `nvmlInit`.
pub fn cuda_version() -> i32 {
    let told = ask(0).ok().and_then(|gpu| i32::try_from(gpu.status.backend.driver_version).ok());
    vgpu_protocol::reported_cuda_version(told.unwrap_or(0))
}

/// `nvmlInit`: the broker must answer.
pub fn initialise() -> Result<(), Error> {
    ask(0).map_err(|error| match error {
        OpenError::Refused(BrokerError::Version) => Error::LibRmVersionMismatch,
        OpenError::Refused(BrokerError::Device) => Error::GpuIsLost,
        _ => Error::DriverNotLoaded,
    })?;
    INITIALISED.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

/// `nvmlShutdown`: ends one initialisation.
pub fn shut_down() -> Result<(), Error> {
    let down = INITIALISED.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
    down.map(drop).map_err(|_| Error::Uninitialized)
}

/// An error unless `nvmlInit` has succeeded.
pub fn initialised() -> Result<(), Error> {
    if INITIALISED.load(Ordering::Acquire) > 0 {
        Ok(())
    } else {
        Err(Error::Uninitialized)
    }
}

fn ask(number: u32) -> Result<Gpu, OpenError> {
    let (status, sessions) = Broker::connect()?.status_of(number)?;
    Ok(Gpu { number, status, sessions })
}

/// Asks the broker about the GPU of that number.
pub fn query(number: u32) -> Result<Gpu, Error> {
    initialised()?;
    ask(number).map_err(|error| match error {
        OpenError::Refused(BrokerError::Malformed) => Error::InvalidArgument,
        _ => Error::GpuIsLost,
    })
}

/// The first GPU that `wanted` holds for.
pub fn search(wanted: impl Fn(&Gpu) -> bool) -> Result<Gpu, Error> {
    let first = query(0)?;
    let count = first.count();
    let mut all = std::iter::once(Ok(first)).chain((1..count).map(query));
    all.find(|gpu| gpu.as_ref().map_or(true, &wanted)).unwrap_or(Err(Error::NotFound))
}

/// Release of the driver.
pub fn release() -> Result<Vec<u8>, Error> {
    let gpu = query(0)?;
    let told = text(&gpu.status.backend.driver_release);
    Ok(if told.is_empty() { vgpu_protocol::DRIVER_RELEASE.as_bytes() } else { told }.to_vec())
}

/// NVML's own version; needs no `nvmlInit`.
pub fn version() -> Vec<u8> {
    let told = ask(0).map(|gpu| text(&gpu.status.backend.driver_release).to_vec()).unwrap_or_default();
    let release = if told.is_empty() { vgpu_protocol::DRIVER_RELEASE.as_bytes().to_vec() } else { told };
    [format!("{NVML_MAJOR}.").into_bytes(), release].concat()
}

/// A figure, if the host knows it.
fn known(figure: u32) -> Result<u32, Error> {
    if figure == UNKNOWN {
        Err(Error::NotSupported)
    } else {
        Ok(figure)
    }
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn fixed<const N: usize>(text: &str) -> [i8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().take(N - 1).zip(text.bytes()) {
        *to = from as i8;
    }
    out
}

impl Gpu {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many GPUs there are.
    pub fn count(&self) -> u32 {
        self.status.backend.device_count.clamp(1, MOST)
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        text(&self.status.backend.gpu_name)
    }

    /// `GPU-` and the UUID.
    pub fn uuid(&self) -> String {
        let hex: Vec<String> = self.status.backend.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().concat();
        format!("GPU-{}-{}-{}-{}-{}", part(0..4), part(4..6), part(6..8), part(8..10), part(10..16))
    }

    /// Memory use.
    pub fn memory(&self) -> Memory {
        let total = self.status.backend.memory_total;
        let used = self.status.backend.memory_used.min(total);
        Memory { total, free: total - used, used }
    }

    /// Memory use in the newer structure.
    pub fn memory_v2(&self) -> MemoryV2 {
        let Memory { total, free, used } = self.memory();
        MemoryV2 { version: MemoryV2::VERSION, total, reserved: 0, free, used }
    }

    /// How busy the GPU is, percent.
    pub fn utilization(&self) -> Result<Utilization, Error> {
        let sensors = &self.status.backend.sensors;
        let memory = known(sensors.memory_utilization).unwrap_or(0);
        Ok(Utilization { gpu: known(sensors.utilization)?.min(100), memory: memory.min(100) })
    }

    /// Degrees Celsius.
    pub fn temperature(&self) -> Result<u32, Error> {
        known(self.status.backend.sensors.temperature)
    }

    /// Milliwatts.
    pub fn power(&self) -> Result<u32, Error> {
        known(self.status.backend.sensors.power)
    }

    /// What the power is kept to, milliwatts.
    pub fn power_limit(&self) -> Result<u32, Error> {
        known(self.status.backend.sensors.power_limit)
    }

    /// 0 is the fastest.
    pub fn performance_state(&self) -> Result<u32, Error> {
        known(self.status.backend.sensors.performance_state)
    }

    /// Speed of a part (`nvmlClockType_t`), MHz.
    pub fn clock(&self, part: u32) -> Result<u32, Error> {
        Self::of_part(&self.status.backend.sensors.clocks, part)
    }

    /// The most that the speed of a part can be, MHz.
    pub fn max_clock(&self, part: u32) -> Result<u32, Error> {
        Self::of_part(&self.status.backend.sensors.max_clocks, part)
    }

    fn of_part(clocks: &[u32; 4], part: u32) -> Result<u32, Error> {
        known(*clocks.get(part as usize).ok_or(Error::InvalidArgument)?)
    }

    /// Compute capability.
    pub fn capability(&self) -> (i32, i32) {
        let capability = self.status.backend.capability as i32;
        (capability / 10, capability % 10)
    }

    /// PCI address; `None` without a VM.
    pub fn location(&self) -> Option<[u32; 3]> {
        location::parse(&self.status.location).map(|place| location::of_gpu(place, self.number))
    }

    /// PCI information.
    pub fn pci(&self) -> PciInfoV3 {
        let [domain, bus, device] = self.location().unwrap_or_default();
        PciInfoV3 {
            bus_id_legacy: fixed(&format!("{domain:04X}:{bus:02X}:{device:02X}.0")),
            domain,
            bus,
            device,
            device_id: PCI_DEVICE_ID,
            subsystem_id: PCI_SUBSYSTEM_ID,
            bus_id: fixed(&format!("{domain:08X}:{bus:02X}:{device:02X}.0")),
        }
    }

    /// PCI information in the older structure.
    pub fn pci_v2(&self) -> PciInfoV2 {
        let PciInfoV3 { bus_id_legacy, domain, bus, device, device_id, subsystem_id, .. } = self.pci();
        PciInfoV2 { bus_id: bus_id_legacy, domain, bus, device, device_id, subsystem_id, reserved: [0; 4] }
    }

    /// Processes with a session, and their memory as far as it is known.
    pub fn processes(&self) -> Vec<ProcessV2> {
        let memory = &self.status.backend.session_memory;
        let process = |session: &SessionStatus| ProcessV2 {
            pid: session.pid,
            used_memory: memory.get(session.queue as usize).copied().unwrap_or(NO_BYTES),
            gpu_instance: NO_INSTANCE,
            compute_instance: NO_INSTANCE,
        };
        self.sessions.iter().map(process).collect()
    }

    /// The same in the older structure.
    pub fn processes_v1(&self) -> Vec<ProcessV1> {
        self.processes().iter().map(|p| ProcessV1 { pid: p.pid, used_memory: p.used_memory }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgpu_protocol::control::{BackendStatus, Sensors};

    fn gpu(location: &[u8]) -> Gpu {
        let mut status = BrokerStatus {
            backend: BackendStatus {
                gpu_name: [0; 64],
                memory_total: 1000,
                memory_used: 2000,
                session_memory: [u64::MAX; 64],
                sessions: 1,
                device_count: 1,
                sensors: Sensors { utilization: 250, temperature: 41, clocks: [7, 8, 9, UNKNOWN], ..Sensors::NONE },
                driver_release: [0; 32],
                driver_version: 13000,
                capability: 80,
                uuid: *b"0123456789abcdef",
            },
            location: [0; 32],
            queues: 15,
            sessions: 1,
            pid: 1,
            reserved: 0,
        };
        status.location[..location.len()].copy_from_slice(location);
        Gpu { number: 0, status, sessions: Vec::new() }
    }

    #[test]
    fn test_identity_has_nvmls_form() {
        let gpu = gpu(b"0000:0a:03.0");
        assert_eq!(gpu.uuid(), "GPU-30313233-3435-3637-3839-616263646566");
        assert_eq!(gpu.capability(), (8, 0));
        let pci = gpu.pci();
        assert_eq!((pci.domain, pci.bus, pci.device), (0, 10, 3));
        assert_eq!(pci.bus_id, fixed("00000000:0A:03.0"));
    }

    #[test]
    fn test_numbers_from_the_broker_are_bounded() {
        let gpu = gpu(b"loopback");
        let Memory { free, used, .. } = gpu.memory();
        assert_eq!((free, used, gpu.utilization().unwrap().gpu, gpu.location()), (0, 1000, 100, None));
    }

    #[test]
    fn test_what_the_host_does_not_know_is_not_supported() {
        let gpu = gpu(b"loopback");
        assert_eq!((gpu.temperature(), gpu.power()), (Ok(41), Err(Error::NotSupported)));
        assert_eq!((gpu.clock(1), gpu.clock(3)), (Ok(8), Err(Error::NotSupported)));
        assert_eq!(gpu.clock(4), Err(Error::InvalidArgument));
    }

    #[test]
    fn test_structures_have_the_sizes_of_the_header() {
        assert_eq!((MemoryV2::VERSION, size_of::<PciInfoV2>(), size_of::<PciInfoV3>()), (0x0200_0028, 52, 68));
        assert_eq!((size_of::<ProcessV1>(), size_of::<ProcessV2>()), (16, 24));
    }
}
