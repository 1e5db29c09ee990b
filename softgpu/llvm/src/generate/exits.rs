//! Where machine code begins and ends: loading and storing what is alive.

use super::{field, Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, IntPredicate, Label, Value};
use std::collections::BTreeSet;
use vgpu_engine::engine::{status, Entry, Exit, Lanes, Lookup, Needed, RegisterKind, Regular, Step, FOREIGN};
use vgpu_engine::ir::*;

/// A place where warps begin: a micro-operation, from which they go on at `target`.
pub(super) struct Point<'p> {
    pub(super) pc: u32,
    pub(super) target: Label,
    /// Blocks where other lanes may wait.
    pub(super) waiting: &'p BTreeSet<usize>,
    /// Registers that the running lanes need.
    pub(super) alive: &'p Set,
}

/// Where the registers of a warp are when machine code does not have them.
struct Homes {
    rows: Value,
    preds: Value,
}

/// What kind of place it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resumption {
    Start,
    Barrier(u8),
    Loop,
}

impl Gen<'_> {
    /// Registers alive before an instruction of the current block.
    pub(super) fn alive_before(&self, inst: usize) -> Set {
        let block = self.function.blocks[self.block];
        let mut live = self.liveness.live_out(self.block);
        let insert = |live: &mut Set, reg: u32| live[reg as usize / 64] |= 1 << (reg % 64);
        for reg in Uses::of_terminator(self.function, &block.terminator).reads {
            insert(&mut live, reg);
        }
        for at in (inst..block.end as usize).rev() {
            let uses = Uses::of_inst(self.function, &self.function.insts[at]);
            if self.function.insts[at].guard.is_none() {
                uses.writes.iter().for_each(|reg| live[*reg as usize / 64] &= !(1 << (reg % 64)));
            }
            uses.reads.iter().for_each(|reg| insert(&mut live, *reg));
        }
        live
    }

    /// Registers that are read on some way on which they have not been written.
    fn read_early(&self) -> Set {
        let mut all = self.liveness.live_in(0).clone();
        for block in self.analysis.waiting.iter().flatten() {
            all.iter_mut().zip(self.liveness.live_in(*block)).for_each(|(a, b)| *a |= b);
        }
        all
    }

    /// What is alive where lanes run and where others wait.
    pub(super) fn with_waiting(&self, alive: &Set, waiting: &BTreeSet<usize>) -> Set {
        let mut all = alive.clone();
        for block in waiting {
            all.iter_mut().zip(self.liveness.live_in(*block)).for_each(|(a, b)| *a |= b);
        }
        all
    }

    fn homes(&self) -> Homes {
        Homes {
            rows: self.b.load(self.b.pointer(), field!(self, lanes.rows), 8),
            preds: self.b.load(self.b.pointer(), field!(self, lanes.preds), 8),
        }
    }

    /// Address of a register's row or predicate.
    fn home(&self, homes: &Homes, reg: u32) -> Value {
        let place = self.source.place(reg) as usize;
        match self.function.regs[reg as usize] {
            RegClass::Pred => self.b.field(homes.preds, place * 4),
            _ => self.b.field(homes.rows, place * 128),
        }
    }

    /// Writes a register to its home, in its short form if it has one.
    fn spill(&self, homes: &Homes, reg: u32) {
        let shape = self.analysis.regs[reg as usize].shape;
        let (home, value) = (self.home(homes, reg), self.register(reg));
        if self.function.regs[reg as usize] == RegClass::Pred {
            return self.b.store(self.mask_of(value), home, 4);
        }
        let bytes = self.class_bits(reg) / 8;
        let align = if shape == Shape::Varying { 64 } else { bytes };
        self.b.store(value.parts[0], home, align);
        if !shape.is_whole() {
            self.b.store(value.parts[1], self.b.field(home, (bytes * HALF) as usize), align);
        }
    }

    /// Reads what [`Gen::spill`] has written.
    fn fetch(&self, homes: &Homes, reg: u32) -> Val {
        let shape = self.analysis.regs[reg as usize].shape;
        let home = self.home(homes, reg);
        if self.function.regs[reg as usize] == RegClass::Pred {
            let word = self.b.load(self.word(), home, 4);
            return match shape {
                Shape::Varying => self.lanes_of(word),
                _ => self.halves(shape, |h| {
                    let half = self.b.binary(op::LSHR, word, self.c32(16 * h as u32));
                    self.b.cast(op::TRUNC, half, self.b.int(1))
                }),
            };
        }
        let bytes = self.class_bits(reg) / 8;
        let align = if shape == Shape::Varying { 64 } else { bytes };
        let place = |h: usize| self.b.field(home, (bytes * HALF) as usize * h);
        self.halves(shape, |h| self.b.load(self.variable_type(reg), place(h), align))
    }

    fn restore(&self, homes: &Homes, reg: u32) {
        self.set(reg, self.fetch(homes, reg).parts);
    }

    /// A register as the engine knows it, if it has a short form.
    fn regular(&self, reg: u32) -> Option<Regular> {
        let shape = self.analysis.regs[reg as usize].shape;
        let kind = match self.function.regs[reg as usize] {
            RegClass::Pred => RegisterKind::Pred,
            RegClass::B64 => RegisterKind::Long,
            _ => RegisterKind::Word,
        };
        let (place, steps) = (self.source.place(reg), shape.steps()?);
        Some(Regular { place, kind, halves: !shape.is_whole(), steps })
    }

    /// The registers of some that the engine has to bring into their long form.
    fn short_ones(&self, regs: impl IntoIterator<Item = u32>) -> Vec<Regular> {
        let short = regs.into_iter().filter_map(|reg| self.regular(reg));
        short.filter(|register| register.kind != RegisterKind::Pred).collect()
    }

    /// Makes an entry.
    pub(super) fn enter_at(&mut self, point: &Point<'_>, kind: Resumption) {
        // Code of the current block goes on elsewhere.
        let here = self.b.label();
        self.b.jump(here);
        let own = match kind {
            Resumption::Loop => None,
            Resumption::Start => Some(self.start(point)),
            Resumption::Barrier(_) => Some(self.resume(point, &BTreeSet::new())),
        };
        let foreign = match (kind, own) {
            (Resumption::Barrier(_), Some(own)) if point.waiting.is_empty() => own,
            _ => self.resume(point, point.waiting),
        };
        let barrier = match kind {
            Resumption::Barrier(id) => Some(id),
            _ => None,
        };
        let waits = |reg: u32| {
            let blocks = point.waiting.iter().filter(|block| contains(self.liveness.live_in(**block), reg));
            blocks.map(|block| *block as u32).collect()
        };
        let all = self.with_waiting(point.alive, point.waiting);
        let registers = members(&all).filter_map(|reg| {
            let register = self.regular(reg)?;
            Some(Needed { register, running: contains(point.alive, reg), waiting: waits(reg) })
        });
        let registers = registers.collect();
        let waiting = point.waiting.iter().map(|b| *b as u32).collect();
        let needs_all = self.source.shape.full && !self.analysis.may_lack[self.block];
        self.interface.entries.push(Entry { pc: point.pc, waiting, barrier, needs_all, registers });
        self.entry_labels.push((own, foreign));
        self.b.place(here);
    }

    /// The start of the kernel.
    fn start(&mut self, point: &Point<'_>) -> Label {
        let label = self.b.label();
        self.b.place(label);
        let lanes = match self.source.shape.full {
            true => self.c32(u32::MAX),
            false => self.b.load(self.word(), field!(self, lanes.existing), 4),
        };
        self.set_live(lanes);
        self.b.set(self.exec, lanes);
        self.b.jump(point.target);
        label
    }

    /// Goes on with a warp that has been elsewhere, while lanes may wait at some blocks.
    fn resume(&mut self, point: &Point<'_>, waiting: &BTreeSet<usize>) -> Label {
        let (label, some) = (self.b.label(), self.b.label());
        self.b.place(label);
        let running = self.b.load(self.word(), field!(self, lanes.running), 4);
        let ended = self.b.icmp(IntPredicate::LLVMIntEQ, running, self.c32(0));
        self.b.branch_rarely(ended, self.turns.next, some);
        self.b.place(some);
        let mut live = running;
        let masks = self.b.load(self.b.pointer(), field!(self, frame.masks), 8);
        for block in waiting {
            let mask = self.b.load(self.word(), self.b.field(masks, block * 4), 4);
            self.b.set(self.masks[*block], mask);
            live = self.b.binary(op::OR, live, mask);
        }
        let never_ends = self.source.shape.full && !self.analysis.may_lack[self.block];
        self.b.set(self.live, if never_ends { self.c32(u32::MAX) } else { live });
        self.b.set(self.exec, running);
        if point.target == self.labels[self.block] && self.is_partial(self.block) {
            self.b.set(self.masks[self.block], running);
        }
        let homes = self.homes();
        members(&self.with_waiting(point.alive, waiting)).for_each(|reg| self.restore(&homes, reg));
        self.b.jump(point.target);
        label
    }

    /// The loop over warps, from the function's first block on.
    pub(super) fn take_turns(&mut self, first: Label) {
        let (pointer, word) = (self.b.pointer(), self.word());
        self.b.place(first);
        self.b.set(self.lanes, self.b.load(pointer, field!(self, frame.first), 8));
        self.b.jump(self.turns.begin);

        self.b.place(self.turns.begin);
        self.b.store(self.b.get(pointer, self.lanes), field!(self, frame.current), 8);
        self.masks.iter().for_each(|mask| self.b.set(*mask, self.c32(0)));
        // Nothing stays from the warp before: what looks as if it did would have to be kept in registers.
        for reg in members(&self.read_early()) {
            self.set(reg, [self.b.zero(self.variable_type(reg)); 2]);
        }
        let at = self.b.load(word, field!(self, frame.at), 4);
        let labels = self.entry_labels.iter().zip(0u32..);
        let own: Vec<_> = labels.clone().filter_map(|((own, _), i)| Some((i, (*own)?))).collect();
        let foreign: Vec<_> = labels.map(|((_, foreign), i)| (i | FOREIGN, *foreign)).collect();
        let (others, none) = (self.b.label(), self.b.label());
        self.b.switch(at, &own, others);
        self.b.place(others);
        self.b.switch(at, &foreign, none);
        self.b.place(none);
        self.b.ret(self.c32(status::FAULT));

        self.b.place(self.turns.fault);
        self.b.ret(self.c32(status::FAULT));

        self.b.place(self.turns.done);
        self.b.store(self.c32(0), field!(self, lanes.running), 4);
        self.b.jump(self.turns.next);

        self.b.place(self.turns.next);
        let behind = self.b.field(self.b.get(pointer, self.lanes), size_of::<Lanes>());
        self.b.set(self.lanes, behind);
        let end = self.b.load(pointer, field!(self, frame.end), 8);
        let last = self.b.icmp(IntPredicate::LLVMIntEQ, behind, end);
        let all = self.b.label();
        self.b.branch(last, all, self.turns.begin);
        self.b.place(all);
        self.finish_round(own.len() > 1);
    }

    /// All warps have had their turn; `meet` says whether there are barriers.
    fn finish_round(&mut self, meet: bool) {
        let word = self.word();
        if !meet {
            self.b.ret(self.c32(status::DONE));
            self.b.place(self.turns.arrive);
            self.b.ret(self.c32(status::FAULT));
            return;
        }
        let (ended, some, rests, round) = (self.b.label(), self.b.label(), self.b.label(), self.b.label());
        let stop = self.b.load(word, field!(self, frame.stop), 4);
        let none = self.b.icmp(IntPredicate::LLVMIntEQ, stop, self.c32(0));
        self.b.branch(none, ended, some);
        self.b.place(ended);
        self.b.ret(self.c32(status::DONE));

        self.b.place(some);
        let together = self.b.load(word, field!(self, frame.together), 4);
        let alone = self.b.icmp(IntPredicate::LLVMIntEQ, together, self.c32(0));
        let reserve = self.b.load(self.long(), field!(self, frame.reserve), 8);
        let spent = self.b.icmp(IntPredicate::LLVMIntSLT, self.fuel(), reserve);
        self.b.branch_rarely(self.b.binary(op::OR, alone, spent), rests, round);
        self.b.place(rests);
        self.b.ret(self.c32(status::BARRIER));
        self.b.place(round);
        self.b.store(stop, field!(self, frame.at), 4);
        self.b.store(self.c32(0), field!(self, frame.stop), 4);
        self.b.set(self.lanes, self.b.load(self.b.pointer(), field!(self, frame.first), 8));
        self.b.jump(self.turns.begin);

        self.b.place(self.turns.arrive);
        let arrived = self.b.get(word, self.turns.arrived);
        let stop = self.b.load(word, field!(self, frame.stop), 4);
        let first = self.b.icmp(IntPredicate::LLVMIntEQ, stop, self.c32(0));
        let same = self.b.icmp(IntPredicate::LLVMIntEQ, stop, arrived);
        let (here, elsewhere) = (self.b.label(), self.b.label());
        let apart = self.b.binary(op::XOR, self.b.binary(op::OR, first, same), self.b.constant(self.b.int(1), 1));
        self.b.branch_rarely(apart, elsewhere, here);
        self.b.place(elsewhere);
        self.b.store(arrived, field!(self, frame.parted), 4);
        self.b.ret(self.c32(status::PARTED));
        self.b.place(here);
        self.b.store(arrived, field!(self, frame.stop), 4);
        self.b.jump(self.turns.next);
    }

    /// What is left of the time slice.
    pub(super) fn fuel(&self) -> Value {
        self.b.load(self.long(), field!(self, frame.fuel), 8)
    }

    pub(super) fn set_fuel(&self, fuel: Value) {
        self.b.store(fuel, field!(self, frame.fuel), 8);
    }

    /// Says which lanes have not ended.
    pub(super) fn set_live(&self, live: Value) {
        self.b.set(self.live, live);
        self.b.store(self.b.binary(op::XOR, live, self.c32(u32::MAX)), field!(self, lanes.exited), 4);
    }

    /// Leaves machine code with the running lanes at `pc` and the others where they wait.
    pub(super) fn leave(&mut self, status: u32, pc: u32, alive: &Set) {
        let waiting = &self.analysis.waiting[self.block];
        let all = self.with_waiting(alive, waiting);
        let homes = self.homes();
        members(&all).for_each(|reg| self.spill(&homes, reg));
        let masks = self.b.load(self.b.pointer(), field!(self, frame.masks), 8);
        for block in waiting {
            let mask = self.b.get(self.word(), self.masks[*block]);
            self.b.store(mask, self.b.field(masks, block * 4), 4);
        }
        let waiting = waiting.iter().map(|block| *block as u32).collect();
        let exit = self.interface.exits.len() as u32;
        self.interface.exits.push(Exit { pc, waiting, regular: self.short_ones(members(&all)) });
        self.b.store(self.c32(exit), field!(self, lanes.exit), 4);
        self.b.store(self.running(), field!(self, lanes.running), 4);
        self.b.ret(self.c32(status));
    }

    /// Lets the interpreter go on at the current instruction.
    pub(super) fn leave_here(&mut self) {
        let (pc, _) = self.source.operations(self.inst as u32);
        let alive = self.alive_before(self.inst);
        self.leave(status::INTERPRET, pc, &alive);
    }

    /// Waits at a barrier of the block, or lets the interpreter do it.
    pub(super) fn barrier(&mut self, inst: &Inst, guard: Option<Val>) -> Result<(), String> {
        let (first, end) = self.source.operations(self.inst as u32);
        let plain = match inst.op {
            Op::BarrierSync { id: Operand::Imm(id), threads: None } if id < 16 && guard.is_none() => Some(id as u8),
            _ => None,
        };
        let alive_after = self.alive_before(self.inst + 1);
        let waiting = self.analysis.waiting[self.block].clone();
        match plain {
            Some(_) => {
                let mut others = self.c32(0);
                for block in &waiting {
                    others = self.b.binary(op::OR, others, self.b.get(self.word(), self.masks[*block]));
                }
                let (apart, together) = (self.b.label(), self.b.label());
                let any = self.b.icmp(IntPredicate::LLVMIntNE, others, self.c32(0));
                self.b.branch_rarely(any, apart, together);
                self.b.place(apart);
                self.leave_here();
                self.b.place(together);
                let homes = self.homes();
                let elsewhere = members(&alive_after).filter(|reg| !contains(&self.at_home, *reg));
                elsewhere.for_each(|reg| self.spill(&homes, reg));
                self.b.store(self.running(), field!(self, lanes.running), 4);
                self.b.set(self.turns.arrived, self.c32(self.interface.entries.len() as u32));
                self.b.jump(self.turns.arrive);
            }
            None => {
                let alive = self.alive_before(self.inst);
                self.leave(status::INTERPRET, first, &alive);
            }
        }
        self.at_home.fill(u64::MAX);
        self.held.clear();
        // Nothing leads here but the entry.
        let (nowhere, resume) = (self.b.label(), self.b.label());
        self.b.place(nowhere);
        let point = Point { pc: end, target: resume, waiting: &waiting, alive: &alive_after };
        self.enter_at(&point, plain.map_or(Resumption::Loop, Resumption::Barrier));
        self.b.jump(resume);
        self.b.place(resume);
        self.checked.clear();
        Ok(())
    }

    /// Has the interpreter execute micro-operations for some lanes, whose operands are in their homes.
    pub(super) fn execute(&mut self, step: Step, lanes: Value) {
        let number = self.interface.steps.len() as u32;
        self.interface.steps.push(step);
        let function = self.b.load(self.b.pointer(), field!(self, frame.execute), 8);
        let current = self.b.get(self.b.pointer(), self.lanes);
        let failed = self.b.call(function, Some(self.word()), &[self.frame, current, self.c32(number), lanes]);
        let done = self.b.label();
        let any = self.b.icmp(IntPredicate::LLVMIntNE, failed, self.c32(0));
        self.b.branch_rarely(any, self.turns.fault, done);
        self.b.place(done);
    }

    /// Has the interpreter execute the current instruction for some lanes, after something has been looked up.
    pub(super) fn interpret(&mut self, guard: Option<Val>, lanes: Value, lookup: Option<Lookup>) -> Result<(), String> {
        let op = self.function.insts[self.inst].op;
        let uses = Uses::of_inst(self.function, &Inst { guard: None, op });
        let homes = self.homes();
        uses.reads.iter().for_each(|reg| self.spill(&homes, *reg));
        let operands = self.short_ones(uses.reads.iter().copied());
        let results = uses.writes.iter().filter_map(|reg| self.regular(*reg)).collect();
        let operations = self.source.operations(self.inst as u32);
        self.execute(Step { operations, operands, results, lookup }, lanes);
        for reg in uses.writes {
            let value = self.fetch(&homes, reg);
            self.put(Reg(reg), value, guard)?;
        }
        Ok(())
    }
}
