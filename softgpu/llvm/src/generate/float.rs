//! Floating-point arithmetic, exactly as the interpreter does it.

use super::values::NAN_F32;
use super::{Gen, Val, HALF};
use crate::sys::{op, IntPredicate, RealPredicate, Value};
use vgpu_engine::ir::*;

/// Whether a mode rounds in a direction for which the CPU has instructions.
pub(super) fn is_directed(ty: FloatType, mode: FloatMode) -> bool {
    let is_known = matches!(mode.rounding, Rounding::Rz | Rounding::Rm | Rounding::Rp);
    ty == FloatType::F32 && is_known && !mode.relu && !mode.xorsign_abs && crate::sys::host().has("avx512f")
}

/// An instruction's operand for a rounding.
fn directed(rounding: Rounding) -> u64 {
    /// Without exceptions.
    const QUIET: u64 = 8;
    QUIET
        | match rounding {
            Rounding::Rm => 1,
            Rounding::Rp => 2,
            Rounding::Rz => 3,
            Rounding::Rn | Rounding::Rna => 0,
        }
}

impl Gen<'_> {
    /// An operation of AVX-512 on `f32` that rounds in a direction.
    fn round_directed(&self, name: &str, rounding: Rounding, operands: &[Value]) -> Value {
        let is_scalar = self.b.lanes(self.b.type_of(operands[0])).is_none();
        let vector = |v: &Value| if is_scalar { self.b.splat(*v, HALF) } else { *v };
        let mut arguments: Vec<Value> = operands.iter().map(vector).collect();
        arguments.push(self.b.constant(self.word(), directed(rounding)));
        let result = self.b.intrinsic(&format!("llvm.x86.avx512.{name}.ps.512"), &[], &arguments);
        if is_scalar {
            self.b.extract(result, self.c64(0))
        } else {
            result
        }
    }

    /// A source as `f32` or `f64`. NaNs of `f32` may not be canonical.
    pub(super) fn read_float(&mut self, operand: Operand, bits: u32, ftz: bool) -> Val {
        let value = match operand {
            Operand::Reg(reg) if bits == 32 && self.class_bits(reg.0) == 32 => self.raw(reg.0),
            _ => self.read(operand, bits),
        };
        let value = if value.shape.is_scalar() { value } else { self.varying(value) };
        let value = if ftz && bits == 32 { self.map(value, |v| self.flush_bits(v)) } else { value };
        self.map(value, |v| self.b.cast(op::BITCAST, v, self.b.float(bits)))
    }

    /// Subnormals become zero of the same sign.
    pub(super) fn flush_bits(&self, v: Value) -> Value {
        let ty = self.b.type_of(v);
        let exponent = self.b.binary(op::AND, v, self.b.constant(ty, 0x7f80_0000));
        let small = self.b.icmp(IntPredicate::LLVMIntEQ, exponent, self.b.zero(ty));
        let sign = self.b.binary(op::AND, v, self.b.constant(ty, 0x8000_0000));
        self.b.select(small, sign, v)
    }

    fn is_nan(&self, v: Value) -> Value {
        self.b.fcmp(RealPredicate::LLVMRealUNO, v, v)
    }

    pub(super) fn float_constant(&self, like: Value, bits: u32, value: f64) -> Value {
        let raw = if bits == 32 { u64::from((value as f32).to_bits()) } else { value.to_bits() };
        let ty = self.b.shaped(self.b.int(bits), like);
        self.b.bits(self.b.constant(ty, raw), self.b.type_of(like))
    }

    /// Clamps to [0, 1]; NaN becomes +0.
    pub(super) fn saturate(&self, v: Value, bits: u32) -> Value {
        let (zero, one) = (self.float_constant(v, bits, 0.0), self.float_constant(v, bits, 1.0));
        let positive = self.b.fcmp(RealPredicate::LLVMRealOGT, v, zero);
        let small = self.b.fcmp(RealPredicate::LLVMRealOLT, v, one);
        self.b.select(positive, self.b.select(small, v, one), zero)
    }

    /// Writes a floating-point result.
    pub(super) fn write_float(
        &mut self,
        dst: Reg,
        value: Val,
        bits: u32,
        mode: FloatMode,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let value = if mode.sat { self.map(value, |v| self.saturate(v, bits)) } else { value };
        let lazy = self.analysis.regs[dst.0 as usize].lazy;
        let value = self.map(value, |v| {
            let raw = self.b.cast(op::BITCAST, v, self.b.int(bits));
            if bits != 32 {
                return raw;
            }
            let raw = if mode.ftz { self.flush_bits(raw) } else { raw };
            if lazy || mode.sat {
                return raw;
            }
            let nan = self.b.constant(self.b.type_of(raw), NAN_F32);
            self.b.select(self.is_nan(v), nan, raw)
        });
        self.write(dst, value, false, guard)
    }

    pub(super) fn float(&mut self, operation: &Op, guard: Option<Val>) -> Result<(), String> {
        match *operation {
            Op::FloatUnary { op: kind @ (FloatUnaryOp::Neg | FloatUnaryOp::Abs), ty, mode, dst, a } => {
                self.change_sign(kind == FloatUnaryOp::Abs, ty, mode, dst, a, guard)
            }
            Op::FloatUnary { op: kind, ty, mode, dst, a } => {
                let bits = ty.bits();
                let a = self.read_float(a, bits, mode.ftz);
                let value = self.map(a, |v| self.float_unary(kind, v, bits));
                self.write_float(dst, value, bits, mode, guard)
            }
            Op::FloatBinary { op: FloatBinaryOp::Copysign, ty, dst, a, b, .. } => {
                let bits = ty.bits();
                let (a, b) = (self.read(a, bits), self.read(b, bits));
                let value = self.lanewise(&[a, b], |v| {
                    let ty = self.b.type_of(v[0]);
                    let sign = self.b.constant(ty, 1 << (bits - 1));
                    let magnitude = self.b.binary(op::AND, v[1], self.not(sign));
                    self.b.binary(op::OR, magnitude, self.b.binary(op::AND, v[0], sign))
                });
                self.write(dst, value, false, guard)
            }
            Op::FloatBinary { op: kind, ty, mode, dst, a, b } => {
                let bits = ty.bits();
                let (a, b) = (self.read_float(a, bits, mode.ftz), self.read_float(b, bits, mode.ftz));
                let is_directed = mode.rounding != Rounding::Rn;
                let value = self.lanewise(&[a, b], |v| match kind {
                    FloatBinaryOp::Add if is_directed => self.round_directed("add", mode.rounding, v),
                    FloatBinaryOp::Sub if is_directed => self.round_directed("sub", mode.rounding, v),
                    FloatBinaryOp::Mul if is_directed => self.round_directed("mul", mode.rounding, v),
                    FloatBinaryOp::Div if is_directed => self.round_directed("div", mode.rounding, v),
                    FloatBinaryOp::Add => self.b.binary(op::FADD, v[0], v[1]),
                    FloatBinaryOp::Sub => self.b.binary(op::FSUB, v[0], v[1]),
                    FloatBinaryOp::Mul => self.b.binary(op::FMUL, v[0], v[1]),
                    FloatBinaryOp::Min | FloatBinaryOp::Max => {
                        self.min_max(v[0], v[1], bits, kind == FloatBinaryOp::Max, mode.nan)
                    }
                    _ => self.b.binary(op::FDIV, v[0], v[1]),
                });
                self.write_float(dst, value, bits, mode, guard)
            }
            Op::FloatTernary { ty, mode, dst, a, b, c, .. } => {
                let bits = ty.bits();
                let [a, b, c] = [a, b, c].map(|o| self.read_float(o, bits, mode.ftz));
                let value = self.lanewise(&[a, b, c], |v| match mode.rounding {
                    Rounding::Rn => self.b.intrinsic("llvm.fma", &[self.b.type_of(v[0])], &[v[0], v[1], v[2]]),
                    rounding => self.round_directed("vfmadd", rounding, v),
                });
                self.write_float(dst, value, bits, mode, guard)
            }
            _ => Err(format!("an operation that is not compiled at line {}", self.line())),
        }
    }

    fn float_unary(&self, kind: FloatUnaryOp, v: Value, bits: u32) -> Value {
        let root = |v: Value| self.b.intrinsic("llvm.sqrt", &[self.b.type_of(v)], &[v]);
        match kind {
            FloatUnaryOp::Rcp | FloatUnaryOp::RcpApprox => {
                self.b.binary(op::FDIV, self.float_constant(v, bits, 1.0), v)
            }
            FloatUnaryOp::RsqrtApprox => {
                let wide = if bits == 32 { self.b.cast(op::FPEXT, v, self.b.float(64)) } else { v };
                let result = self.b.binary(op::FDIV, self.float_constant(wide, 64, 1.0), root(wide));
                if bits == 32 {
                    self.b.cast(op::FPTRUNC, result, self.b.float(32))
                } else {
                    result
                }
            }
            FloatUnaryOp::Ex2Approx => self.ex2(v),
            FloatUnaryOp::Lg2Approx => self.lg2(v),
            FloatUnaryOp::TanhApprox => self.tanh(v),
            _ => root(v),
        }
    }

    fn change_sign(
        &mut self,
        abs: bool,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let (bits, signs) = match ty {
            FloatType::F64 => (64, 1 << 63),
            FloatType::F16 | FloatType::BF16 => (32, 0x8000),
            FloatType::F16x2 | FloatType::BF16x2 => (32, 0x8000_8000),
            _ => (32, 0x8000_0000),
        };
        let value = self.read(a, bits);
        let value = if value.shape.is_scalar() { value } else { self.varying(value) };
        let value = self.map(value, |v| {
            let v = if mode.ftz && ty == FloatType::F32 { self.flush_bits(v) } else { v };
            let signs = self.b.constant(self.b.type_of(v), signs);
            if abs {
                self.b.binary(op::AND, v, self.not(signs))
            } else {
                self.b.binary(op::XOR, v, signs)
            }
        });
        self.write(dst, value, false, guard)
    }

    /// -0 is below +0; one NaN is ignored unless `nan`.
    fn min_max(&self, a: Value, b: Value, bits: u32, max: bool, nan: bool) -> Value {
        use RealPredicate::{LLVMRealOEQ, LLVMRealOLT};
        let raw = self.b.cast(op::BITCAST, a, self.b.int(bits));
        let negative = self.b.icmp(IntPredicate::LLVMIntSLT, raw, self.b.zero(self.b.type_of(raw)));
        let equal = self.b.binary(op::AND, self.b.fcmp(LLVMRealOEQ, a, b), negative);
        let first = self.b.binary(op::OR, self.b.fcmp(LLVMRealOLT, a, b), equal);
        let number = if max { self.b.select(first, b, a) } else { self.b.select(first, a, b) };
        let (a_nan, b_nan) = (self.is_nan(a), self.is_nan(b));
        let either = if nan { self.float_constant(a, bits, f64::NAN) } else { self.b.select(a_nan, b, a) };
        self.b.select(self.b.binary(op::OR, a_nan, b_nan), either, number)
    }
}
