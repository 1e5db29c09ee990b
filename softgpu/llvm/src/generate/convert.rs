//! Conversions.

use super::{Gen, Val};
use crate::shape::{keeps_strides, Shape};
use crate::sys::{op, RealPredicate, Value};
use vgpu_engine::ir::*;

/// Whether a conversion has a direct translation.
pub(super) fn is_compiled(to: CvtType, from: CvtType, mode: CvtMode) -> bool {
    let nearest = mode.rounding == Rounding::Rn;
    let host = |ty| matches!(ty, FloatType::F32 | FloatType::F64);
    if mode.relu || mode.satfinite {
        return false;
    }
    match (from, to) {
        (CvtType::Int(from), CvtType::Int(to)) => {
            !mode.sat && ![from, to].iter().any(|t| matches!(t, IntType::U16x2 | IntType::S16x2))
        }
        (CvtType::Float(from), CvtType::Int(to)) => {
            host(from) && mode.rounding != Rounding::Rna && !matches!(to, IntType::U16x2 | IntType::S16x2)
        }
        (CvtType::Int(_), CvtType::Float(to)) => host(to) && nearest,
        (CvtType::Float(FloatType::F16 | FloatType::BF16), CvtType::Float(FloatType::F32)) => {
            nearest && !mode.integral && !mode.sat
        }
        (CvtType::Float(FloatType::F32), CvtType::Float(FloatType::F16)) => {
            nearest && !mode.integral && !mode.sat && !mode.ftz
        }
        (CvtType::Float(from), CvtType::Float(to)) if host(from) && host(to) => match (from == to, mode.integral) {
            (true, true) => mode.rounding != Rounding::Rna,
            (true, false) => true,
            (false, integral) => nearest && !integral,
        },
        _ => false,
    }
}

impl Gen<'_> {
    pub(super) fn convert(
        &mut self,
        (to, from, mode): (CvtType, CvtType, CvtMode),
        _whole: &Op,
        dst: Reg,
        a: Operand,
        guard: Option<Val>,
    ) -> Result<(), String> {
        match (from, to) {
            (CvtType::Int(from), CvtType::Int(to)) => self.int_to_int(from, to, dst, a, guard),
            (CvtType::Float(from), CvtType::Int(to)) => {
                let a = self.read_float(a, from.bits(), mode.ftz);
                let value = self.map(a, |v| self.to_int(self.round(v, mode.rounding), to));
                self.write(dst, value, to.is_signed(), guard)
            }
            (CvtType::Int(from), CvtType::Float(to)) => {
                let a = self.read(a, from.bits());
                let cast = if from.is_signed() { op::SITOFP } else { op::UITOFP };
                let value = self.lanewise(&[a], |v| self.b.cast(cast, v[0], self.b.float(to.bits())));
                self.write_float(dst, value, to.bits(), flags(mode), guard)
            }
            (CvtType::Float(from), CvtType::Float(to)) => self.float_to_float(from, to, mode, dst, a, guard),
            _ => Err("a conversion that is not compiled".into()),
        }
    }

    fn int_to_int(
        &mut self,
        from: IntType,
        to: IntType,
        dst: Reg,
        a: Operand,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let value = self.read(a, from.bits());
        let value = match value.shape {
            shape @ (Shape::Line(_) | Shape::Affine(_)) if keeps_strides(from) && keeps_strides(to) => {
                if to.bits() > from.bits() {
                    self.check_extension(a, value, from.is_signed());
                }
                let shape = shape.scaled(to.bits(), |step| step);
                self.halves(shape, |h| self.cast_int(value.parts[h], from, to))
            }
            _ => self.lanewise(&[value], |v| self.cast_int(v[0], from, to)),
        };
        self.write(dst, value, to.is_signed(), guard)
    }

    fn cast_int(&self, v: Value, from: IntType, to: IntType) -> Value {
        let cast = match (to.bits().cmp(&from.bits()), from.is_signed()) {
            (std::cmp::Ordering::Equal, _) => return v,
            (std::cmp::Ordering::Less, _) => op::TRUNC,
            (_, true) => op::SEXT,
            (_, false) => op::ZEXT,
        };
        self.b.cast(cast, v, self.b.int(to.bits()))
    }

    fn round(&self, v: Value, rounding: Rounding) -> Value {
        let name = match rounding {
            Rounding::Rn | Rounding::Rna => "llvm.roundeven",
            Rounding::Rz => "llvm.trunc",
            Rounding::Rm => "llvm.floor",
            Rounding::Rp => "llvm.ceil",
        };
        self.b.intrinsic(name, &[self.b.type_of(v)], &[v])
    }

    /// Clamps to the range; NaN becomes 0.
    fn to_int(&self, v: Value, to: IntType) -> Value {
        let name = if to.is_signed() { "llvm.fptosi.sat" } else { "llvm.fptoui.sat" };
        let result = self.b.shaped(self.b.int(to.bits()), v);
        self.b.intrinsic(name, &[result, self.b.type_of(v)], &[v])
    }

    fn float_to_float(
        &mut self,
        from: FloatType,
        to: FloatType,
        mode: CvtMode,
        dst: Reg,
        a: Operand,
        guard: Option<Val>,
    ) -> Result<(), String> {
        match (from, to) {
            (FloatType::F16, _) => {
                let a = self.read(a, 16);
                let value = self.lanewise(&[a], |v| {
                    let half = self.b.cast(op::BITCAST, v[0], self.b.float(16));
                    self.b.cast(op::FPEXT, half, self.b.float(32))
                });
                self.write_float(dst, value, 32, flags(mode), guard)
            }
            (FloatType::BF16, _) => {
                let a = self.read(a, 32);
                let value = self.lanewise(&[a], |v| {
                    let bits = self.b.binary(op::SHL, v[0], self.b.constant(self.b.type_of(v[0]), 16));
                    self.b.cast(op::BITCAST, bits, self.b.float(32))
                });
                self.write_float(dst, value, 32, flags(mode), guard)
            }
            (_, FloatType::F16) => {
                let a = self.read_float(a, 32, false);
                let value = self.map(a, |v| {
                    let half = self.b.cast(op::FPTRUNC, v, self.b.float(16));
                    let bits = self.b.cast(op::BITCAST, half, self.b.int(16));
                    let nan = self.b.fcmp(RealPredicate::LLVMRealUNO, v, v);
                    self.b.select(nan, self.b.constant(self.b.type_of(bits), 0x7fff), bits)
                });
                self.write(dst, value, false, guard)
            }
            (FloatType::F32, FloatType::F32) if !mode.integral => {
                let value = self.read(a, 32);
                let value = if value.shape.is_scalar() { value } else { self.varying(value) };
                let value = self.map(value, |v| {
                    let v = if mode.ftz { self.flush_bits(v) } else { v };
                    if !mode.sat {
                        return v;
                    }
                    let clamped = self.saturate(self.b.cast(op::BITCAST, v, self.b.float(32)), 32);
                    self.b.cast(op::BITCAST, clamped, self.word())
                });
                self.write(dst, value, false, guard)
            }
            _ => {
                let ftz = mode.ftz && from == FloatType::F32;
                let a = self.read_float(a, from.bits(), ftz);
                let value = self.map(a, |v| match (from, to) {
                    (FloatType::F32, FloatType::F64) => self.b.cast(op::FPEXT, v, self.b.float(64)),
                    (FloatType::F64, FloatType::F32) => self.b.cast(op::FPTRUNC, v, self.b.float(32)),
                    _ if mode.integral => self.round(v, mode.rounding),
                    _ => v,
                });
                // The input has been flushed; only a narrowed result can be subnormal again.
                let ftz = mode.ftz && from == FloatType::F64;
                self.write_float(dst, value, to.bits(), FloatMode { ftz, ..flags(mode) }, guard)
            }
        }
    }
}

fn flags(mode: CvtMode) -> FloatMode {
    FloatMode { ftz: mode.ftz, sat: mode.sat, ..FloatMode::default() }
}
