//! Which device may do what where.

use super::sys::Reservation;
use super::MemoryError;

/// Most devices of a session.
pub const DEVICES_MAX: usize = 8;

/// Some of a session's devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceSet(u8);

impl DeviceSet {
    /// All that there can be.
    pub const ALL: DeviceSet = DeviceSet(u8::MAX);

    /// One device.
    pub fn of(device: usize) -> DeviceSet {
        let mut set = DeviceSet::default();
        set.set(device, true);
        set
    }

    /// Whether a device is among them.
    pub fn contains(self, device: usize) -> bool {
        device < DEVICES_MAX && self.0 & 1 << device != 0
    }

    /// Adds a device or takes it away.
    pub fn set(&mut self, device: usize, contained: bool) {
        if device < DEVICES_MAX {
            self.0 = self.0 & !(1 << device) | u8::from(contained) << device;
        }
    }
}

/// A byte for each granule of the arena says what may be done there: once for all devices together, and if there are
/// several, once for each, so that a look at one byte decides about an access.
pub(super) struct Rights {
    any: Reservation,
    each: Vec<Reservation>,
}

impl Rights {
    pub(super) fn new(granules: u64, devices: usize) -> Result<Rights, MemoryError> {
        let each = if devices > 1 { devices } else { 0 };
        let each = (0..each).map(|_| Reservation::zeroed(granules)).collect::<Result<_, _>>()?;
        Ok(Rights { any: Reservation::zeroed(granules)?, each })
    }

    /// What a device may do.
    pub(super) fn of(&self, device: usize) -> &Reservation {
        self.each.get(device).unwrap_or(&self.any)
    }

    /// What some device may do.
    pub(super) fn of_any(&self) -> &Reservation {
        &self.any
    }

    /// Sets what each device may do in granules.
    pub(super) fn set(&self, first: u64, count: u64, bits: impl Fn(usize) -> u8) {
        let devices = self.each.len().max(1);
        self.any.set_bytes(first, count, (0..devices).fold(0, |any, device| any | bits(device)));
        for (device, own) in self.each.iter().enumerate() {
            own.set_bytes(first, count, bits(device));
        }
    }
}
