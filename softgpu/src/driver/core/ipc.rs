//! What this process shares with others: handles of 64 bytes, and the files of memory behind them.
//!
//! A handle names the process that made it and that one's descriptor of the file, and says what is in the
//! file. Whoever gets it opens the descriptor through /proc, which the kernel allows processes of the same
//! user. Where that is not to be, descriptors travel by other means ([`descriptor`], [`relocate`]).

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rustix::process::{test_kill_process, Pid};
use vgpu_engine::memory::{DeviceSet, SharedFile, SharedKind};
use vgpu_protocol::cuda::{CUresult, IPC_HANDLE_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::allocation::Kind;
use super::state::driver;
use super::{Context, Event, Pool, Result};
use crate::driver::abi::duplicate;

/// Whether the process of this number lives; 0 for no.
pub type Liveness = extern "C" fn(u32) -> i32;

const MAGIC: u64 = u64::from_le_bytes(*b"softgpu\x01");
/// What /proc says that a descriptor of shared memory is.
const FILE_NAME: &str = "/memfd:vgpu-shared";

/// A handle, as it goes from process to process.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Handle {
    magic: u64,
    kind: u32,
    process: u32,
    descriptor: RawFd,
    reserved: u32,
    /// Of the file.
    file: [u8; 16],
    /// Of the pool that the memory belongs to, else zeros.
    pool: [u8; 16],
    /// Bytes, as asked for at the allocation.
    size: u64,
}

const _: () = assert!(size_of::<Handle>() == IPC_HANDLE_SIZE);

impl Handle {
    fn new(kind: SharedKind, file: &SharedFile, pool: [u8; 16], size: u64) -> Handle {
        let (process, descriptor) = (std::process::id(), file.as_fd().as_raw_fd());
        Handle { magic: MAGIC, kind: kind as u32, process, descriptor, reserved: 0, file: file.id(), pool, size }
    }

    fn bytes(&self) -> [u8; IPC_HANDLE_SIZE] {
        zerocopy::transmute!(*self)
    }

    /// A handle of this kind, or an error.
    fn read(bytes: &[u8; IPC_HANDLE_SIZE], kind: SharedKind) -> Result<Handle> {
        let handle: Handle = zerocopy::transmute!(*bytes);
        match handle.magic == MAGIC && handle.kind == kind as u32 && handle.reserved == 0 {
            true => Ok(handle),
            false => Err(CUresult::INVALID_HANDLE),
        }
    }

    /// The file, which must still be what the handle says.
    fn open(&self, kind: SharedKind) -> Result<Arc<SharedFile>> {
        let file = descriptor_of(self.process, self.descriptor).and_then(|fd| SharedFile::open(fd, kind));
        file.filter(|file| file.id() == self.file).ok_or(CUresult::MAP_FAILED)
    }
}

/// Another process's descriptor of a file of shared memory, as one of this process. Nothing else is opened:
/// opening some files does something.
fn descriptor_of(process: u32, descriptor: RawFd) -> Option<OwnedFd> {
    if process == std::process::id() {
        return duplicate(descriptor);
    }
    let path = format!("/proc/{process}/fd/{descriptor}");
    let name = std::fs::read_link(&path).ok()?;
    if !name.to_str()?.starts_with(FILE_NAME) {
        return None;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
    options.open(path).ok().map(OwnedFd::from)
}

static LIVENESS: OnceLock<Liveness> = OnceLock::new();

/// Sets how it is found out whether a process lives that this one shares events with; the first call counts.
/// Without one the kernel is asked.
pub(in crate::driver) fn set_liveness(lives: Liveness) {
    let _ = LIVENESS.set(lives);
}

/// Whether a process lives, which may have to be taken for granted.
pub(super) fn lives(process: u32) -> bool {
    if let Some(lives) = LIVENESS.get() {
        return lives(process) != 0;
    }
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process) != Err(rustix::io::Errno::SRCH))
}

/// Files that this process has shared, by their id, as long as they are in use.
#[derive(Default)]
pub(in crate::driver) struct Exports(Mutex<HashMap<[u8; 16], Weak<SharedFile>>>);

impl Exports {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Weak<SharedFile>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, file: &Arc<SharedFile>) {
        let mut exports = self.lock();
        exports.retain(|_, file| file.strong_count() > 0);
        exports.insert(file.id(), Arc::downgrade(file));
    }

    fn find(&self, id: [u8; 16]) -> Option<Arc<SharedFile>> {
        self.lock().get(&id)?.upgrade()
    }
}

/// Memory of another process: where it is mapped, and how often it was opened.
#[derive(Clone, Copy)]
struct Import {
    base: u64,
    context: u64,
    uses: u32,
}

/// Memory of other processes, by the id of its file.
#[derive(Default)]
pub(in crate::driver) struct Imports(Mutex<HashMap<[u8; 16], Import>>);

impl Imports {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Import>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what a context had opened.
    pub(super) fn forget_context(&self, context: u64) {
        self.lock().retain(|_, import| import.context != context);
    }
}

impl Context {
    /// A handle of memory of `cuMemAlloc`, by any of its addresses.
    pub(in crate::driver) fn export_memory(&self, address: u64) -> Result<[u8; IPC_HANDLE_SIZE]> {
        let driver = self.driver;
        let found = driver.allocations.find(address).filter(|found| matches!(found.kind, Kind::Device));
        let allocation = found.ok_or(CUresult::INVALID_VALUE)?;
        let file = driver.memory.share(allocation.base).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        driver.exports.add(&file);
        Ok(Handle::new(SharedKind::Allocation, &file, [0; 16], allocation.size).bytes())
    }

    /// The address at which the memory of a handle is mapped; the first opening maps it.
    pub(in crate::driver) fn import_memory(&self, handle: &[u8; IPC_HANDLE_SIZE]) -> Result<u64> {
        let driver = self.driver;
        let handle = Handle::read(handle, SharedKind::Allocation)?;
        if driver.exports.find(handle.file).is_some() {
            return Err(CUresult::INVALID_CONTEXT);
        }
        let mut imports = driver.imports.lock();
        if let Some(import) = imports.get_mut(&handle.file) {
            // One context of a process may have it.
            if import.context != self.handle {
                return Err(CUresult::INVALID_CONTEXT);
            }
            import.uses = import.uses.checked_add(1).ok_or(CUresult::INVALID_VALUE)?;
            return Ok(import.base);
        }
        let base = self.map_foreign(&handle, None)?;
        imports.insert(handle.file, Import { base, context: self.handle, uses: 1 });
        Ok(base)
    }

    /// Maps memory of another process, of a pool if that is how it came here.
    fn map_foreign(&self, handle: &Handle, pool: Option<Arc<Pool>>) -> Result<u64> {
        let driver = self.driver;
        let file = handle.open(SharedKind::Allocation)?;
        let owner = driver.device_of_file(&file)?;
        let take = || owner.memory.adopt(file.clone(), handle.size);
        let base = driver.obtain_with(owner, handle.size, self.handle, take)?;
        if owner.ordinal != self.device.ordinal {
            // Who opens memory of another device has access to it.
            let mut reach = DeviceSet::of(owner.index());
            reach.set(self.device.index(), true);
            owner.memory.set_reach(base, reach).map_err(|_| CUresult::INVALID_VALUE)?;
        }
        driver.allocations.insert(base, handle.size, self.handle, Kind::Imported(pool));
        Ok(base)
    }

    /// Ends one opening; with the last one the memory is unmapped, once the context's present work is done.
    pub(in crate::driver) fn close_memory(&self, base: u64) -> Result {
        let mut imports = self.driver.imports.lock();
        let found = imports.iter_mut().find(|(_, import)| import.base == base && import.context == self.handle);
        let (id, import) = found.ok_or(CUresult::INVALID_VALUE)?;
        import.uses -= 1;
        if import.uses > 0 {
            return Ok(());
        }
        let id = *id;
        imports.remove(&id);
        drop(imports);
        self.free_imported(base)
    }
}

impl Event {
    /// A handle of an event that was created for several processes.
    pub(in crate::driver) fn export(&self) -> Result<[u8; IPC_HANDLE_SIZE]> {
        let file = self.file().ok_or(CUresult::INVALID_HANDLE)?;
        driver()?.exports.add(file);
        Ok(Handle::new(SharedKind::Event, file, [0; 16], 0).bytes())
    }

    /// An event of another process.
    pub(in crate::driver) fn import(context: &Arc<Context>, handle: &[u8; IPC_HANDLE_SIZE]) -> Result<u64> {
        let handle = Handle::read(handle, SharedKind::Event)?;
        if context.driver.exports.find(handle.file).is_some() {
            return Err(CUresult::INVALID_CONTEXT);
        }
        Event::open(context, handle.open(SharedKind::Event).map_err(|_| CUresult::INVALID_HANDLE)?)
    }
}

impl Pool {
    /// What a process that has imported this pool needs to import memory of it.
    pub(in crate::driver) fn export_pointer(address: u64) -> Result<[u8; IPC_HANDLE_SIZE]> {
        let driver = driver()?;
        let allocation = driver.allocations.find(address).ok_or(CUresult::INVALID_VALUE)?;
        let Kind::Pool(pool) = &allocation.kind else { return Err(CUresult::INVALID_VALUE) };
        let pool_file = pool.file().ok_or(CUresult::INVALID_VALUE)?;
        let file = driver.memory.share(allocation.base).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        driver.exports.add(&file);
        Ok(Handle::new(SharedKind::Allocation, &file, pool_file.id(), allocation.size).bytes())
    }

    /// Memory of an imported pool.
    pub(in crate::driver) fn import_pointer(
        self: &Arc<Self>,
        context: &Context,
        data: &[u8; IPC_HANDLE_SIZE],
    ) -> Result<u64> {
        let handle = Handle::read(data, SharedKind::Allocation).map_err(|_| CUresult::INVALID_VALUE)?;
        let pool = self.file().filter(|_| self.is_imported()).ok_or(CUresult::INVALID_VALUE)?;
        if handle.pool != pool.id() || context.driver.exports.find(handle.file).is_some() {
            return Err(CUresult::INVALID_VALUE);
        }
        context.map_foreign(&handle, Some(self.clone()))
    }
}

/// The descriptor behind a handle that this process has made, to be given to another process.
pub(in crate::driver) fn descriptor(handle: &[u8; IPC_HANDLE_SIZE]) -> Option<OwnedFd> {
    let handle: Handle = zerocopy::transmute!(*handle);
    let file = driver().ok()?.exports.find(handle.file)?;
    file.as_fd().try_clone_to_owned().ok()
}

/// A handle of another process as it is where the descriptor that came with it is open.
pub(in crate::driver) fn relocate(handle: &[u8; IPC_HANDLE_SIZE], descriptor: RawFd) -> [u8; IPC_HANDLE_SIZE] {
    let handle: Handle = zerocopy::transmute!(*handle);
    Handle { process: std::process::id(), descriptor, ..handle }.bytes()
}
