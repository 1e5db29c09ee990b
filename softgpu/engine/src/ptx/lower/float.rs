//! Floating-point arithmetic and functions.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, Result};

/// Takes a rounding modifier.
pub(super) fn rounding(s: &mut Statement) -> Option<Rounding> {
    s.modifiers.take_map(|name| {
        Some(match name {
            b"rn" => Rounding::Rn,
            b"rz" => Rounding::Rz,
            b"rm" => Rounding::Rm,
            b"rp" => Rounding::Rp,
            _ => return None,
        })
    })
}

/// Takes all modifiers of a floating-point operation.
fn mode(s: &mut Statement) -> FloatMode {
    FloatMode {
        rounding: rounding(s).unwrap_or_default(),
        ftz: s.modifiers.take("ftz"),
        sat: s.modifiers.take("sat"),
        relu: s.modifiers.take("relu"),
        nan: s.modifiers.take("NaN"),
        xorsign_abs: s.modifiers.take("xorsign") && s.modifiers.take("abs"),
    }
}

impl<'a> Lower<'_, 'a> {
    /// The floating-point forms of instructions that exist for integers as well.
    pub(super) fn float_arithmetic(&mut self, s: &mut Statement<'_, 'a>, ty: FloatType) -> Result<Op> {
        use FloatBinaryOp::*;
        match s.base {
            b"add" => self.float_binary(s, Add, ty),
            b"sub" => self.float_binary(s, Sub, ty),
            b"mul" => self.float_binary(s, Mul, ty),
            b"mad" => self.float_ternary(s, FloatTernaryOp::Fma, ty),
            b"div" if s.modifiers.take("approx") => self.float_binary(s, DivApprox, ty),
            b"div" if s.modifiers.take("full") => self.float_binary(s, DivFull, ty),
            b"div" => self.float_binary(s, Div, ty),
            b"min" if s.operand_count() == 4 => self.float_ternary(s, FloatTernaryOp::Min3, ty),
            b"max" if s.operand_count() == 4 => self.float_ternary(s, FloatTernaryOp::Max3, ty),
            b"min" => self.float_binary(s, Min, ty),
            b"max" => self.float_binary(s, Max, ty),
            b"neg" => self.float_unary(s, FloatUnaryOp::Neg, ty),
            _ => self.float_unary(s, FloatUnaryOp::Abs, ty),
        }
    }

    /// Reciprocal, roots and the transcendental functions.
    pub(super) fn float_function(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let ty = self.float_ty(s)?;
        let approx = s.modifiers.take("approx");
        let op = match (s.base, approx) {
            (b"rcp", false) => FloatUnaryOp::Rcp,
            (b"rcp", true) => FloatUnaryOp::RcpApprox,
            (b"sqrt", false) => FloatUnaryOp::Sqrt,
            (b"sqrt", true) => FloatUnaryOp::SqrtApprox,
            (b"rsqrt", true) => FloatUnaryOp::RsqrtApprox,
            (b"sin", true) => FloatUnaryOp::SinApprox,
            (b"cos", true) => FloatUnaryOp::CosApprox,
            (b"lg2", true) => FloatUnaryOp::Lg2Approx,
            (b"ex2", true) => FloatUnaryOp::Ex2Approx,
            (b"tanh", true) => FloatUnaryOp::TanhApprox,
            _ => return invalid("this function needs the modifier `.approx`"),
        };
        self.float_unary(s, op, ty)
    }

    fn float_unary(&mut self, s: &mut Statement<'_, 'a>, op: FloatUnaryOp, ty: FloatType) -> Result<Op> {
        s.arity(2, 2)?;
        let a = self.float(s, 1, ty)?;
        Ok(Op::FloatUnary { op, ty, mode: mode(s), dst: self.dst(s, 0, ty.bits())?, a })
    }

    fn float_binary(&mut self, s: &mut Statement<'_, 'a>, op: FloatBinaryOp, ty: FloatType) -> Result<Op> {
        s.arity(3, 3)?;
        let (a, b) = (self.float(s, 1, ty)?, self.float(s, 2, ty)?);
        Ok(Op::FloatBinary { op, ty, mode: mode(s), dst: self.dst(s, 0, ty.bits())?, a, b })
    }

    fn float_ternary(&mut self, s: &mut Statement<'_, 'a>, op: FloatTernaryOp, ty: FloatType) -> Result<Op> {
        s.arity(4, 4)?;
        let (a, b, c) = (self.float(s, 1, ty)?, self.float(s, 2, ty)?, self.float(s, 3, ty)?);
        Ok(Op::FloatTernary { op, ty, mode: mode(s), dst: self.dst(s, 0, ty.bits())?, a, b, c })
    }

    pub(super) fn fma(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let ty = self.float_ty(s)?;
        self.float_ternary(s, FloatTernaryOp::Fma, ty)
    }

    pub(super) fn copysign(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let ty = self.float_ty(s)?;
        self.float_binary(s, FloatBinaryOp::Copysign, ty)
    }

    pub(super) fn testp(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        let test = s.modifiers.take_map(|name| {
            Some(match name {
                b"finite" => TestOp::Finite,
                b"infinite" => TestOp::Infinite,
                b"number" => TestOp::Number,
                b"notanumber" => TestOp::NotANumber,
                b"normal" => TestOp::Normal,
                b"subnormal" => TestOp::Subnormal,
                _ => return None,
            })
        });
        let Some(test) = test else { return invalid("`testp` needs a test such as `.finite`") };
        let ty = self.float_ty(s)?;
        let a = self.float(s, 1, ty)?;
        Ok(Op::Testp { test, ty, dst: self.pred_dst(s, 0)?, a })
    }
}
