//! Graphs: their data is this process's own (`vgpu-graphs`); what an executable graph does is told to the
//! worker, operation by operation, when it is instantiated and when it changes.
//!
//! Copies from and to pageable memory go through memory shared with the worker: a host function before
//! the copy fills it with what the launch has found there, or one behind the copy empties it, in the order
//! of the launches.

use std::collections::{HashSet, VecDeque};
use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use vgpu_graphs::{Backend, Block, Conditional, Fill, Host, Kernel, Operation, Params, Stream};
use vgpu_protocol::cmd::{
    VgpuGraphBegin, VgpuGraphBody, VgpuGraphCondition, VgpuGraphConditional, VgpuGraphCopy, VgpuGraphDestroy,
    VgpuGraphEmpty, VgpuGraphEnable, VgpuGraphEvent, VgpuGraphFill, VgpuGraphHost, VgpuGraphInstantiate,
    VgpuGraphKernel, VgpuGraphLaunch, VgpuGraphMemOps, VgpuGraphParams, VgpuGraphReset, VgpuGraphUpload,
};
use vgpu_protocol::cuda::{
    BoxCopy, CUgraphEdgeData, CUresult, CUstreamBatchMemOpParams, Strides, WireCopy, WireEdge, WireEnd, WireFill,
    CUDA_MEMCPY3D, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, MEMORYTYPE_HOST,
};
use vgpu_protocol::{Handle, HandleKind};
use zerocopy::IntoBytes;

use crate::api::Side;
use crate::driver::driver;
use crate::hostfunc::Work;
use crate::{api, context, stream, stub, sys};

type Result<T = ()> = std::result::Result<T, CUresult>;

/// Kernel parameters that fit a command beside whatever else is in it, bytes.
const PARAMS_ROOM: usize = 2 << 10;

/// Dependencies that one command carries.
const MOST_EDGES: usize = 256;

/// What `vgpu-graphs` needs to know of this driver.
pub struct Guest;

/// Events that were recorded in streams. Others stand for no work.
#[derive(Default)]
pub struct RecordedEvents(RwLock<HashSet<u64>>);

impl RecordedEvents {
    /// An event was recorded.
    pub fn note(&self, event: u64) {
        if !self.contains(event) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(event);
        }
    }

    fn contains(&self, event: u64) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&event)
    }

    /// An event was destroyed.
    pub fn forget(&self, event: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&event);
    }
}

/// A graph of the worker. One with conditions, which are the worker's driver's, is made when it gets the first
/// of them, stays as long as the guest's graph, and is filled anew at each instantiation.
pub struct Remote {
    handle: Handle,
    context: u64,
    state: Mutex<Filling>,
}

/// What a graph of the worker is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// There is nothing in it.
    Empty,
    /// An executable graph uses what is in it.
    Used,
    /// What is in it has been used.
    Left,
}

impl Remote {
    fn new(context: u64) -> Result<Remote> {
        let handle = stub::mint(HandleKind::GraphExec)?;
        if let Err(error) = driver()?.session.post(context, &VgpuGraphBegin { graph: handle }) {
            stub::forget(handle);
            return Err(error);
        }
        Ok(Remote { handle, context, state: Mutex::new(Filling::Empty) })
    }

    fn state(&self) -> MutexGuard<'_, Filling> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to fill it.
    fn fill(&self) -> Result {
        let mut state = self.state();
        match *state {
            Filling::Empty => {}
            Filling::Used => return Err(CUresult::NOT_SUPPORTED),
            Filling::Left => {
                driver()?.session.post(self.context, &VgpuGraphReset { graph: self.handle })?;
            }
        }
        *state = Filling::Used;
        Ok(())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let Ok(driver) = driver() else { return };
        let _ = driver.session.post(self.context, &VgpuGraphDestroy { graph: self.handle });
        driver.session.handles().retire(self.handle);
    }
}

/// An executable graph of the worker.
pub struct Executable {
    remote: Arc<Remote>,
    handle: Handle,
    context: u64,
    layout: Mutex<Layout>,
    /// What changes have replaced, and launches that are under way may still run.
    retired: Mutex<Vec<Parts>>,
    /// Whether anything is run here.
    has_host: AtomicBool,
    /// Pageable memory that is read at every launch. Locked from there on until the launch is sent.
    sources: Mutex<Vec<Arc<Source>>>,
}

/// Where an operation is.
#[derive(Default)]
struct Located {
    /// Position of its node in the worker.
    node: u32,
    /// Position of the host node that belongs to a copy.
    helper: u32,
    /// Position of the node that what comes after it depends on.
    last: u32,
    parts: Parts,
}

/// What an operation needs here.
#[derive(Default)]
struct Parts {
    /// What the worker copies.
    copy: Option<WireCopy>,
    /// What is run here at every launch, and when.
    host: Option<(Registered, Turn)>,
    /// Shared memory that stands for pageable memory.
    shadow: Option<Shadow>,
    /// Whether what is run here does anything.
    enabled: Option<Arc<AtomicBool>>,
    /// What is read at the launch.
    source: Option<Arc<Source>>,
}

/// When a function that belongs to a copy is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Before,
    Behind,
    Instead,
}

/// A function that the worker has run here.
struct Registered(u64);

impl Drop for Registered {
    fn drop(&mut self) {
        if let Ok(driver) = driver() {
            driver.host_functions.remove_repeated(self.0);
        }
    }
}

struct Shadow {
    address: u64,
}

impl Shadow {
    fn new(size: usize) -> Result<Shadow> {
        let address = driver()?.session.allocate(size as u64)?;
        Ok(Shadow { address })
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if let Ok(driver) = driver() {
            let _ = driver.session.free(self.address);
        }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        *self.remote.state() = Filling::Left;
    }
}

/// A box that lies in shared memory without gaps.
fn packed_end(address: u64, [width, height, _]: [usize; 3]) -> WireEnd {
    WireEnd { kind: MEMORYTYPE_HOST.into(), base: address, at: [0; 3], pitch: width as u64, height: height as u64 }
}

/// Rows of the application's memory, copied at every launch.
struct Rows {
    first: u64,
    strides: Strides,
    extent: [usize; 3],
}

impl Rows {
    /// Addresses of the rows here, and offsets in a box without gaps.
    fn pairs(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        let [width, height, depth] = self.extent;
        let starts = self.strides.rows(height, depth).enumerate();
        starts.map(move |(i, row)| (self.first.wrapping_add(row as u64), i * width))
    }

    /// Copies the rows to (`write`) or from a box without gaps at `shadow`.
    fn copy(&self, shadow: u64, write: bool) {
        for (here, offset) in self.pairs() {
            let there = shadow.wrapping_add(offset as u64);
            let (to, from) = if write { (there, here) } else { (here, there) };
            // SAFETY: the application vouches for the memory of a node until its launches are done; the
            // shadow has room for the box and lives as long as the function that does this.
            unsafe { sys::copy_bytes(to, from, self.extent[0]) };
        }
    }
}

/// What a copy needs: pageable ends are copied here, from or to shared memory.
fn copy_parts(copy: &BoxCopy) -> Result<Parts> {
    if copy.is_empty() {
        return Ok(Parts::default());
    }
    let extent = copy.extent;
    let (dst, src) = Side::of(copy)?;
    let size = extent.iter().try_fold(1usize, |size, n| size.checked_mul(*n)).ok_or(CUresult::INVALID_VALUE)?;
    let enabled = Arc::new(AtomicBool::new(true));
    let run = |work: Box<dyn Fn() + Send + Sync>| {
        let enabled = enabled.clone();
        register(Arc::new(move || {
            if enabled.load(Ordering::Acquire) {
                work();
            }
        }))
    };
    let wire = |dst, src| Some(WireCopy { dst, src, extent: extent.map(|n| n as u64) });
    let mut parts = Parts::default();
    let rows = |(first, strides): (u64, Strides)| Rows { first, strides, extent };
    match (dst.pageable().map(rows), src.pageable().map(rows)) {
        (None, None) => {
            parts.copy = wire(dst.wire, src.wire);
            return Ok(parts);
        }
        (None, Some(from)) => {
            let shadow = Shadow::new(size)?;
            let at = shadow.address;
            parts.copy = wire(dst.wire, packed_end(at, extent));
            let source = Arc::new(Source { rows: from, taken: Mutex::default() });
            let (behind, enabled) = (source.clone(), enabled.clone());
            let deliver = move || behind.deliver(at, enabled.load(Ordering::Acquire));
            parts.host = Some((register(Arc::new(deliver))?, Turn::Before));
            parts.source = Some(source);
            parts.shadow = Some(shadow);
        }
        (Some(to), None) => {
            let shadow = Shadow::new(size)?;
            let at = shadow.address;
            parts.copy = wire(packed_end(at, extent), src.wire);
            parts.host = Some((run(Box::new(move || to.copy(at, false)))?, Turn::Behind));
            parts.shadow = Some(shadow);
        }
        (Some(to), Some(from)) => {
            let work = move || {
                for ((to, _), (from, _)) in to.pairs().zip(from.pairs()) {
                    // SAFETY: the application vouches for the memory of a node until its launches are done.
                    unsafe { sys::copy_bytes(to, from, extent[0]) };
                }
            };
            parts.host = Some((run(Box::new(work))?, Turn::Instead));
        }
    }
    parts.enabled = Some(enabled);
    Ok(parts)
}

fn register(work: Arc<dyn Fn() + Send + Sync>) -> Result<Registered> {
    let driver = driver()?;
    driver.host_functions.add_repeated(driver.session, work).map(Registered)
}

fn register_host(host: Host) -> Result<Registered> {
    // SAFETY: the node was given this function for this argument, to be called at every launch.
    register(Arc::new(move || unsafe { sys::call_host(host.function, host.data) }))
}

/// Pageable memory that copies of a graph read. As NVIDIA's driver does it, a launch takes what is in it
/// then: it may change afterwards.
struct Source {
    rows: Rows,
    /// What launches that are under way have taken, without gaps.
    taken: Mutex<VecDeque<Vec<u8>>>,
}

impl Source {
    fn taken(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is in the memory now.
    fn take(&self) {
        let bytes = self.rows.extent.iter().product();
        let mut packed = vec![0u8; bytes];
        self.rows.copy(packed.as_mut_ptr().expose_provenance() as u64, true);
        self.taken().push_back(packed);
    }

    /// The launch was not sent.
    fn give_back(&self) {
        self.taken().pop_back();
    }

    /// Puts what the next launch has taken into shared memory.
    fn deliver(&self, shadow: u64, enabled: bool) {
        let packed = self.taken().pop_front();
        if let Some(packed) = packed.filter(|_| enabled) {
            let from = packed.as_ptr().expose_provenance() as u64;
            // SAFETY: both are as long as the box; the shadow lives as long as the function that does this.
            unsafe { sys::copy_bytes(shadow, from, packed.len()) };
        }
    }
}

fn edge(node: u32, data: CUgraphEdgeData) -> WireEdge {
    WireEdge { node, reserved: 0, data }
}

/// Nodes of the worker that the operations so far have become.
#[derive(Default)]
struct Layout {
    places: Vec<Located>,
    next: u32,
    /// Bodies of conditional nodes so far.
    bodies: u32,
}

impl Layout {
    fn sources(&self) -> Vec<Arc<Source>> {
        self.places.iter().filter_map(|place| place.parts.source.clone()).collect()
    }

    fn take(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

impl Executable {
    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Arc<Source>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post<'a, C: vgpu_protocol::Command<'a>>(&self, command: &C) -> Result {
        driver()?.session.post(self.context, command).map(drop)
    }

    fn host(&self, node: u32, after: &[WireEdge], host: &Registered) -> Result {
        self.post(&VgpuGraphHost { graph: self.handle, node, after: after.as_bytes(), id: host.0 })
    }

    fn copy(&self, node: u32, after: &[WireEdge], copy: WireCopy) -> Result {
        self.post(&VgpuGraphCopy { graph: self.handle, node, after: after.as_bytes(), copy })
    }

    /// Tells the worker of a node that is all there is to an operation, or how it changes.
    fn put(&self, node: u32, after: &[WireEdge], params: &Params) -> Result {
        let (graph, after) = (self.handle, after.as_bytes());
        match params {
            Params::Kernel(kernel) => {
                let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (kernel.grid, kernel.block);
                let mut attributes = Vec::new();
                for (id, value) in &kernel.attributes.0 {
                    attributes.extend(id.to_le_bytes());
                    attributes.extend([0; 4]);
                    attributes.extend(value);
                }
                let params = self.send_ahead(kernel.params.bytes())?;
                self.post(&VgpuGraphKernel {
                    graph,
                    node,
                    after,
                    function: Handle(kernel.function),
                    grid_x,
                    grid_y,
                    grid_z,
                    block_x,
                    block_y,
                    block_z,
                    shared: kernel.shared,
                    attributes: &attributes,
                    params,
                })
            }
            Params::Fill(fill) => {
                let p = &fill.params;
                let fill = WireFill {
                    dst: p.dst,
                    pitch: p.pitch as u64,
                    value: p.value,
                    element: p.elementSize,
                    width: p.width as u64,
                    height: p.height as u64,
                };
                self.post(&VgpuGraphFill { graph, node, after, fill })
            }
            Params::EventRecord(event) | Params::EventWait(event) => {
                let record = u32::from(matches!(params, Params::EventRecord(_)));
                if record != 0 {
                    driver()?.recorded_events.note(*event);
                }
                self.post(&VgpuGraphEvent { graph, node, after, event: Handle(*event), record })
            }
            Params::MemOps(batch) => {
                let told = api::mem_ops_for_worker(&batch.operations);
                let operations = self.send_ahead(told.as_bytes())?;
                self.post(&VgpuGraphMemOps { graph, node, after, operations })
            }
            Params::Conditional(conditional) => {
                let Conditional { condition, branch, bodies, .. } = conditional;
                let (kind, size) = (*branch as i32, bodies.len() as u32);
                self.post(&VgpuGraphConditional { graph, node, after, condition: *condition, kind, size })
            }
            _ => self.post(&VgpuGraphEmpty { graph, node, after }),
        }
    }

    /// Puts empty nodes in place of more dependencies than a command has room for.
    fn gather(&self, layout: &mut Layout, after: Vec<WireEdge>) -> Result<Vec<WireEdge>> {
        if after.len() <= MOST_EDGES {
            return Ok(after);
        }
        let is_ordinary = |edge: &WireEdge| edge.data == CUgraphEdgeData::default();
        let (ordinary, mut gathered): (Vec<WireEdge>, Vec<WireEdge>) = after.into_iter().partition(is_ordinary);
        for part in ordinary.chunks(MOST_EDGES) {
            let node = layout.take();
            self.put(node, part, &Params::Empty)?;
            gathered.push(edge(node, CUgraphEdgeData::default()));
        }
        match gathered.len() < ordinary.len() {
            true => self.gather(layout, gathered),
            false => Ok(gathered),
        }
    }

    /// Adds operations, all of one graph: the worker's number of a body, 0 for the graph itself.
    fn fill(&self, layout: &mut Layout, operations: &[Operation], range: Range<usize>, body: u32) -> Result {
        let mut next = range.start;
        while next < range.end {
            let operation = operations.get(next).ok_or(CUresult::INVALID_VALUE)?;
            self.add(layout, operation)?;
            // Host functions, which pageable memory needs, cannot be conditional.
            if body > 0 && layout.places.last().is_some_and(|place| place.parts.host.is_some()) {
                return Err(CUresult::NOT_SUPPORTED);
            }
            let first = layout.bodies;
            layout.bodies += operation.bodies.len() as u32;
            for (inner, range) in (first + 1..).zip(&operation.bodies) {
                self.post(&VgpuGraphBody { graph: self.handle, body: inner })?;
                self.fill(layout, operations, range.clone(), inner)?;
                self.post(&VgpuGraphBody { graph: self.handle, body })?;
            }
            next = operation.bodies.last().map_or(next + 1, |range| range.end);
        }
        Ok(())
    }

    /// Sends what the next command has no room for ahead of it; the rest.
    fn send_ahead<'a>(&self, mut params: &'a [u8]) -> Result<&'a [u8]> {
        let cut = |params: &'a [u8]| params.split_at_checked(PARAMS_ROOM).filter(|(_, rest)| !rest.is_empty());
        while let Some((ahead, rest)) = cut(params) {
            self.post(&VgpuGraphParams { graph: self.handle, params: ahead })?;
            params = rest;
        }
        Ok(params)
    }

    /// Adds an operation behind what it depends on.
    fn add(&self, layout: &mut Layout, operation: &Operation) -> Result {
        let before = |(i, data): &(usize, CUgraphEdgeData)| layout.places.get(*i).map(|place| edge(place.last, *data));
        let after = operation.dependencies.iter().filter_map(before).collect();
        let after = self.gather(layout, after)?;
        let node = layout.take();
        let mut place = Located { node, helper: node, last: node, parts: Parts::default() };
        match &operation.params {
            Params::Host(host) => {
                let host = register_host(*host)?;
                self.host(node, &after, &host)?;
                place.parts.host = Some((host, Turn::Instead));
            }
            Params::Copy(copy) => {
                let parts = copy_parts(&BoxCopy::try_from(&copy.params)?)?;
                let behind = [edge(node, CUgraphEdgeData::default())];
                match (parts.copy, &parts.host) {
                    (None, None) => self.put(node, &after, &Params::Empty)?,
                    (None, Some((host, _))) => self.host(node, &after, host)?,
                    (Some(copy), None) => self.copy(node, &after, copy)?,
                    (Some(copy), Some((host, Turn::Before))) => {
                        self.host(node, &after, host)?;
                        place.node = layout.take();
                        self.copy(place.node, &behind, copy)?;
                        place.last = place.node;
                    }
                    (Some(copy), Some((host, _))) => {
                        self.copy(node, &after, copy)?;
                        place.helper = layout.take();
                        self.host(place.helper, &behind, host)?;
                        place.last = place.helper;
                    }
                }
                place.parts = parts;
            }
            params => self.put(node, &after, params)?,
        }
        layout.places.push(place);
        Ok(())
    }

    /// Changes an operation. What runs here at launches that are under way stays until the end.
    fn change(&self, operation: usize, params: &Params) -> Result {
        let mut layout = self.layout();
        let place = layout.places.get_mut(operation).ok_or(CUresult::INVALID_VALUE)?;
        let parts = match params {
            Params::Host(host) => {
                let host = register_host(*host)?;
                self.host(place.node, &[], &host)?;
                Parts { host: Some((host, Turn::Instead)), ..Parts::default() }
            }
            Params::Copy(copy) => {
                let parts = copy_parts(&BoxCopy::try_from(&copy.params)?)?;
                let shape = |parts: &Parts| (parts.copy.is_some(), parts.host.as_ref().map(|(_, turn)| *turn));
                if shape(&parts) != shape(&place.parts) {
                    return Err(CUresult::INVALID_VALUE);
                }
                if let Some((host, _)) = &parts.host {
                    self.host(place.helper, &[], host)?;
                }
                if let Some(copy) = parts.copy {
                    self.copy(place.node, &[], copy)?;
                }
                parts
            }
            params => return self.put(place.node, &[], params),
        };
        let before = std::mem::replace(&mut place.parts, parts);
        *self.sources() = layout.sources();
        if before.host.is_some() {
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(before);
        }
        Ok(())
    }
}

fn next_thread_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

thread_local! {
    static THREAD_KEY: u64 = next_thread_key();
}

impl Backend for Guest {
    type Executable = Executable;
    type Conditions = Remote;

    fn context(&self) -> Result<u64> {
        Ok(context::required()?.handle.0)
    }

    fn stream(&self, handle: u64) -> Result<Stream> {
        const NON_BLOCKING: u32 = 1;
        const PER_THREAD: u64 = 1 << 63;
        const LEGACY: u64 = 1 << 62;
        let found = stream::find(handle)?;
        let is_legacy = handle <= CU_STREAM_LEGACY;
        let key = match handle {
            _ if is_legacy => LEGACY | found.context.id,
            CU_STREAM_PER_THREAD => PER_THREAD | THREAD_KEY.with(|key| *key) << 24 | found.context.id,
            handle => handle,
        };
        let is_blocking = !is_legacy && found.flags & NON_BLOCKING == 0;
        Ok(Stream { key, context: found.context.handle.0, is_legacy, is_blocking })
    }

    unsafe fn pack(&self, function: u64, params: *mut *mut c_void, extra: *mut *mut c_void) -> Result<Block> {
        let function = driver()?.functions.find(function)?;
        // SAFETY: the caller's promise is the same.
        let block = unsafe { api::pack(&function, params, extra)? };
        Ok(Block::new(&block, function.params.as_slice().into()))
    }

    fn name(&self, function: u64) -> Option<String> {
        let function = driver().ok()?.functions.find(function).ok()?;
        Some(function.name.to_string_lossy().into_owned())
    }

    fn check_kernel(&self, kernel: &Kernel) -> Result {
        let driver = driver()?;
        let function = driver.functions.find(kernel.function)?;
        api::check_node(driver, context::required()?.device, &function, kernel)
    }

    fn check_copy(&self, copy: &CUDA_MEMCPY3D) -> Result {
        let copy = BoxCopy::try_from(copy)?;
        match copy.is_empty() {
            true => Ok(()),
            false => Side::of(&copy).map(drop),
        }
    }

    fn check_fill(&self, fill: &Fill) -> Result {
        let p = &fill.params;
        let element = u64::from(p.elementSize);
        let width = (p.width as u64).checked_mul(element).ok_or(CUresult::INVALID_VALUE)?;
        let rows = (p.height as u64).saturating_sub(1).checked_mul(p.pitch as u64);
        let extent = rows.and_then(|rows| rows.checked_add(width)).ok_or(CUresult::INVALID_VALUE)?;
        let is_odd = |n: u64| !n.is_multiple_of(element);
        if is_odd(p.dst) || (p.height > 1 && (is_odd(p.pitch as u64) || (p.pitch as u64) < width)) {
            return Err(CUresult::INVALID_VALUE);
        }
        match driver()?.memory.find(p.dst) {
            Some(range) if extent <= range.start.saturating_add(range.size) - p.dst => Ok(()),
            Some(_) => Err(CUresult::INVALID_VALUE),
            None => stub::check_device(p.dst),
        }
    }

    fn check_event(&self, event: u64) -> Result {
        stub::handle(HandleKind::Event, event).map(drop)
    }

    fn is_recorded(&self, event: u64) -> bool {
        driver().is_ok_and(|driver| driver.recorded_events.contains(event))
    }

    fn check_device(&self, device: i32) -> Result {
        driver()?.device(device).map(drop)
    }

    fn check_allocation(&self, device: i32) -> Result<()> {
        // A node's memory is that of the context in which the node is made.
        match context::required()?.device == device {
            true => Ok(()),
            false => Err(CUresult::NOT_SUPPORTED),
        }
    }

    fn allocate(&self, size: u64) -> Result<u64> {
        api::allocate_device(size as usize)
    }

    fn release(&self, address: u64) {
        // If its context has ended, so has the memory.
        let _ = api::free_device(address);
    }

    fn check_mem_ops(&self, operations: &[CUstreamBatchMemOpParams]) -> Result {
        api::check_mem_ops(operations)
    }

    fn conditions(&self, context: u64) -> Result<Remote> {
        Remote::new(context)
    }

    fn add_condition(&self, remote: &Remote, default: Option<u32>) -> Result<u64> {
        let (flags, default) = (u32::from(default.is_some()), default.unwrap_or_default());
        let command = VgpuGraphCondition { graph: remote.handle, default, flags };
        Ok(driver()?.session.call(remote.context, &command)?.condition)
    }

    fn instantiate(
        &self,
        operations: &[Operation],
        conditions: Option<&Arc<Remote>>,
        flags: u64,
    ) -> Result<Executable> {
        let remote = match conditions {
            Some(known) => known.clone(),
            None => {
                let kernels = operations.iter().find_map(|operation| operation.params.kernel().ok());
                let context = kernels.map_or_else(|| self.context(), |kernel| Ok(kernel.context))?;
                Arc::new(Remote::new(context)?)
            }
        };
        remote.fill()?;
        let (graph, context) = (remote.handle, remote.context);
        let made = Executable {
            remote,
            handle: graph,
            context,
            layout: Mutex::default(),
            retired: Mutex::default(),
            has_host: AtomicBool::new(false),
            sources: Mutex::default(),
        };
        let mut layout = Layout::default();
        made.fill(&mut layout, operations, 0..operations.len(), 0)?;
        driver()?.session.call(context, &VgpuGraphInstantiate { graph, flags })?;
        made.has_host.store(layout.places.iter().any(|place| place.parts.host.is_some()), Ordering::Relaxed);
        *made.sources() = layout.sources();
        *made.layout() = layout;
        Ok(made)
    }

    fn update(&self, executable: &Executable, operation: usize, params: &Params) -> Result {
        executable.change(operation, params)
    }

    fn enable(&self, executable: &Executable, operation: usize, enabled: bool) -> Result {
        let layout = executable.layout();
        let place = layout.places.get(operation).ok_or(CUresult::INVALID_VALUE)?;
        if let Some(flag) = &place.parts.enabled {
            flag.store(enabled, Ordering::Release);
        }
        let (graph, node, enabled) = (executable.handle, place.node, enabled.into());
        match place.parts.copy.is_none() && place.parts.host.is_some() {
            true => Ok(()),
            false => executable.post(&VgpuGraphEnable { graph, node, enabled }),
        }
    }

    fn launch(&self, executable: &Executable, stream: u64) -> Result {
        let context = stream::find(stream)?.context;
        context.fault()?;
        let command = VgpuGraphLaunch { graph: executable.handle, stream: Handle(stream) };
        let session = driver()?.session;
        let sources = executable.sources();
        sources.iter().for_each(|source| source.take());
        let sent = session.post(context.handle.0, &command);
        if sent.is_err() {
            sources.iter().for_each(|source| source.give_back());
        }
        sent.map(drop)
    }

    fn upload(&self, executable: &Executable, stream: u64) -> Result {
        let context = stream::find(stream)?.context;
        let command = VgpuGraphUpload { graph: executable.handle, stream: Handle(stream) };
        driver()?.session.post(context.handle.0, &command).map(drop)
    }

    fn is_used_by_launches(&self, executable: &Executable) -> bool {
        executable.has_host.load(Ordering::Relaxed)
    }

    fn after(&self, stream: u64, then: Box<dyn FnOnce() + Send>) -> Result {
        let driver = driver()?;
        let stream = stub::handle(HandleKind::Stream, stream)?;
        driver.host_functions.enqueue(driver.session, stream, Work::Then(then), std::ptr::null_mut())
    }
}
