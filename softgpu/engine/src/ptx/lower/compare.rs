//! Comparison and selection.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, Result};
use crate::ptx::modifiers::Type;

/// Takes the comparison operator. `lo`, `ls`, `hi`, `hs` are unsigned by name and
/// only valid on unsigned types, so they are the same as `lt` and so on.
fn comparison(s: &mut Statement) -> Result<Cmp> {
    let cmp = s.modifiers.take_map(|name| {
        Some(match name {
            b"eq" => Cmp::Eq,
            b"ne" => Cmp::Ne,
            b"lt" | b"lo" => Cmp::Lt,
            b"le" | b"ls" => Cmp::Le,
            b"gt" | b"hi" => Cmp::Gt,
            b"ge" | b"hs" => Cmp::Ge,
            b"equ" => Cmp::Equ,
            b"neu" => Cmp::Neu,
            b"ltu" => Cmp::Ltu,
            b"leu" => Cmp::Leu,
            b"gtu" => Cmp::Gtu,
            b"geu" => Cmp::Geu,
            b"num" => Cmp::Num,
            b"nan" => Cmp::Nan,
            _ => return None,
        })
    });
    cmp.map_or_else(|| invalid("a comparison operator such as `.eq` is missing"), Ok)
}

impl<'a> Lower<'_, 'a> {
    /// Takes a boolean operator.
    pub(super) fn bool_op(&self, s: &mut Statement) -> Option<BoolOp> {
        s.modifiers.take_map(|name| {
            Some(match name {
                b"and" => BoolOp::And,
                b"or" => BoolOp::Or,
                b"xor" => BoolOp::Xor,
                _ => return None,
            })
        })
    }

    /// Input type and inputs, which are operands 1 and 2.
    fn compared(&mut self, s: &mut Statement<'_, 'a>, cmp: Cmp, ty: Type) -> Result<(CmpType, Operand, Operand)> {
        if let Some(ty) = ty.float() {
            let ftz = s.modifiers.take("ftz");
            return Ok((CmpType::Float { ty, ftz }, self.float(s, 1, ty)?, self.float(s, 2, ty)?));
        }
        let Some(ty) = ty.int() else { return self.wrong_type(s) };
        if !matches!(cmp, Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Le | Cmp::Gt | Cmp::Ge) {
            return invalid("this comparison operator is only valid for floating-point types");
        }
        Ok((CmpType::Int(ty), self.bits(s, 1, ty.bits())?, self.bits(s, 2, ty.bits())?))
    }

    /// The combining operator and its predicate, operand 3.
    fn combined(&mut self, s: &mut Statement<'_, 'a>) -> Result<Option<(BoolOp, PredOperand)>> {
        let op = self.bool_op(s);
        s.arity(if op.is_some() { 4 } else { 3 }, if op.is_some() { 4 } else { 3 })?;
        let pred = self.optional_pred(s, 3)?;
        Ok(op.zip(pred))
    }

    pub(super) fn setp(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let cmp = comparison(s)?;
        let combine = self.combined(s)?;
        let ty = self.ty(s)?;
        let (ty, a, b) = self.compared(s, cmp, ty)?;
        let (dst, dst2) = s.pair(s.operand(0)?);
        let dst = self.dst_of(dst, 1)?;
        let dst2 = dst2.map(|operand| self.dst_of(operand, 1)).transpose()?;
        Ok(Op::Setp { cmp, ty, dst, dst2, a, b, combine })
    }

    pub(super) fn set(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let cmp = comparison(s)?;
        let combine = self.combined(s)?;
        let to = self.ty(s)?;
        let from = self.ty(s)?;
        let (ty, a, b) = self.compared(s, cmp, from)?;
        let result = match (to.float(), to.width()) {
            (Some(ty), _) => SetType::Float(ty),
            (None, Some(width)) => SetType::Int(width),
            _ => return self.wrong_type(s),
        };
        Ok(Op::Set { cmp, ty, result, dst: self.dst(s, 0, to.bits())?, a, b, combine })
    }

    /// Sources 1 and 2 of a selection between values of type `ty`.
    fn choices(&mut self, s: &Statement<'_, 'a>, ty: Type) -> Result<(Operand, Operand)> {
        match ty.float() {
            Some(ty) => Ok((self.float(s, 1, ty)?, self.float(s, 2, ty)?)),
            None => Ok((self.bits(s, 1, ty.bits())?, self.bits(s, 2, ty.bits())?)),
        }
    }

    pub(super) fn selp(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(4, 4)?;
        let ty = self.ty(s)?;
        let Some(width) = ty.width() else { return self.wrong_type(s) };
        let (a, b) = self.choices(s, ty)?;
        let p = self.pred(s, 3)?;
        Ok(Op::Selp { width, dst: self.dst(s, 0, ty.bits())?, a, b, p })
    }

    pub(super) fn slct(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(4, 4)?;
        let ftz = s.modifiers.take("ftz");
        let ty = self.ty(s)?;
        let Some(width) = ty.width() else { return self.wrong_type(s) };
        let (a, b) = self.choices(s, ty)?;
        let (c_float, c) = match self.ty(s)? {
            Type::Float(FloatType::F32) => (Some(ftz), self.float(s, 3, FloatType::F32)?),
            _ => (None, self.bits(s, 3, 32)?),
        };
        Ok(Op::Slct { width, c_float, dst: self.dst(s, 0, ty.bits())?, a, b, c })
    }
}
