//! Barriers and operations across the lanes of a warp.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, unsupported, Result};
use crate::ptx::modifiers::Type;

impl<'a> Lower<'_, 'a> {
    pub(super) fn barrier(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.modifiers.take("cta");
        s.modifiers.take("aligned");
        if s.modifiers.take("warp") {
            s.modifiers.take("sync");
            s.arity(1, 1)?;
            return Ok(Op::WarpSync { mask: self.bits(s, 0, 32)? });
        }
        if s.modifiers.take("sync") {
            s.arity(1, 2)?;
            let id = self.bits(s, 0, 32)?;
            return Ok(Op::BarrierSync { id, threads: self.optional_bits(s, 1, 2)? });
        }
        if s.modifiers.take("arrive") {
            s.arity(2, 2)?;
            let id = self.bits(s, 0, 32)?;
            return Ok(Op::BarrierArrive { id, threads: self.bits(s, 1, 32)? });
        }
        if s.modifiers.take("red") {
            return self.barrier_red(s);
        }
        invalid("`.sync`, `.arrive` or `.red` is missing")
    }

    /// A 32-bit source that is there if there are at least `count` operands.
    fn optional_bits(&mut self, s: &Statement<'_, 'a>, index: usize, count: usize) -> Result<Option<Operand>> {
        if s.operand_count() >= count {
            return self.bits(s, index, 32).map(Some);
        }
        Ok(None)
    }

    fn barrier_red(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(3, 4)?;
        let op = if s.modifiers.take("popc") {
            BarrierRedOp::Popc
        } else if s.modifiers.take("and") {
            BarrierRedOp::And
        } else if s.modifiers.take("or") {
            BarrierRedOp::Or
        } else {
            return invalid("`.popc`, `.and` or `.or` is missing");
        };
        self.ty(s)?;
        let id = self.bits(s, 1, 32)?;
        let threads = self.optional_bits(s, 2, 4)?;
        let p = self.pred(s, s.operand_count() - 1)?;
        let dst = self.dst(s, 0, if op == BarrierRedOp::Popc { 32 } else { 1 })?;
        Ok(Op::BarrierRed { op, dst, id, threads, p })
    }

    pub(super) fn shfl(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let sync = s.modifiers.take("sync");
        s.arity(if sync { 5 } else { 4 }, if sync { 5 } else { 4 })?;
        let mode = s.modifiers.take_map(|name| {
            Some(match name {
                b"up" => ShflMode::Up,
                b"down" => ShflMode::Down,
                b"bfly" => ShflMode::Bfly,
                b"idx" => ShflMode::Idx,
                _ => return None,
            })
        });
        let Some(mode) = mode else { return invalid("a mode such as `.idx` is missing") };
        self.ty(s)?;
        let (a, b, c) = (self.bits(s, 1, 32)?, self.bits(s, 2, 32)?, self.bits(s, 3, 32)?);
        let mask = self.optional_bits(s, 4, 5)?;
        let (dst, in_range) = s.pair(s.operand(0)?);
        let dst = self.dst_of(dst, 32)?;
        let in_range = in_range.map(|operand| self.dst_of(operand, 1)).transpose()?;
        Ok(Op::Shfl { mode, dst, in_range, a, b, c, mask })
    }

    pub(super) fn vote(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let sync = s.modifiers.take("sync");
        s.arity(if sync { 3 } else { 2 }, if sync { 3 } else { 2 })?;
        let mode = s.modifiers.take_map(|name| {
            Some(match name {
                b"all" => VoteMode::All,
                b"any" => VoteMode::Any,
                b"uni" => VoteMode::Uni,
                b"ballot" => VoteMode::Ballot,
                _ => return None,
            })
        });
        let Some(mode) = mode else { return invalid("a mode such as `.any` is missing") };
        self.ty(s)?;
        let p = self.pred(s, 1)?;
        let mask = self.optional_bits(s, 2, 3)?;
        let dst = self.dst(s, 0, if mode == VoteMode::Ballot { 32 } else { 1 })?;
        Ok(Op::Vote { mode, dst, p, mask })
    }

    pub(super) fn match_lanes(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(3, 3)?;
        s.modifiers.take("sync");
        let any = s.modifiers.take("any");
        if !any && !s.modifiers.take("all") {
            return invalid("`.any` or `.all` is missing");
        }
        let width = self.width(s)?;
        let (a, mask) = (self.bits(s, 1, width.bits())?, self.bits(s, 2, 32)?);
        let (dst, all) = s.pair(s.operand(0)?);
        let dst = self.dst_of(dst, 32)?;
        if any {
            return Ok(Op::MatchAny { width, dst, a, mask });
        }
        let all = all.map(|operand| self.dst_of(operand, 1)).transpose()?;
        Ok(Op::MatchAll { width, dst, all, a, mask })
    }

    pub(super) fn activemask(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(1, 1)?;
        self.ty(s)?;
        Ok(Op::ActiveMask { dst: self.dst(s, 0, 32)? })
    }

    pub(super) fn redux(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(3, 3)?;
        s.modifiers.take("sync");
        let ty = self.ty(s)?;
        if ty == Type::Float(FloatType::F32) {
            s.modifiers.take_all(|_| true);
            return unsupported("instruction `redux.sync` on .f32");
        }
        let signed = ty == Type::Int(IntType::S32);
        let op = s.modifiers.take_map(|name| {
            Some(match (name, signed) {
                (b"add", true) => ReduxOp::AddS32,
                (b"add", false) => ReduxOp::AddU32,
                (b"min", true) => ReduxOp::MinS32,
                (b"min", false) => ReduxOp::MinU32,
                (b"max", true) => ReduxOp::MaxS32,
                (b"max", false) => ReduxOp::MaxU32,
                (b"and", _) => ReduxOp::And,
                (b"or", _) => ReduxOp::Or,
                (b"xor", _) => ReduxOp::Xor,
                _ => return None,
            })
        });
        let Some(op) = op else { return invalid("an operation such as `.add` is missing") };
        let (a, mask) = (self.bits(s, 1, 32)?, self.bits(s, 2, 32)?);
        Ok(Op::Redux { op, dst: self.dst(s, 0, 32)?, a, mask })
    }

    pub(super) fn elect(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        s.modifiers.take("sync");
        let mask = self.bits(s, 1, 32)?;
        let (dst, leader) = s.pair(s.operand(0)?);
        let Some(leader) = leader else { return invalid("`elect` needs a predicate result") };
        Ok(Op::Elect { dst: Some(self.dst_of(dst, 32)?), is_leader: self.dst_of(leader, 1)?, mask })
    }

    pub(super) fn nanosleep(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(1, 1)?;
        self.ty(s)?;
        Ok(Op::Nanosleep { duration: self.bits(s, 0, 32)? })
    }
}
