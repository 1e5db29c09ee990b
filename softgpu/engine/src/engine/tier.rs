//! The cut between the interpreter (tier 0) and a compiler (tier 1).
//!
//! Every kernel starts in the interpreter. One that has kept it busy for as long as a compilation
//! is worth is given to the [`Compiler`]; when that has succeeded, warps run its machine code. The
//! registers of a warp have one home, its rows, in which both tiers leave what is alive whenever a
//! warp stops, so a warp may change tiers at a barrier, at the head of a loop, and wherever
//! machine code meets something that only the interpreter can do.

use super::code::{Code, Map};
use super::compilation::Compilers;
use super::interface::Native;
use super::Kernel;
use crate::ir::{Function, FunctionId, Module, SymbolId};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Arc, OnceLock};
use std::time::{Duration, Instant};

/// Time that the interpreter spends on a kernel before it is compiled. Compiling one of median size takes several
/// times as long, but beside the interpreter.
const WORTH_COMPILING: Duration = Duration::from_millis(2);

/// How often a launch that waits for a compilation looks whether it is cancelled.
const LOOK: Duration = Duration::from_millis(10);

/// Which kernels are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// None.
    Interpreter,
    /// Those that have been running for a while, beside the interpreter.
    #[default]
    Auto,
    /// All that can be, before their first launch; for tests.
    Compiled,
}

impl std::str::FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Tier, String> {
        match text {
            "interpreter" => Ok(Tier::Interpreter),
            "auto" => Ok(Tier::Auto),
            "llvm" => Ok(Tier::Compiled),
            _ => Err("expected interpreter, auto or llvm".into()),
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tier::Interpreter => "interpreter",
            Tier::Auto => "auto",
            Tier::Compiled => "llvm",
        })
    }
}

/// Turns kernels into machine code.
pub trait Compiler: Send + Sync {
    /// Compiles a kernel, or says what about it cannot be compiled.
    fn compile(&self, source: &Source<'_>) -> Result<Arc<dyn Native>, String>;
}

/// How the threads of a block lie in its warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `threadIdx.x` counts up, and `y` and `z` are the same, within each half of a warp.
    pub rows: bool,
    /// They do so within each warp.
    pub lines: bool,
    /// All warps have 32 threads.
    pub full: bool,
}

impl Shape {
    pub(super) const COUNT: usize = 8;

    pub(super) fn new(block: [u32; 3]) -> Shape {
        let [x, y, z] = block;
        let threads = x.wrapping_mul(y).wrapping_mul(z);
        let is_line = |lanes: u32| x.is_multiple_of(lanes) || (y == 1 && z == 1);
        Shape { rows: is_line(16), lines: is_line(32), full: threads.is_multiple_of(32) }
    }

    fn index(self) -> usize {
        usize::from(self.lines) << 2 | usize::from(self.rows) << 1 | usize::from(self.full)
    }
}

/// A kernel to be compiled.
pub struct Source<'a> {
    /// It has passed [`crate::ir::verify`].
    pub function: &'a Function,
    /// Blocks that the code is for.
    pub shape: Shape,
    pub(super) map: &'a Map,
    pub(super) address: &'a dyn Fn(SymbolId) -> Option<u64>,
}

impl Source<'_> {
    /// Device address of a symbol.
    pub fn address(&self, symbol: SymbolId) -> Option<u64> {
        (self.address)(symbol)
    }

    /// First row of a register in [`Lanes::rows`], or its word in [`Lanes::preds`].
    pub fn place(&self, reg: u32) -> u32 {
        self.map.places[reg as usize]
    }

    /// Micro-operations of an instruction: the first, and the one after the last.
    pub fn operations(&self, inst: u32) -> (u32, u32) {
        self.map.insts[inst as usize]
    }

    /// First micro-operation of a block.
    pub fn block(&self, block: u32) -> u32 {
        self.map.blocks[block as usize]
    }
}

/// Machine code of one kernel for blocks of each [`Shape`].
#[derive(Default)]
pub(super) struct Compiled {
    variants: [OnceLock<Result<Arc<dyn Native>, String>>; Shape::COUNT],
    /// Variants that the compiler has been asked for, by bits.
    requested: AtomicU64,
    /// Nanoseconds that the interpreter has spent on launches.
    spent: AtomicU64,
}

impl Compiled {
    /// The machine code for a shape, if it is there.
    pub(super) fn get(&self, shape: Shape) -> Option<&Arc<dyn Native>> {
        self.variants[shape.index()].get()?.as_ref().ok()
    }

    fn is_known(&self, shape: Shape) -> bool {
        self.variants[shape.index()].get().is_some()
    }

    /// Whether nobody has asked for a variant before.
    fn request(&self, shape: Shape) -> bool {
        let bit = 1 << shape.index();
        self.requested.fetch_or(bit, Relaxed) & bit == 0
    }
}

/// A kernel to be compiled, with all that takes: its module may be unloaded meanwhile.
pub(super) struct Job {
    pub(super) module: Arc<Module>,
    pub(super) function: FunctionId,
    pub(super) code: Arc<Code>,
    /// Device address of each symbol.
    pub(super) addresses: Vec<Option<u64>>,
    pub(super) compiled: Arc<Compiled>,
}

impl Job {
    /// Nanoseconds that the interpreter has spent on its launches, those that are over, and at least what makes
    /// compiling worth it.
    pub(super) fn spent(&self) -> u64 {
        self.compiled.spent.load(Relaxed).max(WORTH_COMPILING.as_nanos() as u64)
    }

    /// How many instructions it has.
    pub(super) fn instructions(&self) -> u64 {
        self.code.map.insts.len() as u64
    }

    pub(super) fn run(&self, compiler: &dyn Compiler, shape: Shape) {
        let function = &self.module.functions[self.function.0 as usize];
        self.compiled.variants[shape.index()].get_or_init(|| {
            let start = Instant::now();
            let compile = AssertUnwindSafe(|| self.compile(compiler, function, shape));
            let result =
                catch_unwind(compile).unwrap_or_else(|_| Err("the compiler failed; this is a bug in it".into()));
            match &result {
                Ok(_) => log::debug!("softgpu: compiled `{}` in {:?} for {shape:?}", function.name, start.elapsed()),
                Err(why) => log::debug!("softgpu: `{}` stays in the interpreter: {why}", function.name),
            }
            result
        });
    }

    fn compile(&self, compiler: &dyn Compiler, function: &Function, shape: Shape) -> Result<Arc<dyn Native>, String> {
        if self.code.has_calls {
            return Err("it calls functions".into());
        }
        if self.code.map.insts.len() != function.insts.len() {
            return Err("its blocks are not in order".into());
        }
        let address = |symbol: SymbolId| self.addresses.get(symbol.0 as usize).copied().flatten();
        compiler.compile(&Source { function, shape, map: &self.code.map, address: &address })
    }
}

/// Has kernels compiled when they are worth it.
pub(super) struct Compilation {
    tier: Tier,
    compilers: Option<Compilers>,
}

impl Compilation {
    /// Beside so many threads that run kernels.
    pub(super) fn new(compiler: Option<Arc<dyn Compiler>>, tier: Tier, threads: usize) -> Compilation {
        let compiler = compiler.filter(|_| tier != Tier::Interpreter);
        Compilation { tier, compilers: compiler.map(|compiler| Compilers::new(compiler, threads)) }
    }

    /// Called before each launch.
    pub(super) fn begin(&self, kernel: &Kernel, shape: Shape, cancel: &AtomicBool) {
        let (Some(compilers), Tier::Compiled) = (&self.compilers, self.tier) else { return };
        if kernel.compiled().is_known(shape) {
            return;
        }
        let Ok(job) = kernel.job() else { return };
        let (sender, done) = mpsc::channel();
        compilers.order(job, shape, Some(sender));
        while !cancel.load(Relaxed) && done.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {}
    }

    /// Called now and then during a launch that the interpreter runs, and with `ended` at its end.
    pub(super) fn account(&self, kernel: &Kernel, shape: Shape, start: Instant, ended: bool) {
        let Some(compilers) = &self.compilers else { return };
        let compiled = kernel.compiled();
        if compiled.is_known(shape) {
            return;
        }
        let elapsed = start.elapsed().as_nanos() as u64;
        let before = if ended { compiled.spent.fetch_add(elapsed, Relaxed) } else { compiled.spent.load(Relaxed) };
        let spent = u128::from(before.saturating_add(elapsed));
        if spent < WORTH_COMPILING.as_nanos() || !compiled.request(shape) {
            return;
        }
        if let Ok(job) = kernel.job() {
            compilers.order(job, shape, None);
        }
    }
}
