//! The devices of the process, and everything that lives on them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use vgpu_protocol::cuda::hints::Hints;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::HandleKind;

use super::allocation::Allocations;
use super::array::{Array, MipmappedArray};
use super::config::{self, Config};
use super::device::Device;
use super::fork;
use super::ipc::{Exports, Imports};
use super::peers::Peers;
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
    /// The devices' name.
    pub(in crate::driver) name: String,
    pub(in crate::driver) devices: Vec<Device>,
    /// The first device's, for what concerns the memory of all: copies, pages of the host, reservations.
    pub(in crate::driver) memory: Arc<Memory>,
    pub(super) peers: Peers,
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
    pub(super) watchdog: Watchdog,
    epoch: Instant,
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
        let memories = Memory::several(config.memory_bytes, config.devices).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        let memory = memories.first().cloned().ok_or(CUresult::NO_DEVICE)?;
        #[cfg(feature = "llvm")]
        config.dump.iter().for_each(|folder| vgpu_llvm::write_listings(folder));
        let engine = Engine::with_compiler(config.threads, compiler(), config.tier);
        let name = format!("vhost-user-vgpu software GPU ({} cores)", engine.threads());
        Ok(Driver {
            devices: memories.into_iter().map(|memory| Device::new(memory, &name, &config)).collect(),
            peers: Peers::default(),
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

    /// A device by its number.
    pub(in crate::driver) fn device(&self, ordinal: i32) -> Result<&Device> {
        let device = usize::try_from(ordinal).ok().and_then(|index| self.devices.get(index));
        device.ok_or(CUresult::INVALID_DEVICE)
    }
}
