//! Integer, logic, shift and bit-field instructions.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, text, Result};
use crate::ptx::modifiers::Type;

/// Which part of a product an instruction wants.
enum Part {
    Low,
    High,
    Wide,
}

fn part(s: &mut Statement) -> Part {
    if s.modifiers.take("wide") {
        Part::Wide
    } else if s.modifiers.take("hi") {
        Part::High
    } else {
        s.modifiers.take("lo");
        Part::Low
    }
}

impl<'a> Lower<'_, 'a> {
    /// Instructions that exist for integers and floats.
    pub(super) fn arithmetic(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let ty = self.ty(s)?;
        if let Some(ty) = ty.float() {
            return self.float_arithmetic(s, ty);
        }
        let Some(ty) = ty.int() else { return self.wrong_type(s) };
        use IntBinaryOp::*;
        match s.base {
            b"add" | b"sub" if s.modifiers.take("cc") => self.carry(s, ty, false),
            b"add" => self.saturating(s, ty, Add, AddSat),
            b"sub" => self.saturating(s, ty, Sub, SubSat),
            b"mul" => self.mul(s, ty),
            b"mad" => self.mad(s, ty),
            b"div" => self.int_binary(s, Div, ty),
            b"min" if s.modifiers.take("relu") => self.int_binary(s, MinRelu, ty),
            b"max" if s.modifiers.take("relu") => self.int_binary(s, MaxRelu, ty),
            b"min" => self.int_binary(s, Min, ty),
            b"max" => self.int_binary(s, Max, ty),
            b"neg" => self.int_unary(s, IntUnaryOp::Neg, ty),
            _ => self.int_unary(s, IntUnaryOp::Abs, ty),
        }
    }

    /// Instructions that exist for integers only.
    pub(super) fn integer_operation(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        match s.base {
            b"shl" | b"shr" => self.shift(s),
            b"rem" => self.typed_binary(s, IntBinaryOp::Rem),
            b"mul24" => match part(s) {
                Part::High => self.typed_binary(s, IntBinaryOp::Mul24Hi),
                _ => self.typed_binary(s, IntBinaryOp::Mul24Lo),
            },
            b"mad24" => self.mad24(s),
            b"sad" => {
                let ty = self.int_ty(s)?;
                self.int_ternary(s, IntTernaryOp::Sad, ty, [ty.bits(); 3])
            }
            b"addc" | b"subc" => {
                let ty = self.int_ty(s)?;
                self.carry(s, ty, true)
            }
            b"madc" => {
                let ty = self.int_ty(s)?;
                self.mad_carry(s, ty, true)
            }
            b"lop3" => self.lop3(s),
            b"cnot" => self.typed_unary(s, IntUnaryOp::Cnot),
            b"brev" => self.typed_unary(s, IntUnaryOp::Brev),
            b"popc" => self.count(s, IntUnaryOp::Popc),
            b"clz" => self.count(s, IntUnaryOp::Clz),
            b"bfind" if s.modifiers.take("shiftamt") => self.count(s, IntUnaryOp::BfindShift),
            b"bfind" => self.count(s, IntUnaryOp::Bfind),
            b"bfe" => {
                let ty = self.int_ty(s)?;
                self.int_ternary(s, IntTernaryOp::Bfe, ty, [ty.bits(), 32, 32])
            }
            b"bfi" => self.bfi(s),
            b"bmsk" => self.clamp_or_wrap(s, IntBinaryOp::BmskClamp, IntBinaryOp::BmskWrap),
            b"szext" => self.clamp_or_wrap(s, IntBinaryOp::SzextClamp, IntBinaryOp::SzextWrap),
            b"fns" => {
                let ty = self.int_ty(s)?;
                self.int_ternary(s, IntTernaryOp::Fns, ty, [32; 3])
            }
            b"shf" => self.funnel_shift(s),
            b"prmt" => self.prmt(s),
            b"dp4a" | b"dp2a" => self.dot_product(s),
            _ => invalid(format!("unknown instruction `{}`", text(s.base))),
        }
    }

    fn int_unary(&mut self, s: &mut Statement<'_, 'a>, op: IntUnaryOp, ty: IntType) -> Result<Op> {
        s.arity(2, 2)?;
        let a = self.bits(s, 1, ty.bits())?;
        Ok(Op::IntUnary { op, ty, dst: self.dst(s, 0, ty.bits())?, a })
    }

    fn typed_unary(&mut self, s: &mut Statement<'_, 'a>, op: IntUnaryOp) -> Result<Op> {
        let ty = self.int_ty(s)?;
        self.int_unary(s, op, ty)
    }

    /// An operation with a 32-bit result for any input.
    fn count(&mut self, s: &mut Statement<'_, 'a>, op: IntUnaryOp) -> Result<Op> {
        let ty = self.int_ty(s)?;
        s.arity(2, 2)?;
        let a = self.bits(s, 1, ty.bits())?;
        Ok(Op::IntUnary { op, ty, dst: self.dst(s, 0, 32)?, a })
    }

    fn int_binary(&mut self, s: &mut Statement<'_, 'a>, op: IntBinaryOp, ty: IntType) -> Result<Op> {
        s.arity(3, 3)?;
        let bits = ty.bits();
        let (a, b) = (self.bits(s, 1, bits)?, self.bits(s, 2, bits)?);
        Ok(Op::IntBinary { op, ty, dst: self.dst(s, 0, bits)?, a, b })
    }

    fn typed_binary(&mut self, s: &mut Statement<'_, 'a>, op: IntBinaryOp) -> Result<Op> {
        let ty = self.int_ty(s)?;
        self.int_binary(s, op, ty)
    }

    fn clamp_or_wrap(&mut self, s: &mut Statement<'_, 'a>, clamp: IntBinaryOp, wrap: IntBinaryOp) -> Result<Op> {
        let op = if s.modifiers.take("wrap") { wrap } else { clamp };
        s.modifiers.take("clamp");
        self.typed_binary(s, op)
    }

    fn saturating(&mut self, s: &mut Statement<'_, 'a>, ty: IntType, op: IntBinaryOp, sat: IntBinaryOp) -> Result<Op> {
        let op = if s.modifiers.take("sat") { sat } else { op };
        self.int_binary(s, op, ty)
    }

    /// A three-input operation with a result as wide as its type; `bits` are the
    /// widths of the inputs.
    fn int_ternary(&mut self, s: &mut Statement<'_, 'a>, op: IntTernaryOp, ty: IntType, bits: [u32; 3]) -> Result<Op> {
        s.arity(4, 4)?;
        let (a, b, c) = (self.bits(s, 1, bits[0])?, self.bits(s, 2, bits[1])?, self.bits(s, 3, bits[2])?);
        Ok(Op::IntTernary { op, ty, dst: self.dst(s, 0, ty.bits())?, a, b, c })
    }

    fn mul(&mut self, s: &mut Statement<'_, 'a>, ty: IntType) -> Result<Op> {
        match part(s) {
            Part::Low => self.int_binary(s, IntBinaryOp::MulLo, ty),
            Part::High => self.int_binary(s, IntBinaryOp::MulHi, ty),
            Part::Wide => {
                s.arity(3, 3)?;
                let bits = self.wide_bits(s, ty)?;
                let (a, b) = (self.bits(s, 1, ty.bits())?, self.bits(s, 2, ty.bits())?);
                Ok(Op::IntBinary { op: IntBinaryOp::MulWide, ty, dst: self.dst(s, 0, bits)?, a, b })
            }
        }
    }

    /// Width of a double-width product.
    fn wide_bits(&self, s: &Statement, ty: IntType) -> Result<u32> {
        match ty {
            IntType::U16 | IntType::S16 | IntType::U32 | IntType::S32 => Ok(ty.bits() * 2),
            _ => self.wrong_type(s),
        }
    }

    fn mad(&mut self, s: &mut Statement<'_, 'a>, ty: IntType) -> Result<Op> {
        if s.modifiers.take("cc") {
            return self.mad_carry(s, ty, false);
        }
        let bits = ty.bits();
        match part(s) {
            Part::Low => self.int_ternary(s, IntTernaryOp::MadLo, ty, [bits; 3]),
            Part::High if s.modifiers.take("sat") => self.int_ternary(s, IntTernaryOp::MadHiSat, ty, [bits; 3]),
            Part::High => self.int_ternary(s, IntTernaryOp::MadHi, ty, [bits; 3]),
            Part::Wide => {
                s.arity(4, 4)?;
                let wide = self.wide_bits(s, ty)?;
                let (a, b, c) = (self.bits(s, 1, bits)?, self.bits(s, 2, bits)?, self.bits(s, 3, wide)?);
                Ok(Op::IntTernary { op: IntTernaryOp::MadWide, ty, dst: self.dst(s, 0, wide)?, a, b, c })
            }
        }
    }

    fn mad24(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let op = match part(s) {
            Part::High if s.modifiers.take("sat") => IntTernaryOp::Mad24HiSat,
            Part::High => IntTernaryOp::Mad24Hi,
            _ => IntTernaryOp::Mad24Lo,
        };
        let ty = self.int_ty(s)?;
        self.int_ternary(s, op, ty, [ty.bits(); 3])
    }

    /// `add.cc`, `addc`, `sub.cc`, `subc`; the modifier `.cc` of the first forms is
    /// taken already.
    fn carry(&mut self, s: &mut Statement<'_, 'a>, ty: IntType, reads: bool) -> Result<Op> {
        s.arity(3, 3)?;
        let writes = !reads || s.modifiers.take("cc");
        let bits = ty.bits();
        let (a, b) = (self.bits(s, 1, bits)?, self.bits(s, 2, bits)?);
        let dst = self.dst(s, 0, bits)?;
        let flag = self.builder.carry();
        let (flag_in, flag_out) = (reads.then_some(flag), writes.then_some(flag));
        Ok(match s.base {
            b"add" | b"addc" => Op::AddCarry { ty, dst, a, b, carry_in: flag_in, carry_out: flag_out },
            _ => Op::SubBorrow { ty, dst, a, b, borrow_in: flag_in, borrow_out: flag_out },
        })
    }

    /// `mad.cc` (whose `.cc` is taken already) and `madc`.
    fn mad_carry(&mut self, s: &mut Statement<'_, 'a>, ty: IntType, reads: bool) -> Result<Op> {
        s.arity(4, 4)?;
        let writes = !reads || s.modifiers.take("cc");
        let high = matches!(part(s), Part::High);
        let bits = ty.bits();
        let (a, b, c) = (self.bits(s, 1, bits)?, self.bits(s, 2, bits)?, self.bits(s, 3, bits)?);
        let dst = self.dst(s, 0, bits)?;
        let flag = self.builder.carry();
        let (carry_in, carry_out) = (reads.then_some(flag), writes.then_some(flag));
        Ok(Op::MadCarry { high, ty, dst, a, b, c, carry_in, carry_out })
    }

    pub(super) fn logic(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let ty = self.ty(s)?;
        if ty == Type::Pred {
            return self.pred_logic(s);
        }
        let Some(ty) = ty.int() else { return self.wrong_type(s) };
        match s.base {
            b"and" => self.int_binary(s, IntBinaryOp::And, ty),
            b"or" => self.int_binary(s, IntBinaryOp::Or, ty),
            b"xor" => self.int_binary(s, IntBinaryOp::Xor, ty),
            _ => self.int_unary(s, IntUnaryOp::Not, ty),
        }
    }

    fn pred_logic(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let op = match s.base {
            b"and" => BoolOp::And,
            b"or" => BoolOp::Or,
            b"xor" => BoolOp::Xor,
            _ => {
                s.arity(2, 2)?;
                let a = self.pred(s, 1)?;
                return Ok(Op::PredNot { dst: self.pred_dst(s, 0)?, a });
            }
        };
        s.arity(3, 3)?;
        let (a, b) = (self.pred(s, 1)?, self.pred(s, 2)?);
        Ok(Op::PredBinary { op, dst: self.pred_dst(s, 0)?, a, b })
    }

    fn shift(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(3, 3)?;
        let op = if s.base == b"shl" { IntBinaryOp::Shl } else { IntBinaryOp::Shr };
        let ty = self.int_ty(s)?;
        let (a, b) = (self.bits(s, 1, ty.bits())?, self.bits(s, 2, 32)?);
        Ok(Op::IntBinary { op, ty, dst: self.dst(s, 0, ty.bits())?, a, b })
    }

    fn funnel_shift(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let left = s.modifiers.take("l");
        let op = match (left || !s.modifiers.take("r"), s.modifiers.take("wrap")) {
            (true, false) => IntTernaryOp::ShfLClamp,
            (true, true) => IntTernaryOp::ShfLWrap,
            (false, false) => IntTernaryOp::ShfRClamp,
            (false, true) => IntTernaryOp::ShfRWrap,
        };
        s.modifiers.take("clamp");
        let ty = self.int_ty(s)?;
        self.int_ternary(s, op, ty, [32; 3])
    }

    fn prmt(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let ty = self.int_ty(s)?;
        let mode = s.modifiers.take_map(|name| {
            Some(match name {
                b"f4e" => PrmtMode::F4e,
                b"b4e" => PrmtMode::B4e,
                b"rc8" => PrmtMode::Rc8,
                b"ecl" => PrmtMode::Ecl,
                b"ecr" => PrmtMode::Ecr,
                b"rc16" => PrmtMode::Rc16,
                _ => return None,
            })
        });
        self.int_ternary(s, IntTernaryOp::Prmt(mode.unwrap_or(PrmtMode::Index)), ty, [32; 3])
    }

    fn bfi(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(5, 5)?;
        let width = self.width(s)?;
        let (a, b) = (self.bits(s, 1, width.bits())?, self.bits(s, 2, width.bits())?);
        let (pos, len) = (self.bits(s, 3, 32)?, self.bits(s, 4, 32)?);
        Ok(Op::Bfi { width, dst: self.dst(s, 0, width.bits())?, a, b, pos, len })
    }

    fn lop3(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        self.width(s)?;
        let (dst, pred_dst) = s.pair(s.operand(0)?);
        s.arity(5, 6)?;
        let (a, b, c) = (self.bits(s, 1, 32)?, self.bits(s, 2, 32)?, self.bits(s, 3, 32)?);
        let Operand::Imm(lut) = self.bits(s, 4, 8)? else { return invalid("the table of `lop3` must be a constant") };
        let pred = match pred_dst {
            Some(operand) => {
                let op = self.bool_op(s).unwrap_or(BoolOp::Or);
                Some(Lop3Pred { dst: self.dst_of(operand, 1)?, op, input: self.pred(s, 5)? })
            }
            None => None,
        };
        Ok(Op::Lop3 { lut: lut as u8, dst: self.dst_of(dst, 32)?, a, b, c, pred })
    }

    fn dot_product(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(4, 4)?;
        let high = s.base == b"dp2a" && matches!(part(s), Part::High);
        let a_signed = self.int_ty(s)?.is_signed();
        let b_signed = self.int_ty(s)?.is_signed();
        let (a, b, c) = (self.bits(s, 1, 32)?, self.bits(s, 2, 32)?, self.bits(s, 3, 32)?);
        let dst = self.dst(s, 0, 32)?;
        Ok(match s.base {
            b"dp4a" => Op::Dp4a { a_signed, b_signed, dst, a, b, c },
            _ => Op::Dp2a { high, a_signed, b_signed, dst, a, b, c },
        })
    }
}
