//! Where machine code begins and ends: loading and storing what is alive.

use super::{field, Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, IntPredicate, Label, Value};
use std::collections::BTreeSet;
use vgpu_engine::engine::{status, Entry, FOREIGN};
use vgpu_engine::ir::*;

impl Gen<'_> {
    /// Registers alive before an instruction of the current block.
    fn alive_before(&self, inst: usize) -> Set {
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

    /// Reads a register from its home. With `lanes`, gives whether the values there are not of its shape.
    fn restore(&mut self, reg: u32, lanes: Value, checked: bool) -> Option<Value> {
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
        if shape != Shape::Uniform {
            self.b.set(vars[1], regular.parts[1]);
        }
        if !checked {
            return None;
        }
        let found = self.fetch(reg);
        let expected = self.varying(regular);
        let wrong =
            self.halves(Shape::Varying, |h| self.b.icmp(IntPredicate::LLVMIntNE, found.parts[h], expected.parts[h]));
        Some(self.b.binary(op::AND, self.mask_of(wrong), lanes))
    }

    /// A uniform or affine register from the first lanes' values; `None` for other ones.
    fn regular(&self, reg: u32, shape: Shape, home: Value, lanes: Value, is_pred: bool) -> Option<Val> {
        let stride = match shape {
            Shape::Uniform => 0,
            Shape::Affine(stride) => stride,
            Shape::Varying => return None,
        };
        let bits = self.class_bits(reg);
        let lane_of = |h: usize| {
            if shape == Shape::Uniform {
                let none = self.b.constant(self.b.int(1), 0);
                let lane = self.b.intrinsic("llvm.cttz", &[self.word()], &[lanes, none]);
                let lane = self.b.binary(op::AND, lane, self.c32(31));
                return (self.b.cast(op::ZEXT, lane, self.long()), self.c64(0));
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

    /// An entry: at micro-operation `pc`, from where it goes on at `target`.
    pub(super) fn enter_at(&mut self, pc: u32, target: Label, waiting: &BTreeSet<usize>, alive: &Set) {
        // Code of the current block goes on elsewhere.
        let here = self.b.label();
        let entry = self.b.label();
        self.b.jump(here);
        self.b.place(entry);
        let running = self.b.load(self.word(), field!(self, lanes.running), 4);
        let mut all = alive.clone();
        let mut lanes = running;
        let masks = self.b.load(self.b.pointer(), field!(self, frame.masks), 8);
        for block in waiting {
            let place = self.b.field(masks, block * 4);
            let mask = self.b.load(self.word(), place, 4);
            self.b.set(self.masks[*block], mask);
            lanes = self.b.binary(op::OR, lanes, mask);
            all.iter_mut().zip(self.liveness.live_in(*block)).for_each(|(a, b)| *a |= b);
        }
        let foreign = self.b.binary(op::AND, self.b.argument(2), self.c32(FOREIGN));
        let is_foreign = self.b.icmp(IntPredicate::LLVMIntNE, foreign, self.c32(0));
        let regular: Vec<u32> =
            members(&all).filter(|reg| self.analysis.regs[*reg as usize].shape != Shape::Varying).collect();
        // A regular register may be alive for some of the lanes only.
        let users = |gen: &Self, reg: u32| {
            let mut users = if contains(alive, reg) { running } else { gen.c32(0) };
            for block in waiting.iter().filter(|block| contains(gen.liveness.live_in(**block), reg)) {
                users = gen.b.binary(op::OR, users, gen.b.get(gen.word(), gen.masks[*block]));
            }
            users
        };
        // Blocks that all lanes run rely on it that none has ended.
        let all_live = self.source.shape.full && !self.analysis.exits_early;
        if !regular.is_empty() || all_live {
            let (check, go) = (self.b.label(), self.b.label());
            self.b.branch_rarely(is_foreign, check, go);
            self.b.place(check);
            let exited = self.b.load(self.word(), field!(self, lanes.exited), 4);
            let mut wrong = if all_live { exited } else { self.c32(0) };
            for reg in &regular {
                let users = users(self, *reg);
                if let Some(lanes) = self.restore(*reg, users, true) {
                    wrong = self.b.binary(op::OR, wrong, lanes);
                }
            }
            let refuse = self.b.label();
            let any = self.b.icmp(IntPredicate::LLVMIntNE, wrong, self.c32(0));
            self.b.branch_rarely(any, refuse, go);
            self.b.place(refuse);
            self.b.store(self.c32(pc), field!(self, lanes.pc), 4);
            self.b.ret(self.c32(status::INTERPRET));
            self.b.place(go);
        }
        for block in waiting {
            self.b.store(self.c32(0), self.b.field(masks, block * 4), 4);
        }
        for reg in members(&all).collect::<Vec<_>>() {
            let users = users(self, reg);
            self.restore(reg, users, false);
        }
        self.b.set(self.exec, running);
        let is_head = target == self.labels[self.block] && self.is_partial(self.block);
        if is_head {
            self.b.set(self.masks[self.block], running);
        }
        self.b.jump(target);
        self.entries.push(Entry { pc, waiting: waiting.iter().map(|b| *b as u32).collect() });
        self.entry_labels.push(entry);
        self.b.place(here);
    }

    /// The first block: reads what all entries need and goes to the one asked for.
    pub(super) fn dispatch(&mut self, first: Label) -> Result<(), String> {
        self.b.place(first);
        let exited = self.b.load(self.word(), field!(self, lanes.exited), 4);
        self.b.set(self.live, self.b.binary(op::XOR, exited, self.c32(u32::MAX)));
        let fuel = self.b.load(self.long(), field!(self, frame.fuel), 8);
        self.b.set(self.fuel, fuel);
        let number = self.b.binary(op::AND, self.b.argument(2), self.c32(!FOREIGN));
        let none = self.b.label();
        let labels = self.entry_labels.clone();
        self.b.switch(number, &labels, none);
        self.b.place(none);
        self.b.ret(self.c32(status::FAULT));
        Ok(())
    }

    /// Writes the state that is not about registers.
    fn store_state(&self, pc: u32, running: Value) {
        self.b.store(self.b.get(self.long(), self.fuel), field!(self, frame.fuel), 8);
        self.store_exited();
        self.b.store(self.c32(pc), field!(self, lanes.pc), 4);
        self.b.store(running, field!(self, lanes.running), 4);
    }

    pub(super) fn store_exited(&self) {
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

    /// All lanes have ended.
    pub(super) fn finish_done(&self) {
        self.store_state(0, self.c32(0));
        self.b.ret(self.c32(status::DONE));
    }

    /// Waits at a barrier of the block, or lets the interpreter do it.
    pub(super) fn barrier(&mut self, inst: &Inst, guard: Option<Val>) -> Result<(), String> {
        let (first, end) = self.source.operations(self.inst as u32);
        let plain = match inst.op {
            Op::BarrierSync { id: Operand::Imm(id), threads: None } if id < 16 && guard.is_none() => Some(id as u32),
            _ => None,
        };
        let alive_after = self.alive_before(self.inst + 1);
        let waiting = self.analysis.waiting[self.block].clone();
        match plain {
            Some(id) => {
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
                self.leave(status::BARRIER | id << 8, end, &alive_after);
            }
            None => self.leave(status::INTERPRET, first, &self.alive_before(self.inst)),
        }
        // Nothing leads here but the entry.
        let (nowhere, resume) = (self.b.label(), self.b.label());
        self.b.place(nowhere);
        self.enter_at(end, resume, &waiting, &alive_after);
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
        let args = [self.frame, self.lanes, self.c32(first), self.c32(end), lanes];
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
    pub(super) fn interpret(&mut self, op: &Op, guard: Option<Val>, lanes: Value) -> Result<(), String> {
        let uses = Uses::of_inst(self.function, &Inst { guard: None, op: *op });
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
