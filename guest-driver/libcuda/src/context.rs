//! Contexts: which exist, which is current in which thread, and what is stored with them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use vgpu_protocol::cmd::{
    VgpuContextCreate, VgpuContextDestroy, VgpuPrimaryRelease, VgpuPrimaryReset, VgpuPrimaryRetain,
};
use vgpu_protocol::cuda::{CUcontext, CUresult};
use vgpu_protocol::{Handle, HandleKind};

use crate::driver::{driver, Driver};

/// Called for a stored value when its context ends.
pub type Destructor = Option<unsafe extern "C" fn(CUcontext, *mut c_void, *mut c_void)>;

struct Stored {
    key: usize,
    value: usize,
    destructor: Destructor,
}

/// A context. Contexts are few and are never freed, so that threads may hold on to them.
pub struct Context {
    /// What the application knows it by.
    pub handle: Handle,
    /// Its device.
    pub device: i32,
    /// Its flags (`CU_CTX_*`), which say how threads wait: nothing that concerns the device. Who asks for sleep
    /// in one context gets it in all.
    flags: AtomicU32,
    /// Unique number.
    pub id: u64,
    alive: AtomicBool,
    /// `cuCtxCreate` and `cuCtxAttach` without their `cuCtxDetach`.
    usage: AtomicU32,
    fault: AtomicU32,
    storage: RwLock<Vec<Stored>>,
}

/// `CU_CTX_FLAGS_MASK`.
const FLAGS: u32 = 0xff;
/// `CU_CTX_SCHED_MASK`: one of these ways to wait at most.
const SCHEDULING: u32 = 0x7;

/// `CU_CTX_SCHED_BLOCKING_SYNC`: threads sleep when they wait.
const BLOCKING_SYNC: u32 = 0x4;

/// Whether flags of a context make sense.
pub fn check_flags(flags: u32) -> Result<(), CUresult> {
    if flags & !FLAGS == 0 && (flags & SCHEDULING).count_ones() <= 1 {
        Ok(())
    } else {
        Err(CUresult::INVALID_VALUE)
    }
}

/// Waits as flags say.
fn heed(flags: u32) {
    if let (Ok(driver), BLOCKING_SYNC) = (driver(), flags & SCHEDULING) {
        driver.session.wait_asleep();
    }
}

/// Errors after which a context is of no use any more.
fn is_sticky(error: CUresult) -> bool {
    matches!(error.0, 214 | 700 | 702 | 710 | 714..=719)
}

impl Context {
    /// Notes an error that a call returned; the context's later commands return it at once if it is
    /// one that stays.
    pub fn note(&self, error: CUresult) {
        if is_sticky(error) {
            self.fault.store(error.0, Ordering::Release);
        }
    }

    /// The error that ended the context's use.
    pub fn fault(&self) -> Result<(), CUresult> {
        match self.fault.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(CUresult(code)),
        }
    }

    /// The handle as the application sees it.
    pub fn raw(&self) -> CUcontext {
        self.handle.0 as CUcontext
    }

    /// Its flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Sets its flags, which must have been checked.
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
        heed(flags);
    }

    /// `cuCtxAttach`.
    pub fn attach(&self) {
        self.usage.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a use back, unless it is the last.
    fn detach(&self) -> bool {
        let fewer = |usage: u32| usage.checked_sub(1).filter(|usage| *usage > 0);
        self.usage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    /// Whether it has not been destroyed.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Context-local storage: the value under `key`.
    pub fn load(&self, key: usize) -> Option<usize> {
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        storage.iter().find(|stored| stored.key == key).map(|stored| stored.value)
    }

    /// Context-local storage: sets the value under `key`.
    pub fn store(&self, key: usize, value: usize, destructor: Destructor) {
        let mut storage = self.storage.write().unwrap_or_else(PoisonError::into_inner);
        storage.retain(|stored| stored.key != key);
        storage.push(Stored { key, value, destructor });
    }

    /// Context-local storage: forgets `key`, without a call to its destructor.
    pub fn remove(&self, key: usize) {
        let mut storage = self.storage.write().unwrap_or_else(PoisonError::into_inner);
        storage.retain(|stored| stored.key != key);
    }

    /// Empties the storage; each value's destructor is called.
    fn clear(&self) {
        let stored = std::mem::take(&mut *self.storage.write().unwrap_or_else(PoisonError::into_inner));
        for Stored { key, value, destructor } in stored {
            if let Some(destructor) = destructor {
                // SAFETY: the runtime registered this function for exactly these arguments.
                unsafe { destructor(self.raw(), key as *mut c_void, value as *mut c_void) };
            }
        }
    }
}

#[derive(Default)]
struct Primary {
    context: Option<&'static Context>,
    retained: u32,
    flags: u32,
}

/// All contexts of the process.
pub struct Contexts {
    /// With those that have ended.
    table: RwLock<HashMap<u64, &'static Context>>,
    primaries: Mutex<Vec<Primary>>,
    next_id: AtomicU64,
}

impl Contexts {
    /// No context yet; one primary context for each of `devices`.
    pub fn new(devices: usize) -> Self {
        Contexts {
            table: RwLock::default(),
            primaries: Mutex::new((0..devices).map(|_| Primary::default()).collect()),
            next_id: AtomicU64::new(1),
        }
    }

    /// The living context of a handle.
    pub fn find(&self, raw: CUcontext) -> Result<&'static Context, CUresult> {
        let context = match CURRENT.get() {
            Some(current) if current.raw() == raw => Some(current),
            _ => self.find_any(raw),
        };
        context.filter(|context| context.is_alive()).ok_or(CUresult::INVALID_CONTEXT)
    }

    /// The context of a handle, which may have ended.
    fn find_any(&self, raw: CUcontext) -> Option<&'static Context> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&(raw as u64)).copied()
    }

    fn add(&self, handle: Handle, device: i32, flags: u32) -> &'static Context {
        heed(flags);
        let context: &'static Context = Box::leak(Box::new(Context {
            handle,
            device,
            flags: AtomicU32::new(flags),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            alive: AtomicBool::new(true),
            usage: AtomicU32::new(1),
            fault: AtomicU32::new(0),
            storage: RwLock::default(),
        }));
        self.table.write().unwrap_or_else(PoisonError::into_inner).insert(handle.0, context);
        context
    }

    fn end(&self, context: &Context) {
        context.clear();
        context.alive.store(false, Ordering::Release);
    }

    fn primaries(&self) -> MutexGuard<'_, Vec<Primary>> {
        self.primaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// Creates a context and makes it current.
    pub fn create_context(&self, device: i32, flags: u32) -> Result<&'static Context, CUresult> {
        self.device(device)?;
        check_flags(flags)?;
        let ctx = self.mint_context()?;
        if let Err(error) = self.session.call(0, &VgpuContextCreate { dev: device, flags, ctx }) {
            self.session.handles().retire(ctx);
            return Err(error);
        }
        let context = self.contexts.add(ctx, device, flags);
        push(Some(context));
        Ok(context)
    }

    /// Destroys a context that [`Driver::create_context`] made.
    pub fn destroy_context(&self, raw: CUcontext) -> Result<(), CUresult> {
        let context = match self.contexts.find_any(raw) {
            Some(context) if context.is_alive() => context,
            Some(_) => return Err(CUresult::CONTEXT_IS_DESTROYED),
            None if raw.is_null() => return Err(CUresult::INVALID_VALUE),
            None => return Err(CUresult::INVALID_CONTEXT),
        };
        if self.contexts.primaries().iter().any(|p| p.context.is_some_and(|c| std::ptr::eq(c, context))) {
            return Err(CUresult::INVALID_CONTEXT);
        }
        self.end_context(context);
        if CURRENT.get().is_some_and(|current| std::ptr::eq(current, context)) {
            pop();
        }
        self.session.call(0, &VgpuContextDestroy { ctx: context.handle })?;
        self.free_shared_memory(context.handle);
        self.session.handles().retire(context.handle);
        Ok(())
    }

    /// Pinned and managed memory ends with its context, once the worker is done with it.
    fn free_shared_memory(&self, context: Handle) {
        for address in self.memory.take_shared(context) {
            // It came out of the table, so it is allocated.
            let _ = self.session.free(address);
        }
    }

    /// What the guest knows of a context ends with it.
    fn end_context(&self, context: &Context) {
        self.contexts.end(context);
        self.forget_objects(context);
    }

    /// Forgets what lives in a context.
    fn forget_objects(&self, context: &Context) {
        let handles = self.session.handles();
        handles.retire_owned(context.handle);
        for function in self.functions.forget(|owner| handles.owner(owner).is_none()) {
            handles.retire(function);
        }
        self.streams.forget_context(context.handle.0);
        self.graphs.forget_context(context.handle.0);
        self.memory.forget_context(context.handle);
        self.arrays.forget_context(context.handle);
    }

    /// `cuCtxDetach`: the last use of the calling thread's context destroys it.
    pub fn detach_context(&self, raw: CUcontext) -> Result<(), CUresult> {
        let context = self.contexts.find(raw)?;
        if !CURRENT.get().is_some_and(|current| std::ptr::eq(current, context)) {
            return Err(CUresult::INVALID_CONTEXT);
        }
        if context.detach() {
            return Ok(());
        }
        self.destroy_context(raw)
    }

    fn mint_context(&self) -> Result<Handle, CUresult> {
        self.session.handles().mint(HandleKind::Context, Handle::NULL).ok_or(CUresult::OUT_OF_MEMORY)
    }

    /// The device's primary context, created by the first call, counted by every call.
    pub fn retain_primary(&self, device: i32) -> Result<&'static Context, CUresult> {
        self.device(device)?;
        let mut primaries = self.contexts.primaries();
        let primary = primaries.get_mut(device as usize).ok_or(CUresult::INVALID_DEVICE)?;
        let context = self.activate(primary, device)?;
        primary.retained += 1;
        Ok(context)
    }

    fn activate(&self, primary: &mut Primary, device: i32) -> Result<&'static Context, CUresult> {
        if let Some(context) = primary.context {
            return Ok(context);
        }
        let ctx = self.mint_context()?;
        if let Err(error) = self.session.call(0, &VgpuPrimaryRetain { dev: device, ctx }) {
            self.session.handles().retire(ctx);
            return Err(error);
        }
        let context = self.contexts.add(ctx, device, primary.flags);
        primary.context = Some(context);
        Ok(context)
    }

    /// The primary context without a retain of its own: created if it is not there, and kept until
    /// the first retain's release.
    pub fn primary_handle(&self, device: i32) -> Result<&'static Context, CUresult> {
        self.device(device)?;
        let mut primaries = self.contexts.primaries();
        let primary = primaries.get_mut(device as usize).ok_or(CUresult::INVALID_DEVICE)?;
        self.activate(primary, device)
    }

    /// Ends one retain of the primary context, and with the last one the context.
    pub fn release_primary(&self, device: i32) -> Result<(), CUresult> {
        self.device(device)?;
        let mut primaries = self.contexts.primaries();
        let primary = primaries.get_mut(device as usize).ok_or(CUresult::INVALID_DEVICE)?;
        let context = primary.context.ok_or(CUresult::INVALID_CONTEXT)?;
        if primary.retained > 1 {
            primary.retained -= 1;
            return Ok(());
        }
        primary.retained = 0;
        primary.context = None;
        drop(primaries);
        self.end_context(context);
        self.session.post(0, &VgpuPrimaryRelease { dev: device })?;
        self.session.handles().retire(context.handle);
        Ok(())
    }

    /// Destroys what lives in the primary context; the context itself and its retains stay.
    pub fn reset_primary(&self, device: i32) -> Result<(), CUresult> {
        self.device(device)?;
        let context = self.contexts.primaries().get(device as usize).and_then(|primary| primary.context);
        let Some(context) = context else { return Ok(()) };
        context.clear();
        self.forget_objects(context);
        self.session.call(0, &VgpuPrimaryReset { dev: device })?;
        self.free_shared_memory(context.handle);
        context.fault.store(0, Ordering::Release);
        Ok(())
    }

    /// Flags of the primary context and whether it is active.
    pub fn primary_state(&self, device: i32) -> Result<(u32, bool), CUresult> {
        self.device(device)?;
        let primaries = self.contexts.primaries();
        let primary = primaries.get(device as usize).ok_or(CUresult::INVALID_DEVICE)?;
        Ok((primary.context.map_or(primary.flags, Context::flags), primary.context.is_some()))
    }

    /// Sets the flags of the primary context, also of one that is active.
    pub fn set_primary_flags(&self, device: i32, flags: u32) -> Result<(), CUresult> {
        self.device(device)?;
        check_flags(flags)?;
        let mut primaries = self.contexts.primaries();
        let primary = primaries.get_mut(device as usize).ok_or(CUresult::INVALID_DEVICE)?;
        primary.flags = flags;
        if let Some(context) = primary.context {
            context.set_flags(flags);
        }
        Ok(())
    }
}

thread_local! {
    static CURRENT: Cell<Option<&'static Context>> = const { Cell::new(None) };
    static BELOW: RefCell<Vec<Option<&'static Context>>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread's context.
pub fn current() -> Option<&'static Context> {
    CURRENT.get()
}

/// The calling thread's context, which must be there and alive, in a process that may use it.
pub fn required() -> Result<&'static Context, CUresult> {
    driver()?;
    match CURRENT.get() {
        None => Err(CUresult::INVALID_CONTEXT),
        Some(context) if !context.is_alive() => Err(CUresult::CONTEXT_IS_DESTROYED),
        Some(context) => Ok(context),
    }
}

/// The current context's handle for a batch, 0 if there is none.
pub fn current_handle() -> Result<u64, CUresult> {
    match CURRENT.get() {
        None => Ok(0),
        Some(_) => required().map(|context| context.handle.0),
    }
}

/// Replaces the top of the thread's stack; nothing pops it.
pub fn set_current(context: Option<&'static Context>) {
    match context {
        Some(_) => CURRENT.set(context),
        None => drop(pop()),
    }
}

/// Pushes onto the thread's stack.
pub fn push(context: Option<&'static Context>) {
    let below = CURRENT.replace(context);
    // While the thread's storage is torn down there is no stack below the current context.
    let _ = BELOW.try_with(|stack| stack.borrow_mut().push(below));
}

/// Pops the thread's stack; the popped context.
pub fn pop() -> Option<&'static Context> {
    let below = BELOW.try_with(|stack| stack.borrow_mut().pop()).ok().flatten().flatten();
    CURRENT.replace(below)
}

/// The context that a null handle stands for, or the handle's own.
pub fn resolve(raw: CUcontext) -> Result<&'static Context, CUresult> {
    if raw.is_null() {
        required()
    } else {
        driver()?.contexts.find(raw)
    }
}
