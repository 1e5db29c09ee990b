//! The one device of the process, and everything that lives on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use vgpu_protocol::cuda::hints::Hints;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::HandleKind;

use super::allocation::Allocations;
use super::array::{Array, MipmappedArray};
use super::config::{self, Config};
use super::fork;
use super::ipc::{Exports, Imports};
use super::pool::DevicePools;
use super::reference::{SurfaceReference, TextureReference};
use super::registry::Registry;
use super::staging::Staging;
use super::texture::Textures;
use super::watchdog::Watchdog;
use super::{
    Code, CodeCache, Context, Event, Function, JitLog, Kernel, Library, Link, Module, Pool, Result, Soft, Stream,
};
use vgpu_engine::engine::{Compiler, Engine};
use vgpu_engine::memory::{Memory, Physical};
use vgpu_graphs::Graphs;

/// The initialised driver.
pub(in crate::driver) struct Driver {
    pub(in crate::driver) config: Config,
    /// The device's name.
    pub(in crate::driver) name: String,
    /// The device's UUID.
    pub(in crate::driver) uuid: [u8; 16],
    pub(in crate::driver) memory: Arc<Memory>,
    pub(in crate::driver) engine: Engine,
    pub(in crate::driver) allocations: Allocations,
    pub(super) exports: Exports,
    pub(super) imports: Imports,
    pub(in crate::driver) contexts: Registry<Context>,
    pub(in crate::driver) streams: Registry<Stream>,
    pub(in crate::driver) events: Registry<Event>,
    code_cache: CodeCache,
    pub(in crate::driver) modules: Registry<Module>,
    pub(in crate::driver) functions: Registry<Function>,
    pub(in crate::driver) libraries: Registry<Library>,
    pub(in crate::driver) kernels: Registry<Kernel>,
    pub(in crate::driver) links: Registry<Mutex<Link>>,
    pub(in crate::driver) physical: Registry<Physical>,
    pub(in crate::driver) pools: Registry<Pool>,
    pub(super) device_pools: Mutex<DevicePools>,
    /// Destroyed, and with memory that is still allocated or in use.
    pub(super) ended_pools: Mutex<Vec<Arc<Pool>>>,
    /// Some pool may hold more than it should after the next synchronisation.
    pub(super) pool_excess: AtomicBool,
    pub(in crate::driver) arrays: Registry<Array>,
    pub(in crate::driver) mipmapped_arrays: Registry<MipmappedArray>,
    pub(in crate::driver) textures: Textures,
    pub(in crate::driver) graphs: Graphs<Soft>,
    pub(in crate::driver) texture_references: Registry<TextureReference>,
    pub(in crate::driver) surface_references: Registry<SurfaceReference>,
    pub(super) staging: Staging,
    hints: Mutex<Hints>,
    primary: Mutex<Primary>,
    pub(super) watchdog: Watchdog,
    epoch: Instant,
}

/// The primary context: inactive until it is retained.
#[derive(Default)]
struct Primary {
    context: Option<Arc<Context>>,
    retained: u32,
    flags: u32,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();
static INITIALISING: Mutex<()> = Mutex::new(());

/// The driver, once [`initialise`] has succeeded in this process.
pub(in crate::driver) fn driver() -> Result<&'static Driver> {
    DRIVER.get().filter(|_| !fork::in_child()).ok_or(CUresult::NOT_INITIALIZED)
}

/// `cuInit`: any number of calls, the first one counts. A child of a process that has called it cannot.
pub(in crate::driver) fn initialise() -> Result<&'static Driver> {
    if fork::in_child() {
        return Err(CUresult::NOT_INITIALIZED);
    }
    let _one_at_a_time = INITIALISING.lock().unwrap_or_else(PoisonError::into_inner);
    if DRIVER.get().is_some() {
        return driver();
    }
    let driver = Driver::new(config::current())?;
    fork::watch();
    Ok(DRIVER.get_or_init(|| driver))
}

/// What turns kernels into machine code.
fn compiler() -> Option<Arc<dyn Compiler>> {
    #[cfg(feature = "llvm")]
    return Some(Arc::new(vgpu_llvm::Llvm));
    #[cfg(not(feature = "llvm"))]
    None
}

impl Driver {
    fn new(config: Config) -> Result<Driver> {
        let memory = Memory::new(config.memory_bytes).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        #[cfg(feature = "llvm")]
        config.dump.iter().for_each(|folder| vgpu_llvm::write_listings(folder));
        let engine = Engine::with_compiler(config.threads, compiler(), config.tier);
        let name = format!("vhost-user-vgpu software GPU ({} cores)", engine.threads());
        Ok(Driver {
            uuid: config.uuid.unwrap_or_else(|| config::derived_uuid(&name)),
            name,
            watchdog: Watchdog::new(config.kernel_timeout),
            config,
            memory,
            engine,
            allocations: Allocations::default(),
            exports: Exports::default(),
            imports: Imports::default(),
            contexts: Registry::new(HandleKind::Context),
            streams: Registry::new(HandleKind::Stream),
            events: Registry::new(HandleKind::Event),
            code_cache: CodeCache::default(),
            modules: Registry::new(HandleKind::Module),
            functions: Registry::new(HandleKind::Function),
            libraries: Registry::new(HandleKind::Library),
            kernels: Registry::new(HandleKind::Kernel),
            links: Registry::new(HandleKind::LinkState),
            physical: Registry::new(HandleKind::MemGenericAllocationHandle),
            pools: Registry::new(HandleKind::MemoryPool),
            device_pools: Mutex::default(),
            ended_pools: Mutex::default(),
            pool_excess: AtomicBool::new(false),
            arrays: Registry::new(HandleKind::Array),
            mipmapped_arrays: Registry::new(HandleKind::MipmappedArray),
            textures: Textures::default(),
            graphs: Graphs::new(Soft),
            texture_references: Registry::new(HandleKind::Texref),
            surface_references: Registry::new(HandleKind::Surfref),
            staging: Staging::default(),
            hints: Mutex::default(),
            primary: Mutex::default(),
            epoch: Instant::now(),
        })
    }

    /// Hints about managed memory.
    pub(in crate::driver) fn hints(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the driver was initialised.
    pub(in crate::driver) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Compute capability times ten.
    pub(in crate::driver) fn capability(&self) -> u32 {
        let (major, minor) = self.config.capability;
        u32::try_from(major * 10 + minor).unwrap_or(0)
    }

    /// The code of an image, which is compiled unless it was before.
    pub(in crate::driver) fn compile(&self, image: &[u8], log: &mut JitLog) -> Result<Code> {
        self.code_cache.compile(image, self.capability(), log)
    }

    /// `cuDeviceGet`-style check: there is one device.
    pub(in crate::driver) fn check_device(&self, device: i32) -> Result {
        if device == 0 {
            Ok(())
        } else {
            Err(CUresult::INVALID_DEVICE)
        }
    }

    /// The primary context, activated if it was not.
    pub(in crate::driver) fn retain_primary(&'static self) -> Arc<Context> {
        let mut primary = self.primary();
        primary.retained = primary.retained.saturating_add(1);
        let flags = primary.flags;
        primary.context.get_or_insert_with(|| Context::new(self, flags)).clone()
    }

    /// Gives one reference back; the last one destroys the context.
    pub(in crate::driver) fn release_primary(&'static self) -> Result {
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
    pub(in crate::driver) fn reset_primary(&'static self) {
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
