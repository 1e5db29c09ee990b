//! Where each register of a function is alive.

use super::{ArgList, CallArg, Function, Operand, OperandList, ParamStorage, Reg, RegList, Terminator, Visitor};

/// First and last position at which a register holds a value that matters. A
/// position is an instruction's index plus the number of blocks before it, so
/// that terminators have positions too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub start: u32,
    pub end: u32,
}

/// The interval of each register; `None` for those that are never used.
///
/// Lanes may be at different places of the function, but each has its own part of
/// a row: what holds for one thread holds for all.
pub fn intervals(function: &Function) -> Vec<Option<Interval>> {
    Liveness::new(function).intervals()
}

/// A set of registers: bit `n % 64` of word `n / 64` is register `n`.
pub type Set = Vec<u64>;

fn insert(set: &mut Set, reg: u32) {
    set[reg as usize / 64] |= 1 << (reg % 64);
}

/// Whether a register is in a set.
pub fn contains(set: &Set, reg: u32) -> bool {
    set[reg as usize / 64] >> (reg % 64) & 1 != 0
}

/// The registers of a set, in ascending order.
pub fn members(set: &Set) -> impl Iterator<Item = u32> + '_ {
    let bits = |word: u64| (0..64u32).filter(move |bit| word >> bit & 1 != 0);
    set.iter().zip(0u32..).flat_map(move |(word, i)| bits(*word).map(move |bit| i * 64 + bit))
}

/// Which registers of a function are alive at the boundaries of its blocks.
pub struct Liveness<'f> {
    function: &'f Function,
    /// Per block: read before written, and written for certain.
    reads: Vec<Set>,
    kills: Vec<Set>,
    live_in: Vec<Set>,
}

impl<'f> Liveness<'f> {
    /// Analyses a function.
    pub fn new(function: &'f Function) -> Liveness<'f> {
        let empty = vec![0; function.regs.len().div_ceil(64)];
        let blocks = function.blocks.len();
        let mut live = Liveness {
            function,
            reads: vec![empty.clone(); blocks],
            kills: vec![empty.clone(); blocks],
            live_in: vec![empty; blocks],
        };
        for number in 0..blocks {
            live.scan(number);
        }
        live.propagate();
        live
    }

    /// Registers alive where a block begins.
    pub fn live_in(&self, number: usize) -> &Set {
        &self.live_in[number]
    }

    fn scan(&mut self, number: usize) {
        let function = self.function;
        let block = &function.blocks[number];
        let (reads, kills) = (&mut self.reads[number], &mut self.kills[number]);
        for inst in function.block_insts(block) {
            let uses = Uses::of_inst(function, inst);
            for reg in uses.reads {
                if !contains(kills, reg) {
                    insert(reads, reg);
                }
            }
            // A guarded write keeps the old value in some lanes.
            if inst.guard.is_none() {
                uses.writes.iter().for_each(|reg| insert(kills, *reg));
            }
        }
        for reg in Uses::of_terminator(function, &block.terminator).reads {
            if !contains(kills, reg) {
                insert(reads, reg);
            }
        }
    }

    fn propagate(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for number in (0..self.function.blocks.len()).rev() {
                let mut live = self.live_out(number);
                for (word, kill) in live.iter_mut().zip(&self.kills[number]) {
                    *word &= !kill;
                }
                for (word, read) in live.iter_mut().zip(&self.reads[number]) {
                    *word |= read;
                }
                changed |= live != self.live_in[number];
                self.live_in[number] = live;
            }
        }
    }

    /// Registers alive where a block ends, without what its terminator reads.
    pub fn live_out(&self, number: usize) -> Set {
        let mut live = vec![0; self.function.regs.len().div_ceil(64)];
        let mut add = |block: super::BlockId| {
            for (word, other) in live.iter_mut().zip(&self.live_in[block.0 as usize]) {
                *word |= other;
            }
        };
        match self.function.blocks[number].terminator {
            Terminator::Branch(target) => add(target),
            Terminator::CondBranch { taken, fallthrough, .. } => {
                add(taken);
                add(fallthrough);
            }
            Terminator::BranchIndexed { table, .. } => {
                self.function.branch_tables[table as usize].iter().for_each(|block| add(*block));
            }
            Terminator::Ret | Terminator::Exit | Terminator::Trap => {}
        }
        live
    }

    fn intervals(&self) -> Vec<Option<Interval>> {
        let function = self.function;
        let mut intervals = vec![None; function.regs.len()];
        let mut touch = |reg: u32, at: u32| {
            let interval = intervals[reg as usize].get_or_insert(Interval { start: at, end: at });
            interval.start = interval.start.min(at);
            interval.end = interval.end.max(at);
        };
        for param in function.params.iter().chain(&function.results) {
            if let ParamStorage::Reg(reg) = param.storage {
                touch(reg.0, 0);
            }
        }
        if let Some(stack) = function.stack {
            // Calls read it as well.
            touch(stack.0, 0);
            touch(stack.0, (function.insts.len() + function.blocks.len()) as u32);
        }
        for (number, block) in function.blocks.iter().enumerate() {
            let first = block.first + number as u32;
            let last = block.end + number as u32;
            members(&self.live_in[number]).for_each(|reg| touch(reg, first));
            members(&self.live_out(number)).for_each(|reg| touch(reg, last));
            for (inst, at) in function.block_insts(block).iter().zip(first..) {
                let uses = Uses::of_inst(function, inst);
                uses.reads.iter().chain(&uses.writes).for_each(|reg| touch(*reg, at));
            }
            let uses = Uses::of_terminator(function, &block.terminator);
            uses.reads.iter().for_each(|reg| touch(*reg, last));
        }
        intervals
    }
}

/// Registers that an instruction or terminator reads and writes.
pub struct Uses<'f> {
    function: &'f Function,
    /// Registers that are read, guards included.
    pub reads: Vec<u32>,
    /// Registers that are written.
    pub writes: Vec<u32>,
}

impl<'f> Uses<'f> {
    /// What an instruction reads and writes.
    pub fn of_inst(function: &'f Function, inst: &super::Inst) -> Uses<'f> {
        let mut uses = Uses { function, reads: Vec::new(), writes: Vec::new() };
        let mut inst = *inst;
        inst.visit(&mut uses);
        uses
    }

    /// What a terminator reads.
    pub fn of_terminator(function: &'f Function, terminator: &Terminator) -> Uses<'f> {
        let mut uses = Uses { function, reads: Vec::new(), writes: Vec::new() };
        match *terminator {
            Terminator::CondBranch { cond, .. } => uses.reads.push(cond.reg.0),
            Terminator::BranchIndexed { mut index, .. } => uses.read(&mut index),
            Terminator::Ret => {
                let results = function.results.iter().filter_map(|r| match r.storage {
                    ParamStorage::Reg(reg) => Some(reg.0),
                    _ => None,
                });
                uses.reads.extend(results);
            }
            Terminator::Branch(_) | Terminator::Exit | Terminator::Trap => {}
        }
        uses
    }
}

impl Visitor for Uses<'_> {
    fn def(&mut self, reg: &mut Reg) {
        self.writes.push(reg.0);
    }

    fn read(&mut self, operand: &mut Operand) {
        if let Operand::Reg(reg) = operand {
            self.reads.push(reg.0);
        }
    }

    fn read_reg(&mut self, reg: &mut Reg) {
        self.reads.push(reg.0);
    }

    fn def_list(&mut self, list: RegList) {
        self.writes.extend(self.function.reg_list(list).iter().map(|reg| reg.0));
    }

    fn read_list(&mut self, list: OperandList) {
        for operand in self.function.operand_list(list) {
            self.read(&mut operand.clone());
        }
    }

    fn arg_list(&mut self, list: ArgList, is_result: bool) {
        for arg in self.function.arg_list(list) {
            if let CallArg::Value(Operand::Reg(reg)) = arg {
                if is_result { &mut self.writes } else { &mut self.reads }.push(reg.0);
            }
        }
    }
}
