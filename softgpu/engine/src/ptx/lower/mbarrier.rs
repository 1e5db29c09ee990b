//! `mbarrier` objects, as sequences of 64-bit atomic operations on shared memory.
//!
//! The object is opaque to programs. Ours holds, from the low end: the expected
//! arrivals (20 bits), 2^20 minus the pending arrivals (20 bits), and the phase
//! (24 bits). An arrival adds 1 to the second field; the last one of a phase
//! makes it overflow into the phase, and then restores it.
//! The state that an arrival returns is the object as it was before.

use super::memory::{ordering, scope, space};
use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, Result};

/// Position of the pending count, and the largest count plus one as a power of two.
const COUNT_BITS: u64 = 20;
/// Position of the phase.
const PHASE_SHIFT: u64 = 2 * COUNT_BITS;

impl<'a> Lower<'_, 'a> {
    pub(super) fn mbarrier(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        ordering(s);
        scope(s);
        let space = space(s);
        self.width(s)?;
        if s.modifiers.take("init") {
            return self.mbarrier_init(s, space);
        }
        if s.modifiers.take("inval") {
            s.arity(1, 1)?;
            let place = self.memory_of(s.operand(0)?, space)?;
            return Ok(store(place, Operand::Imm(0)));
        }
        if s.modifiers.take("arrive") || s.modifiers.has("arrive_drop") {
            return self.mbarrier_arrive(s, space);
        }
        if s.modifiers.take("test_wait") || s.modifiers.take("try_wait") {
            return self.mbarrier_wait(s, space);
        }
        if s.modifiers.take("pending_count") {
            return self.mbarrier_pending_count(s);
        }
        invalid("an operation such as `.arrive` is missing")
    }

    /// `cp.async.mbarrier.arrive.noinc`: the copies are complete already.
    pub(super) fn cp_async_arrive(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(1, 1)?;
        let space = space(s);
        s.modifiers.take_all(|_| true);
        let place = self.memory_of(s.operand(0)?, space)?;
        let before = self.scratch(64);
        self.arrive(s, before, place, Operand::Imm(1 << COUNT_BITS))
    }

    /// Pushes a 64-bit operation and returns its result.
    fn wide(&mut self, s: &Statement, op: IntBinaryOp, a: Operand, b: Operand) -> Operand {
        let dst = self.scratch(64);
        self.builder.push(s.guard, Op::IntBinary { op, ty: IntType::U64, dst, a, b });
        Operand::Reg(dst)
    }

    /// Pushes a conversion from 32 to 64 bits.
    fn widened(&mut self, s: &Statement, a: Operand) -> Operand {
        if let Operand::Imm(_) = a {
            return a;
        }
        let dst = self.scratch(64);
        let (to, from) = (CvtType::Int(IntType::U64), CvtType::Int(IntType::U32));
        self.builder.push(s.guard, Op::Cvt { to, from, mode: CvtMode::default(), dst, a });
        Operand::Reg(dst)
    }

    /// 2^20 minus an expected count, at its position in the object.
    fn initial_count(&mut self, s: &Statement, expected: Operand) -> Operand {
        let count = self.wide(s, IntBinaryOp::Sub, Operand::Imm(1 << COUNT_BITS), expected);
        self.wide(s, IntBinaryOp::Shl, count, Operand::Imm(COUNT_BITS))
    }

    fn mbarrier_init(&mut self, s: &Statement<'_, 'a>, space: Space) -> Result<Op> {
        s.arity(2, 2)?;
        let place = self.memory_of(s.operand(0)?, space)?;
        let expected = self.bits(s, 1, 32)?;
        let expected = self.widened(s, expected);
        let count = self.initial_count(s, expected);
        Ok(store(place, self.wide(s, IntBinaryOp::Or, count, expected)))
    }

    fn mbarrier_arrive(&mut self, s: &mut Statement<'_, 'a>, space: Space) -> Result<Op> {
        s.arity(2, 3)?;
        let drop = s.modifiers.take("arrive_drop");
        s.modifiers.take("noComplete");
        let before = self.dst(s, 0, 64)?;
        let place = self.memory_of(s.operand(1)?, space)?;
        let count = if s.operand_count() == 3 { self.bits(s, 2, 32)? } else { Operand::Imm(1) };
        let count = self.widened(s, count);
        let mut change = self.wide(s, IntBinaryOp::Shl, count, Operand::Imm(COUNT_BITS));
        if drop {
            change = self.wide(s, IntBinaryOp::Sub, change, count);
        }
        self.arrive(s, before, place, change)
    }

    /// Adds `change` to the object; returns the operation that restores the count
    /// if that completed the phase.
    fn arrive(
        &mut self,
        s: &mut Statement<'_, 'a>,
        before: Reg,
        place: (Space, Address),
        change: Operand,
    ) -> Result<Op> {
        self.builder.push(s.guard, atomic_add(Some(before), place, change));
        let before = Operand::Reg(before);
        let after = self.wide(s, IntBinaryOp::Add, before, change);
        let flipped = self.wide(s, IntBinaryOp::Xor, after, before);
        let expected = self.wide(s, IntBinaryOp::And, after, Operand::Imm((1 << COUNT_BITS) - 1));
        let count = self.initial_count(s, expected);
        let completes = self.scratch(1);
        let guard =
            s.guard.map(|guard| (BoolOp::And, PredOperand { value: Operand::Reg(guard.reg), negated: guard.negated }));
        // Without the guard, so that the predicate is false for lanes that skip this.
        self.builder.push(None, phase_differs(completes, flipped, guard));
        s.guard = Some(Guard { reg: completes, negated: false });
        Ok(atomic_add(None, place, count))
    }

    fn mbarrier_wait(&mut self, s: &mut Statement<'_, 'a>, space: Space) -> Result<Op> {
        s.arity(3, 4)?;
        let parity = s.modifiers.take("parity");
        let (space, addr) = self.memory_of(s.operand(1)?, space)?;
        let now = self.scratch(64);
        let load = Op::Load { ty: MemType::U(Width::W64), space, ordering: Ordering::Acquire, dst: now, addr };
        self.builder.push(s.guard, load);
        let state = if parity {
            let parity = self.bits(s, 2, 32)?;
            let parity = self.widened(s, parity);
            self.wide(s, IntBinaryOp::Shl, parity, Operand::Imm(PHASE_SHIFT))
        } else {
            self.bits(s, 2, 64)?
        };
        let mut difference = self.wide(s, IntBinaryOp::Xor, Operand::Reg(now), state);
        if parity {
            difference = self.wide(s, IntBinaryOp::And, difference, Operand::Imm(1 << PHASE_SHIFT));
        }
        Ok(phase_differs(self.pred_dst(s, 0)?, difference, None))
    }

    fn mbarrier_pending_count(&mut self, s: &Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        let state = self.bits(s, 1, 64)?;
        let count = self.wide(s, IntBinaryOp::Shr, state, Operand::Imm(COUNT_BITS));
        let count = self.wide(s, IntBinaryOp::And, count, Operand::Imm((1 << COUNT_BITS) - 1));
        let pending = self.wide(s, IntBinaryOp::Sub, Operand::Imm(1 << COUNT_BITS), count);
        let (to, from) = (CvtType::Int(IntType::U32), CvtType::Int(IntType::U64));
        Ok(Op::Cvt { to, from, mode: CvtMode::default(), dst: self.dst(s, 0, 32)?, a: pending })
    }
}

fn store((space, addr): (Space, Address), src: Operand) -> Op {
    Op::Store { width: Width::W64, space, ordering: Ordering::Release, addr, src }
}

fn atomic_add(dst: Option<Reg>, (space, addr): (Space, Address), b: Operand) -> Op {
    Op::Atom {
        op: AtomOp::Add,
        ty: AtomType::Int(IntType::U64),
        space,
        ordering: Ordering::AcqRel,
        scope: Scope::Cta,
        dst,
        addr,
        b,
        c: Operand::Imm(0),
    }
}

/// Whether the phase bits of `difference` are not zero.
fn phase_differs(dst: Reg, difference: Operand, combine: Option<(BoolOp, PredOperand)>) -> Op {
    let b = Operand::Imm(1 << PHASE_SHIFT);
    Op::Setp { cmp: Cmp::Ge, ty: CmpType::Int(IntType::U64), dst, dst2: None, a: difference, b, combine }
}
