//! Walks over the registers and operands of operations.

use super::inst::*;
use super::BoolOp;
use super::{Function, MatrixAccess, Mma, Surf, Terminator, Tex, Video};

/// Receives what an operation reads and writes.
pub trait Visitor {
    /// A register that is written.
    fn def(&mut self, reg: &mut Reg);
    /// A value that is read.
    fn read(&mut self, operand: &mut Operand);
    /// A predicate register that is read by position, not as an [`Operand`].
    fn read_reg(&mut self, reg: &mut Reg);
    /// Registers that are written, in the function's pool.
    fn def_list(&mut self, list: RegList);
    /// Values that are read, in the function's pool.
    fn read_list(&mut self, list: OperandList);
    /// Results or arguments of a call, in the function's pool.
    fn arg_list(&mut self, list: ArgList, is_result: bool);
}

impl Inst {
    /// Visits everything the instruction reads and writes.
    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        if let Some(guard) = &mut self.guard {
            visitor.read_reg(&mut guard.reg);
        }
        self.op.visit(visitor);
    }
}

impl Op {
    /// Visits everything the operation reads and writes.
    pub fn visit(&mut self, v: &mut impl Visitor) {
        match self {
            Op::Mov { dst, src: a, .. }
            | Op::IntUnary { dst, a, .. }
            | Op::PredNot { dst, a: PredOperand { value: a, .. } }
            | Op::FloatUnary { dst, a, .. }
            | Op::Testp { dst, a, .. }
            | Op::Cvt { dst, a, .. }
            | Op::Cvta { dst, a, .. }
            | Op::Isspacep { dst, a, .. }
            | Op::Istypep { dst, a, .. } => one(v, dst, [a]),
            Op::IntBinary { dst, a, b, .. }
            | Op::PredBinary { dst, a: PredOperand { value: a, .. }, b: PredOperand { value: b, .. }, .. }
            | Op::FloatBinary { dst, a, b, .. }
            | Op::CvtPackFloat { dst, a, b, .. }
            | Op::CvtFp8 { dst, a, b, .. }
            | Op::MatchAny { dst, a, mask: b, .. }
            | Op::Redux { dst, a, mask: b, .. } => one(v, dst, [a, b]),
            Op::IntTernary { dst, a, b, c, .. }
            | Op::Dp4a { dst, a, b, c, .. }
            | Op::Dp2a { dst, a, b, c, .. }
            | Op::FloatTernary { dst, a, b, c, .. }
            | Op::Selp { dst, a, b, p: PredOperand { value: c, .. }, .. }
            | Op::Slct { dst, a, b, c, .. }
            | Op::CvtPackInt { dst, a, b, c, .. } => one(v, dst, [a, b, c]),
            Op::Bfi { dst, a, b, pos, len, .. } => one(v, dst, [a, b, pos, len]),
            Op::Pack { dst, src, .. } => {
                v.read_list(*src);
                v.def(dst);
            }
            Op::Unpack { dst, src, .. } => {
                v.read(src);
                v.def_list(*dst);
            }
            Op::AddCarry { dst, a, b, carry_in, carry_out, .. }
            | Op::SubBorrow { dst, a, b, borrow_in: carry_in, borrow_out: carry_out, .. } => {
                carry(v, carry_in, carry_out);
                one(v, dst, [a, b]);
            }
            Op::MadCarry { dst, a, b, c, carry_in, carry_out, .. } => {
                carry(v, carry_in, carry_out);
                one(v, dst, [a, b, c]);
            }
            Op::Lop3 { dst, a, b, c, pred, .. } => {
                one(v, dst, [a, b, c]);
                if let Some(pred) = pred {
                    one(v, &mut pred.dst, [&mut pred.input.value]);
                }
            }
            Op::Setp { dst, dst2, a, b, combine, .. } => {
                one(v, dst, [a, b]);
                combined(v, combine);
                optional_def(v, dst2);
            }
            Op::Set { dst, a, b, combine, .. } => {
                one(v, dst, [a, b]);
                combined(v, combine);
            }
            _ => self.visit_effect(v),
        }
    }

    /// The operations on memory, other lanes and control flow.
    fn visit_effect(&mut self, v: &mut impl Visitor) {
        match self {
            Op::Load { dst, addr, .. } => one(v, dst, [&mut addr.base]),
            Op::LoadVec { dst, addr, .. } => {
                v.read(&mut addr.base);
                v.def_list(*dst);
            }
            Op::Store { addr, src, .. } => reads(v, [&mut addr.base, src]),
            Op::StoreVec { addr, src, .. } => {
                v.read(&mut addr.base);
                v.read_list(*src);
            }
            Op::Atom { dst, addr, b, c, .. } => {
                reads(v, [&mut addr.base, b, c]);
                optional_def(v, dst);
            }
            Op::CpAsync { dst, src, src_bytes, .. } => {
                reads(v, [&mut dst.base, &mut src.base]);
                reads(v, src_bytes);
            }
            Op::BarrierSync { id, threads } => {
                v.read(id);
                reads(v, threads);
            }
            Op::BarrierArrive { id, threads } => reads(v, [id, threads]),
            Op::BarrierRed { dst, id, threads, p, .. } => {
                reads(v, threads);
                one(v, dst, [id, &mut p.value]);
            }
            Op::WarpSync { mask: a } | Op::Nanosleep { duration: a } => v.read(a),
            Op::Shfl { dst, in_range, a, b, c, mask, .. } => {
                reads(v, mask);
                one(v, dst, [a, b, c]);
                optional_def(v, in_range);
            }
            Op::Vote { dst, p, mask, .. } => {
                reads(v, mask);
                one(v, dst, [&mut p.value]);
            }
            Op::MatchAll { dst, all, a, mask, .. } => {
                one(v, dst, [a, mask]);
                optional_def(v, all);
            }
            Op::ActiveMask { dst } => v.def(dst),
            Op::Elect { dst, is_leader, mask } => {
                one(v, is_leader, [mask]);
                optional_def(v, dst);
            }
            Op::Tex(Tex { dst, resident, handle, sources, .. }) => {
                v.read(handle);
                v.read_list(*sources);
                v.def_list(*dst);
                optional_def(v, resident);
            }
            Op::TexQuery { dst, handle, level, .. } => {
                reads(v, level);
                one(v, dst, [handle]);
            }
            Op::Surf(Surf { dst, handle, sources, .. }) => {
                v.read(handle);
                v.read_list(*sources);
                v.def_list(*dst);
            }
            Op::Call { target, results, args } => {
                if let CallTarget::Indirect { address, .. } = target {
                    v.read(address);
                }
                v.arg_list(*args, false);
                v.arg_list(*results, true);
            }
            Op::Mma(Mma { dst, a, b, c, sparse, .. }) => {
                for list in [a, b, c] {
                    v.read_list(*list);
                }
                if let Some(sparse) = sparse {
                    v.read(&mut sparse.metadata);
                }
                v.def_list(*dst);
            }
            Op::MatrixLoad { access: MatrixAccess { addr, stride, .. }, dst } => {
                reads(v, [&mut addr.base, stride]);
                v.def_list(*dst);
            }
            Op::MatrixStore { access: MatrixAccess { addr, stride, .. }, src } => {
                reads(v, [&mut addr.base, stride]);
                v.read_list(*src);
            }
            Op::LoadTiles { dst, addr, .. } => {
                v.read(&mut addr.base);
                v.def_list(*dst);
            }
            Op::StoreTiles { addr, src, .. } => {
                v.read(&mut addr.base);
                v.read_list(*src);
            }
            Op::TransposeTile { dst, a } => one(v, dst, [a]),
            Op::Video(Video { dst, a, b, c, .. }) => one(v, dst, [a, b, c]),
            // `Fence`, and the operations that `visit` handles.
            _ => {}
        }
    }
}

fn reads<'o>(v: &mut impl Visitor, operands: impl IntoIterator<Item = &'o mut Operand>) {
    operands.into_iter().for_each(|operand| v.read(operand));
}

fn one<'o>(v: &mut impl Visitor, dst: &mut Reg, operands: impl IntoIterator<Item = &'o mut Operand>) {
    reads(v, operands);
    v.def(dst);
}

fn optional_def(v: &mut impl Visitor, dst: &mut Option<Reg>) {
    if let Some(dst) = dst {
        v.def(dst);
    }
}

fn carry(v: &mut impl Visitor, carry_in: &mut Option<Reg>, carry_out: &mut Option<Reg>) {
    if let Some(reg) = carry_in {
        v.read_reg(reg);
    }
    optional_def(v, carry_out);
}

fn combined(v: &mut impl Visitor, combine: &mut Option<(BoolOp, PredOperand)>) {
    if let Some((_, pred)) = combine {
        v.read(&mut pred.value);
    }
}

/// Visits operands only.
struct Operands<F>(F);

impl<F: FnMut(&mut Operand)> Visitor for Operands<F> {
    fn def(&mut self, _: &mut Reg) {}
    fn read(&mut self, operand: &mut Operand) {
        (self.0)(operand);
    }
    fn read_reg(&mut self, _: &mut Reg) {}
    fn def_list(&mut self, _: RegList) {}
    fn read_list(&mut self, _: OperandList) {}
    fn arg_list(&mut self, _: ArgList, _: bool) {}
}

impl Function {
    /// Calls `visit` with every operand that is read, each once.
    pub fn for_each_operand_mut(&mut self, visit: impl FnMut(&mut Operand)) {
        let mut visitor = Operands(visit);
        for inst in &mut self.insts {
            inst.visit(&mut visitor);
        }
        self.operand_pool.iter_mut().for_each(&mut visitor.0);
        for arg in &mut self.arg_pool {
            if let CallArg::Value(operand) = arg {
                (visitor.0)(operand);
            }
        }
        for block in &mut self.blocks {
            if let Terminator::BranchIndexed { index, .. } = &mut block.terminator {
                (visitor.0)(index);
            }
        }
    }
}
