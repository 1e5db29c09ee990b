//! From the IR of a kernel to LLVM's.

mod approx;
mod atomic;
mod convert;
mod exits;
mod float;
mod int;
mod matrix;
pub(crate) mod memory;
mod transfer;
mod treat;
mod values;
pub(crate) mod warp;

use crate::homes;
use crate::shape::{self, Analysis, Shape, Treatment};
use crate::sys::{op, Builder, IntPredicate, Label, Type, Value};
use crate::Kernel;
use exits::{Point, Resumption};
use std::collections::{BTreeSet, HashMap};
use vgpu_engine::engine::{status, Frame, Interface, Source, Step};
use vgpu_engine::ir::*;

/// Lanes of half a warp, for which there is one vector.
const HALF: u32 = 16;

/// Most instructions of a kernel that is compiled.
const MAX_INSTS: usize = 20_000;

/// Instructions from which on a kernel is compiled with less care, such as for the order of instructions.
const LARGE: usize = 1000;

/// Passes that get nearly all of what the standard sequence does, in a third of its time.
const PASSES: &std::ffi::CStr =
    c"function(sroa<modify-cfg>,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,\
loop-mssa(loop-rotate,licm),early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg)";

/// A value of all lanes: one scalar twice, two bases, or two vectors.
#[derive(Clone, Copy)]
struct Val {
    shape: Shape,
    parts: [Value; 2],
}

/// The state of generating one kernel.
struct Gen<'a> {
    b: Builder,
    source: &'a Source<'a>,
    function: &'a Function,
    analysis: Analysis,
    liveness: Liveness<'a>,
    /// Variables of each register; two the same where it is uniform.
    vars: Vec<[Value; 2]>,
    /// Values of registers, as in `vars`, that the current block has computed and not written to these yet.
    held: HashMap<u32, [Value; 2]>,
    /// Registers that are at home where each block begins, and before the current instruction.
    homes: Vec<Set>,
    at_home: Set,
    frame: Value,
    /// Variable: the current warp's [`vgpu_engine::engine::Lanes`].
    lanes: Value,
    constants: Constants,
    turns: Turns,
    /// Lanes that have not ended.
    live: Value,
    /// Lanes that run the current block.
    exec: Value,
    /// Lanes that wait at each block.
    masks: Vec<Value>,
    labels: Vec<Label>,
    interface: Interface,
    /// Of each entry: where warps go on that this code has left there, and that come from the interpreter.
    entry_labels: Vec<(Option<Label>, Label)>,
    /// Whether all lanes are known to run the current block, and the current instruction.
    full: bool,
    whole: bool,
    block: usize,
    inst: usize,
    /// Whether the current instruction is executed for all lanes at once.
    is_pure: bool,
    /// Registers of the current block whose extension to 64 bits is known not to wrap.
    checked: HashMap<(u32, bool), ()>,
    /// Accesses that have been checked with an earlier one.
    together: HashMap<usize, memory::Together>,
    /// Memory for values of all lanes.
    tables: Option<[Value; 4]>,
    /// Memory for matrices, and functions that work on them.
    areas: Option<matrix::Areas>,
    helpers: HashMap<matrix::Helper, Value>,
}

/// What is the same during a call of the code.
struct Constants {
    params: Value,
    /// Address of shared memory, and its bytes.
    shared: Value,
    shared_size: Value,
    sites: Value,
}

/// The loop over warps.
struct Turns {
    /// A warp begins.
    begin: Label,
    /// A warp has come to the barrier of entry `arrived`, has ended, or is followed by the next.
    arrive: Label,
    arrived: Value,
    done: Label,
    next: Label,
    /// The interpreter has met an error.
    fault: Label,
}

/// Compiles a kernel.
pub fn kernel(source: &Source<'_>) -> Result<Kernel, String> {
    let function = source.function;
    if function.insts.len() > MAX_INSTS {
        return Err(format!("it has {} instructions", function.insts.len()));
    }
    let liveness = Liveness::new(function);
    let analysis = shape::analyse(source, &liveness, &|op| treat::treatment(source, op))?;
    let b = Builder::new();
    let first = b.label();
    b.place(first);
    let frame = b.argument();
    let lanes = b.variable(b.pointer());
    let word = b.int(32);
    let labels = function.blocks.iter().map(|_| b.label()).collect();
    let masks = function.blocks.iter().map(|_| b.variable(word)).collect();
    let (live, exec) = (b.variable(word), b.variable(word));
    let constants = Constants::load(&b, frame);
    let turns = Turns {
        begin: b.label(),
        arrive: b.label(),
        arrived: b.variable(word),
        done: b.label(),
        next: b.label(),
        fault: b.label(),
    };
    let mut gen = Gen {
        vars: Vec::new(),
        held: HashMap::new(),
        homes: homes::at_home(function, &analysis.graph),
        at_home: Vec::new(),
        liveness,
        b,
        source,
        function,
        analysis,
        frame,
        lanes,
        constants,
        turns,
        live,
        exec,
        masks,
        labels,
        interface: Interface::default(),
        entry_labels: Vec::new(),
        full: false,
        whole: false,
        block: 0,
        inst: 0,
        is_pure: false,
        checked: HashMap::new(),
        together: HashMap::new(),
        tables: None,
        areas: None,
        helpers: HashMap::new(),
    };
    for reg in 0..function.regs.len() {
        let vars = gen.make_variables(reg)?;
        gen.vars.push(vars);
    }
    gen.blocks()?;
    gen.take_turns(first);
    let level = if function.insts.len() > LARGE { 1 } else { 2 };
    let Gen { b, interface, .. } = gen;
    let code = b.finish(first, (PASSES, level), crate::listing(source).as_deref())?;
    Ok(Kernel { code, interface: Interface { masks: function.blocks.len(), ..interface } })
}

/// Where a field of [`Frame`] or [`Lanes`] is.
macro_rules! field {
    ($gen:ident, frame.$field:ident) => {
        $gen.b.field($gen.frame, std::mem::offset_of!(vgpu_engine::engine::Frame, $field))
    };
    ($gen:ident, lanes.$field:ident) => {
        $gen.b.field($gen.b.get($gen.b.pointer(), $gen.lanes), std::mem::offset_of!(vgpu_engine::engine::Lanes, $field))
    };
}
use field;

impl Constants {
    fn load(b: &Builder, frame: Value) -> Constants {
        let load = |ty: Type, offset: usize| b.load(ty, b.field(frame, offset), 8);
        Constants {
            params: load(b.pointer(), std::mem::offset_of!(Frame, params)),
            shared: b.cast(op::PTRTOINT, load(b.pointer(), std::mem::offset_of!(Frame, shared)), b.int(64)),
            shared_size: load(b.int(64), std::mem::offset_of!(Frame, shared_size)),
            sites: load(b.pointer(), std::mem::offset_of!(Frame, sites)),
        }
    }
}

impl Gen<'_> {
    fn word(&self) -> Type {
        self.b.int(32)
    }

    fn long(&self) -> Type {
        self.b.int(64)
    }

    fn c32(&self, value: u32) -> Value {
        self.b.constant(self.word(), value.into())
    }

    fn c64(&self, value: u64) -> Value {
        self.b.constant(self.long(), value)
    }

    /// The lanes that run the current block.
    fn running(&self) -> Value {
        if self.full {
            self.c32(u32::MAX)
        } else {
            self.b.get(self.word(), self.exec)
        }
    }

    fn is_partial(&self, block: usize) -> bool {
        !self.analysis.waiting[block].is_empty()
    }

    fn blocks(&mut self) -> Result<(), String> {
        let nowhere = self.b.label();
        self.b.place(nowhere);
        let none = vec![0; self.function.regs.len().div_ceil(64)];
        let start = Point { pc: self.source.block(0), target: self.labels[0], waiting: &BTreeSet::new(), alive: &none };
        self.enter_at(&start, Resumption::Start);
        self.b.jump(self.labels[0]);
        for block in self.analysis.graph.order.clone() {
            self.block(block)?;
        }
        for (label, position) in self.labels.iter().zip(&self.analysis.graph.position) {
            if *position == usize::MAX {
                // Nothing goes there: lanes end before blocks that only end them.
                self.b.place(*label);
                self.b.ret(self.c32(status::FAULT));
            }
        }
        Ok(())
    }

    fn block(&mut self, block: usize) -> Result<(), String> {
        self.b.place(self.labels[block]);
        self.block = block;
        self.inst = self.function.blocks[block].first as usize;
        self.checked.clear();
        self.together.clear();
        self.held.clear();
        self.at_home.clone_from(&self.homes[block]);
        let shape = self.source.shape;
        self.full = shape.full && !self.analysis.may_lack[block] && !self.is_partial(block);
        self.whole = self.full;
        if self.is_partial(block) {
            let mask = self.b.get(self.word(), self.masks[block]);
            self.b.set(self.exec, mask);
            self.b.set(self.masks[block], self.c32(0));
        } else if !self.full {
            let live = self.b.get(self.word(), self.live);
            self.b.set(self.exec, live);
        }
        if let Some(index) = self.analysis.graph.loops.iter().position(|l| l.head == block) {
            self.spend(index);
        }
        let b = self.function.blocks[block];
        for inst in b.first..b.end {
            self.inst = inst as usize;
            self.instruction(&self.function.insts[inst as usize])?;
            homes::pass(self.function, &self.function.insts[inst as usize], &mut self.at_home);
        }
        self.inst = b.end as usize;
        let alive = self.with_waiting(&self.liveness.live_out(block), &self.analysis.waiting[block]);
        members(&alive).for_each(|reg| self.release(reg));
        self.terminator(block, &b.terminator)
    }

    /// Takes a round of a loop off the time slice, at its head.
    fn spend(&mut self, index: usize) {
        let (head, cost) = {
            let l = &self.analysis.graph.loops[index];
            let size = |b: &Block| u64::from(b.end - b.first) + 1;
            let blocks = self.function.blocks.iter().zip(&l.contains);
            (l.head, blocks.filter(|(_, inside)| **inside).map(|(b, _)| size(b)).sum::<u64>())
        };
        let left = self.b.binary(op::SUB, self.fuel(), self.c64(cost));
        self.set_fuel(left);
        let spent = self.b.icmp(IntPredicate::LLVMIntSLT, left, self.c64(0));
        let (yields, goes_on) = (self.b.label(), self.b.label());
        self.b.branch_rarely(spent, yields, goes_on);
        self.b.place(yields);
        let pc = self.source.block(head as u32);
        let alive = self.liveness.live_in(head).clone();
        self.leave(status::YIELD, pc, &alive);
        self.b.place(goes_on);
        let waiting = self.analysis.waiting[head].clone();
        let point = Point { pc, target: self.labels[head], waiting: &waiting, alive: &alive };
        self.enter_at(&point, Resumption::Loop);
    }

    /// Passes the running lanes on.
    fn terminator(&mut self, block: usize, terminator: &Terminator) -> Result<(), String> {
        let exec = self.running();
        match *terminator {
            Terminator::Branch(target) => self.go(exec, &[(target.0 as usize, exec)], false),
            Terminator::CondBranch { cond, taken, fallthrough } if taken != fallthrough => {
                let condition = self.predicate(cond);
                if !self.analysis.diverges[block] {
                    let (yes, no) = (self.b.label(), self.b.label());
                    self.b.branch(condition.parts[0], yes, no);
                    self.b.place(yes);
                    self.go(exec, &[(taken.0 as usize, exec)], false);
                    self.b.place(no);
                    self.go(exec, &[(fallthrough.0 as usize, exec)], false);
                    return Ok(());
                }
                let holds = self.mask_of(condition);
                let yes = self.b.binary(op::AND, exec, holds);
                let no = self.b.binary(op::AND, exec, self.b.binary(op::XOR, holds, self.c32(u32::MAX)));
                self.go(exec, &[(taken.0 as usize, yes), (fallthrough.0 as usize, no)], true);
            }
            Terminator::CondBranch { taken, .. } => self.go(exec, &[(taken.0 as usize, exec)], false),
            Terminator::Ret | Terminator::Exit => {
                self.end(exec);
                self.go(exec, &[], false);
            }
            Terminator::Trap => {
                let (_, first) = self.after_block(block);
                let operations = (first, first + 1);
                self.execute(Step { operations, operands: Vec::new(), results: Vec::new(), lookup: None }, exec);
                // The operation always fails.
                self.b.ret(self.c32(status::FAULT));
            }
            Terminator::BranchIndexed { .. } => return Err("it has an indexed branch".into()),
        }
        Ok(())
    }

    /// Micro-operation of a block's terminator.
    fn after_block(&self, block: usize) -> (u32, u32) {
        let b = &self.function.blocks[block];
        match b.end.checked_sub(1).filter(|last| *last >= b.first) {
            Some(last) => self.source.operations(last),
            None => (self.source.block(block as u32), self.source.block(block as u32)),
        }
    }

    /// Ends lanes.
    fn end(&self, lanes: Value) {
        let live = self.b.get(self.word(), self.live);
        let rest = self.b.binary(op::AND, live, self.b.binary(op::XOR, lanes, self.c32(u32::MAX)));
        self.set_live(rest);
    }

    /// Sends lanes to blocks and goes on with the first block that any lane wants.
    fn go(&mut self, _exec: Value, targets: &[(usize, Value)], diverge: bool) {
        let mut next = Vec::new();
        for (target, lanes) in targets {
            if crate::flow::is_exit(self.function, *target) {
                self.end(*lanes);
                continue;
            }
            let mask = self.b.get(self.word(), self.masks[*target]);
            self.b.set(self.masks[*target], self.b.binary(op::OR, mask, *lanes));
            next.push(*target);
        }
        let waiting = self.analysis.waiting[self.block].clone();
        let candidates = self.analysis.graph.candidates(self.block, &waiting, &next);
        // Some lane runs, so without exits and waiting lanes the last target is certain to be wanted.
        let ends = targets.len() != next.len() || next.is_empty();
        for (i, candidate) in candidates.iter().enumerate() {
            let certain = !diverge && next.contains(candidate);
            let last = i + 1 == candidates.len() && !ends;
            let chosen = if certain || last { None } else { Some(self.b.label()) };
            let Some(other) = chosen else {
                self.visit(*candidate);
                return;
            };
            let mask = self.b.get(self.word(), self.masks[*candidate]);
            let wanted = self.b.icmp(IntPredicate::LLVMIntNE, mask, self.c32(0));
            let here = self.b.label();
            self.b.branch(wanted, here, other);
            self.b.place(here);
            self.visit(*candidate);
            self.b.place(other);
        }
        self.b.jump(self.turns.done);
    }

    fn visit(&mut self, block: usize) {
        if !self.is_partial(block) {
            // All lanes come; the mask is not looked at.
            self.b.set(self.masks[block], self.c32(0));
        }
        self.b.jump(self.labels[block]);
    }

    fn instruction(&mut self, inst: &Inst) -> Result<(), String> {
        let guard = inst.guard.map(|g| self.predicate(g));
        let op = shape::with_constants(&self.analysis.regs, &inst.op);
        let treatment = treat::treatment(self.source, &inst.op);
        self.is_pure = matches!(treatment, Treatment::Pure);
        if !self.is_pure {
            // Results come in several ways, and on some not at all.
            for reg in Uses::of_inst(self.function, inst).writes {
                self.release(reg);
                self.held.remove(&reg);
            }
        }
        match treatment {
            Treatment::Pure => self.pure(&op, guard),
            Treatment::Access => self.under_guard(guard, |gen, lanes| gen.access(&op, guard, lanes)),
            Treatment::Execute => self.under_guard(guard, |gen, lanes| gen.interpret(guard, lanes, None)),
            Treatment::ExecuteTogether(mask) => self.under_guard(guard, |gen, lanes| {
                gen.meet(Some(mask), lanes)?;
                gen.interpret(guard, lanes, None)
            }),
            Treatment::Warp => self.under_guard(guard, |gen, lanes| gen.warp(&op, guard, lanes)),
            Treatment::Matrix => self.under_guard(guard, |gen, lanes| gen.matrix(&op, guard, lanes)),
            Treatment::Barrier => self.barrier(inst, guard),
            Treatment::No(why) => Err(format!("{why} at line {}", self.line())),
        }
    }

    fn line(&self) -> u32 {
        self.function.positions.get(self.inst).map_or(0, |p| p.line)
    }

    /// Runs code for the lanes for which a guard holds, if there are any.
    fn under_guard(
        &mut self,
        guard: Option<Val>,
        generate: impl FnOnce(&mut Self, Value) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(guard) = guard else {
            let exec = self.running();
            return generate(self, exec);
        };
        let (some, done) = (self.b.label(), self.b.label());
        let lanes = if guard.shape == Shape::Uniform {
            self.b.branch(guard.parts[0], some, done);
            self.running()
        } else {
            self.whole = false;
            let lanes = self.b.binary(op::AND, self.running(), self.mask_of(guard));
            let any = self.b.icmp(IntPredicate::LLVMIntNE, lanes, self.c32(0));
            self.b.branch(any, some, done);
            lanes
        };
        self.b.place(some);
        let result = generate(self, lanes);
        self.whole = self.full;
        self.b.jump(done);
        self.b.place(done);
        result
    }
}
