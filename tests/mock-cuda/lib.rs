//! A CUDA driver for tests, loaded by `--gpu PATH`. It executes nothing but a few named kernels, and
//! **ends the process when it is given a pointer that it has not handed out**: a session whose
//! worker survives has kept every forged handle away from its driver.
//!
//! The environment says more about it: `MOCK_DEVICES` how many devices it has, of which
//! `CUDA_VISIBLE_DEVICES` chooses as NVIDIA's driver has it, `MOCK_VERSION` its CUDA version,
//! `MOCK_PAGEABLE_ACCESS` that kernels reach all memory; `CUDA_CACHE_PATH` where compiled images are kept; what calls do and where they are noted: [`script`].
//!
//! Images start with `mock`, or as PTX and cubins do. Kernels: `add` (u64 address, u32 value), `sleep` (u64 milliseconds of
//! stream time), `work` (u64 microseconds of it), `print`, `crash`, `fault` (makes its context fail with 700).

mod cache;
mod devices;
mod peers;
mod script;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{c_char, c_void, CStr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vgpu_protocol::cuda::attribute::PAGEABLE_MEMORY_ACCESS;
use vgpu_protocol::cuda::{
    BoxCopy, CUhostFn, CUlaunchConfig, CUresult, CUuuid, CopyEnd, Place, CUDA_KERNEL_NODE_PARAMS, CUDA_MEMCPY3D,
};

const KERNELS: [(&CStr, &[(usize, usize)]); 8] = [
    (c"add", &[(0, 8), (8, 4)]),
    (c"sleep", &[(0, 8)]),
    (c"work", &[(0, 8)]),
    (c"wake", &[(0, 8)]),
    (c"print", &[]),
    (c"crash", &[]),
    (c"fault", &[]),
    (c"empty", &[]),
];

/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION`.
const CLUSTER_DIMENSION: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Context,
    Module,
    Library,
    Function,
    Stream,
    Event,
    Graph,
    GraphNode,
    GraphExec,
    Texture,
    Surface,
}

#[derive(Default)]
struct State {
    known: HashSet<(Kind, usize)>,
    /// Which kernel a function is.
    kernels: HashMap<usize, usize>,
    /// Device allocations and registered host ranges: start and length.
    ranges: BTreeMap<usize, usize>,
    /// Starts of the registered host ranges.
    registered: HashSet<usize>,
    busy_until: HashMap<usize, Instant>,
    /// When recorded events are reached.
    reached: HashMap<usize, Instant>,
    /// Primary contexts by device.
    primaries: HashMap<i32, usize>,
    /// The device of each context.
    device_of: HashMap<usize, i32>,
    peers: peers::Peers,
    failed: bool,
    /// Nodes of a graph or of an executable graph, in the order of their creation.
    graphs: HashMap<usize, Vec<usize>>,
    /// The kernel of a node, and its parameters; for an executable graph by both.
    launches: HashMap<(usize, usize), (usize, Vec<u8>)>,
}

/// A constructor, which does nothing unless it is to hang.
#[used]
#[link_section = ".init_array"]
static WHEN_LOADED: extern "C" fn() = when_loaded;

extern "C" fn when_loaded() {
    while std::env::var_os("MOCK_HANGS_WHEN_LOADED").is_some() {
        std::thread::sleep(Duration::from_secs(1));
    }
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
thread_local! {
    static CURRENT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn with<T>(work: impl FnOnce(&mut State) -> T) -> T {
    let mut state = STATE.lock().unwrap_or_else(|p| p.into_inner());
    work(state.get_or_insert_with(State::default))
}

impl State {
    fn make(&mut self, kind: Kind) -> usize {
        let pointer = Box::leak(Box::new([0u64; 2])).as_ptr() as usize;
        self.known.insert((kind, pointer));
        pointer
    }

    fn check(&self, kind: Kind, pointer: usize) {
        if !self.known.contains(&(kind, pointer)) {
            eprintln!("mock driver: {pointer:#x} is no {kind:?}");
            std::process::abort();
        }
    }

    fn make_context(&mut self, device: i32) -> usize {
        let context = self.make(Kind::Context);
        self.device_of.insert(context, device);
        context
    }

    fn check_stream(&self, stream: usize) {
        if stream > 1 {
            self.check(Kind::Stream, stream);
        }
    }

    fn covers(&self, start: usize, length: usize) -> bool {
        let end = start.checked_add(length);
        let range = self.ranges.range(..=start).next_back();
        range.zip(end).is_some_and(|((base, size), end)| end <= base + size)
    }
}

impl State {
    /// Adds a node after others of its graph.
    fn add_node(&mut self, graph: usize, after: &[usize]) -> usize {
        self.check(Kind::Graph, graph);
        after.iter().for_each(|node| self.check(Kind::GraphNode, *node));
        let nodes = self.graphs.entry(graph).or_default();
        assert!(after.iter().all(|node| nodes.contains(node)), "a dependency is of another graph");
        let node = self.make(Kind::GraphNode);
        self.graphs.entry(graph).or_default().push(node);
        node
    }

    /// Keeps a node's launch; its parameters are in a buffer.
    unsafe fn keep_launch(&mut self, of: usize, node: usize, params: &CUDA_KERNEL_NODE_PARAMS) {
        let function = params.func as usize;
        self.check(Kind::Function, function);
        // SAFETY: `extra` is {1, buffer, 2, size, 0}.
        let block = unsafe {
            let size = *(*params.extra.add(3)).cast::<usize>();
            std::slice::from_raw_parts((*params.extra.add(1)).cast::<u8>(), size).to_vec()
        };
        self.launches.insert((of, node), (function, block));
    }
}

/// Without a current context, or after a fault, a call fails.
fn ready() -> CUresult {
    match (CURRENT.get(), with(|s| s.failed)) {
        (0, _) => CUresult::INVALID_CONTEXT,
        (_, true) => CUresult::ILLEGAL_ADDRESS,
        _ => CUresult::SUCCESS,
    }
}

/// The first error, else what comes `next`.
fn then(result: CUresult, next: impl FnOnce() -> CUresult) -> CUresult {
    if result == CUresult::SUCCESS {
        next()
    } else {
        result
    }
}

/// Defines exported functions that start with a check of the current context.
macro_rules! calls {
    ($($name:ident($($arg:ident: $ty:ty),*) $body:block)*) => {$(
        #[no_mangle]
        #[allow(unused_unsafe)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            match then(script::enter(stringify!($name)), ready) {
                // SAFETY: the worker passes pointers to its locals and checked ranges.
                CUresult::SUCCESS => unsafe { $body },
                error => error,
            }
        }
    )*};
}

/// Defines exported functions that need no context.
macro_rules! free_calls {
    ($($name:ident($($arg:ident: $ty:ty),*) $body:block)*) => {$(
        #[no_mangle]
        #[allow(unused_unsafe)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            // SAFETY: as above.
            then(script::enter(stringify!($name)), || unsafe { $body })
        }
    )*};
}

fn idle(stream: usize) -> bool {
    with(|s| {
        s.check_stream(stream);
        s.busy_until.get(&stream).is_none_or(|end| Instant::now() >= *end)
    })
}

fn reached(event: usize) -> bool {
    with(|s| {
        s.check(Kind::Event, event);
        s.reached.get(&event).is_none_or(|end| Instant::now() >= *end)
    })
}

fn wait(stream: usize) {
    let end = with(|s| {
        s.check_stream(stream);
        s.busy_until.get(&stream).copied()
    });
    wait_until(end);
}

/// Waits as a driver does: for a short time it looks all the time.
fn wait_until(end: Option<Instant>) {
    const SHORT: Duration = Duration::from_millis(1);
    let Some(end) = end else { return };
    std::thread::sleep(end.saturating_duration_since(Instant::now()).saturating_sub(SHORT));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Runs a kernel, once per block of its cluster; its parameters are read from the launch buffer.
unsafe fn execute(function: usize, stream: usize, cluster: u32, extra: *mut *mut c_void) -> CUresult {
    let kernel = with(|s| {
        if !s.known.contains(&(Kind::Function, function)) {
            s.check(Kind::Function, function);
        }
        s.check_stream(stream);
        s.kernels.get(&function).copied().unwrap_or(0)
    });
    // SAFETY: `extra` is {1, buffer, 2, size, 0}.
    let buffer: *const u8 = if extra.is_null() { std::ptr::null() } else { unsafe { (*extra.add(1)).cast() } };
    // SAFETY: the worker has compared the buffer's size with the layout below.
    let word = |offset: usize| unsafe { buffer.add(offset).cast::<u64>().read_unaligned() };
    match KERNELS[kernel].0.to_bytes() {
        b"add" => {
            let address = word(0) as usize;
            // SAFETY: as above.
            let value = unsafe { buffer.add(8).cast::<u32>().read_unaligned() };
            if !with(|s| s.covers(address, 4)) {
                with(|s| s.failed = true);
                return CUresult::SUCCESS;
            }
            // SAFETY: the range is an allocation of ours or registered memory.
            unsafe { *(address as *mut u32) = (*(address as *mut u32)).wrapping_add(value * cluster) };
        }
        b"sleep" => occupy(stream, Duration::from_millis(word(0))),
        b"work" => occupy(stream, Duration::from_micros(word(0))),
        b"print" => println!("printed by a kernel"),
        b"crash" => std::process::abort(),
        // The benchmark's, which would say when it ended.
        b"empty" | b"wake" => {}
        _ => with(|s| s.failed = true),
    }
    CUresult::SUCCESS
}

/// Gives a stream work for a while, behind what it has.
fn occupy(stream: usize, time: Duration) {
    with(|s| {
        let now = Instant::now();
        let busy = s.busy_until.entry(stream).or_insert(now);
        *busy = now.max(*busy) + time;
    });
}

fn drop_object(kind: Kind, pointer: usize) -> CUresult {
    with(|s| {
        s.check(kind, pointer);
        s.known.remove(&(kind, pointer));
    });
    CUresult::SUCCESS
}

fn forget_range(start: usize) -> CUresult {
    let known = with(|s| s.ranges.remove(&start)).is_some();
    if known {
        CUresult::SUCCESS
    } else {
        CUresult::INVALID_VALUE
    }
}

fn load(kind: Kind, out: *mut usize, image: *const c_void, log: Option<(*mut u8, usize)>) -> CUresult {
    // SAFETY: the worker puts NULs behind the image.
    let start = unsafe { std::slice::from_raw_parts(image.cast::<u8>(), 4) };
    // The second is PTX with an empty line in front, as `vgpu bench` has it, the third machine code.
    if [b"mock", b"\n.ve", b"\x7fELF"].contains(&start.try_into().unwrap_or(b"none")) {
        cache::load();
        // SAFETY: `out` is a local of the worker.
        unsafe { *out = with(|s| s.make(kind)) };
        return CUresult::SUCCESS;
    }
    const TEXT: &[u8] = b"line 1: not a mock image\0";
    if let Some((buffer, _)) = log.filter(|(_, size)| *size >= TEXT.len()) {
        // SAFETY: the buffer has that size.
        unsafe { std::ptr::copy_nonoverlapping(TEXT.as_ptr(), buffer, TEXT.len()) };
    }
    CUresult::INVALID_PTX
}

/// The error log among JIT options.
unsafe fn error_log(count: u32, options: *const i32, values: *const *mut c_void) -> Option<(*mut u8, usize)> {
    let find = |number: i32| {
        // SAFETY: both arrays have `count` elements.
        (0..count as usize).find(|i| unsafe { *options.add(*i) } == number).map(|i| unsafe { *values.add(i) })
    };
    Some((find(5)?.cast(), find(6)? as usize))
}

unsafe fn find_kernel(out: *mut usize, name: *const c_char) -> CUresult {
    // SAFETY: the name is NUL-terminated.
    let name = unsafe { CStr::from_ptr(name) };
    let Some(index) = KERNELS.iter().position(|(n, _)| *n == name) else { return CUresult::NOT_FOUND };
    let function = with(|s| {
        let function = s.make(Kind::Function);
        s.kernels.insert(function, index);
        function
    });
    // SAFETY: `out` is a local of the worker.
    unsafe { *out = function };
    CUresult::SUCCESS
}

unsafe fn param(function: usize, index: usize, offset: *mut usize, size: *mut usize) -> CUresult {
    let kernel = with(|s| {
        s.check(Kind::Function, function);
        s.kernels.get(&function).copied().unwrap_or(0)
    });
    let Some((at, length)) = KERNELS[kernel].1.get(index) else { return CUresult::INVALID_VALUE };
    // SAFETY: locals of the worker.
    unsafe {
        *offset = *at;
        *size = *length;
    }
    CUresult::SUCCESS
}

unsafe fn copy(dst: usize, src: usize, length: usize, device: usize, stream: usize) -> CUresult {
    with(|s| s.check_stream(stream));
    if !with(|s| s.covers(device, length)) {
        return CUresult::INVALID_VALUE;
    }
    // Pageable memory is copied at the call, after the stream's work.
    let host = if device == dst { src } else { dst };
    if !with(|s| s.covers(host, length)) {
        wait(stream);
    }
    // SAFETY: the device's side is covered, the host's side has been checked by the worker.
    unsafe { std::ptr::copy(src as *const u8, dst as *mut u8, length) };
    CUresult::SUCCESS
}

/// Copies a box between host and device memory; there are no arrays.
unsafe fn copy_box(parameters: &CUDA_MEMCPY3D, stream: usize) -> CUresult {
    with(|s| s.check_stream(stream));
    let Ok(copy) = BoxCopy::try_from(parameters) else { return CUresult::INVALID_VALUE };
    let place = |end: &CopyEnd| {
        let strides = end.strides(copy.extent).ok()?;
        let (Place::Host(base) | Place::Device(base)) = end.place else { return None };
        let first = (base as usize).checked_add(strides.start)?;
        let reached = matches!(end.place, Place::Host(_)) || with(|s| s.covers(first, strides.span));
        reached.then_some((first, strides))
    };
    let (Some(dst), Some(src)) = (place(&copy.dst), place(&copy.src)) else { return CUresult::INVALID_VALUE };
    wait(stream);
    let [width, height, depth] = copy.extent;
    for (to, from) in dst.1.rows(height, depth).zip(src.1.rows(height, depth)) {
        // SAFETY: the device's side is covered, the host's side has been checked by the worker.
        unsafe { std::ptr::copy((src.0 + from) as *const u8, (dst.0 + to) as *mut u8, width) };
    }
    CUresult::SUCCESS
}

/// What the current context and another one, and their devices, have to do with each other.
fn peer_access(peer: usize, work: impl FnOnce(&mut State, (usize, usize), (i32, i32)) -> CUresult) -> CUresult {
    let current = CURRENT.get();
    if current == 0 || peer == 0 {
        return CUresult::INVALID_CONTEXT;
    }
    with(|s| {
        s.check(Kind::Context, peer);
        let devices = (s.device_of[&current], s.device_of[&peer]);
        work(s, (current, peer), devices)
    })
}

free_calls! {
    cuInit(_flags: u32) { if devices::visible().is_empty() { CUresult::NO_DEVICE } else { CUresult::SUCCESS } }
    cuDriverGetVersion(out: *mut i32) {
        *out = std::env::var("MOCK_VERSION").map_or(13000, |version| version.parse().unwrap());
        CUresult::SUCCESS
    }
    cuDeviceGet(out: *mut i32, ordinal: i32) {
        if devices::find(ordinal).is_none() { return CUresult::INVALID_DEVICE; }
        *out = ordinal;
        CUresult::SUCCESS
    }
    cuDeviceGetCount(out: *mut i32) { *out = devices::visible().len() as i32; CUresult::SUCCESS }
    cuDeviceGetName(name: *mut c_char, len: i32, dev: i32) {
        let Some(device) = devices::find(dev) else { return CUresult::INVALID_DEVICE };
        let text = device.name();
        assert!(text.count_bytes() < len as usize);
        std::ptr::copy_nonoverlapping(text.as_ptr(), name, text.count_bytes() + 1);
        CUresult::SUCCESS
    }
    cuDeviceGetUuid_v2(out: *mut CUuuid, dev: i32) {
        let Some(device) = devices::find(dev) else { return CUresult::INVALID_DEVICE };
        *out = CUuuid { bytes: device.uuid() };
        CUresult::SUCCESS
    }
    cuDeviceTotalMem_v2(out: *mut usize, _dev: i32) { *out = 1 << 30; CUresult::SUCCESS }
    cuDeviceGetAttribute(out: *mut i32, attribute: i32, _dev: i32) {
        if attribute > 161 { return CUresult::INVALID_VALUE; }
        *out = match attribute {
            PAGEABLE_MEMORY_ACCESS => i32::from(std::env::var_os("MOCK_PAGEABLE_ACCESS").is_some()),
            _ => attribute,
        };
        CUresult::SUCCESS
    }
    cuCtxSetCurrent(context: usize) {
        if context != 0 { with(|s| s.check(Kind::Context, context)); }
        CURRENT.set(context);
        CUresult::SUCCESS
    }
    cuCtxCreate_v2(out: *mut usize, _flags: u32, dev: i32) {
        if devices::find(dev).is_none() { return CUresult::INVALID_DEVICE; }
        *out = with(|s| s.make_context(dev));
        CURRENT.set(*out);
        CUresult::SUCCESS
    }
    cuDeviceCanAccessPeer(out: *mut i32, dev: i32, peer: i32) {
        if devices::find(dev).and(devices::find(peer)).is_none() { return CUresult::INVALID_DEVICE; }
        *out = peers::can_access(dev, peer).into();
        CUresult::SUCCESS
    }
    cuDeviceGetP2PAttribute(out: *mut i32, attribute: i32, dev: i32, peer: i32) {
        match peers::attribute(attribute, dev, peer) {
            Ok(value) => { *out = value; CUresult::SUCCESS }
            Err(error) => error,
        }
    }
    cuCtxEnablePeerAccess(peer: usize, flags: u32) {
        peer_access(peer, |s, contexts, devices| match flags {
            0 => s.peers.enable(contexts, devices),
            _ => CUresult::INVALID_VALUE,
        })
    }
    cuCtxDisablePeerAccess(peer: usize) { peer_access(peer, |s, contexts, _| s.peers.disable(contexts)) }
    cuCtxDestroy_v2(context: usize) { drop_object(Kind::Context, context) }
    cuDevicePrimaryCtxRetain(out: *mut usize, dev: i32) {
        if devices::find(dev).is_none() { return CUresult::INVALID_DEVICE; }
        *out = with(|s| {
            let known = s.primaries.get(&dev).copied();
            let context = known.unwrap_or_else(|| s.make_context(dev));
            s.primaries.insert(dev, context);
            context
        });
        CUresult::SUCCESS
    }
    cuDevicePrimaryCtxRelease_v2(dev: i32) {
        match with(|s| s.primaries.remove(&dev)) {
            Some(primary) => drop_object(Kind::Context, primary),
            None => CUresult::INVALID_CONTEXT,
        }
    }
    cuDevicePrimaryCtxGetState(dev: i32, flags: *mut u32, active: *mut i32) {
        *flags = 0;
        *active = i32::from(with(|s| s.primaries.contains_key(&dev)));
        CUresult::SUCCESS
    }
    cuCtxGetCurrent(out: *mut usize) { *out = CURRENT.get(); CUresult::SUCCESS }
    cuDevicePrimaryCtxReset_v2(_dev: i32) {
        with(|s| {
            s.failed = false;
            for start in std::mem::take(&mut s.registered) { s.ranges.remove(&start); }
        });
        CUresult::SUCCESS
    }
}

calls! {
    cuGraphCreate(out: *mut usize, _flags: u32) { *out = with(|s| s.make(Kind::Graph)); CUresult::SUCCESS }
    cuGraphAddEmptyNode(out: *mut usize, graph: usize, after: *const usize, count: usize) {
        let after = std::slice::from_raw_parts(after, count);
        *out = with(|s| s.add_node(graph, after));
        CUresult::SUCCESS
    }
    cuGraphAddKernelNode_v2(
        out: *mut usize, graph: usize, after: *const usize, count: usize, params: *const CUDA_KERNEL_NODE_PARAMS
    ) {
        let after = std::slice::from_raw_parts(after, count);
        *out = with(|s| {
            let node = s.add_node(graph, after);
            s.keep_launch(graph, node, &*params);
            node
        });
        CUresult::SUCCESS
    }
    cuGraphAddEventRecordNode(out: *mut usize, graph: usize, after: *const usize, count: usize, event: usize) {
        let after = std::slice::from_raw_parts(after, count);
        *out = with(|s| {
            s.check(Kind::Event, event);
            s.add_node(graph, after)
        });
        CUresult::SUCCESS
    }
    cuGraphInstantiateWithFlags(out: *mut usize, graph: usize, _flags: u64) {
        *out = with(|s| {
            s.check(Kind::Graph, graph);
            let executable = s.make(Kind::GraphExec);
            let nodes = s.graphs.get(&graph).cloned().unwrap_or_default();
            for node in &nodes {
                if let Some(launch) = s.launches.get(&(graph, *node)).cloned() {
                    s.launches.insert((executable, *node), launch);
                }
            }
            s.graphs.insert(executable, nodes);
            executable
        });
        CUresult::SUCCESS
    }
    cuGraphExecKernelNodeSetParams_v2(executable: usize, node: usize, params: *const CUDA_KERNEL_NODE_PARAMS) {
        with(|s| {
            s.check(Kind::GraphExec, executable);
            s.check(Kind::GraphNode, node);
            s.keep_launch(executable, node, &*params);
        });
        CUresult::SUCCESS
    }
    cuGraphLaunch(executable: usize, stream: usize) {
        let launches = with(|s| {
            s.check(Kind::GraphExec, executable);
            let nodes = s.graphs.get(&executable).cloned().unwrap_or_default();
            nodes.iter().filter_map(|node| s.launches.get(&(executable, *node)).cloned()).collect::<Vec<_>>()
        });
        for (function, mut block) in launches {
            let none = std::ptr::null_mut();
            let mut extra = [none, block.as_mut_ptr().cast(), none, none, none];
            execute(function, stream, 1, extra.as_mut_ptr());
        }
        CUresult::SUCCESS
    }
    cuGraphExecDestroy(executable: usize) { drop_object(Kind::GraphExec, executable) }
    cuGraphDestroy(graph: usize) { drop_object(Kind::Graph, graph) }
    cuCtxSynchronize() {
        for stream in with(|s| s.busy_until.keys().copied().collect::<Vec<_>>()) { wait(stream); }
        ready()
    }
    cuCtxSetLimit(_limit: i32, _value: usize) { CUresult::SUCCESS }
    cuCtxGetLimit(out: *mut usize, _limit: i32) { *out = 1; CUresult::SUCCESS }
    cuModuleLoadDataEx(
        out: *mut usize, image: *const c_void, count: u32, options: *const i32, values: *const *mut c_void
    ) {
        load(Kind::Module, out, image, error_log(count, options, values))
    }
    cuModuleUnload(module: usize) { drop_object(Kind::Module, module) }
    cuModuleGetFunction(out: *mut usize, module: usize, name: *const c_char) {
        with(|s| s.check(Kind::Module, module));
        find_kernel(out, name)
    }
    cuLibraryLoadData(
        out: *mut usize, code: *const c_void, options: *const i32, values: *const *mut c_void, count: u32,
        _o: *const i32, _v: *const *mut c_void, _n: u32
    ) {
        load(Kind::Library, out, code, error_log(count, options, values))
    }
    cuLibraryUnload(library: usize) { drop_object(Kind::Library, library) }
    cuLibraryGetKernel(out: *mut usize, library: usize, name: *const c_char) {
        with(|s| s.check(Kind::Library, library));
        find_kernel(out, name)
    }
    cuLibraryGetModule(out: *mut usize, library: usize) {
        with(|s| s.check(Kind::Library, library));
        *out = with(|s| s.make(Kind::Module));
        CUresult::SUCCESS
    }
    cuKernelGetFunction(out: *mut usize, kernel: usize) {
        with(|s| s.check(Kind::Function, kernel));
        *out = kernel;
        CUresult::SUCCESS
    }
    cuKernelGetAttribute(out: *mut i32, _attribute: i32, kernel: usize, _dev: i32) {
        with(|s| s.check(Kind::Function, kernel));
        *out = 7;
        CUresult::SUCCESS
    }
    cuFuncGetAttribute(out: *mut i32, _attribute: i32, function: usize) {
        with(|s| s.check(Kind::Function, function));
        *out = 7;
        CUresult::SUCCESS
    }
    cuFuncSetAttribute(function: usize, _attribute: i32, _value: i32) {
        with(|s| s.check(Kind::Function, function));
        CUresult::SUCCESS
    }
    cuFuncGetParamInfo(function: usize, index: usize, offset: *mut usize, size: *mut usize) {
        param(function, index, offset, size)
    }
    cuKernelGetParamInfo(kernel: usize, index: usize, offset: *mut usize, size: *mut usize) {
        param(kernel, index, offset, size)
    }
    cuLaunchKernel(
        function: usize, _gx: u32, _gy: u32, _gz: u32, _bx: u32, _by: u32, _bz: u32, _shared: u32, stream: usize,
        _params: *mut *mut c_void, extra: *mut *mut c_void
    ) {
        execute(function, stream, 1, extra)
    }
    cuLaunchKernelEx(
        config: *const CUlaunchConfig, function: usize, _params: *mut *mut c_void, extra: *mut *mut c_void
    ) {
        let attributes = std::slice::from_raw_parts((*config).attrs, (*config).numAttrs as usize);
        for event in attributes.iter().filter(|a| a.names_event()) {
            let pointer = u64::from(event.word(1)) << 32 | u64::from(event.word(0));
            with(|s| s.check(Kind::Event, pointer as usize));
        }
        let cluster = attributes.iter().find(|a| a.id == CLUSTER_DIMENSION);
        let blocks = cluster.map_or(1, |a| a.word(0) * a.word(1) * a.word(2));
        execute(function, (*config).hStream as usize, blocks, extra)
    }
    cuLaunchHostFunc(stream: usize, function: CUhostFn, user_data: usize) {
        with(|s| s.check_stream(stream));
        std::thread::spawn(move || {
            if let Some(function) = function { function(user_data as *mut c_void); }
        });
        CUresult::SUCCESS
    }
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        *free = 1 << 29;
        *total = 1 << 30;
        CUresult::SUCCESS
    }
    cuMemAlloc_v2(out: *mut u64, size: usize) {
        if size == 0 || size > 64 << 20 { return CUresult::OUT_OF_MEMORY; }
        let memory = Box::leak(vec![0u8; size].into_boxed_slice()).as_ptr() as usize;
        with(|s| s.ranges.insert(memory, size));
        *out = memory as u64;
        CUresult::SUCCESS
    }
    cuMemFree_v2(pointer: u64) {
        forget_range(pointer as usize)
    }
    cuMemHostRegister_v2(pointer: usize, size: usize, _flags: u32) {
        if with(|s| !s.registered.insert(pointer)) { return CUresult::HOST_MEMORY_ALREADY_REGISTERED; }
        with(|s| s.ranges.insert(pointer, size));
        CUresult::SUCCESS
    }
    cuMemHostUnregister(pointer: usize) {
        with(|s| s.registered.remove(&pointer));
        forget_range(pointer)
    }
    cuMemcpyHtoDAsync_v2(dst: u64, src: usize, size: usize, stream: usize) {
        copy(dst as usize, src, size, dst as usize, stream)
    }
    cuMemcpyDtoHAsync_v2(dst: usize, src: u64, size: usize, stream: usize) {
        copy(dst, src as usize, size, src as usize, stream)
    }
    cuMemcpy3DAsync_v2(parameters: *const CUDA_MEMCPY3D, stream: usize) { copy_box(&*parameters, stream) }
    cuTexObjectCreate(out: *mut usize, _resource: usize, _texture: usize, _view: usize) {
        *out = with(|s| s.make(Kind::Texture));
        CUresult::SUCCESS
    }
    cuTexObjectDestroy(object: usize) { drop_object(Kind::Texture, object) }
    cuSurfObjectCreate(out: *mut usize, _resource: usize) { *out = with(|s| s.make(Kind::Surface)); CUresult::SUCCESS }
    cuSurfObjectDestroy(object: usize) { drop_object(Kind::Surface, object) }
    cuPointerGetAttribute(data: *mut c_void, attribute: i32, pointer: u64) {
        if !with(|s| s.covers(pointer as usize, 1)) { return CUresult::INVALID_VALUE; }
        match attribute {
            2 => *data.cast::<u32>() = 2,
            _ => *data.cast::<u64>() = pointer,
        }
        CUresult::SUCCESS
    }
    cuStreamCreate(out: *mut usize, _flags: u32) { *out = with(|s| s.make(Kind::Stream)); CUresult::SUCCESS }
    cuStreamCreateWithPriority(out: *mut usize, _flags: u32, _priority: i32) {
        *out = with(|s| s.make(Kind::Stream));
        CUresult::SUCCESS
    }
    cuStreamQuery(stream: usize) { if idle(stream) { ready() } else { CUresult::NOT_READY } }
    cuStreamSynchronize(stream: usize) { wait(stream); ready() }
    cuStreamDestroy_v2(stream: usize) { drop_object(Kind::Stream, stream) }
    cuStreamWaitEvent(stream: usize, event: usize, _flags: u32) {
        with(|s| { s.check_stream(stream); s.check(Kind::Event, event); });
        CUresult::SUCCESS
    }
    cuEventCreate(out: *mut usize, _flags: u32) { *out = with(|s| s.make(Kind::Event)); CUresult::SUCCESS }
    cuEventRecord(event: usize, stream: usize) {
        with(|s| {
            s.check_stream(stream);
            s.check(Kind::Event, event);
            let end = s.busy_until.get(&stream).copied().unwrap_or_else(Instant::now);
            s.reached.insert(event, end);
        });
        CUresult::SUCCESS
    }
    cuEventQuery(event: usize) { if reached(event) { ready() } else { CUresult::NOT_READY } }
    cuEventSynchronize(event: usize) {
        let end = with(|s| {
            s.check(Kind::Event, event);
            s.reached.get(&event).copied()
        });
        wait_until(end);
        ready()
    }
    cuEventElapsedTime(out: *mut f32, start: usize, end: usize) {
        with(|s| { s.check(Kind::Event, start); s.check(Kind::Event, end); });
        *out = 1.0;
        CUresult::SUCCESS
    }
    cuEventDestroy_v2(event: usize) { drop_object(Kind::Event, event) }
}
