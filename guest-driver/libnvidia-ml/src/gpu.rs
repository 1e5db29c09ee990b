//! The virtual GPU as NVML describes it, from what the broker says.

use std::sync::atomic::{AtomicU32, Ordering};

use vgpu_client::{location, Broker, OpenError};
use vgpu_protocol::broker::{BrokerError, BrokerStatus, SessionStatus};

use crate::error::Error;
use crate::types::{Memory, MemoryV2, PciInfoV2, PciInfoV3, ProcessV1, ProcessV2, Utilization};

/// Version of NVML that belongs to [`vgpu_protocol::DRIVER_RELEASE`].
pub const NVML_VERSION: &str = "13.580.65.06";
/// PCI device and vendor, as NVML packs them.
const PCI_DEVICE_ID: u32 = 0x1067_1af4;
const PCI_SUBSYSTEM_ID: u32 = 0x1100_1af4;
/// "Not available", for a number of bytes and for an instance.
const NO_BYTES: u64 = u64::MAX;
const NO_INSTANCE: u32 = u32::MAX;

static INITIALISED: AtomicU32 = AtomicU32::new(0);

/// What is known about the GPU at this moment.
pub struct Gpu {
    status: BrokerStatus,
    sessions: Vec<SessionStatus>,
}

/// CUDA version of the guest's libcuda; needs no `nvmlInit`.
pub fn cuda_version() -> i32 {
    let told = ask().ok().and_then(|gpu| i32::try_from(gpu.status.backend.driver_version).ok());
    vgpu_protocol::reported_cuda_version(told.unwrap_or(0))
}

/// `nvmlInit`: the broker must answer.
pub fn initialise() -> Result<(), Error> {
    ask().map_err(|error| match error {
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

fn ask() -> Result<Gpu, OpenError> {
    let (status, sessions) = Broker::connect()?.status()?;
    Ok(Gpu { status, sessions })
}

/// Asks the broker about the GPU.
pub fn query() -> Result<Gpu, Error> {
    initialised()?;
    ask().map_err(|_| Error::GpuIsLost)
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
    pub fn utilization(&self) -> Utilization {
        Utilization { gpu: self.status.backend.utilization.min(100), memory: 0 }
    }

    /// Compute capability.
    pub fn capability(&self) -> (i32, i32) {
        let capability = self.status.backend.capability as i32;
        (capability / 10, capability % 10)
    }

    /// PCI address; `None` without a VM.
    pub fn location(&self) -> Option<[u32; 3]> {
        location::parse(&self.status.location)
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

    /// Processes with a session. How much GPU memory each has is not known here.
    pub fn processes(&self) -> Vec<ProcessV2> {
        let process = |session: &SessionStatus| ProcessV2 {
            pid: session.pid,
            used_memory: NO_BYTES,
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
    use vgpu_protocol::control::BackendStatus;

    fn gpu(location: &[u8]) -> Gpu {
        let mut status = BrokerStatus {
            backend: BackendStatus {
                gpu_name: [0; 64],
                memory_total: 1000,
                memory_used: 2000,
                sessions: 1,
                utilization: 250,
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
        Gpu { status, sessions: Vec::new() }
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
        assert_eq!((free, used, gpu.utilization().gpu, gpu.location()), (0, 1000, 100, None));
    }

    #[test]
    fn test_structures_have_the_sizes_of_the_header() {
        assert_eq!((MemoryV2::VERSION, size_of::<PciInfoV2>(), size_of::<PciInfoV3>()), (0x0200_0028, 52, 68));
        assert_eq!((size_of::<ProcessV1>(), size_of::<ProcessV2>()), (16, 24));
    }
}
