//! Operations between the lanes of a warp.

use super::{Gen, Val, HALF};
use crate::shape::{self, RegInfo, Shape};
use crate::sys::{op, IntPredicate, Value};
use vgpu_engine::engine::Source;
use vgpu_engine::ir::*;

/// Shape of what an operation between lanes gives.
pub(crate) fn shape(source: &Source<'_>, regs: &[RegInfo], operation: &Op) -> Shape {
    match *operation {
        Op::ActiveMask { .. } => Shape::Uniform,
        Op::Vote { mask, .. } => {
            let mask = mask.map_or(Shape::Uniform, |mask| shape::operand(source, regs, mask, 32));
            if mask == Shape::Uniform {
                Shape::Uniform
            } else {
                Shape::Varying
            }
        }
        _ => Shape::Varying,
    }
}

impl Gen<'_> {
    pub(super) fn warp(&mut self, operation: &Op, guard: Option<Val>, lanes: Value) -> Result<(), String> {
        match *operation {
            Op::Fence { .. } => {
                self.b.fence();
                Ok(())
            }
            Op::Nanosleep { .. } => {
                // The rest of the time slice is given up at the next loop.
                self.set_fuel(self.c64(0));
                Ok(())
            }
            Op::ActiveMask { dst } => self.write(dst, self.uniform(lanes), false, guard),
            Op::WarpSync { mask } => self.meet(Some(mask), lanes),
            Op::Vote { mode, dst, p, mask } => self.vote((mode, dst, p, mask), guard, lanes),
            Op::Shfl { mode, dst, in_range, a, b, c, mask } => {
                self.meet(mask, lanes)?;
                match (b, c) {
                    (Operand::Imm(b), Operand::Imm(c)) => {
                        self.shuffle_by_constant(mode, (dst, in_range), a, b as u32, c as u32, guard)
                    }
                    _ => self.interpret(guard, lanes, None),
                }
            }
            _ => Err(format!("an operation that is not compiled at line {}", self.line())),
        }
    }

    /// Sees to it that the lanes that an operation names are here; else the interpreter goes on.
    pub(super) fn meet(&mut self, mask: Option<Operand>, lanes: Value) -> Result<(), String> {
        let Some(mask) = mask else { return Ok(()) };
        let mask = shape::known(&self.analysis.regs, mask);
        if self.whole && matches!(mask, Operand::Imm(_)) {
            return Ok(());
        }
        let live = self.b.get(self.word(), self.live);
        // Those that have ended count as here.
        let away = self.b.binary(op::AND, live, self.not(lanes));
        let named = self.read(mask, 32);
        let named = if named.shape.is_scalar() { named } else { self.varying(named) };
        let missing = self.map(named, |v| {
            let away = if self.b.lanes(self.b.type_of(v)).is_some() { self.b.splat(away, HALF) } else { away };
            let missing = self.b.binary(op::AND, v, away);
            self.b.icmp(IntPredicate::LLVMIntNE, missing, self.b.zero(self.b.type_of(missing)))
        });
        let waits = self.b.binary(op::AND, self.mask_of(missing), lanes);
        let any = self.b.icmp(IntPredicate::LLVMIntNE, waits, self.c32(0));
        let (apart, together) = (self.b.label(), self.b.label());
        self.b.branch_rarely(any, apart, together);
        self.b.place(apart);
        self.leave_here();
        self.b.place(together);
        Ok(())
    }

    fn vote(
        &mut self,
        (mode, dst, p, mask): (VoteMode, Reg, PredOperand, Option<Operand>),
        guard: Option<Val>,
        lanes: Value,
    ) -> Result<(), String> {
        self.meet(mask, lanes)?;
        let named = match mask {
            Some(mask) => self.read(mask, 32),
            None => self.uniform(self.c32(u32::MAX)),
        };
        if named.shape != Shape::Uniform {
            return self.interpret(guard, lanes, None);
        }
        let peers = self.b.binary(op::AND, named.parts[0], lanes);
        let holds = self.condition(p);
        let holds = self.b.binary(op::AND, self.mask_of(holds), peers);
        let none = self.b.icmp(IntPredicate::LLVMIntEQ, holds, self.c32(0));
        let all = self.b.icmp(IntPredicate::LLVMIntEQ, holds, peers);
        let result = match mode {
            VoteMode::Ballot => return self.write(dst, self.uniform(holds), false, guard),
            VoteMode::All => all,
            VoteMode::Any => self.b.binary(op::XOR, none, self.b.constant(self.b.int(1), 1)),
            VoteMode::Uni => self.b.binary(op::OR, all, none),
        };
        self.put(dst, self.uniform(result), guard)
    }

    fn shuffle_by_constant(
        &mut self,
        mode: ShflMode,
        (dst, in_range): (Reg, Option<Reg>),
        a: Operand,
        b: u32,
        c: u32,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let mut sources = [0u32; 32];
        let mut valid = [false; 32];
        for lane in 0..32u32 {
            let segment = c >> 8 & 31;
            let min = lane & segment;
            let max = min | c & 31 & !segment;
            let b = b & 31;
            let (source, within) = match mode {
                ShflMode::Up => (lane.wrapping_sub(b), lane.wrapping_sub(b) as i32 >= max as i32),
                ShflMode::Down => (lane + b, lane + b <= max),
                ShflMode::Bfly => (lane ^ b, lane ^ b <= max),
                ShflMode::Idx => (min | b & !segment, min | b & !segment <= max),
            };
            sources[lane as usize] = if within { source & 31 } else { lane };
            valid[lane as usize] = within;
        }
        let value = self.read(a, 32);
        let value = self.varying(value);
        let half = |h: usize| &sources[16 * h..16 * h + 16];
        let result = self.halves(Shape::Varying, |h| self.b.shuffle(value.parts[0], value.parts[1], half(h)));
        self.write(dst, result, false, guard)?;
        let Some(reg) = in_range else { return Ok(()) };
        let flags = |h: usize| valid[16 * h..16 * h + 16].iter().map(|v| u64::from(*v));
        let result = self.halves(Shape::Varying, |h| self.b.constants(self.b.int(1), flags(h)));
        self.put(reg, result, guard)
    }
}
