//! Moves, conversions and address-space conversions.

use super::memory::{space, vector_len};
use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, unsupported, Result};
use crate::ptx::modifiers::Type;
use crate::ptx::operand::Raw;
use crate::ptx::resolve::Immediate;

/// Rounding modifier of a conversion, and whether it is one to integers (`.rni`).
fn rounding(s: &mut Statement) -> Option<(Rounding, bool)> {
    s.modifiers.take_map(|name| {
        Some(match name {
            b"rn" => (Rounding::Rn, false),
            b"rz" => (Rounding::Rz, false),
            b"rm" => (Rounding::Rm, false),
            b"rp" => (Rounding::Rp, false),
            b"rna" => (Rounding::Rna, false),
            b"rni" => (Rounding::Rn, true),
            b"rzi" => (Rounding::Rz, true),
            b"rmi" => (Rounding::Rm, true),
            b"rpi" => (Rounding::Rp, true),
            _ => return None,
        })
    })
}

/// Type of either side of a conversion.
fn cvt_type(ty: Type) -> Option<CvtType> {
    match ty {
        Type::Float(ty) => Some(CvtType::Float(ty)),
        Type::Tf32 => Some(CvtType::Tf32),
        _ => ty.int().map(CvtType::Int),
    }
}

/// Whether the destination is a float that cannot hold every value of the source.
fn needs_rounding(to: CvtType, from: CvtType) -> bool {
    match (to, from) {
        (CvtType::Float(to), CvtType::Float(from)) => to.bits() < from.bits(),
        (CvtType::Tf32, _) | (CvtType::Float(_), CvtType::Int(_)) | (CvtType::Int(_), CvtType::Float(_)) => true,
        _ => false,
    }
}

impl<'a> Lower<'_, 'a> {
    pub(super) fn mov(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        let ty = self.ty(s)?;
        let (dst, src) = (s.operand(0)?, s.operand(1)?);
        let vector = vector_len(s);
        if vector > 1 {
            return self.mov_vector(s, ty, vector);
        }
        if let Raw::Vector { .. } = src.raw {
            return self.pack(s, ty);
        }
        if let Raw::Vector { .. } = dst.raw {
            return self.unpack(s, ty);
        }
        if ty == Type::Pred {
            let p = self.pred(s, 1)?;
            let dst = self.dst_of(dst, 1)?;
            if p.negated {
                return Ok(Op::PredNot { dst, a: PredOperand { negated: false, ..p } });
            }
            return Ok(Op::Mov { width: None, dst, src: p.value });
        }
        let kind = ty.float().map_or(Immediate::Bits(ty.bits()), Immediate::Float);
        let src = self.src_of(src, kind)?;
        Ok(Op::Mov { width: ty.width(), dst: self.dst_of(dst, ty.bits())?, src })
    }

    /// `mov.v4.f32 {a, b, c, d}, v`: all elements are read before one is written.
    fn mov_vector(&mut self, s: &Statement<'_, 'a>, ty: Type, len: usize) -> Result<Op> {
        let (targets, sources) = (self.vector_elements(s, 0, len)?, self.vector_elements(s, 1, len)?);
        let kind = ty.float().map_or(Immediate::Bits(ty.bits()), Immediate::Float);
        let mut read = Vec::with_capacity(len);
        for operand in sources {
            let (src, dst) = (self.src_of(operand, kind)?, self.scratch(ty.bits()));
            self.builder.push(None, Op::Mov { width: ty.width(), dst, src });
            read.push(dst);
        }
        let mut moves = Vec::with_capacity(len);
        for (operand, src) in targets.into_iter().zip(read) {
            moves.push(Op::Mov { width: ty.width(), dst: self.dst_of(operand, ty.bits())?, src: Operand::Reg(src) });
        }
        let Some(last) = moves.pop() else { return invalid("a vector has elements") };
        moves.into_iter().for_each(|op| self.builder.push(s.guard, op));
        Ok(last)
    }

    /// Width of each of `count` parts of a value.
    fn part_width(&self, s: &Statement, ty: Type, count: usize) -> Result<Width> {
        match (ty.bits(), count) {
            (16, 2) | (32, 4) => Ok(Width::W8),
            (32, 2) | (64, 4) => Ok(Width::W16),
            (64, 2) | (128, 4) => Ok(Width::W32),
            (128, 2) => Ok(Width::W64),
            _ => self.wrong_type(s),
        }
    }

    fn pack(&mut self, s: &Statement<'_, 'a>, ty: Type) -> Result<Op> {
        let parts = s.elements(s.operand(1)?);
        let part = self.part_width(s, ty, parts.len())?;
        let mut sources = Vec::with_capacity(parts.len());
        for operand in parts {
            sources.push(self.src_of(operand, Immediate::Bits(part.bits()))?);
        }
        let src = self.builder.operand_list(sources);
        Ok(Op::Pack { part, dst: self.dst(s, 0, ty.bits())?, src })
    }

    fn unpack(&mut self, s: &Statement<'_, 'a>, ty: Type) -> Result<Op> {
        let parts = s.elements(s.operand(0)?);
        let part = self.part_width(s, ty, parts.len())?;
        let src = self.bits(s, 1, ty.bits())?;
        let mut regs = Vec::with_capacity(parts.len());
        for operand in parts {
            regs.push(self.dst_of(operand, part.bits())?);
        }
        Ok(Op::Unpack { part, dst: self.builder.reg_list(regs), src })
    }

    pub(super) fn cvt(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        if s.modifiers.take("pack") {
            return self.cvt_pack(s);
        }
        if s.modifiers.take("rs") {
            return unsupported("conversion with stochastic rounding");
        }
        let rounding = rounding(s);
        let mode = CvtMode {
            rounding: rounding.map_or(Rounding::Rn, |(rounding, _)| rounding),
            integral: rounding.is_some_and(|(_, integral)| integral),
            ftz: s.modifiers.take("ftz"),
            sat: s.modifiers.take("sat"),
            relu: s.modifiers.take("relu"),
            satfinite: s.modifiers.take("satfinite"),
        };
        let fp8 = s.modifiers.take_map(|name| match name {
            b"e4m3x2" => Some(Fp8Type::E4M3),
            b"e5m2x2" => Some(Fp8Type::E5M2),
            _ => None,
        });
        if let Some(ty) = fp8 {
            return self.cvt_fp8(s, ty, mode);
        }
        let (to_type, from_type) = (self.ty(s)?, self.ty(s)?);
        if matches!(to_type, Type::Narrow(_)) || matches!(from_type, Type::Narrow(_)) {
            s.modifiers.take_all(|_| true);
            return unsupported("conversion of a float format below 16 bits");
        }
        let (Some(to), Some(from)) = (cvt_type(to_type), cvt_type(from_type)) else { return self.wrong_type(s) };
        if let CvtType::Float(to @ (FloatType::F16x2 | FloatType::BF16x2)) = to {
            return self.cvt_pack_float(s, to, mode);
        }
        s.arity(2, 2)?;
        if needs_rounding(to, from) && rounding.is_none() {
            return invalid("this conversion needs a rounding modifier");
        }
        let a = match from {
            CvtType::Float(ty) => self.float(s, 1, ty)?,
            _ => self.bits(s, 1, from_type.bits())?,
        };
        Ok(Op::Cvt { to, from, mode, dst: self.dst(s, 0, to_type.bits())?, a })
    }

    fn cvt_fp8(&mut self, s: &mut Statement<'_, 'a>, ty: Fp8Type, mode: CvtMode) -> Result<Op> {
        // Only conversions to 8 bits clamp.
        let conversion = match (self.ty(s)?, mode.satfinite) {
            (Type::Float(FloatType::F32), true) => Fp8Conversion::FromF32Pair,
            (Type::Float(FloatType::F16x2), true) => Fp8Conversion::FromF16x2,
            (Type::Float(FloatType::F16x2), false) => Fp8Conversion::ToF16x2,
            _ => {
                s.modifiers.take_all(|_| true);
                return unsupported("conversion of a float format below 16 bits");
            }
        };
        let pair = conversion == Fp8Conversion::FromF32Pair;
        s.arity(if pair { 3 } else { 2 }, if pair { 3 } else { 2 })?;
        let (a, b) = match conversion {
            Fp8Conversion::FromF32Pair => (self.float(s, 1, FloatType::F32)?, self.float(s, 2, FloatType::F32)?),
            Fp8Conversion::FromF16x2 => (self.bits(s, 1, 32)?, Operand::Imm(0)),
            Fp8Conversion::ToF16x2 => (self.bits(s, 1, 16)?, Operand::Imm(0)),
        };
        let bits = if conversion == Fp8Conversion::ToF16x2 { 32 } else { 16 };
        Ok(Op::CvtFp8 { conversion, ty, relu: mode.relu, dst: self.dst(s, 0, bits)?, a, b })
    }

    fn cvt_pack_float(&mut self, s: &mut Statement<'_, 'a>, to: FloatType, mode: CvtMode) -> Result<Op> {
        s.arity(3, 3)?;
        let (a, b) = (self.float(s, 1, FloatType::F32)?, self.float(s, 2, FloatType::F32)?);
        Ok(Op::CvtPackFloat { to, mode, dst: self.dst(s, 0, 32)?, a, b })
    }

    fn cvt_pack(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(3, 4)?;
        s.modifiers.take("sat");
        let narrow = s.modifiers.take_map(|name| {
            Some(match name {
                b"u4" => (4, false),
                b"s4" => (4, true),
                b"u2" => (2, false),
                b"s2" => (2, true),
                _ => return None,
            })
        });
        let to = if narrow.is_none() { Some(self.ty(s)?) } else { None };
        self.ty(s)?;
        // The type of `c`, in the form that has it.
        s.modifiers.take_type();
        let (a, b) = (self.bits(s, 1, 32)?, self.bits(s, 2, 32)?);
        let c = if s.operand_count() == 4 { self.bits(s, 3, 32)? } else { Operand::Imm(0) };
        let dst = self.dst(s, 0, 32)?;
        match (to, narrow) {
            (_, Some((bits, signed))) => Ok(self.pack_narrow(s, (bits, signed), dst, [a, b, c])),
            (Some(Type::Int(to)), _) => Ok(Op::CvtPackInt { to, dst, a, b, c }),
            _ => self.wrong_type(s),
        }
    }

    /// `c << 2 * bits | a << bits | b`, where `a` and `b` are clamped to a range of `bits` bits.
    fn pack_narrow(&mut self, s: &Statement, (bits, signed): (u32, bool), dst: Reg, [a, b, c]: [Operand; 3]) -> Op {
        let (low, high) = if signed { (-(1i32 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let mut step = |op, a, b| {
            let dst = self.scratch(32);
            self.builder.push(s.guard, Op::IntBinary { op, ty: IntType::S32, dst, a, b });
            Operand::Reg(dst)
        };
        let mut clamped = |x| {
            let least = step(IntBinaryOp::Max, x, Operand::Imm(u64::from(low as u32)));
            step(IntBinaryOp::Min, least, Operand::Imm(high as u64))
        };
        let (a, b) = (clamped(a), clamped(b));
        let upper = step(IntBinaryOp::Shl, c, Operand::Imm((2 * bits).into()));
        let with_a = self.scratch(32);
        let [pos, zero] = [Operand::Imm(bits.into()), Operand::Imm(0)];
        self.builder.push(s.guard, Op::Bfi { width: Width::W32, dst: with_a, a, b: upper, pos, len: pos });
        Op::Bfi { width: Width::W32, dst, a: b, b: Operand::Reg(with_a), pos: zero, len: pos }
    }

    pub(super) fn cvta(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        let to_space = s.modifiers.take("to");
        let space = self.object_space(space(s));
        let bits = self.ty(s)?.bits();
        let a = self.bits(s, 1, bits)?;
        Ok(Op::Cvta { space, to_space, dst: self.dst(s, 0, bits)?, a })
    }

    pub(super) fn isspacep(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        let space = self.object_space(space(s));
        let a = self.bits(s, 1, 32)?;
        Ok(Op::Isspacep { space, dst: self.pred_dst(s, 0)?, a })
    }

    /// Parameters of device functions live in local memory.
    fn object_space(&self, space: Space) -> Space {
        match space {
            Space::Param if !self.builder.function.is_entry => Space::Local,
            space => space,
        }
    }

    /// Cache policies have no effect: any value will do.
    pub(super) fn createpolicy(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.modifiers.take_all(|_| true);
        Ok(Op::Mov { width: Some(Width::W64), dst: self.dst(s, 0, 64)?, src: Operand::Imm(0) })
    }
}
