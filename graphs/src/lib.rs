//! CUDA graphs and stream capture, above any executor of their operations.
//!
//! Everything that CUDA says about graphs as data is here, once: nodes and edges, capture and its rules,
//! executable graphs and how they are updated, user objects. A [`Backend`] runs the operations: for the
//! guest's `libcuda.so.1` that is the worker behind the queue, for the software GPU its streams. So a
//! guest builds, captures and inspects graphs without a round trip, and no driver on the host ever
//! captures.
//!
//! [`Graphs`] has a method for each entry point of the driver API with the same name ([`api`]), and
//! those that the other entry points ask about captures.

mod api;
mod capture;
mod dot;
mod executable;
mod graph;
mod hooks;
mod memory;
mod node;
mod object;
mod registry;
mod update;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_protocol::cuda::{CUresult, CUstreamBatchMemOpParams, CUDA_MEMCPY3D};
use vgpu_protocol::HandleKind;

pub use capture::Stream;
pub use executable::Operation;
pub use node::{Allocation, Attributes, Block, Conditional, Copy, Edge, Fill, Host, Kernel, MemOps, Params};

use capture::Captures;
use executable::Executable;
use graph::Store;
use memory::Memory;
use object::Named;
use registry::Registry;

/// What calls return.
pub type Result<T = ()> = std::result::Result<T, CUresult>;

/// Who runs the operations of executable graphs, and knows the objects that nodes refer to. Handles are
/// those of the application.
pub trait Backend: Sized + Send + Sync + 'static {
    /// What it makes of a list of operations. It is dropped when no launch uses it any more.
    type Executable: Send + Sync;
    /// What the conditions of a graph need. It is dropped when neither the graph nor an executable graph made
    /// with it exists any more.
    type Conditions: Send + Sync;

    /// The current context.
    fn context(&self) -> Result<u64>;
    /// A stream, as captures see it.
    fn stream(&self, stream: u64) -> Result<Stream>;
    /// Copies a kernel's parameters.
    ///
    /// # Safety
    /// `params` and `extra` are as `cuLaunchKernel` takes them for the function.
    unsafe fn pack(&self, function: u64, params: *mut *mut c_void, extra: *mut *mut c_void) -> Result<Block>;
    /// A function's name.
    fn name(&self, function: u64) -> Option<String>;
    /// Whether a launch can be run.
    fn check_kernel(&self, kernel: &Kernel) -> Result;
    /// Whether a copy can be run.
    fn check_copy(&self, copy: &CUDA_MEMCPY3D) -> Result;
    /// Whether a memset can be run.
    fn check_fill(&self, fill: &Fill) -> Result;
    /// Whether there is such an event.
    fn check_event(&self, event: u64) -> Result;
    /// Whether an event was ever recorded outside of a capture.
    fn is_recorded(&self, event: u64) -> bool;
    /// Whether there is such a device.
    fn check_device(&self, device: i32) -> Result;
    /// Whether a node that is made now may allocate on a device.
    fn check_allocation(&self, device: i32) -> Result;
    /// Allocates device memory.
    fn allocate(&self, size: u64) -> Result<u64>;
    /// Frees what `allocate` returned, after all work that may use it.
    fn release(&self, address: u64);
    /// Whether operations on memory can be run.
    fn check_mem_ops(&self, operations: &[CUstreamBatchMemOpParams]) -> Result;
    /// What a graph in this context needs that gets its first condition.
    fn conditions(&self, context: u64) -> Result<Self::Conditions>;
    /// Adds a condition, which has the default value, if there is one, whenever a launch begins; its handle.
    fn add_condition(&self, conditions: &Self::Conditions, default: Option<u32>) -> Result<u64>;
    /// Makes an executable graph.
    fn instantiate(
        &self,
        operations: &[Operation],
        conditions: Option<&Arc<Self::Conditions>>,
        flags: u64,
    ) -> Result<Self::Executable>;
    /// Gives an operation of it other parameters of the same kind.
    fn update(&self, executable: &Self::Executable, operation: usize, params: &Params) -> Result;
    /// Switches an operation on or off.
    fn enable(&self, executable: &Self::Executable, operation: usize, enabled: bool) -> Result;
    /// Runs the operations in a stream's order.
    fn launch(&self, executable: &Self::Executable, stream: u64) -> Result;
    /// Prepares for a launch.
    fn upload(&self, executable: &Self::Executable, stream: u64) -> Result;
    /// Whether launches use something that goes when the executable graph is dropped.
    fn is_used_by_launches(&self, executable: &Self::Executable) -> bool;
    /// Calls `then` on another thread after all work of the stream so far.
    fn after(&self, stream: u64, then: Box<dyn FnOnce() + Send>) -> Result;
}

/// All graphs of a process.
pub struct Graphs<B: Backend> {
    backend: B,
    state: Mutex<State<B>>,
    /// Whether any stream captures, or any event was recorded in a capture.
    capturing: AtomicBool,
    /// Whether any graph has memory.
    has_memory: AtomicBool,
}

struct State<B: Backend> {
    store: Store,
    captures: Captures,
    executables: Registry<Executable<B>>,
    objects: Registry<Named>,
    memory: Memory,
    /// What the conditions of graphs need, by the graphs.
    conditions: HashMap<u64, Arc<B::Conditions>>,
    last_executable: u32,
}

impl<B: Backend> Graphs<B> {
    /// No graph yet.
    pub fn new(backend: B) -> Self {
        let state = State {
            store: Store::new(),
            captures: Captures::default(),
            executables: Registry::new(HandleKind::GraphExec),
            objects: Registry::new(HandleKind::UserObject),
            memory: Memory::default(),
            conditions: HashMap::new(),
            last_executable: 0,
        };
        let (capturing, has_memory) = (AtomicBool::new(false), AtomicBool::new(false));
        Graphs { backend, state: Mutex::new(state), capturing, has_memory }
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what calls that have nothing to do with graphs need to know.
    fn note(&self, state: &State<B>) {
        self.capturing.store(!state.captures.is_quiet(), Ordering::Release);
        self.has_memory.store(!state.memory.is_empty(), Ordering::Release);
    }

    fn release_memory(&self, addresses: Vec<u64>) {
        addresses.into_iter().for_each(|address| self.backend.release(address));
    }
}
