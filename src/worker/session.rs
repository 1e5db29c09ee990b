//! What the threads of a worker share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{DriverApi, Handle, HandleKind};

use super::arena::Arena;
use super::commands::{Graph, Link, ObjectKind};
use super::context::Failure;
use super::fences::Fences;
use super::hostfunc::HostFunctions;
use super::ledger::{Ledger, Pointer};
use super::linker::Linker;
use super::output::Output;
use super::quotas::{Pace, EXHAUSTED};
use super::ring::Ring;
use super::sharing::Sharing;
use super::watch::Progress;
use crate::args::Quotas;
use crate::exchange::Resource;

/// The session that this process serves.
pub struct Session {
    /// The driver.
    pub api: DriverApi,
    /// Whether the driver's device is a CPU.
    pub is_cpu: bool,
    /// Its objects by handle.
    pub ledger: Ledger,
    /// Memory shared with the client.
    pub arena: Arena,
    /// The virtqueue.
    pub ring: Arc<Ring>,
    /// Text printed by kernels.
    pub output: Arc<Output>,
    /// Host functions on their way to the client.
    pub host_functions: Arc<HostFunctions>,
    /// Handles of retained primary contexts by device.
    pub primaries: Mutex<HashMap<i32, Vec<Handle>>>,
    /// Whether device 0's primary context is held by this process without the guest's asking.
    pub keeps_primary: AtomicBool,
    /// Texture and surface objects, each with its context.
    pub objects: Mutex<HashMap<(ObjectKind, u64), Pointer>>,
    /// Graphs with the nodes that the driver made of them.
    pub graphs: Mutex<HashMap<Handle, Arc<Mutex<Graph>>>>,
    /// What links in progress need besides the driver's object.
    pub links: Mutex<HashMap<Handle, Arc<Mutex<Link>>>>,
    /// Places in streams that replies wait for.
    pub fences: Fences,
    /// What it may have.
    pub quotas: Quotas,
    /// How fast it may launch.
    pub pace: Pace,
    /// What the dispatcher is at.
    pub progress: Progress,
    /// Some image that was loaded may have kernels that print.
    pub prints: AtomicBool,
    /// Memory of pools has been asked for.
    pub pools: AtomicBool,
    /// Grows with every command that may give a stream work.
    activity: AtomicU64,
    /// Where links are worked on.
    pub linker: Linker,
    /// What other sessions of the VM may have, and theirs.
    pub sharing: Sharing,
    lane_streams: Mutex<HashMap<(u32, Pointer), Pointer>>,
    latched: AtomicU64,
    epoch: AtomicU32,
}

/// Locks whatever state a panicking thread may have left: none of it is kept half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Session {
    /// A session without objects.
    pub fn new(
        api: DriverApi,
        is_cpu: bool,
        quotas: Quotas,
        arena: Arena,
        ring: Ring,
        output: Arc<Output>,
        sharing: Sharing,
    ) -> Self {
        let ring = Arc::new(ring);
        let host_functions = Arc::new(HostFunctions::new(ring.clone()));
        Session {
            api,
            is_cpu,
            ledger: Ledger::default(),
            arena,
            ring,
            output,
            host_functions,
            primaries: Mutex::default(),
            keeps_primary: AtomicBool::new(false),
            objects: Mutex::default(),
            graphs: Mutex::default(),
            links: Mutex::default(),
            fences: Fences::default(),
            quotas,
            pace: sharing.pace(quotas.launch_rate),
            progress: Progress::default(),
            prints: AtomicBool::new(false),
            pools: AtomicBool::new(false),
            activity: AtomicU64::new(0),
            linker: Linker::default(),
            sharing,
            lane_streams: Mutex::default(),
            latched: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
        }
    }

    /// Keeps the first error of a command that nobody waited for.
    pub fn latch(&self, opcode: u16, error: CUresult) {
        let value = u64::from(error.0) << 16 | u64::from(opcode);
        let _ = self.latched.compare_exchange(0, value, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Takes the latched error and its opcode; told once.
    pub fn take_latched(&self) -> (CUresult, u16) {
        let value = self.latched.swap(0, Ordering::AcqRel);
        (CUresult((value >> 16) as u32), value as u16)
    }

    /// Whether the driver may keep something for the next synchronisation.
    pub fn has_to_flush(&self) -> bool {
        self.prints.load(Ordering::Acquire) || self.pools.load(Ordering::Acquire)
    }

    /// Notes that a command may have given a stream work.
    pub fn note_activity(&self) {
        self.activity.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes whenever a stream may have got work.
    pub fn activity(&self) -> u64 {
        self.activity.load(Ordering::Acquire)
    }

    /// Changes whenever a context ends: what threads remember of contexts is void then.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Forgets a context that the driver has destroyed, and all that was in it.
    pub fn forget_context(&self, context: Pointer) {
        self.fences.forget(context);
        self.ledger.drop_context(context);
        lock(&self.objects).retain(|_, owner| *owner != context);
        lock(&self.lane_streams).retain(|(_, owner), _| *owner != context);
        self.arena.forget_registrations();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// A lane's own stream in a context, made by `make` at the first use.
    pub fn lane_stream<E: From<Failure>>(
        &self,
        lane: u32,
        context: Pointer,
        make: impl FnOnce() -> Result<Pointer, E>,
    ) -> Result<Pointer, E> {
        let mut streams = lock(&self.lane_streams);
        if let Some(stream) = streams.get(&(lane, context)) {
            return Ok(*stream);
        }
        let most = self.quotas.streams as usize;
        let all = || u64::from(self.ledger.count(HandleKind::Stream)).saturating_add(streams.len() as u64 + 1);
        if streams.len() >= most || !self.sharing.totals.may_have(Resource::Streams, all) {
            return Err(EXHAUSTED.into());
        }
        let stream = make()?;
        streams.insert((lane, context), stream);
        Ok(stream)
    }

    /// How many streams of lanes there are.
    pub fn lane_stream_count(&self) -> u64 {
        lock(&self.lane_streams).len() as u64
    }

    /// All lanes' streams in a context.
    pub fn lane_streams(&self, context: Pointer) -> Vec<Pointer> {
        lock(&self.lane_streams).iter().filter(|((_, owner), _)| *owner == context).map(|(_, s)| *s).collect()
    }
}
