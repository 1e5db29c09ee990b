//! Memory on the stack: `alloca`, `stacksave` and `stackrestore`.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, Result};

/// Alignment of memory from `alloca` unless it names one, and of what is left free below frames.
const ALIGN: u32 = 8;

impl<'a> Lower<'_, 'a> {
    /// The register with the top of the stack.
    fn stack(&mut self) -> Reg {
        if let Some(stack) = self.builder.function.stack {
            return stack;
        }
        let stack = self.builder.reg(RegClass::B64);
        self.builder.function.stack = Some(stack);
        stack
    }

    pub(super) fn alloca(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 3)?;
        let bits = self.int_ty(s)?.bits();
        let align = match s.operand_count() {
            3 => self.bits(s, 2, 32)?,
            _ => Operand::Imm(ALIGN.into()),
        };
        let align = match align {
            Operand::Imm(align) if align.is_power_of_two() && align <= 1 << 23 => align.max(ALIGN.into()),
            _ => return invalid("the alignment of `alloca` must be a power of two up to 2^23"),
        };
        let mut size = self.bits(s, 1, bits)?;
        if bits == 32 {
            let wide = self.scratch(64);
            let (to, from) = (CvtType::Int(IntType::U64), CvtType::Int(IntType::U32));
            self.builder.push(s.guard, Op::Cvt { to, from, mode: CvtMode::default(), dst: wide, a: size });
            size = Operand::Reg(wide);
        }
        let stack = self.stack();
        let (dst, start) = (self.dst(s, 0, bits)?, self.scratch(64));
        let mut step = |op, dst, a, b| {
            self.builder.push(s.guard, Op::IntBinary { op, ty: IntType::U64, dst, a, b });
            Operand::Reg(dst)
        };
        let padded = step(IntBinaryOp::Add, start, Operand::Reg(stack), Operand::Imm(align - 1));
        let place = step(IntBinaryOp::And, start, padded, Operand::Imm(!(align - 1)));
        step(IntBinaryOp::Add, stack, place, size);
        let (to, from) = (CvtType::Int(unsigned(bits)), CvtType::Int(IntType::U64));
        Ok(Op::Cvt { to, from, mode: CvtMode::default(), dst, a: place })
    }

    pub(super) fn stack_save(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(1, 1)?;
        let bits = self.int_ty(s)?.bits();
        let a = Operand::Reg(self.stack());
        let (to, from) = (CvtType::Int(unsigned(bits)), CvtType::Int(IntType::U64));
        Ok(Op::Cvt { to, from, mode: CvtMode::default(), dst: self.dst(s, 0, bits)?, a })
    }

    pub(super) fn stack_restore(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(1, 1)?;
        let bits = self.int_ty(s)?.bits();
        let a = self.bits(s, 0, bits)?;
        let (to, from) = (CvtType::Int(IntType::U64), CvtType::Int(unsigned(bits)));
        Ok(Op::Cvt { to, from, mode: CvtMode::default(), dst: self.stack(), a })
    }
}

fn unsigned(bits: u32) -> IntType {
    if bits == 32 {
        IntType::U32
    } else {
        IntType::U64
    }
}
