//! What a command runs in: the session, the sender's lane and its current context.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUkernel, CUresult, CUstream, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD};
use vgpu_protocol::{DriverApi, Handle, HandleKind, WireError};

use super::fences::Fence;
use super::ffi::driver;
use super::ledger::{Entry, Pointer};
use super::session::Session;

/// Why a command did not run, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What the driver, or a check in front of it, answered.
    Cuda(CUresult),
    /// The command's bytes do not fit its definition.
    Malformed,
}

impl Failure {
    /// Shorthands for the refusals of our own.
    pub const INVALID_VALUE: Failure = Failure::Cuda(CUresult::INVALID_VALUE);
    /// The driver lacks a function.
    pub const NOT_SUPPORTED: Failure = Failure::Cuda(CUresult::NOT_SUPPORTED);

    /// Turns a driver's result into `?`.
    pub fn check(result: CUresult) -> Result<(), Failure> {
        if result == CUresult::SUCCESS {
            Ok(())
        } else {
            Err(Failure::Cuda(result))
        }
    }

    /// What the client is told.
    pub fn result(self) -> CUresult {
        match self {
            Failure::Cuda(result) => result,
            Failure::Malformed => CUresult::INVALID_VALUE,
        }
    }
}

impl From<WireError> for Failure {
    fn from(_: WireError) -> Self {
        Failure::Malformed
    }
}

/// What a command runs in.
pub struct Context<'a> {
    /// The session.
    pub session: &'a Session,
    /// Its driver.
    pub api: &'a DriverApi,
    /// The guest thread that sent the command.
    pub lane: u32,
    /// The current CUDA context of this thread; 0 for none.
    pub current: Pointer,
    /// Room for outputs, bytes.
    pub capacity: usize,
    /// Copies under way that read the staging area: the reply, which gives it back, waits for them.
    pub staged: Vec<Fence>,
    taken: Option<Entry>,
}

impl<'a> Context<'a> {
    /// The context of one command.
    pub fn new(session: &'a Session, lane: u32, current: Pointer, capacity: usize) -> Self {
        Context { session, api: &session.api, lane, current, capacity, staged: Vec::new(), taken: None }
    }

    /// The driver's object behind a handle. Only streams and contexts may be null.
    pub fn resolve(&self, kind: HandleKind, handle: Handle) -> Result<*mut c_void, Failure> {
        let pointer = match (kind, handle.0) {
            (HandleKind::Stream | HandleKind::Context, 0) => 0,
            (HandleKind::Stream, CU_STREAM_LEGACY) => CU_STREAM_LEGACY as Pointer,
            (HandleKind::Stream, CU_STREAM_PER_THREAD) => self.lane_stream()?,
            // Only launches take a kernel as it is; other calls want the current context's function.
            (HandleKind::Function, _) if handle.kind() == HandleKind::Kernel as u8 => self.function(handle)?,
            _ => self.entry(kind, handle)?.pointer,
        };
        Ok(pointer as *mut c_void)
    }

    /// The ledger's entry behind a handle.
    pub fn entry(&self, kind: HandleKind, handle: Handle) -> Result<Entry, Failure> {
        self.session.ledger.get(kind, handle).ok_or(invalid(kind))
    }

    /// A copy from this range has been sent to a stream. In the staging area the range must stay as it
    /// is until the copy has been made.
    pub fn sent(&mut self, address: u64, size: u64, stream: CUstream) {
        let arena = &self.session.arena;
        if !arena.in_staging(address, size) || !arena.is_pinned(address, size) {
            return;
        }
        match self.session.fences.record(self.api, self.current, stream) {
            Ok(fence) => self.staged.push(fence),
            Err(error) => {
                log::debug!("no fence: {}", error.result());
                let _: Result<(), Failure> = (|| driver!(self, cuStreamSynchronize(stream)))();
            }
        }
    }

    fn function(&self, kernel: Handle) -> Result<Pointer, Failure> {
        let kernel = self.entry(HandleKind::Kernel, kernel)?.pointer as CUkernel;
        let mut function = std::ptr::null_mut();
        driver!(self, cuKernelGetFunction(&mut function, kernel))?;
        Ok(function as Pointer)
    }

    fn lane_stream(&self) -> Result<Pointer, Failure> {
        if self.current == 0 {
            return Err(Failure::Cuda(CUresult::INVALID_CONTEXT));
        }
        self.session.lane_stream(self.lane, self.current, || {
            let mut stream = std::ptr::null_mut();
            driver!(self, cuStreamCreate(&mut stream, 0))?;
            Ok(stream as Pointer)
        })
    }

    /// Refuses a handle for a new object that is in use or absurd, and an object beyond the session's quota.
    pub fn reserve(&self, kind: HandleKind, handle: Handle) -> Result<(), Failure> {
        if !self.session.ledger.is_free(kind, handle) {
            return Err(invalid(kind));
        }
        self.session.check_room(kind)
    }

    /// Adds an object that the driver has made in the current context.
    pub fn insert(&self, handle: Handle, pointer: *mut c_void, parent: Handle) {
        self.session.ledger.insert(handle, self.owned(pointer, parent));
    }

    /// An entry for an object of the current context.
    pub fn owned(&self, pointer: *mut c_void, parent: Handle) -> Entry {
        Entry { pointer: pointer as Pointer, context: self.current, parent, param_bytes: 0, image_bytes: 0 }
    }

    /// Removes an object that is about to be destroyed: no other thread finds it from now on.
    pub fn take(&mut self, kind: HandleKind, handle: Handle) -> Result<*mut c_void, Failure> {
        let entry = self.session.ledger.take(kind, handle).ok_or(invalid(kind))?;
        self.taken = Some(entry);
        Ok(entry.pointer as *mut c_void)
    }

    /// Puts the object back that was taken last: the driver did not destroy it.
    pub fn restore(&mut self, handle: Handle) {
        if let Some(entry) = self.taken.take() {
            self.session.ledger.insert(handle, entry);
        }
    }

    /// An object has been destroyed: what was part of it is gone too.
    pub fn dropped(&self, kind: HandleKind, handle: Handle) {
        if matches!(kind, HandleKind::Module | HandleKind::Library | HandleKind::MipmappedArray) {
            self.session.ledger.drop_children(handle);
        }
    }

    /// Refuses a command whose outputs may not fit the reply, before anything happens.
    pub fn check_room(&self, outputs: usize) -> Result<(), Failure> {
        if outputs <= self.capacity {
            Ok(())
        } else {
            Err(Failure::INVALID_VALUE)
        }
    }
}

fn invalid(kind: HandleKind) -> Failure {
    Failure::Cuda(match kind {
        HandleKind::Context => CUresult::INVALID_CONTEXT,
        _ => CUresult::INVALID_HANDLE,
    })
}
