//! A device: its memory, its pools and its primary context.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_engine::memory::Memory;
use vgpu_protocol::cuda::CUresult;

use super::config::{self, Config};
use super::pool::DevicePools;
use super::state::Driver;
use super::{Context, Result};

/// One device. All of them have the same threads to run kernels on.
pub(in crate::driver) struct Device {
    /// Its number.
    pub(in crate::driver) ordinal: i32,
    /// Its UUID.
    pub(in crate::driver) uuid: [u8; 16],
    /// PCI domain, bus and device number that it claims.
    pub(in crate::driver) pci: (i32, i32, i32),
    pub(in crate::driver) memory: Arc<Memory>,
    pub(super) pools: Mutex<DevicePools>,
    primary: Mutex<Primary>,
}

/// The primary context: inactive until it is retained.
#[derive(Default)]
struct Primary {
    context: Option<Arc<Context>>,
    retained: u32,
    flags: u32,
}

impl Device {
    /// The device with this memory. The first one has what is configured, the others what follows from that.
    pub(super) fn new(memory: Arc<Memory>, name: &str, config: &Config) -> Device {
        let ordinal = i32::try_from(memory.device()).unwrap_or(i32::MAX);
        let (domain, bus, slot) = config.pci;
        let uuid = config.uuid.filter(|_| ordinal == 0);
        Device {
            ordinal,
            uuid: uuid.unwrap_or_else(|| config::derived_uuid(name, ordinal)),
            pci: (domain, bus + ordinal, slot),
            memory,
            pools: Mutex::default(),
            primary: Mutex::default(),
        }
    }

    /// Its number among the devices of its memory.
    pub(in crate::driver) fn index(&self) -> usize {
        self.memory.device()
    }

    /// The primary context, activated if it was not.
    pub(in crate::driver) fn retain_primary(&'static self, driver: &'static Driver) -> Arc<Context> {
        let mut primary = self.primary();
        primary.retained = primary.retained.saturating_add(1);
        let flags = primary.flags;
        primary.context.get_or_insert_with(|| Context::new(driver, self, flags)).clone()
    }

    /// Gives one reference back; the last one destroys the context.
    pub(in crate::driver) fn release_primary(&self) -> Result {
        let mut primary = self.primary();
        primary.retained = primary.retained.checked_sub(1).ok_or(CUresult::INVALID_CONTEXT)?;
        let last = if primary.retained == 0 { primary.context.take() } else { None };
        drop(primary);
        if let Some(context) = last {
            context.destroy();
        }
        Ok(())
    }

    /// Destroys the primary context whoever has retained it; who has still gives it back.
    pub(in crate::driver) fn reset_primary(&self) {
        let context = self.primary().context.take();
        if let Some(context) = context {
            context.destroy();
        }
    }

    /// Sets the primary context's flags, also if it is active.
    pub(in crate::driver) fn set_primary_flags(&self, flags: u32) {
        let mut primary = self.primary();
        primary.flags = flags;
        if let Some(context) = &primary.context {
            context.flags.store(flags, Ordering::Relaxed);
        }
    }

    /// The primary context's flags and whether it is active.
    pub(in crate::driver) fn primary_state(&self) -> (u32, bool) {
        let primary = self.primary();
        let active = primary.context.as_ref();
        (active.map_or(primary.flags, |context| context.flags.load(Ordering::Relaxed)), active.is_some())
    }

    /// The primary context if it is active.
    pub(in crate::driver) fn active_primary(&self) -> Option<Arc<Context>> {
        self.primary().context.clone()
    }

    fn primary(&self) -> MutexGuard<'_, Primary> {
        self.primary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
