//! Memory pools as the guest knows them: which are the devices' default and current ones.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cmd::VgpuPoolDefault;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{Handle, HandleKind};

use crate::driver::Driver;
use crate::stub;

#[derive(Clone, Copy, Default)]
struct DevicePools {
    /// Asked for when it is first needed.
    default: Option<Handle>,
    /// Set by the application; else it is the default one.
    current: Option<Handle>,
}

/// A pool that the application has created or imported.
#[derive(Clone, Copy)]
struct Created {
    device: i32,
    /// Whether it can be exported.
    shareable: bool,
}

/// The pools of all devices, and those that the application has made.
pub struct Pools(Mutex<Vec<DevicePools>>, Mutex<HashMap<Handle, Created>>);

impl Pools {
    /// Every device has its default pool.
    pub fn new(devices: usize) -> Self {
        Pools(Mutex::new(vec![DevicePools::default(); devices]), Mutex::default())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<DevicePools>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a pool is some device's default one, which cannot be destroyed.
    pub fn is_default(&self, pool: Handle) -> bool {
        self.lock().iter().any(|device| device.default == Some(pool))
    }

    /// Notes a new pool.
    pub fn created(&self, pool: Handle, device: i32, shareable: bool) {
        self.all_created().insert(pool, Created { device, shareable });
    }

    /// The device of a pool.
    pub fn device_of(&self, pool: Handle) -> Option<i32> {
        let created = self.all_created().get(&pool).map(|created| created.device);
        let default = || self.lock().iter().position(|device| device.default == Some(pool));
        created.or_else(|| default().and_then(|device| i32::try_from(device).ok()))
    }

    /// Whether a pool can be exported.
    pub fn is_shareable(&self, pool: Handle) -> bool {
        self.all_created().get(&pool).is_some_and(|created| created.shareable)
    }

    fn all_created(&self) -> MutexGuard<'_, HashMap<Handle, Created>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pool has been destroyed: where it was current, the default one is now.
    pub fn forget(&self, pool: Handle) {
        self.all_created().remove(&pool);
        for device in self.lock().iter_mut() {
            device.current.take_if(|current| *current == pool);
        }
    }
}

fn device(pools: &mut [DevicePools], dev: i32) -> Result<&mut DevicePools, CUresult> {
    usize::try_from(dev).ok().and_then(|dev| pools.get_mut(dev)).ok_or(CUresult::INVALID_DEVICE)
}

impl Driver {
    /// A device's default pool.
    pub fn default_pool(&self, dev: i32) -> Result<Handle, CUresult> {
        let mut pools = self.pools.lock();
        let device = device(&mut pools, dev)?;
        if let Some(pool) = device.default {
            return Ok(pool);
        }
        let pool = stub::mint(HandleKind::MemoryPool)?;
        if let Err(error) = self.session.call(0, &VgpuPoolDefault { dev, pool }) {
            stub::forget(pool);
            return Err(error);
        }
        device.default = Some(pool);
        Ok(pool)
    }

    /// A device's current pool.
    pub fn current_pool(&self, dev: i32) -> Result<Handle, CUresult> {
        let current = device(&mut self.pools.lock(), dev)?.current;
        current.map_or_else(|| self.default_pool(dev), Ok)
    }

    /// Notes a device's current pool.
    pub fn set_current_pool(&self, dev: i32, pool: Handle) -> Result<(), CUresult> {
        device(&mut self.pools.lock(), dev)?.current = Some(pool);
        Ok(())
    }
}
