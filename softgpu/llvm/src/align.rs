//! What powers of two divide the first lane's value of a register, or of each half's: what counts up from there
//! through a power of two has the same upper bits in all lanes.

use crate::shape::{keeps_strides, RegInfo, Shape};
use vgpu_engine::engine::Source;
use vgpu_engine::ir::*;

/// Exponent that stands for all larger ones, and for zero.
pub const MOST: u32 = 16;

fn of_constant(value: u64) -> u32 {
    value.trailing_zeros().min(MOST)
}

/// Exponent of the power of two that divides an operand.
fn of_operand(source: &Source<'_>, regs: &[RegInfo], operand: Operand) -> u32 {
    let shape = source.shape;
    match operand {
        Operand::Reg(reg) => regs[reg.0 as usize].align,
        Operand::Imm(value) => of_constant(value),
        // Rows of a block that are as wide as a warp begin at multiples of its lanes.
        Operand::Special(SpecialReg::TidX) if shape.lines => 5,
        Operand::Special(SpecialReg::TidX) if shape.rows => 4,
        Operand::Special(SpecialReg::NtidX) if shape.lines && shape.full => 5,
        Operand::Special(SpecialReg::NtidX) if shape.rows && shape.full => 4,
        Operand::Special(SpecialReg::LaneId) => MOST,
        _ => 0,
    }
}

/// The same for an operation's result, if it has one that depends on its operands only.
pub fn of_result(source: &Source<'_>, regs: &[RegInfo], op: &Op) -> u32 {
    let of = |operand: Operand| of_operand(source, regs, operand);
    let product = |a, b| (of(a) + of(b)).min(MOST);
    match *op {
        Op::Mov { width: Some(Width::W32 | Width::W64), src, .. } => of(src),
        Op::IntBinary { op, ty, a, b, .. } if keeps_strides(ty) => match (op, b) {
            (IntBinaryOp::Add | IntBinaryOp::Sub | IntBinaryOp::Or, _) => of(a).min(of(b)),
            (IntBinaryOp::MulLo | IntBinaryOp::MulWide, _) => product(a, b),
            (IntBinaryOp::And, _) => of(a).max(of(b)),
            (IntBinaryOp::Shl, Operand::Imm(by)) => (of(a) + by.min(MOST.into()) as u32).min(MOST),
            _ => 0,
        },
        Op::IntTernary { op: IntTernaryOp::MadLo | IntTernaryOp::MadWide, ty, a, b, c, .. } if keeps_strides(ty) => {
            product(a, b).min(of(c))
        }
        Op::Cvt { to: CvtType::Int(to), from: CvtType::Int(from), a, .. }
            if keeps_strides(to) && keeps_strides(from) =>
        {
            of(a)
        }
        Op::Cvta { a, .. } => of(a),
        _ => 0,
    }
}

/// For what counts up by a power of two from a multiple of all that its lanes span: exponents of the step and the span.
fn span(source: &Source<'_>, regs: &[RegInfo], operand: Operand, shape: Shape) -> Option<(u32, u32)> {
    let lanes = match shape {
        Shape::Line(_) => 5,
        Shape::Affine(_) => 4,
        Shape::Uniform | Shape::Varying => return None,
    };
    let step = shape.steps().filter(|step| step.count_ones() == 1 && *step > 0)?.trailing_zeros();
    (of_operand(source, regs, operand) >= step + lanes).then_some((step, step + lanes))
}

/// Shape of the bits of an operand that are in a mask; `None` if nothing is known.
pub fn masked(source: &Source<'_>, regs: &[RegInfo], (a, shape): (Operand, Shape), mask: u64) -> Option<Shape> {
    let (step, end) = span(source, regs, a, shape)?;
    let lanes = (1u64 << end) - (1 << step);
    match (mask & lanes, shape) {
        (0, Shape::Line(_)) => Some(Shape::Uniform),
        (0, _) => Some(Shape::Affine(0)),
        (bits, _) if bits == lanes => Some(shape),
        // Without its highest bit the lane's number is that in the half.
        (bits, Shape::Line(stride)) if bits == lanes & (lanes >> 1) => Some(Shape::Affine(stride)),
        _ => None,
    }
}

/// Shape of an operand that is shifted right by a constant; `None` if nothing is known.
pub fn shifted(source: &Source<'_>, regs: &[RegInfo], (a, shape): (Operand, Shape), by: u64) -> Option<Shape> {
    let (step, end) = span(source, regs, a, shape)?;
    let by = u32::try_from(by).ok().filter(|by| *by < 32)?;
    match shape {
        Shape::Line(_) if by >= end => Some(Shape::Uniform),
        Shape::Affine(_) if by >= end => Some(Shape::Affine(0)),
        Shape::Line(_) if by == end - 1 => Some(Shape::Affine(0)),
        Shape::Line(stride) if by <= step => Some(Shape::Line(stride >> by)),
        Shape::Affine(stride) if by <= step => Some(Shape::Affine(stride >> by)),
        _ => None,
    }
}

/// Shape of what two operands have in bits; `None` if nothing is known.
pub fn joined(
    source: &Source<'_>,
    regs: &[RegInfo],
    first: (Operand, Shape),
    second: (Operand, Shape),
) -> Option<Shape> {
    let (line, other) = if second.1.is_scalar() { (first, second) } else { (second, first) };
    let (_, end) = span(source, regs, line.0, line.1)?;
    if !other.1.is_scalar() || of_operand(source, regs, other.0) < end {
        return None;
    }
    match (line.1, other.1) {
        (shape, Shape::Uniform) => Some(shape),
        (Shape::Line(stride) | Shape::Affine(stride), _) => Some(Shape::Affine(stride)),
        _ => None,
    }
}
