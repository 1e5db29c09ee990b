//! A virtio device's registers (virtio 1.3, 4.1.4.3 to 4.1.4.6) and its start-up (3.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use vgpu_protocol::control::DeviceConfig;
use zerocopy::FromBytes;

use super::capability::{Structure, Structures};
use crate::sys::{Mapping, Register};
use crate::TransportError;

/// Offsets in the common configuration.
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0;
    pub const DEVICE_FEATURE: usize = 4;
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const CONFIG_MSIX_VECTOR: usize = 16;
    pub const NUM_QUEUES: usize = 18;
    pub const DEVICE_STATUS: usize = 20;
    pub const CONFIG_GENERATION: usize = 21;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_MSIX_VECTOR: usize = 26;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_NOTIFY_OFF: usize = 30;
    pub const QUEUE_DESC: usize = 32;
    pub const QUEUE_DRIVER: usize = 40;
    pub const QUEUE_DEVICE: usize = 48;
}

/// Device status bits (2.1).
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
/// What a read of a function that is not there any more gives.
const UNPLUGGED: u8 = 0xff;

/// Feature bits (6, 2.7): the queues are driven with event indices, by a modern driver.
const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << 29;
const ACCESS_PLATFORM: u64 = 1 << 33;
const WANTED: u64 = VERSION_1 | EVENT_IDX;

const NO_VECTOR: u16 = 0xffff;
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// A structure in the mapped memory of its base address register.
#[derive(Clone, Debug)]
struct Window {
    bar: Arc<Mapping>,
    at: Structure,
}

impl Window {
    fn read<T: Register>(&self, offset: usize) -> T {
        self.bar.read(self.at.offset + offset)
    }

    fn write<T: Register>(&self, offset: usize, value: T) {
        self.bar.write(self.at.offset + offset, value);
    }

    fn write_address(&self, offset: usize, address: u64) {
        self.write(offset, address as u32);
        self.write(offset + 4, (address >> 32) as u32);
    }
}

/// Guest-physical addresses of a queue's parts.
#[derive(Clone, Copy, Debug)]
pub struct QueueAddresses {
    /// Descriptor table.
    pub desc: u64,
    /// Avail ring.
    pub avail: u64,
    /// Used ring.
    pub used: u64,
}

/// The notification address of a queue.
#[derive(Clone, Debug)]
pub struct Doorbell {
    bar: Arc<Mapping>,
    offset: usize,
    queue: u16,
}

impl Doorbell {
    /// Tells the device that the queue has new buffers.
    pub fn ring(&self) {
        self.bar.write(self.offset, self.queue);
    }
}

/// A device's registers.
#[derive(Clone, Debug)]
pub struct Registers {
    common: Window,
    notify: Window,
    notify_multiplier: usize,
    device: Window,
    isr: Option<Isr>,
    /// The MSI-X vector of all queues.
    vector: u16,
}

/// The interrupt status register (4.1.4.5).
#[derive(Clone, Debug)]
pub struct Isr(Window);

impl Isr {
    /// Has the device take its interrupt back: reading does so.
    pub fn acknowledge(&self) {
        self.0.read::<u8>(0);
    }
}

impl Registers {
    /// The registers at `structures`; `map` maps a base address register.
    pub fn new(
        structures: &Structures,
        mut map: impl FnMut(u8) -> Result<Mapping, TransportError>,
    ) -> Result<Self, TransportError> {
        let mut mapped: Vec<(u8, Arc<Mapping>)> = Vec::new();
        let mut window = |at: Structure| -> Result<Window, TransportError> {
            let known = mapped.iter().find(|(bar, _)| *bar == at.bar).map(|(_, mapping)| mapping.clone());
            let bar = match known {
                Some(bar) => bar,
                None => {
                    let bar = Arc::new(map(at.bar)?);
                    mapped.push((at.bar, bar.clone()));
                    bar
                }
            };
            Ok(Window { bar, at })
        };
        Ok(Self {
            common: window(structures.common)?,
            notify: window(structures.notify)?,
            notify_multiplier: structures.notify_multiplier,
            device: window(structures.device)?,
            isr: structures.isr.map(&mut window).transpose()?.map(Isr),
            vector: NO_VECTOR,
        })
    }

    /// Has all queues interrupt through the first MSI-X vector, which is enabled.
    pub fn use_msix(&mut self) {
        self.vector = 0;
    }

    /// The interrupt status, if the device has it.
    pub fn isr(&self) -> Option<Isr> {
        self.isr.clone()
    }

    /// Stops the device: it touches no memory when this returns.
    pub fn reset(&self) -> Result<(), TransportError> {
        self.common.write(common::DEVICE_STATUS, 0u8);
        let start = Instant::now();
        while self.status() != 0 {
            if start.elapsed() > RESET_TIMEOUT {
                return Err(TransportError::Device("it does not finish its reset".into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Steps 1 to 6 of the start-up: up to the features.
    pub fn negotiate(&self) -> Result<(), TransportError> {
        self.reset()?;
        self.common.write(common::DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
        let offered = self.offered_features();
        if offered & WANTED != WANTED {
            return Err(TransportError::SetUp(format!(
                "the device lacks virtio features {:#x}; is its backend a vhost-user-vgpu?",
                WANTED & !offered
            )));
        }
        for word in 0..2u32 {
            self.common.write(common::DRIVER_FEATURE_SELECT, word);
            self.common.write(common::DRIVER_FEATURE, (WANTED >> (32 * word)) as u32);
        }
        self.common.write(common::DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if self.status() & FEATURES_OK == 0 {
            let hint = match offered & ACCESS_PLATFORM != 0 {
                true => "; QEMU's iommu_platform=on is not supported: leave it off",
                false => "",
            };
            return Err(TransportError::SetUp(format!("the device refuses the driver's features{hint}")));
        }
        self.common.write(common::CONFIG_MSIX_VECTOR, NO_VECTOR);
        Ok(())
    }

    fn offered_features(&self) -> u64 {
        (0..2u32).fold(0, |features, word| {
            self.common.write(common::DEVICE_FEATURE_SELECT, word);
            features | u64::from(self.common.read::<u32>(common::DEVICE_FEATURE)) << (32 * word)
        })
    }

    /// Reads the device's config space, consistently (4.1.4.3.1).
    pub fn device_config(&self) -> Result<DeviceConfig, TransportError> {
        for _ in 0..16 {
            let generation: u8 = self.common.read(common::CONFIG_GENERATION);
            let mut bytes = [0; size_of::<DeviceConfig>()];
            for (i, word) in bytes.chunks_exact_mut(4).enumerate() {
                word.copy_from_slice(&self.device.read::<u32>(4 * i).to_ne_bytes());
            }
            if generation == self.common.read::<u8>(common::CONFIG_GENERATION) {
                return DeviceConfig::read_from_bytes(&bytes)
                    .map_err(|_| TransportError::Device("its config space is too small".into()));
            }
        }
        Err(TransportError::Device("its config space does not stop changing".into()))
    }

    /// Number of queues.
    pub fn queues(&self) -> u16 {
        self.common.read(common::NUM_QUEUES)
    }

    /// Sets up a queue of `size` entries.
    pub fn enable_queue(&self, queue: u16, size: u16, addresses: QueueAddresses) -> Result<Doorbell, TransportError> {
        self.common.write(common::QUEUE_SELECT, queue);
        let largest: u16 = self.common.read(common::QUEUE_SIZE);
        if largest < size {
            return Err(TransportError::SetUp(format!(
                "queue {queue} has {largest} entries, {size} are needed: start QEMU's device with vq_size=256"
            )));
        }
        self.common.write(common::QUEUE_SIZE, size);
        self.common.write(common::QUEUE_MSIX_VECTOR, self.vector);
        self.common.write_address(common::QUEUE_DESC, addresses.desc);
        self.common.write_address(common::QUEUE_DRIVER, addresses.avail);
        self.common.write_address(common::QUEUE_DEVICE, addresses.used);
        let doorbell = self.doorbell(queue)?;
        self.common.write(common::QUEUE_ENABLE, 1u16);
        Ok(doorbell)
    }

    /// The notification address of the selected queue (4.1.4.4).
    fn doorbell(&self, queue: u16) -> Result<Doorbell, TransportError> {
        let number: u16 = self.common.read(common::QUEUE_NOTIFY_OFF);
        let offset = usize::from(number).checked_mul(self.notify_multiplier);
        offset
            .filter(|offset| offset % 2 == 0 && *offset <= self.notify.at.length.saturating_sub(2))
            .map(|offset| Doorbell { bar: self.notify.bar.clone(), offset: self.notify.at.offset + offset, queue })
            .ok_or_else(|| TransportError::SetUp(format!("queue {queue} has no notification address")))
    }

    /// The last step of the start-up: the device may use its queues.
    pub fn start(&self) -> Result<(), TransportError> {
        self.common.write(common::DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        self.check()
    }

    fn status(&self) -> u8 {
        self.common.read(common::DEVICE_STATUS)
    }

    /// Whether the device runs as it was started.
    pub fn check(&self) -> Result<(), TransportError> {
        let complaint = match self.status() {
            UNPLUGGED => "it was unplugged",
            status if status & NEEDS_RESET != 0 => "it asks for a reset",
            status if status & DRIVER_OK == 0 => "it was reset by someone else",
            _ => return Ok(()),
        };
        Err(TransportError::Device(complaint.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const SIZE: usize = 0x4000;

    /// Registers that keep what is written: enough of a device for a start-up. The feature words
    /// read the same whichever is selected: bit 0 is VERSION_1, bit 29 EVENT_IDX.
    fn registers(change: impl FnOnce(&Mapping)) -> Registers {
        let fd = rustix::fs::memfd_create("bar", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, SIZE as u64).unwrap();
        let map = || Mapping::new(fd.as_fd(), 0, SIZE).unwrap();
        let device = map();
        device.write(common::DEVICE_FEATURE, 1u32 | 1 << 29);
        device.write(common::NUM_QUEUES, 16u16);
        device.write(common::QUEUE_SIZE, 256u16);
        change(&device);
        let at = |offset| Structure { bar: 2, offset, length: 0x1000 };
        let structures =
            Structures { common: at(0), device: at(0x2000), notify: at(0x3000), notify_multiplier: 4, isr: None };
        Registers::new(&structures, |_| Ok(map())).unwrap()
    }

    const ADDRESSES: QueueAddresses = QueueAddresses { desc: 0x1_0000_1000, avail: 0x1_0000_2000, used: 0x1_0000_3000 };

    #[test]
    fn a_device_starts() {
        let registers = registers(|_| {});
        registers.negotiate().unwrap();
        registers.enable_queue(3, 128, ADDRESSES).unwrap().ring();
        registers.start().unwrap();
        assert_eq!(registers.common.read::<u16>(common::QUEUE_SIZE), 128);
        assert_eq!(registers.common.read::<u32>(common::QUEUE_DESC + 4), 1);
        assert_eq!(registers.common.read::<u16>(common::QUEUE_ENABLE), 1);
        assert_eq!(registers.notify.read::<u16>(0), 3);
    }

    #[test]
    fn a_device_without_event_indices_is_refused() {
        let registers = registers(|device| device.write(common::DEVICE_FEATURE, 1u32));
        assert!(matches!(registers.negotiate(), Err(TransportError::SetUp(_))));
    }

    #[test]
    fn a_short_queue_is_refused_with_the_qemu_option() {
        let registers = registers(|device| device.write(common::QUEUE_SIZE, 64u16));
        let error = registers.enable_queue(1, 128, ADDRESSES).unwrap_err().to_string();
        assert!(error.contains("vq_size"), "{error}");
    }

    #[test]
    fn a_notification_address_outside_its_structure_is_refused() {
        let registers = registers(|device| device.write(common::QUEUE_NOTIFY_OFF, 0x400u16));
        assert!(registers.enable_queue(1, 128, ADDRESSES).is_err());
    }

    #[test]
    fn what_happens_to_a_running_device_is_told() {
        let registers = registers(|_| {});
        registers.negotiate().unwrap();
        registers.start().unwrap();
        for status in [UNPLUGGED, 0, ACKNOWLEDGE | DRIVER | FEATURES_OK, 0x4f] {
            registers.common.write(common::DEVICE_STATUS, status);
            assert!(registers.check().is_err(), "status {status:#x}");
        }
    }

    #[test]
    fn the_config_space_is_read_whole() {
        let registers = registers(|device| device.write(0x2000 + 12, 15u32));
        assert_eq!(registers.device_config().unwrap().sessions, 15);
    }
}
