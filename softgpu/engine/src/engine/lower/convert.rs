//! Conversions.

use super::super::code::Slot;
use super::super::isa::{plain, select, Entry};
use super::super::math::Mode;
use super::super::ops::convert::*;
use super::super::ops::float::{BF16, F16};
use super::super::ops::moves::Mov32;
use super::super::ops::Map1;
use super::arith::{known, unknown};
use super::function::Lowering;
use super::select::{by_any_int, of_any_int};
use super::Result;
use crate::ir::{CvtMode, CvtType, FloatMode, FloatType, IntType, Operand, Reg, Rounding};

/// A conversion's mode as an immediate.
fn imm(mode: CvtMode) -> u64 {
    let common =
        FloatMode { rounding: mode.rounding, ftz: mode.ftz, sat: mode.sat, relu: mode.relu, ..FloatMode::default() };
    Mode::pack(common) | if mode.satfinite { SAT_FINITE } else { 0 }
}

fn int_to_int(from: IntType, to: IntType, sat: bool) -> Option<Entry> {
    macro_rules! to {
        ($from:ty) => {
            if sat {
                by_any_int!(to, plain, IntToIntSat, $from)
            } else {
                by_any_int!(to, select, IntToInt, $from)
            }
        };
    }
    match from {
        IntType::U8 => to!(u8),
        IntType::S8 => to!(i8),
        IntType::U16 => to!(u16),
        IntType::S16 => to!(i16),
        IntType::U32 => to!(u32),
        IntType::S32 => to!(i32),
        IntType::U64 => to!(u64),
        IntType::S64 => to!(i64),
        IntType::U16x2 | IntType::S16x2 => None,
    }
}

impl Lowering<'_, '_> {
    pub(super) fn convert(&mut self, to: CvtType, from: CvtType, mode: CvtMode, dst: Reg, a: Operand) -> Result<()> {
        let unsupported = unknown(("cvt", to, from));
        match (from, to) {
            (CvtType::Int(from), CvtType::Int(to)) => {
                let entry = known(int_to_int(from, to, mode.sat), ("cvt", to, from))?;
                let a = self.src(a, from.bits())?;
                self.converted(entry, dst, (to.bits(), to.is_signed()), a, 0)
            }
            (CvtType::Float(from), CvtType::Int(to)) => {
                let entry = match from {
                    FloatType::F32 => by_any_int!(to, select, FloatToInt, f32),
                    _ => by_any_int!(to, select, FloatToInt, f64),
                };
                let entry = known(entry, ("cvt", to, from))?;
                let a = if from == FloatType::F32 { self.src32(a)? } else { self.as_double(from, a)? };
                self.converted(entry, dst, (to.bits(), to.is_signed()), a, imm(mode))
            }
            (CvtType::Int(from), CvtType::Float(to)) => self.int_to_float(from, to, mode, dst, a),
            (CvtType::Float(from), CvtType::Float(to)) => self.float_to_float(from, to, mode, dst, a),
            (CvtType::Float(FloatType::F32), CvtType::Tf32) => {
                let wide = self.as_double(FloatType::F32, a)?;
                self.converted(plain::<NarrowDouble<Tf32>>(), dst, (32, false), wide, imm(mode))
            }
            _ => Err(unsupported),
        }
    }

    fn converted(&mut self, entry: Entry, dst: Reg, result: (u32, bool), a: Slot, imm: u64) -> Result<()> {
        self.result(dst, result, |l, d| {
            l.emit(entry, d, [a, Slot(0), Slot(0)], imm);
            Ok(())
        })
    }

    /// A float source as `f64`, exactly.
    fn as_double(&mut self, from: FloatType, a: Operand) -> Result<Slot> {
        let entry = match from {
            FloatType::F64 => return self.src64(a),
            FloatType::F32 => select::<ToFloat<f32, f64>>(),
            FloatType::F16 => plain::<DoubleOfHalf<F16>>(),
            FloatType::BF16 => plain::<DoubleOfHalf<BF16>>(),
            _ => return Err(unknown(("cvt", from))),
        };
        let a = self.src32(a)?;
        let temp = self.temp64();
        self.emit(entry, temp.0, [a, Slot(0), Slot(0)], 0);
        Ok(temp)
    }

    /// Rounds an `f64` to the result of a conversion.
    fn round_double(&mut self, to: FloatType, mode: CvtMode, dst: Reg, a: Slot) -> Result<()> {
        let entry = match to {
            FloatType::F64 => plain::<SameFloat<f64>>(),
            FloatType::F32 => plain::<NarrowDouble<F32>>(),
            FloatType::F16 => plain::<NarrowDouble<F16>>(),
            FloatType::BF16 => plain::<NarrowDouble<BF16>>(),
            _ => return Err(unknown(("cvt", to))),
        };
        self.converted(entry, dst, (to.bits(), false), a, imm(mode))
    }

    fn int_to_float(&mut self, from: IntType, to: FloatType, mode: CvtMode, dst: Reg, a: Operand) -> Result<()> {
        let nearest = mode.rounding == Rounding::Rn;
        let entry = match to {
            FloatType::F32 if nearest => of_any_int!(from, from ToFloat to f32),
            FloatType::F64 if nearest => of_any_int!(from, from ToFloat to f64),
            FloatType::F64 => of_any_int!(from, DirectedDouble),
            _ => of_any_int!(from, map DoubleOfInt),
        };
        let entry = known(entry, ("cvt", to, from))?;
        let a = self.src(a, from.bits())?;
        if to == FloatType::F64 || (to == FloatType::F32 && nearest) {
            return self.converted(entry, dst, (to.bits(), false), a, imm(mode));
        }
        let temp = self.temp64();
        self.emit(entry, temp.0, [a, Slot(0), Slot(0)], 0);
        self.round_double(to, mode, dst, temp)
    }

    fn float_to_float(&mut self, from: FloatType, to: FloatType, mode: CvtMode, dst: Reg, a: Operand) -> Result<()> {
        let imm = imm(mode);
        match (from, to) {
            (FloatType::F32, FloatType::F32) if mode.integral => {
                self.unary(select::<ToIntegral<f32>>(), dst, 32, a, imm)
            }
            (FloatType::F64, FloatType::F64) if mode.integral => {
                self.unary(plain::<ToIntegral<f64>>(), dst, 64, a, imm)
            }
            (FloatType::F32, FloatType::F32) => self.unary(select::<SameFloat<f32>>(), dst, 32, a, imm),
            (FloatType::F64, FloatType::F64) => self.unary(plain::<SameFloat<f64>>(), dst, 64, a, imm),
            (FloatType::F64, FloatType::F32) if mode.rounding == Rounding::Rn && !mode.relu => {
                let a = self.src64(a)?;
                self.converted(select::<ToFloat<f64, f32>>(), dst, (32, false), a, imm)
            }
            (FloatType::F32, FloatType::F64) => {
                // `.ftz` flushes the `f32` input.
                let a = self.flushed(mode.ftz, a)?;
                self.converted(select::<ToFloat<f32, f64>>(), dst, (64, false), a, imm)
            }
            _ => {
                let ftz = mode.ftz && from == FloatType::F32;
                let wide = if ftz {
                    let a = self.flushed(true, a)?;
                    let temp = self.temp64();
                    self.emit(select::<ToFloat<f32, f64>>(), temp.0, [a, Slot(0), Slot(0)], 0);
                    temp
                } else {
                    self.as_double(from, a)?
                };
                let wide = if mode.integral { self.integral(wide, mode) } else { wide };
                // Only `f32` results are flushed.
                let mode = CvtMode { ftz: mode.ftz && to == FloatType::F32, ..mode };
                self.round_double(to, mode, dst, wide)
            }
        }
    }

    fn flushed(&mut self, ftz: bool, a: Operand) -> Result<Slot> {
        let a = self.src32(a)?;
        if !ftz {
            return Ok(a);
        }
        let temp = self.temp32();
        let flush = FloatMode { ftz: true, ..FloatMode::default() };
        self.emit(select::<SameFloat<f32>>(), temp.0, [a, Slot(0), Slot(0)], Mode::pack(flush));
        Ok(temp)
    }

    fn integral(&mut self, a: Slot, mode: CvtMode) -> Slot {
        let temp = self.temp64();
        let rounding = FloatMode { rounding: mode.rounding, ..FloatMode::default() };
        self.emit(plain::<ToIntegral<f64>>(), temp.0, [a, Slot(0), Slot(0)], Mode::pack(rounding));
        temp
    }

    pub(super) fn pack_floats(&mut self, to: FloatType, mode: CvtMode, dst: Reg, [a, b]: [Operand; 2]) -> Result<()> {
        let entry = match to {
            FloatType::F16x2 => plain::<PackHalves<F16>>(),
            FloatType::BF16x2 => plain::<PackHalves<BF16>>(),
            _ => return Err(unknown(("cvt", to))),
        };
        let (a, b) = (self.src32(a)?, self.src32(b)?);
        self.result(dst, (32, false), |l, d| {
            l.emit(entry, d, [a, b, Slot(0)], imm(mode));
            Ok(())
        })
    }

    pub(super) fn pack_ints(&mut self, to: IntType, dst: Reg, [a, b, c]: [Operand; 3]) -> Result<()> {
        let entry = match to {
            IntType::U8 => plain::<PackInts<8, false>>(),
            IntType::S8 => plain::<PackInts<8, true>>(),
            IntType::U16 => plain::<PackInts<16, false>>(),
            IntType::S16 => plain::<PackInts<16, true>>(),
            _ => return Err(unknown(("cvt.pack", to))),
        };
        let sources = [self.src32(a)?, self.src32(b)?, self.src32(c)?];
        self.result(dst, (32, false), |l, d| {
            l.emit(entry, d, sources, 0);
            Ok(())
        })
    }

    /// Copies a row.
    pub(super) fn copy32(&mut self, dst: u32, a: Slot) {
        self.emit(select::<Map1<Mov32>>(), dst, [a, Slot(0), Slot(0)], 0);
    }
}
