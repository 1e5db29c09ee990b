//! Integer and floating-point arithmetic.

use super::super::code::{Pred, Slot};
use super::super::isa::{plain, select, Entry};
use super::super::math::Mode;
use super::super::ops::float::{
    self, AbsF64, AddF32, AddF64, Copysign32, Copysign64, Double, FmaF32, FmaF64, Ftz, Half, Keep, MulF32, MulF64,
    NegF64, SignBits, Single, SinglePair, SubF32, SubF64, BF16, F16,
};
use super::super::ops::half::{AddHalf, FmaHalf, HalfNearest, MulHalf, SubHalf};
use super::super::ops::int::*;
use super::super::ops::{Map1, Map2, Map3};
use super::function::Lowering;
use super::select::{by_float, by_int};
use super::{NotExecutable, Result};
use crate::ir::{
    self, FloatBinaryOp, FloatMode, FloatTernaryOp, FloatType, FloatUnaryOp, IntBinaryOp, IntTernaryOp, IntType,
    IntUnaryOp, Operand, PrmtMode, Reg, Rounding,
};

impl Lowering<'_, '_> {
    pub(super) fn int_unary(&mut self, op: IntUnaryOp, ty: IntType, dst: Reg, a: Operand) -> Result<()> {
        if ty == IntType::S16x2 && op == IntUnaryOp::Neg {
            return self.unary(select::<Map1<NegX2>>(), dst, 32, a, 0);
        }
        let entry = match op {
            IntUnaryOp::Neg => by_int!(ty, Map1, Neg),
            IntUnaryOp::Abs => by_int!(ty, Map1, Abs),
            IntUnaryOp::Not => by_int!(ty, Map1, Not),
            IntUnaryOp::Cnot => by_int!(ty, Map1, Cnot),
            IntUnaryOp::Popc => by_int!(ty, Map1, Popc),
            IntUnaryOp::Clz => by_int!(ty, Map1, Clz),
            IntUnaryOp::Brev => by_int!(ty, Map1, Brev),
            IntUnaryOp::Bfind => by_int!(ty, Map1, Bfind),
            IntUnaryOp::BfindShift => by_int!(ty, Map1, BfindShift),
        };
        let entry = known(entry, (op, ty))?;
        let counts = matches!(op, IntUnaryOp::Popc | IntUnaryOp::Clz | IntUnaryOp::Bfind | IntUnaryOp::BfindShift);
        let a = self.src(a, ty.bits())?;
        let bits = if counts { 32 } else { ty.bits() };
        self.result(dst, (bits, ty.is_signed() && !counts), |l, d| {
            l.emit(entry, d, [a, Slot(0), Slot(0)], 0);
            Ok(())
        })
    }

    pub(super) fn int_binary(&mut self, op: IntBinaryOp, ty: IntType, dst: Reg, a: Operand, b: Operand) -> Result<()> {
        use IntBinaryOp as B;
        use IntType::{S16, S32, S64, U16, U32};
        let entry = match (op, ty) {
            (_, IntType::U16x2 | IntType::S16x2) => packed_entry(op, ty),
            (B::Add, _) => by_int!(ty, Map2, Add),
            (B::Sub, _) => by_int!(ty, Map2, Sub),
            (B::AddSat, S32) => Some(select::<Map2<AddSat>>()),
            (B::SubSat, S32) => Some(select::<Map2<SubSat>>()),
            (B::MulLo, _) => by_int!(ty, Map2, MulLo),
            (B::MulHi, _) => by_int!(ty, Map2, MulHi),
            (B::MulWide, U16) => Some(select::<Map2<MulWideU16>>()),
            (B::MulWide, S16) => Some(select::<Map2<MulWideS16>>()),
            (B::MulWide, U32) => Some(select::<Map2<MulWideU32>>()),
            (B::MulWide, S32) => Some(select::<Map2<MulWideS32>>()),
            (B::Mul24Lo, U32) => Some(select::<Map2<Mul24LoU>>()),
            (B::Mul24Lo, S32) => Some(select::<Map2<Mul24LoS>>()),
            (B::Mul24Hi, U32) => Some(select::<Map2<Mul24HiU>>()),
            (B::Mul24Hi, S32) => Some(select::<Map2<Mul24HiS>>()),
            (B::Div, _) => by_int!(ty, Map2, Div),
            (B::Rem, _) => by_int!(ty, Map2, Rem),
            (B::Min, _) => by_int!(ty, Map2, Min),
            (B::Max, _) => by_int!(ty, Map2, Max),
            (B::MinRelu, S32) => Some(select::<Map2<MinRelu<i32>>>()),
            (B::MaxRelu, S32) => Some(select::<Map2<MaxRelu<i32>>>()),
            (B::And, _) => by_int!(ty, Map2, And),
            (B::Or, _) => by_int!(ty, Map2, Or),
            (B::Xor, _) => by_int!(ty, Map2, Xor),
            (B::Shl, _) => by_int!(ty, Map2, Shl),
            (B::Shr, _) => by_int!(ty, Map2, Shr),
            (B::BmskClamp, _) => Some(plain::<Map2<BmskClamp>>()),
            (B::BmskWrap, _) => Some(plain::<Map2<BmskWrap>>()),
            (B::SzextClamp, U32) => Some(plain::<Map2<SzextClampU>>()),
            (B::SzextClamp, S32) => Some(plain::<Map2<SzextClampS>>()),
            (B::SzextWrap, U32) => Some(plain::<Map2<SzextWrapU>>()),
            (B::SzextWrap, S32) => Some(plain::<Map2<SzextWrapS>>()),
            _ => None,
        };
        let entry = known(entry, (op, ty))?;
        let amount = matches!(op, B::Shl | B::Shr);
        let (a, b) = (self.src(a, ty.bits())?, self.src(b, if amount { 32 } else { ty.bits() })?);
        let bits = if op == B::MulWide { ty.bits() * 2 } else { ty.bits() };
        self.result(dst, (bits, matches!(ty, S16 | S32 | S64)), |l, d| {
            l.emit(entry, d, [a, b, Slot(0)], 0);
            Ok(())
        })
    }

    pub(super) fn int_ternary(
        &mut self,
        op: IntTernaryOp,
        ty: IntType,
        dst: Reg,
        [a, b, c]: [Operand; 3],
    ) -> Result<()> {
        use IntTernaryOp as T;
        use IntType::{S16, S32, U16, U32};
        let entry = match (op, ty) {
            (T::MadLo, _) => by_int!(ty, Map3, MadLo),
            (T::MadHi, _) => by_int!(ty, Map3, MadHi),
            (T::MadHiSat, S32) => Some(select::<Map3<MadHiSat>>()),
            (T::MadWide, U16) => Some(select::<Map3<MadWideU16>>()),
            (T::MadWide, S16) => Some(select::<Map3<MadWideS16>>()),
            (T::MadWide, U32) => Some(select::<Map3<MadWideU32>>()),
            (T::MadWide, S32) => Some(select::<Map3<MadWideS32>>()),
            (T::Mad24Lo, U32) => Some(select::<Map3<Mad24LoU>>()),
            (T::Mad24Lo, S32) => Some(select::<Map3<Mad24LoS>>()),
            (T::Mad24Hi, U32) => Some(select::<Map3<Mad24HiU>>()),
            (T::Mad24Hi, S32) => Some(select::<Map3<Mad24HiS>>()),
            (T::Mad24HiSat, S32) => Some(select::<Map3<Mad24HiSat>>()),
            (T::Sad, _) => by_int!(ty, Map3, Sad),
            (T::Bfe, _) => by_int!(ty, Map3, Bfe),
            (T::ShfLClamp, _) => Some(select::<Map3<ShfLClamp>>()),
            (T::ShfLWrap, _) => Some(select::<Map3<ShfLWrap>>()),
            (T::ShfRClamp, _) => Some(select::<Map3<ShfRClamp>>()),
            (T::ShfRWrap, _) => Some(select::<Map3<ShfRWrap>>()),
            (T::Fns, _) => Some(plain::<Map3<Fns>>()),
            (T::Prmt(mode), _) => Some(match mode {
                PrmtMode::Index => select::<Map3<Prmt>>(),
                PrmtMode::F4e => plain::<Map3<PrmtF4e>>(),
                PrmtMode::B4e => plain::<Map3<PrmtB4e>>(),
                PrmtMode::Rc8 => plain::<Map3<PrmtRc8>>(),
                PrmtMode::Ecl => plain::<Map3<PrmtEcl>>(),
                PrmtMode::Ecr => plain::<Map3<PrmtEcr>>(),
                PrmtMode::Rc16 => plain::<Map3<PrmtRc16>>(),
            }),
            _ => None,
        };
        let entry = known(entry, (op, ty))?;
        let bits = ty.bits();
        let (b_bits, c_bits, result) = match op {
            T::MadWide => (bits, bits * 2, bits * 2),
            T::Bfe => (32, 32, bits),
            _ => (bits, bits, bits),
        };
        let sources = [self.src(a, bits)?, self.src(b, b_bits)?, self.src(c, c_bits)?];
        self.result(dst, (result, ty.is_signed()), |l, d| {
            l.emit(entry, d, sources, 0);
            Ok(())
        })
    }

    /// An operation with carry; `c` is only used by the multiplications.
    pub(super) fn carrying(
        &mut self,
        entries: [Entry; 2],
        ty: IntType,
        dst: Reg,
        [a, b, c]: [Operand; 3],
        (carry_in, carry_out): (Option<Reg>, Option<Reg>),
    ) -> Result<()> {
        let entry = entries[usize::from(ty.bits() == 64)];
        let sources = [self.src(a, ty.bits())?, self.src(b, ty.bits())?, self.src(c, ty.bits())?];
        let carry_in = carry_in.map_or(Pred::FALSE, |reg| Pred::new(self.pred_index(reg), false));
        let carry_out = carry_out.map_or(0, |reg| self.pred_index(reg));
        let imm = u64::from(carry_in.0) | u64::from(carry_out) << 32;
        let dst = self.row(dst);
        self.emit(entry, dst, sources, imm);
        Ok(())
    }

    /// High half of a product with carry: signedness matters there.
    pub(super) fn mad_carry_entries(high: bool, signed: bool) -> [Entry; 2] {
        match (high, signed) {
            (false, _) => [plain::<Carrying<LowWithCarry, u32>>(), plain::<Carrying<LowWithCarry, u64>>()],
            (true, false) => [plain::<Carrying<HighWithCarry, u32>>(), plain::<Carrying<HighWithCarry, u64>>()],
            (true, true) => [plain::<Carrying<HighWithCarry, i32>>(), plain::<Carrying<HighWithCarry, i64>>()],
        }
    }

    pub(super) fn dot_product(
        &mut self,
        entries: [Entry; 4],
        (a_signed, b_signed): (bool, bool),
        dst: Reg,
        [a, b, c]: [Operand; 3],
        high: bool,
    ) -> Result<()> {
        let entry = entries[usize::from(a_signed) * 2 + usize::from(b_signed)];
        let (a, mut b, c) = (self.src32(a)?, self.src32(b)?, self.src32(c)?);
        if high {
            let temp = self.temp32();
            self.emit(select::<Map1<HighHalf>>(), temp.0, [b, Slot(0), Slot(0)], 0);
            b = temp;
        }
        self.result(dst, (32, a_signed || b_signed), |l, d| {
            l.emit(entry, d, [a, b, c], 0);
            Ok(())
        })
    }

    pub(super) fn float_unary(
        &mut self,
        op: FloatUnaryOp,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
    ) -> Result<()> {
        use FloatUnaryOp as U;
        let imm = Mode::pack(mode);
        let entry = match (op, ty) {
            (U::Neg | U::Abs, _) => return self.sign_change(op == U::Abs, ty, mode, dst, a),
            // Without a rounding the 64-bit approximations are coarse.
            (U::RcpApprox, FloatType::F64) => by_float!(ty, RcpCoarse),
            (U::RsqrtApprox, FloatType::F64) if mode.ftz => by_float!(ty, RsqrtCoarse),
            (U::Rcp | U::RcpApprox, _) => by_float!(ty, Rcp),
            (U::Sqrt | U::SqrtApprox, _) => by_float!(ty, Sqrt),
            (U::RsqrtApprox, _) => by_float!(ty, Rsqrt),
            (U::SinApprox, _) => by_float!(ty, Sin),
            (U::CosApprox, _) => by_float!(ty, Cos),
            (U::Lg2Approx, _) => by_float!(ty, Lg2),
            (U::Ex2Approx, _) => by_float!(ty, Ex2),
            (U::TanhApprox, _) => by_float!(ty, Tanh),
        };
        self.unary(entry, dst, ty.bits(), a, imm)
    }

    fn sign_change(&mut self, abs: bool, ty: FloatType, mode: FloatMode, dst: Reg, a: Operand) -> Result<()> {
        let signs: u32 = match ty {
            FloatType::F64 if abs => return self.unary(select::<Map1<AbsF64>>(), dst, 64, a, 0),
            FloatType::F64 => return self.unary(select::<Map1<NegF64>>(), dst, 64, a, 0),
            FloatType::F32 => 0x8000_0000,
            FloatType::F16 | FloatType::BF16 => 0x8000,
            FloatType::F16x2 | FloatType::BF16x2 => 0x8000_8000,
            FloatType::F32x2 => return Err(unknown((abs, ty))),
        };
        let (and, xor) = if abs { (!signs, 0) } else { (u32::MAX, signs) };
        let imm = u64::from(and) << 32 | u64::from(xor);
        let ftz = mode.ftz && ty == FloatType::F32;
        let entry = if ftz { select::<SignBits<true>>() } else { select::<SignBits<false>>() };
        self.unary(entry, dst, 32, a, imm)
    }

    pub(super) fn float_binary(
        &mut self,
        op: FloatBinaryOp,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        [a, b]: [Operand; 2],
    ) -> Result<()> {
        use FloatBinaryOp as B;
        let imm = Mode::pack(mode);
        let entry = match (op, ty, simple(mode)) {
            (B::Add, FloatType::F32, Some(false)) => select::<Map2<AddF32<Keep>>>(),
            (B::Add, FloatType::F32, Some(true)) => select::<Map2<AddF32<Ftz>>>(),
            (B::Sub, FloatType::F32, Some(false)) => select::<Map2<SubF32<Keep>>>(),
            (B::Sub, FloatType::F32, Some(true)) => select::<Map2<SubF32<Ftz>>>(),
            (B::Mul, FloatType::F32, Some(false)) => select::<Map2<MulF32<Keep>>>(),
            (B::Mul, FloatType::F32, Some(true)) => select::<Map2<MulF32<Ftz>>>(),
            (B::Add, FloatType::F64, Some(_)) => select::<Map2<AddF64>>(),
            (B::Sub, FloatType::F64, Some(_)) => select::<Map2<SubF64>>(),
            (B::Mul, FloatType::F64, Some(_)) => select::<Map2<MulF64>>(),
            (B::Add, FloatType::F16, Some(false)) => select::<HalfNearest<AddHalf, false>>(),
            (B::Add, FloatType::F16x2, Some(false)) => select::<HalfNearest<AddHalf, true>>(),
            (B::Sub, FloatType::F16, Some(false)) => select::<HalfNearest<SubHalf, false>>(),
            (B::Sub, FloatType::F16x2, Some(false)) => select::<HalfNearest<SubHalf, true>>(),
            (B::Mul, FloatType::F16, Some(false)) => select::<HalfNearest<MulHalf, false>>(),
            (B::Mul, FloatType::F16x2, Some(false)) => select::<HalfNearest<MulHalf, true>>(),
            (B::Add, ..) => by_float!(ty, FloatAdd),
            (B::Sub, ..) => by_float!(ty, FloatSub),
            (B::Mul, ..) => by_float!(ty, FloatMul),
            (B::Div | B::DivApprox | B::DivFull, ..) => by_float!(ty, FloatDiv),
            (B::Min, ..) => by_float!(ty, FloatMin),
            (B::Max, ..) => by_float!(ty, FloatMax),
            (B::Copysign, FloatType::F32, _) => select::<Map2<Copysign32>>(),
            (B::Copysign, FloatType::F64, _) => select::<Map2<Copysign64>>(),
            (B::Copysign, ..) => return Err(unknown((op, ty))),
        };
        let (a, b) = (self.src(a, ty.bits())?, self.src(b, ty.bits())?);
        // Operations of three inputs share their handlers, so `c` has to be a row.
        self.result(dst, (ty.bits(), false), |l, d| {
            l.emit(entry, d, [a, b, b], imm);
            Ok(())
        })
    }

    pub(super) fn float_ternary(
        &mut self,
        op: FloatTernaryOp,
        ty: FloatType,
        mode: FloatMode,
        dst: Reg,
        [a, b, c]: [Operand; 3],
    ) -> Result<()> {
        let entry = match (op, ty, simple(mode)) {
            (FloatTernaryOp::Fma, FloatType::F32, Some(false)) => select::<Map3<FmaF32<Keep>>>(),
            (FloatTernaryOp::Fma, FloatType::F32, Some(true)) => select::<Map3<FmaF32<Ftz>>>(),
            (FloatTernaryOp::Fma, FloatType::F64, Some(_)) => select::<Map3<FmaF64>>(),
            (FloatTernaryOp::Fma, FloatType::F16, Some(false)) => select::<HalfNearest<FmaHalf, false>>(),
            (FloatTernaryOp::Fma, FloatType::F16x2, Some(false)) => select::<HalfNearest<FmaHalf, true>>(),
            (FloatTernaryOp::Fma, ..) => by_float!(ty, FloatFma),
            (FloatTernaryOp::Min3, ..) => by_float!(ty, FloatMin3),
            (FloatTernaryOp::Max3, ..) => by_float!(ty, FloatMax3),
        };
        let bits = ty.bits();
        let sources = [self.src(a, bits)?, self.src(b, bits)?, self.src(c, bits)?];
        self.result(dst, (bits, false), |l, d| {
            l.emit(entry, d, sources, Mode::pack(mode));
            Ok(())
        })
    }
}

use float::{
    Add as FloatAdd, Cos, Div as FloatDiv, Ex2, Fma as FloatFma, Lg2, Max as FloatMax, Max3 as FloatMax3,
    Min as FloatMin, Min3 as FloatMin3, Mul as FloatMul, Rcp, RcpCoarse, Rsqrt, RsqrtCoarse, Sin, Sqrt,
    Sub as FloatSub, Tanh,
};

/// Whether a mode rounds to nearest and does not clamp; if so, whether it flushes.
fn simple(mode: FloatMode) -> Option<bool> {
    (mode.rounding == Rounding::Rn && !mode.sat && !mode.relu).then_some(mode.ftz)
}

fn packed_entry(op: IntBinaryOp, ty: IntType) -> Option<Entry> {
    use IntBinaryOp as B;
    Some(match (op, ty.is_signed()) {
        (B::Add, _) => select::<Map2<AddX2>>(),
        (B::Sub, _) => select::<Map2<SubX2>>(),
        (B::Min, false) => select::<Map2<MinU16x2>>(),
        (B::Max, false) => select::<Map2<MaxU16x2>>(),
        (B::Min, true) => select::<Map2<MinS16x2>>(),
        (B::Max, true) => select::<Map2<MaxS16x2>>(),
        (B::MinRelu, true) => select::<Map2<MinReluS16x2>>(),
        (B::MaxRelu, true) => select::<Map2<MaxReluS16x2>>(),
        _ => return None,
    })
}

/// An operation that does not exist for its type.
pub(super) fn unknown(what: impl std::fmt::Debug) -> NotExecutable {
    NotExecutable::new(format!("unsupported operation {what:?}"))
}

pub(super) fn known(entry: Option<Entry>, what: impl std::fmt::Debug) -> Result<Entry> {
    entry.ok_or_else(|| unknown(what))
}

/// Stands for an operand that an operation does not have.
pub(super) const NO_OPERAND: Operand = Operand::Imm(0);

/// Entries of `dp4a` and `dp2a` by signedness of `a`, then `b`.
pub(super) fn dot_entries(op: &ir::Op) -> [Entry; 4] {
    if matches!(op, ir::Op::Dp4a { .. }) {
        [select::<Map3<Dp4aUU>>(), select::<Map3<Dp4aUS>>(), select::<Map3<Dp4aSU>>(), select::<Map3<Dp4aSS>>()]
    } else {
        [select::<Map3<Dp2aUU>>(), select::<Map3<Dp2aUS>>(), select::<Map3<Dp2aSU>>(), select::<Map3<Dp2aSS>>()]
    }
}
