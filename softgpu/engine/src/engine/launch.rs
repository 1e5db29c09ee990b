//! Running a kernel over a grid of blocks.

use super::block::{Block, Outcome};
use super::check::{Checker, Extents};
use super::code::{Code, Lanes, LANES};
use super::native::{Cache, Context};
use super::ops::special::thread_index;
use super::pace::LATE;
use super::pool::{Pool, Team};
use super::texture::Snapshot;
use super::tier::{Compilation, Compiler, Shape, Tier};
use super::{DeviceHeap, Fault, FaultKind, Kernel};
use crate::memory::{Memory, MemoryError};
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Most shared memory of a block, in bytes.
pub const MAX_SHARED: u32 = 227 << 10;
/// Most threads of a block.
pub const MAX_THREADS: u32 = 1024;
/// Turns after which a block that has not finished lets another one start beside it.
const PATIENCE: u32 = 64;
/// Unfinished blocks per thread, except for cooperative launches.
const MAX_RESIDENT: usize = 32;

/// One kernel launch.
pub struct Launch<'a> {
    /// What to run.
    pub kernel: &'a Kernel,
    /// `gridDim`, each at least 1.
    pub grid: [u32; 3],
    /// `blockDim`, each at least 1, product at most the kernel's `max_threads`.
    pub block: [u32; 3],
    /// Bytes of `extern __shared__` memory.
    pub dynamic_shared: u32,
    /// Parameter block, laid out as [`Kernel::params`] says; exactly [`Kernel::param_bytes`] long.
    pub params: &'a [u8],
    /// All blocks resident at once, so that they may wait for each other.
    pub cooperative: bool,
    /// Bytes of call stack and local memory a thread may use (`cudaLimitStackSize`, default 1024);
    /// the kernel's own frame does not count.
    pub stack_limit: u32,
    /// Bytes of `printf` output kept until the end of the launch (`cudaLimitPrintfFifoSize`,
    /// default 1 MiB); what exceeds it is dropped.
    pub printf_limit: usize,
    /// Gets the output of `printf` and `assert`, in order, when the launch has ended.
    pub output: &'a (dyn Fn(&[u8]) + Sync),
    /// Set to true from any thread to stop the launch with `Cancelled`.
    pub cancel: &'a AtomicBool,
    /// Heap of the context for device-side `malloc`.
    pub heap: &'a DeviceHeap,
    /// Texture and surface objects that the kernel may name.
    pub objects: &'a Snapshot,
}

/// Output of the device, kept until the launch ends.
pub(super) struct Output {
    text: Mutex<Vec<u8>>,
    limit: usize,
}

impl Output {
    /// Appends text as a whole, or drops it if it does not fit.
    pub(super) fn write(&self, text: &[u8]) {
        let mut all = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() <= self.limit.saturating_sub(all.len()) {
            all.extend_from_slice(text);
        }
    }
}

/// What is the same for all blocks of a launch.
pub(super) struct Env<'a> {
    pub(super) kernel: &'a str,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) warps: u32,
    pub(super) params: &'a [u8],
    pub(super) dynamic_shared: u32,
    /// Static and dynamic shared memory in bytes.
    pub(super) shared: u32,
    /// Local memory per thread in bytes.
    pub(super) local: u32,
    pub(super) output: Output,
    pub(super) heap: &'a DeviceHeap,
    pub(super) objects: &'a Snapshot,
    pub(super) grid_id: u64,
    /// Device address of the memory in which blocks of a cooperative launch wait for each other; else 0.
    pub(super) grid_workspace: u64,
    pub(super) workers: u32,
    pub(super) start: Instant,
    pub(super) lanes: Lanes,
    pub(super) check: Option<Checker<'a>>,
    tid: OnceLock<Vec<[[u32; LANES]; 3]>>,
}

impl Env<'_> {
    pub(super) fn block_threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// `threadIdx` of the lanes of each warp, for machine code.
    pub(super) fn thread_indices(&self) -> &[[[u32; LANES]; 3]] {
        self.tid.get_or_init(|| thread_table(self.block))
    }

    fn blocks(&self) -> u64 {
        self.grid.iter().map(|n| u64::from(*n)).product()
    }

    fn block_index(&self, linear: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        if linear < x {
            return [linear as u32, 0, 0];
        }
        [(linear % x) as u32, (linear / x % y) as u32, (linear / x / y) as u32]
    }
}

/// Worker threads that execute blocks; launches from several threads share them.
pub struct Engine {
    pool: Pool,
    launches: AtomicU64,
    compilation: Compilation,
}

impl Engine {
    /// An engine that runs a launch on up to `threads` threads, of which the caller of
    /// [`Engine::launch`] is one; 0 means one per core.
    pub fn new(threads: usize) -> Engine {
        Engine::with_compiler(threads, None, Tier::Interpreter)
    }

    /// As [`Engine::new`], with a compiler for the kernels that `tier` says.
    pub fn with_compiler(threads: usize, compiler: Option<Arc<dyn Compiler>>, tier: Tier) -> Engine {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        Engine {
            pool: Pool::new(threads as u32 - 1),
            launches: AtomicU64::new(0),
            compilation: Compilation::new(compiler, tier, threads),
        }
    }

    /// How many threads a launch may use.
    pub fn threads(&self) -> usize {
        self.pool.helpers() as usize + 1
    }

    /// Makes a kernel ready for launches with blocks of this size: it is decoded, and compiled where the tier says
    /// so. Else its first launch does that.
    pub fn prepare(&self, kernel: &Kernel, block: [u32; 3]) -> Result<(), Fault> {
        decode(kernel, false)?;
        self.compilation.begin(kernel, Shape::new(block), &AtomicBool::new(false));
        Ok(())
    }

    /// Runs a launch to its end, or to the first fault.
    pub fn launch(&self, launch: &Launch<'_>) -> Result<(), Fault> {
        self.run(launch, None)
    }

    /// As [`Engine::launch`] in the interpreter, with checks as `compute-sanitizer` makes them: accesses to memory
    /// that is not in `extents` are faults; of reads of shared memory that nobody has written, of races there, and
    /// of faults, [`Launch::output`] gets a report.
    pub fn launch_checked(&self, launch: &Launch<'_>, extents: &Extents) -> Result<(), Fault> {
        self.run(launch, Some(extents))
    }

    fn run(&self, launch: &Launch<'_>, extents: Option<&Extents>) -> Result<(), Fault> {
        let fault = |kind, detail: String| Fault::of_launch(kind, launch.kernel.name(), detail);
        check(launch).map_err(|detail| fault(FaultKind::InvalidLaunch, detail))?;
        let code = decode(launch.kernel, extents.is_some())?;
        let workspace = match launch.cooperative {
            true => Some(GridWorkspace::new(launch.kernel.memory())),
            false => None,
        };
        let workspace = workspace.transpose().map_err(|e| fault(FaultKind::InvalidLaunch, e.to_string()))?;
        let shape = Shape::new(launch.block);
        if extents.is_none() {
            self.compilation.begin(launch.kernel, shape, launch.cancel);
        }
        let stack = if code.has_calls { launch.stack_limit.max(1024) } else { 0 };
        let env = Env {
            kernel: launch.kernel.name(),
            grid: launch.grid,
            block: launch.block,
            warps: launch.block.iter().product::<u32>().div_ceil(LANES as u32),
            params: launch.params,
            dynamic_shared: launch.dynamic_shared,
            shared: launch.kernel.attributes().static_shared + launch.dynamic_shared,
            local: code.kernel.frame.saturating_add(stack),
            output: Output { text: Mutex::default(), limit: launch.printf_limit },
            heap: launch.heap,
            objects: launch.objects,
            grid_id: self.launches.fetch_add(1, Relaxed),
            grid_workspace: workspace.as_ref().map_or(0, |workspace| workspace.address),
            workers: self.threads() as u32,
            start: Instant::now(),
            lanes: std::hint::black_box(Lanes::new()),
            check: extents.map(|extents| Checker::new(extents, launch.kernel.variables())),
            tid: OnceLock::new(),
        };
        let run = Run {
            code: &code,
            memory: launch.kernel.memory(),
            cancel: launch.cancel,
            cooperative: launch.cooperative,
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            fault: Mutex::new(None),
            env: &env,
            kernel: launch.kernel,
            shape,
            compilation: &self.compilation,
            threads: AtomicU64::new(0),
        };
        let blocks = env.blocks();
        let most = (blocks - 1).min(u64::from(self.pool.helpers())) as u32;
        let worth = if launch.cooperative { u64::MAX } else { launch.kernel.pace().helpers(blocks) };
        self.pool.run(&|worker| run.work(worker, None), |team| {
            team.ask(u64::from(most).min(worth) as u32);
            run.work(0, Some((team, most)));
        });
        if most > 0 {
            launch.kernel.pace().note(blocks, run.threads.load(Relaxed), env.start.elapsed());
        }
        if env.check.is_none() {
            self.compilation.account(launch.kernel, shape, env.start, true);
        }
        let text = env.output.text.lock().unwrap_or_else(PoisonError::into_inner);
        if !text.is_empty() {
            (launch.output)(&text);
        }
        let fault = run.fault.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = &env.check {
            let report = check.report(launch.kernel, &code, fault.as_deref());
            if !report.is_empty() {
                (launch.output)(report.as_bytes());
            }
        }
        match fault {
            Some(fault) => Err(*fault),
            None => Ok(()),
        }
    }
}

/// Memory of a cooperative launch, as the cooperative groups of CUDA's headers expect it: two zero words,
/// of which the second counts arrivals at the grid's barrier.
struct GridWorkspace<'a> {
    memory: &'a Memory,
    address: u64,
}

impl<'a> GridWorkspace<'a> {
    fn new(memory: &'a Memory) -> Result<Self, MemoryError> {
        const BYTES: [u8; 8] = [0; 8];
        let workspace = GridWorkspace { memory, address: memory.allocate(BYTES.len() as u64)? };
        // The allocation is as long as what is written.
        let _ = memory.write(workspace.address, &BYTES);
        Ok(workspace)
    }
}

impl Drop for GridWorkspace<'_> {
    fn drop(&mut self) {
        // A program that freed it itself has nothing left to be freed.
        let _ = self.memory.free(self.address);
    }
}

/// `threadIdx` of the lanes of each warp.
fn thread_table(block: [u32; 3]) -> Vec<[[u32; LANES]; 3]> {
    let warps = block.iter().product::<u32>().div_ceil(LANES as u32);
    let axis = |warp, axis: usize| std::array::from_fn(|lane| thread_index(block, warp, lane as u32)[axis]);
    (0..warps).map(|warp| [axis(warp, 0), axis(warp, 1), axis(warp, 2)]).collect()
}

/// The code of a kernel, or what in it is refused.
fn decode(kernel: &Kernel, checked: bool) -> Result<Arc<Code>, Fault> {
    let refused = |what: String| Fault::of_launch(FaultKind::Unsupported, kernel.name(), what);
    kernel.code(checked).map_err(|e| Fault { line: e.line, ..refused(e.what) })
}

/// Says what is wrong with a launch.
fn check(launch: &Launch<'_>) -> Result<(), String> {
    let attributes = launch.kernel.attributes();
    let threads = launch.block.iter().map(|n| u64::from(*n)).product::<u64>();
    let blocks = launch.grid.iter().try_fold(1u64, |n, d| n.checked_mul(u64::from(*d)));
    if blocks.is_none_or(|n| n == 0) {
        return Err(format!("grid {:?} is empty or too large", launch.grid));
    }
    if threads == 0 || threads > u64::from(attributes.max_threads) {
        let most = attributes.max_threads;
        return Err(format!("block {:?} has {threads} threads, at most {most} are possible", launch.block));
    }
    if attributes.required_block.is_some_and(|required| required != launch.block) {
        return Err(format!("block {:?} is not what `.reqntid` demands", launch.block));
    }
    let shared = u64::from(attributes.static_shared) + u64::from(launch.dynamic_shared);
    if shared > u64::from(MAX_SHARED) {
        return Err(format!("{shared} bytes of shared memory, at most {MAX_SHARED} are possible"));
    }
    if launch.params.len() != launch.kernel.param_bytes() {
        let expected = launch.kernel.param_bytes();
        return Err(format!("{} bytes of parameters, the kernel has {expected}", launch.params.len()));
    }
    Ok(())
}

/// A launch in progress.
struct Run<'a> {
    code: &'a Code,
    env: &'a Env<'a>,
    memory: &'a Memory,
    cancel: &'a AtomicBool,
    cooperative: bool,
    /// The next block to start.
    next: AtomicU64,
    stop: AtomicBool,
    fault: Mutex<Option<Box<Fault>>>,
    kernel: &'a Kernel,
    shape: Shape,
    compilation: &'a Compilation,
    /// How many have taken part.
    threads: AtomicU64,
}

/// The first thread's: whom to ask for help, and how many.
type Help<'a> = Option<(&'a Team<'a>, u32)>;

impl Run<'_> {
    /// Runs blocks until none is left.
    fn work(&self, worker: u32, help: Help<'_>) {
        self.threads.fetch_add(1, Relaxed);
        let done = catch_unwind(AssertUnwindSafe(|| self.run_blocks(worker, help)));
        if done.is_err() {
            let detail = "the engine failed; this is a bug in it".to_string();
            self.fail(Box::new(Fault::of_launch(FaultKind::Trap, self.env.kernel, detail)));
        }
    }

    fn run_blocks(&self, worker: u32, help: Help<'_>) {
        let mut resident: VecDeque<Block> = VecDeque::new();
        let mut spare: Option<Block> = None;
        let mut cache = Cache::default();
        while !self.stop.load(Relaxed) {
            if self.cancel.load(Relaxed) {
                let detail = "the launch was cancelled".to_string();
                return self.fail(Box::new(Fault::of_launch(FaultKind::Cancelled, self.env.kernel, detail)));
            }
            if self.may_start(&resident) {
                if let Some(index) = self.next_block() {
                    let mut block = spare.take().unwrap_or_else(|| Block::new(self.env, self.code));
                    block.start(self.env, index);
                    resident.push_front(block);
                }
            }
            let Some(mut block) = resident.pop_front() else { return };
            let checked = self.env.check.is_some();
            let native = self.kernel.compiled().get(self.shape).filter(|_| !checked);
            if native.is_none() && !checked {
                self.compilation.account(self.kernel, self.shape, self.env.start, false);
            }
            let memory = self.memory.pin();
            let context = Context { code: self.code, env: self.env, memory: &memory, worker };
            let alone = resident.is_empty() && !self.cooperative;
            let next = || {
                let index = if alone && !self.stop.load(Relaxed) { self.next_block() } else { None };
                index.inspect(|_| self.ask_if_late(help))
            };
            match block.run(context, native.map(|native| (&**native, &mut cache)), &next) {
                Outcome::Done => spare = Some(block),
                Outcome::Yielded => {
                    self.ask_if_late(help);
                    resident.push_back(block);
                }
                Outcome::Failed(fault) => return self.fail(fault),
            }
        }
    }

    /// Asks for help when blocks take longer than those of launches before.
    fn ask_if_late(&self, help: Help<'_>) {
        if let Some((team, most)) = help.filter(|(team, most)| *most > 0 && !team.has_asked()) {
            if self.env.start.elapsed() > LATE {
                team.ask(most);
            }
        }
    }

    /// Whether another block may run beside those that have not finished.
    fn may_start(&self, resident: &VecDeque<Block>) -> bool {
        let stuck = || resident.iter().all(|b| b.turns >= PATIENCE) && resident.len() < MAX_RESIDENT;
        resident.is_empty() || self.cooperative || stuck()
    }

    fn next_block(&self) -> Option<[u32; 3]> {
        let linear = self.next.fetch_add(1, Relaxed);
        (linear < self.env.blocks()).then(|| self.env.block_index(linear))
    }

    fn fail(&self, fault: Box<Fault>) {
        let mut first = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(fault);
        self.stop.store(true, Relaxed);
    }
}
