//! Which bits are zero in the first lane's value of a register, or of each half's: where the bits of a lane's number are
//! added to such ones, the lanes' values differ in nothing else.

use crate::shape::{keeps_strides, RegInfo, Shape};
use vgpu_engine::engine::{Source, Steps};
use vgpu_engine::ir::*;

/// An operand and its shape.
type Known = (Operand, Shape);

/// The bits of a width.
fn all(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// All bits below the lowest one that may be set.
fn trailing(zeros: u64) -> u64 {
    zeros & !zeros.wrapping_add(1)
}

/// All bits above the highest one that a number has.
fn above(number: u128) -> u64 {
    u64::try_from(number).map_or(0, |number| u64::MAX.checked_shl(64 - number.leading_zeros()).unwrap_or(0))
}

/// Bits that are zero in the first lane's value of an operand of a width; those beyond it are.
fn of_operand(source: &Source<'_>, regs: &[RegInfo], operand: Operand, bits: u32) -> u64 {
    use SpecialReg::*;
    let shape = source.shape;
    let zeros = match operand {
        Operand::Reg(reg) if regs[reg.0 as usize].shape == Shape::Varying => 0,
        Operand::Reg(reg) if source.function.regs[reg.0 as usize].bits() > 32 => regs[reg.0 as usize].zeros,
        Operand::Reg(reg) => regs[reg.0 as usize].zeros | !all(32),
        Operand::Imm(value) => !value,
        // Rows of a block that are as wide as a warp begin at multiples of its lanes; there are at most 1024 threads.
        Operand::Special(TidX) if shape.lines => !0x3e0,
        Operand::Special(TidX) if shape.rows => !0x3f0,
        Operand::Special(TidY | TidZ) if shape.lines => !0x1f,
        Operand::Special(TidY | TidZ) if shape.rows => !0x3f,
        Operand::Special(NtidX) if shape.lines && shape.full => !0x7e0,
        Operand::Special(NtidX) if shape.rows && shape.full => !0x7f0,
        Operand::Special(NtidX | NtidY | NtidZ) => !0x7ff,
        Operand::Special(CtaidX | NctaidX) => !0x7fff_ffff,
        Operand::Special(CtaidY | CtaidZ | NctaidY | NctaidZ) => !0xffff,
        Operand::Special(LaneId) => u64::MAX,
        Operand::Special(WarpId | NWarpId | WarpSize) => !0x3f,
        Operand::Special(_) => !all(32),
        Operand::Symbol { .. } | Operand::Frame(_) => 0,
    };
    zeros | !all(bits)
}

/// The same for a sum.
fn of_sum(a: u64, b: u64, bits: u32) -> u64 {
    if !a & !b == 0 {
        return a & b;
    }
    let most = u128::from(!a) + u128::from(!b);
    let high = if most <= all(bits).into() { above(most) } else { !all(bits) };
    trailing(a) & trailing(b) | high
}

/// The same for a product of so many bits.
fn of_product(a: u64, b: u64, bits: u32, is_unsigned: bool) -> u64 {
    let low = trailing(a).trailing_ones() + trailing(b).trailing_ones();
    let most = u128::from(!a) * u128::from(!b);
    let high = if is_unsigned && most <= all(bits).into() { above(most) } else { !all(bits) };
    high | 1u64.checked_shl(low).map_or(u64::MAX, |bit| bit - 1)
}

/// The same for an integer that is extended with its sign to 64 bits.
fn extended(zeros: u64) -> u64 {
    zeros as u32 as i32 as u64
}

/// The same for an operation's result that depends on its operands only.
pub fn of_result(source: &Source<'_>, regs: &[RegInfo], op: &Op) -> u64 {
    use IntBinaryOp::*;
    let of = |operand: Operand, bits: u32| of_operand(source, regs, operand, bits);
    let wide_product = |ty: IntType, a: Operand, b: Operand| {
        let (a, b) = (of(a, 32), of(b, 32));
        let is_unsigned = !ty.is_signed() || a & b & 1 << 31 != 0;
        of_product(a, b, 64, is_unsigned)
    };
    match *op {
        Op::Mov { width: Some(width @ (Width::W32 | Width::W64)), src, .. } => of(src, width.bits()),
        Op::IntUnary { op: IntUnaryOp::Brev, ty: IntType::U32 | IntType::S32, a, .. } => {
            u64::from((of(a, 32) as u32).reverse_bits()) | !all(32)
        }
        Op::IntBinary { op: MulWide, ty: ty @ (IntType::U32 | IntType::S32), a, b, .. } => wide_product(ty, a, b),
        Op::IntBinary { op, ty, a, b, .. } if keeps_strides(ty) => {
            let bits = ty.bits();
            let (x, y) = (of(a, bits), of(b, bits));
            match (op, b) {
                (Add, _) => of_sum(x, y, bits),
                (Sub, _) => trailing(x) & trailing(y),
                (MulLo, _) => of_product(x, y, bits, true),
                (And, _) => x | y,
                (Or | Xor, _) => x & y,
                (Shl, Operand::Imm(by)) if by < bits.into() => x << by | ((1 << by) - 1) | !all(bits),
                (Shr, Operand::Imm(by)) if by < bits.into() && (!ty.is_signed() || x >> (bits - 1) & 1 != 0) => {
                    x >> by | !(u64::MAX >> by) | !all(bits)
                }
                _ => 0,
            }
        }
        Op::IntTernary { op: IntTernaryOp::MadLo, ty, a, b, c, .. } if keeps_strides(ty) => {
            let bits = ty.bits();
            of_sum(of_product(of(a, bits), of(b, bits), bits, true), of(c, bits), bits)
        }
        Op::IntTernary { op: IntTernaryOp::MadWide, ty: ty @ (IntType::U32 | IntType::S32), a, b, c, .. } => {
            of_sum(wide_product(ty, a, b), of(c, 64), 64)
        }
        Op::Cvt { to: CvtType::Int(to), from: CvtType::Int(from), a, .. }
            if keeps_strides(to) && keeps_strides(from) =>
        {
            match from.is_signed() && from.bits() < to.bits() {
                true => extended(of(a, 32)),
                false => of(a, from.bits().min(to.bits())),
            }
        }
        // The windows of generic addresses are multiples of 64 KiB.
        Op::Cvta { a, .. } => trailing(of(a, 64)) & 0xffff,
        _ => 0,
    }
}

/// What each bit of a lane's number sets in an operand of a width; `None` if it is not a bit of its own.
fn bits_of_lanes(source: &Source<'_>, regs: &[RegInfo], (operand, shape): Known, bits: u32) -> Option<[u64; 5]> {
    let steps = shape.steps()?.0.map(|step| step as u64 & all(bits));
    let mut free = of_operand(source, regs, operand, bits);
    for step in steps {
        if step.count_ones() > 1 || step & free != step {
            return None;
        }
        free &= !step;
    }
    Some(steps)
}

/// A shape with other bits for those of lanes' numbers.
fn with_bits(shape: Shape, bits: [u64; 5], width: u32) -> Option<Shape> {
    Some(shape.with_steps(Steps(bits.map(|bit| bit as i64)), width))
}

/// Shape of the bits of an operand that are in a mask; `None` if nothing is known.
pub fn masked(source: &Source<'_>, regs: &[RegInfo], a: Known, ty: IntType, mask: u64) -> Option<Shape> {
    let bits = bits_of_lanes(source, regs, a, ty.bits())?;
    with_bits(a.1, bits.map(|bit| bit & mask), ty.bits())
}

/// Shape of an operand that is shifted right by a constant; `None` if nothing is known.
pub fn shifted(source: &Source<'_>, regs: &[RegInfo], a: Known, ty: IntType, by: u64) -> Option<Shape> {
    let bits = bits_of_lanes(source, regs, a, ty.bits())?;
    let sign = 1 << (ty.bits() - 1);
    if by >= ty.bits().into() || ty.is_signed() && bits.contains(&sign) {
        return None;
    }
    with_bits(a.1, bits.map(|bit| bit >> by), ty.bits())
}

/// Shape of an operand of which some bits are changed; `None` if nothing is known.
pub fn flipped(source: &Source<'_>, regs: &[RegInfo], a: Known, ty: IntType, by: u64) -> Option<Shape> {
    let bits = bits_of_lanes(source, regs, a, ty.bits())?;
    // Where the first lane's bit becomes one, those of others become zero.
    with_bits(a.1, bits.map(|bit| if bit & by != 0 { bit.wrapping_neg() } else { bit }), ty.bits())
}

/// Shape of an operand of 32 bits in the opposite order; `None` if nothing is known.
pub fn reversed(source: &Source<'_>, regs: &[RegInfo], a: Known) -> Option<Shape> {
    let bits = bits_of_lanes(source, regs, a, 32)?;
    with_bits(a.1, bits.map(|bit| u64::from((bit as u32).reverse_bits())), 32)
}

/// Shape of what two operands have in bits; `None` if nothing is known.
pub fn joined(source: &Source<'_>, regs: &[RegInfo], a: Known, b: Known, ty: IntType) -> Option<Shape> {
    let width = ty.bits();
    let (x, y) = (bits_of_lanes(source, regs, a, width)?, bits_of_lanes(source, regs, b, width)?);
    let all = |bits: [u64; 5]| bits.into_iter().fold(0, |all, bit| all | bit);
    let fits = |bits: [u64; 5], into: Operand| all(bits) & !of_operand(source, regs, into, width) == 0;
    if !fits(x, b.0) || !fits(y, a.0) || all(x) & all(y) != 0 {
        return None;
    }
    let whole = if b.1.is_whole() { a.1 } else { b.1 };
    with_bits(whole, std::array::from_fn(|bit| x[bit] | y[bit]), width)
}
