//! Where machine code begins and ends: loading and storing what is alive.

use super::{field, Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, IntPredicate, Label, Value};
use std::collections::BTreeSet;
use vgpu_engine::engine::{status, Entry, Lanes, Regular, FOREIGN};
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

    /// What is alive at a point of the current block and where lanes wait.
    fn with_waiting(&self, alive: &Set) -> Set {
        let mut all = alive.clone();
        for block in &self.analysis.waiting[self.block] {
            all.iter_mut().zip(self.liveness.live_in(*block)).for_each(|(a, b)| *a |= b);
        }
        all
    }

    /// Address of a register's row or predicate.
    fn home(&self, reg: u32) -> Value {
        let place = self.source.place(reg) as usize;
        if self.function.regs[reg as usize] == RegClass::Pred {
            let preds = self.b.load(self.b.pointer(), field!(self, lanes.preds), 8);
            return self.b.field(preds, place * 4);
        }
        let rows = self.b.load(self.b.pointer(), field!(self, lanes.rows), 8);
        self.b.field(rows, place * 128)
    }

    /// Writes a register to its home.
    pub(super) fn spill(&self, reg: u32) {
        let home = self.home(reg);
        let value = self.register(reg);
        if self.function.regs[reg as usize] == RegClass::Pred {
            return self.b.store(self.mask_of(value), home, 4);
        }
        let vectors = self.varying(value);
        let bytes = self.class_bits(reg) as usize / 8 * HALF as usize;
        self.b.store(vectors.parts[0], home, 64);
        self.b.store(vectors.parts[1], self.b.field(home, bytes), 64);
    }

    /// Writes a register to its home in the short form that [`Regular`] describes.
    fn spill_shortly(&self, reg: u32) {
        let shape = self.analysis.regs[reg as usize].shape;
        if shape == Shape::Varying || self.function.regs[reg as usize] == RegClass::Pred {
            return self.spill(reg);
        }
        let (home, value, bytes) = (self.home(reg), self.register(reg), self.class_bits(reg) / 8);
        self.b.store(value.parts[0], home, bytes);
        if !shape.is_whole() {
            self.b.store(value.parts[1], self.b.field(home, (bytes * HALF) as usize), bytes);
        }
    }

    /// Reads what [`Gen::spill_shortly`] has written.
    fn restore_shortly(&self, reg: u32) {
        let shape = self.analysis.regs[reg as usize].shape;
        let value = if self.function.regs[reg as usize] == RegClass::Pred {
            let word = self.b.load(self.word(), self.home(reg), 4);
            match shape {
                Shape::Varying => self.lanes_of(word),
                _ => self.halves(shape, |h| {
                    let half = self.b.binary(op::LSHR, word, self.c32(16 * h as u32));
                    self.b.cast(op::TRUNC, half, self.b.int(1))
                }),
            }
        } else if shape == Shape::Varying {
            self.fetch(reg)
        } else {
            let (home, bytes) = (self.home(reg), self.class_bits(reg) / 8);
            let place = |h: usize| self.b.field(home, (bytes * HALF) as usize * h);
            self.halves(shape, |h| self.b.load(self.b.int(bytes * 8), place(h), bytes))
        };
        let vars = self.vars[reg as usize];
        self.b.set(vars[0], value.parts[0]);
        if !shape.is_whole() {
            self.b.set(vars[1], value.parts[1]);
        }
    }

    /// The registers of a set that have a short form.
    fn short_forms(&self, alive: &Set) -> Vec<Regular> {
        let regular = members(alive).filter_map(|reg| {
            let shape = self.analysis.regs[reg as usize].shape;
            if shape == Shape::Varying {
                return None;
            }
            let wide = match self.function.regs[reg as usize] {
                RegClass::Pred => return None,
                class => class == RegClass::B64,
            };
            let stride = shape.steps().unwrap_or(0);
            Some(Regular { row: self.source.place(reg), wide, halves: !shape.is_whole(), stride })
        });
        regular.collect()
    }

    /// Reads vectors from a register's home.
    pub(super) fn fetch(&self, reg: u32) -> Val {
        let home = self.home(reg);
        if self.function.regs[reg as usize] == RegClass::Pred {
            return self.lanes_of(self.b.load(self.word(), home, 4));
        }
        let bits = self.class_bits(reg);
        let ty = self.b.vector(self.b.int(bits), HALF);
        let bytes = (bits * HALF / 8) as usize;
        self.halves(Shape::Varying, |h| self.b.load(ty, self.b.field(home, bytes * h), 64))
    }

    /// Reads a register from its home, where `lanes` have put it. Gives which values are not of its shape.
    fn restore(&mut self, reg: u32, lanes: Value) -> Option<Value> {
        let shape = self.analysis.regs[reg as usize].shape;
        let vars = self.vars[reg as usize];
        let home = self.home(reg);
        let is_pred = self.function.regs[reg as usize] == RegClass::Pred;
        let Some(regular) = self.regular(reg, shape, home, lanes, is_pred) else {
            let value = self.fetch(reg);
            self.b.set(vars[0], value.parts[0]);
            self.b.set(vars[1], value.parts[1]);
            return None;
        };
        self.b.set(vars[0], regular.parts[0]);
        if !shape.is_whole() {
            self.b.set(vars[1], regular.parts[1]);
        }
        let found = self.fetch(reg);
        let expected = self.varying(regular);
        let wrong =
            self.halves(Shape::Varying, |h| self.b.icmp(IntPredicate::LLVMIntNE, found.parts[h], expected.parts[h]));
        Some(self.b.binary(op::AND, self.mask_of(wrong), lanes))
    }

    /// A uniform or affine register from the first lanes' values; `None` for other ones.
    fn regular(&self, reg: u32, shape: Shape, home: Value, lanes: Value, is_pred: bool) -> Option<Val> {
        if shape == Shape::Varying {
            return None;
        }
        let stride = shape.steps().unwrap_or(0);
        let bits = self.class_bits(reg);
        let lane_of = |h: usize| {
            if shape.is_whole() {
                let lane = self.first_of(lanes);
                return (lane, lane);
            }
            let index = self.first_of_half(lanes, h);
            (self.b.binary(op::ADD, index, self.c64(16 * h as u64)), index)
        };
        Some(self.halves(shape, |h| {
            let (lane, index) = lane_of(h);
            if is_pred {
                let word = self.b.load(self.word(), home, 4);
                let shifted = self.b.binary(op::LSHR, word, self.b.cast(op::TRUNC, lane, self.word()));
                return self.b.cast(op::TRUNC, shifted, self.b.int(1));
            }
            let bytes = self.b.binary(op::MUL, lane, self.c64(u64::from(bits / 8)));
            let value = self.b.load(self.b.int(bits), self.b.offset(home, bytes), bits / 8);
            let before = self.b.binary(op::MUL, index, self.c64(stride as u64));
            let before = if bits == 64 { before } else { self.b.cast(op::TRUNC, before, self.b.int(bits)) };
            self.b.binary(op::SUB, value, before)
        }))
    }

    /// Makes an entry.
    pub(super) fn enter_at(&mut self, point: &Point<'_>, kind: Resumption) {
        // Code of the current block goes on elsewhere.
        let here = self.b.label();
        self.b.jump(here);
        let own = match kind {
            Resumption::Loop => None,
            Resumption::Start => Some(self.start(point)),
            Resumption::Barrier(_) => Some(self.resume(point)),
        };
        let foreign = self.take_over(point);
        let (barrier, regular) = match kind {
            Resumption::Barrier(id) => (Some(id), self.short_forms(point.alive)),
            _ => (None, Vec::new()),
        };
        let waiting = point.waiting.iter().map(|b| *b as u32).collect();
        self.entries.push(Entry { pc: point.pc, waiting, barrier, regular });
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
        self.b.set(self.live, lanes);
        self.b.set(self.exec, lanes);
        self.b.jump(point.target);
        label
    }

    /// Behind a barrier that this code has left the warp at.
    fn resume(&mut self, point: &Point<'_>) -> Label {
        let (label, some) = (self.b.label(), self.b.label());
        self.b.place(label);
        let running = self.b.load(self.word(), field!(self, lanes.running), 4);
        let ended = self.b.icmp(IntPredicate::LLVMIntEQ, running, self.c32(0));
        self.b.branch_rarely(ended, self.turns.next, some);
        self.b.place(some);
        // All that have not ended are there.
        self.b.set(self.live, running);
        self.b.set(self.exec, running);
        members(point.alive).for_each(|reg| self.restore_shortly(reg));
        self.b.jump(point.target);
        label
    }

    /// Takes a warp over from the interpreter, if its registers are as this code needs them.
    fn take_over(&mut self, point: &Point<'_>) -> Label {
        let Point { pc, target, waiting, alive } = *point;
        let label = self.b.label();
        self.b.place(label);
        let running = self.b.load(self.word(), field!(self, lanes.running), 4);
        let exited = self.b.load(self.word(), field!(self, lanes.exited), 4);
        let mut all = alive.clone();
        let masks = self.b.load(self.b.pointer(), field!(self, frame.masks), 8);
        for block in waiting {
            let mask = self.b.load(self.word(), self.b.field(masks, block * 4), 4);
            self.b.set(self.masks[*block], mask);
            all.iter_mut().zip(self.liveness.live_in(*block)).for_each(|(a, b)| *a |= b);
        }
        // A register may be alive for some of the lanes only.
        let users = |gen: &Self, reg: u32| {
            let mut users = if contains(alive, reg) { running } else { gen.c32(0) };
            for block in waiting.iter().filter(|block| contains(gen.liveness.live_in(**block), reg)) {
                users = gen.b.binary(op::OR, users, gen.b.get(gen.word(), gen.masks[*block]));
            }
            users
        };
        // Blocks that all lanes run rely on it that none has ended.
        let all_live = self.source.shape.full && !self.analysis.exits_early;
        let mut wrong = if all_live { exited } else { self.c32(0) };
        for reg in members(&all).collect::<Vec<_>>() {
            let users = users(self, reg);
            if let Some(lanes) = self.restore(reg, users) {
                wrong = self.b.binary(op::OR, wrong, lanes);
            }
        }
        let (refuse, go) = (self.b.label(), self.b.label());
        let any = self.b.icmp(IntPredicate::LLVMIntNE, wrong, self.c32(0));
        self.b.branch_rarely(any, refuse, go);
        self.b.place(refuse);
        self.b.store(self.c32(pc), field!(self, lanes.pc), 4);
        self.b.ret(self.c32(status::INTERPRET));
        self.b.place(go);
        for block in waiting {
            self.b.store(self.c32(0), self.b.field(masks, block * 4), 4);
        }
        self.b.set(self.live, self.b.binary(op::XOR, exited, self.c32(u32::MAX)));
        self.b.set(self.exec, running);
        let regular = |reg: &u32| self.analysis.regs[*reg as usize].shape != Shape::Varying;
        members(&all)
            .filter(|reg| contains(&self.at_home, *reg))
            .filter(regular)
            .for_each(|reg| self.spill_shortly(reg));
        let is_head = target == self.labels[self.block] && self.is_partial(self.block);
        if is_head {
            self.b.set(self.masks[self.block], running);
        }
        self.b.jump(target);
        label
    }

    /// The loop over warps, from the function's first block on.
    pub(super) fn take_turns(&mut self, first: Label) {
        let (pointer, word) = (self.b.pointer(), self.word());
        self.b.place(first);
        self.b.set(self.fuel, self.b.load(self.long(), field!(self, frame.fuel), 8));
        self.b.set(self.lanes, self.b.load(pointer, field!(self, frame.first), 8));
        self.b.jump(self.turns.begin);

        self.b.place(self.turns.begin);
        self.b.store(self.b.get(pointer, self.lanes), field!(self, frame.current), 8);
        self.masks.iter().for_each(|mask| self.b.set(*mask, self.c32(0)));
        // Nothing stays from the warp before: what looks as if it did would have to be kept in registers.
        for (reg, vars) in (0..).zip(&self.vars) {
            let none = self.b.zero(self.variable_type(reg));
            vars.iter().for_each(|var| self.b.set(*var, none));
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
        let store_fuel = |gen: &Self| gen.b.store(gen.b.get(gen.long(), gen.fuel), field!(gen, frame.fuel), 8);
        if !meet {
            store_fuel(self);
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
        store_fuel(self);
        self.b.ret(self.c32(status::DONE));

        self.b.place(some);
        let together = self.b.load(word, field!(self, frame.together), 4);
        let alone = self.b.icmp(IntPredicate::LLVMIntEQ, together, self.c32(0));
        let reserve = self.b.load(self.long(), field!(self, frame.reserve), 8);
        let spent = self.b.icmp(IntPredicate::LLVMIntSLT, self.b.get(self.long(), self.fuel), reserve);
        self.b.branch_rarely(self.b.binary(op::OR, alone, spent), rests, round);
        self.b.place(rests);
        store_fuel(self);
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
        store_fuel(self);
        self.b.ret(self.c32(status::PARTED));
        self.b.place(here);
        self.b.store(arrived, field!(self, frame.stop), 4);
        self.b.jump(self.turns.next);
    }

    /// Writes the state that is not about registers.
    fn store_state(&self, pc: u32, running: Value) {
        self.b.store(self.b.get(self.long(), self.fuel), field!(self, frame.fuel), 8);
        self.store_exited();
        self.b.store(self.c32(pc), field!(self, lanes.pc), 4);
        self.b.store(running, field!(self, lanes.running), 4);
    }

    fn store_exited(&self) {
        let live = self.b.get(self.word(), self.live);
        self.b.store(self.b.binary(op::XOR, live, self.c32(u32::MAX)), field!(self, lanes.exited), 4);
    }

    /// Leaves machine code with the running lanes at `pc` and the others where they wait.
    pub(super) fn leave(&self, status: u32, pc: u32, alive: &Set) {
        for reg in members(&self.with_waiting(alive)) {
            self.spill(reg);
        }
        let masks = self.b.load(self.b.pointer(), field!(self, frame.masks), 8);
        for block in &self.analysis.waiting[self.block] {
            let mask = self.b.get(self.word(), self.masks[*block]);
            self.b.store(mask, self.b.field(masks, block * 4), 4);
        }
        self.store_state(pc, self.running());
        self.b.ret(self.c32(status));
    }

    /// Lets the interpreter go on at the current instruction.
    pub(super) fn leave_here(&self) {
        let (pc, _) = self.source.operations(self.inst as u32);
        self.leave(status::INTERPRET, pc, &self.alive_before(self.inst));
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
                let elsewhere = members(&alive_after).filter(|reg| !contains(&self.at_home, *reg));
                elsewhere.for_each(|reg| self.spill_shortly(reg));
                self.b.store(self.running(), field!(self, lanes.running), 4);
                self.b.set(self.turns.arrived, self.c32(self.entries.len() as u32));
                self.b.jump(self.turns.arrive);
            }
            None => self.leave(status::INTERPRET, first, &self.alive_before(self.inst)),
        }
        self.at_home.fill(u64::MAX);
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

    /// Has the interpreter execute micro-operations whose operands are in their homes.
    pub(super) fn execute(&self, first: u32, end: u32, lanes: Value) {
        self.store_exited();
        self.b.store(self.b.get(self.long(), self.fuel), field!(self, frame.fuel), 8);
        let function = self.b.load(self.b.pointer(), field!(self, frame.execute), 8);
        let current = self.b.get(self.b.pointer(), self.lanes);
        let args = [self.frame, current, self.c32(first), self.c32(end), lanes];
        let failed = self.b.call(function, Some(self.word()), &args);
        let (fault, done) = (self.b.label(), self.b.label());
        let any = self.b.icmp(IntPredicate::LLVMIntNE, failed, self.c32(0));
        self.b.branch_rarely(any, fault, done);
        self.b.place(fault);
        self.b.ret(failed);
        self.b.place(done);
        let fuel = self.b.load(self.long(), field!(self, frame.fuel), 8);
        self.b.set(self.fuel, fuel);
    }

    /// Has the interpreter execute the current instruction for some lanes.
    pub(super) fn interpret(&mut self, guard: Option<Val>, lanes: Value) -> Result<(), String> {
        let op = self.function.insts[self.inst].op;
        let uses = Uses::of_inst(self.function, &Inst { guard: None, op });
        uses.reads.iter().for_each(|reg| self.spill(*reg));
        let (first, end) = self.source.operations(self.inst as u32);
        self.execute(first, end, lanes);
        for reg in uses.writes {
            let value = self.fetch(reg);
            let value = self.regularised(reg, value, lanes);
            self.put(Reg(reg), value, guard)?;
        }
        Ok(())
    }

    /// What vectors hold, in the shape of a register: the interpreter gives uniform results of uniform operands.
    fn regularised(&self, reg: u32, value: Val, lanes: Value) -> Val {
        let shape = self.analysis.regs[reg as usize].shape;
        let is_pred = self.function.regs[reg as usize] == RegClass::Pred;
        self.regular(reg, shape, self.home(reg), lanes, is_pred).unwrap_or(value)
    }
}
