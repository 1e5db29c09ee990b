//! The virtio structures of a PCI function, from its capability list (virtio 1.3, 4.1.4).

use vgpu_protocol::control::DeviceConfig;

use crate::TransportError;

/// Where a structure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Base address register, 0 to 5.
    pub bar: u8,
    /// Offset in it, bytes.
    pub offset: usize,
    /// Size, bytes.
    pub length: usize,
}

/// The structures that a driver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structures {
    /// Common configuration (4.1.4.3).
    pub common: Structure,
    /// Notification addresses (4.1.4.4).
    pub notify: Structure,
    /// Bytes between the notification addresses of two `queue_notify_off`.
    pub notify_multiplier: usize,
    /// Device configuration (4.1.4.6).
    pub device: Structure,
    /// Interrupt status (4.1.4.5); interrupts without MSI-X need it.
    pub isr: Option<Structure>,
}

/// Offsets in the configuration header (PCI 3.0, 6.1 and 6.7).
const STATUS: usize = 0x06;
const STATUS_CAPABILITY_LIST: u8 = 0x10;
const CAPABILITY_POINTER: usize = 0x34;
/// First offset at which a capability can lie.
const HEADER_END: usize = 0x40;
/// Capabilities that fit into the 192 bytes behind the header.
const MAX_CAPABILITIES: usize = 48;

const VENDOR_SPECIFIC: u8 = 0x09;
/// `cfg_type` of the structures (4.1.4).
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;
/// Size of `struct virtio_pci_cap`, and with the notify multiplier behind it.
const CAPABILITY_SIZE: usize = 16;
const NOTIFY_CAPABILITY_SIZE: usize = 20;
/// Least size of the common configuration: up to and with `queue_device`.
const COMMON_SIZE: usize = 56;

/// Finds the structures in configuration space. `bar_sizes` says how large each base address
/// register's memory is, 0 for none.
///
/// # Errors
/// `SetUp` when one is missing, does not fit its register or is too small.
pub fn parse(config: &[u8], bar_sizes: &[usize; 6]) -> Result<Structures, TransportError> {
    let mut found: [Option<(Structure, usize)>; 5] = [None; 5];
    for capability in Capabilities::new(config) {
        let Some([VENDOR_SPECIFIC, _, _, kind @ (COMMON | NOTIFY | ISR | DEVICE)]) = capability.first_chunk() else {
            continue;
        };
        let Some(slot) = found.get_mut(usize::from(*kind)) else { continue };
        // A driver takes the first of each kind that it can use (4.1.4).
        if let (None, Some(structure)) = (&slot, structure(capability, bar_sizes)) {
            *slot = Some((structure, notify_multiplier(capability)));
        }
    }
    let take = |kind: u8, name: &str, least: usize| {
        let found = found.get(usize::from(kind)).copied().flatten();
        found
            .filter(|(structure, _)| structure.length >= least)
            .ok_or_else(|| TransportError::SetUp(format!("the device has no usable virtio {name} structure")))
    };
    let (notify, notify_multiplier) = take(NOTIFY, "notification", 2)?;
    Ok(Structures {
        common: take(COMMON, "common configuration", COMMON_SIZE)?.0,
        notify,
        notify_multiplier,
        device: take(DEVICE, "device configuration", size_of::<DeviceConfig>())?.0,
        isr: take(ISR, "interrupt status", 1).ok().map(|(structure, _)| structure),
    })
}

/// The location in a capability, if it lies inside its register and is aligned.
fn structure(capability: &[u8], bar_sizes: &[usize; 6]) -> Option<Structure> {
    let bar = *capability.get(4)?;
    let offset = usize::try_from(read_u32(capability, 8)?).ok()?;
    let length = usize::try_from(read_u32(capability, 12)?).ok()?;
    let size = *bar_sizes.get(usize::from(bar))?;
    let fits = offset.checked_add(length)? <= size && offset % 4 == 0;
    fits.then_some(Structure { bar, offset, length })
}

fn notify_multiplier(capability: &[u8]) -> usize {
    let long = capability.get(2).is_some_and(|size| usize::from(*size) >= NOTIFY_CAPABILITY_SIZE);
    read_u32(capability, CAPABILITY_SIZE).filter(|_| long).map_or(0, |multiplier| multiplier as usize)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The capability list: each item starts at its capability and goes to the end of the space.
struct Capabilities<'a> {
    config: &'a [u8],
    next: usize,
    left: usize,
}

impl<'a> Capabilities<'a> {
    fn new(config: &'a [u8]) -> Self {
        let listed = config.get(STATUS).is_some_and(|status| status & STATUS_CAPABILITY_LIST != 0);
        let next = config.get(CAPABILITY_POINTER).filter(|_| listed).map_or(0, |pointer| usize::from(*pointer));
        Self { config, next, left: MAX_CAPABILITIES }
    }
}

impl<'a> Iterator for Capabilities<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let offset = self.next & !3;
        if offset < HEADER_END || self.left == 0 {
            return None;
        }
        // A list that loops ends after as many items as there is room for.
        self.left -= 1;
        let capability = self.config.get(offset..)?;
        self.next = usize::from(*capability.get(1)?);
        Some(capability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARS: [usize; 6] = [0, 4096, 16384, 0, 0, 0];

    fn config() -> Vec<u8> {
        let mut config = vec![0; 256];
        config[STATUS] = STATUS_CAPABILITY_LIST;
        config[CAPABILITY_POINTER] = 0x40;
        config
    }

    fn put(config: &mut [u8], at: usize, next: u8, kind: u8, bar: u8, offset: u32, length: u32) {
        config[at..at + 5].copy_from_slice(&[VENDOR_SPECIFIC, next, 20, kind, bar]);
        config[at + 8..at + 12].copy_from_slice(&offset.to_le_bytes());
        config[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
        config[at + 16..at + 20].copy_from_slice(&4u32.to_le_bytes());
    }

    /// As QEMU lays it out.
    fn good() -> Vec<u8> {
        let mut config = config();
        put(&mut config, 0x40, 0x58, COMMON, 2, 0, 0x1000);
        put(&mut config, 0x58, 0x70, DEVICE, 2, 0x2000, 0x1000);
        put(&mut config, 0x70, 0, NOTIFY, 2, 0x3000, 0x1000);
        config
    }

    #[test]
    fn finds_the_structures() {
        let structures = parse(&good(), &BARS).unwrap();
        assert_eq!(structures.common, Structure { bar: 2, offset: 0, length: 0x1000 });
        assert_eq!(structures.device, Structure { bar: 2, offset: 0x2000, length: 0x1000 });
        assert_eq!(structures.notify, Structure { bar: 2, offset: 0x3000, length: 0x1000 });
        assert_eq!(structures.notify_multiplier, 4);
    }

    #[test]
    fn skips_other_capabilities_and_structures() {
        let mut config = good();
        config[CAPABILITY_POINTER] = 0x90;
        config[0x90..0x92].copy_from_slice(&[0x11, 0xa0]);
        put(&mut config, 0xa0, 0x40, 5, 0, 0, 0);
        assert!(parse(&config, &BARS).is_ok());
    }

    #[test]
    fn takes_the_first_usable_structure_of_a_kind() {
        let mut config = good();
        config[CAPABILITY_POINTER] = 0x90;
        put(&mut config, 0x90, 0xb0, COMMON, 9, 0, 0x1000);
        put(&mut config, 0xb0, 0x40, COMMON, 2, 0x100, 0x1000);
        assert_eq!(parse(&config, &BARS).unwrap().common.offset, 0x100);
    }

    #[track_caller]
    fn assert_refused(config: &[u8]) {
        assert!(matches!(parse(config, &BARS), Err(TransportError::SetUp(_))));
    }

    #[test]
    fn refuses_a_list_that_loops() {
        let mut config = config();
        put(&mut config, 0x40, 0x58, COMMON, 2, 0, 0x1000);
        put(&mut config, 0x58, 0x40, 5, 2, 0, 0x1000);
        assert_refused(&config);
    }

    #[test]
    fn refuses_structures_outside_their_register() {
        for (offset, length) in [(0x4000, 0x1000), (0x3004, 0x1000), (u32::MAX, 1), (u32::MAX - 3, u32::MAX), (2, 64)] {
            let mut config = good();
            put(&mut config, 0x40, 0x58, COMMON, 2, offset, length);
            assert_refused(&config);
        }
        let mut config = good();
        put(&mut config, 0x40, 0x58, COMMON, 3, 0, 0x1000);
        assert_refused(&config);
    }

    #[test]
    fn refuses_structures_that_are_too_small() {
        let mut config = good();
        put(&mut config, 0x40, 0x58, COMMON, 2, 0, COMMON_SIZE as u32 - 1);
        assert_refused(&config);
        let mut config = good();
        put(&mut config, 0x58, 0x70, DEVICE, 2, 0, 8);
        assert_refused(&config);
    }

    #[test]
    fn no_list_and_no_bytes_are_refused() {
        let mut config = good();
        config[STATUS] = 0;
        assert_refused(&config);
        assert_refused(&[]);
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_answered() {
        let config = good();
        for length in 0..config.len() {
            let _ = parse(&config[..length], &BARS);
        }
        for at in 0..config.len() {
            for value in [0, 1, 0x40, 0x7f, 0xf0, 0xfc, 0xff] {
                let mut config = good();
                config[at] = value;
                let _ = parse(&config, &BARS);
            }
        }
    }
}
