//! Which instructions are compiled, and how.

use crate::shape::{special, Treatment};
use vgpu_engine::engine::Source;
use vgpu_engine::ir::*;

use Treatment::{Access, Barrier, Execute, ExecuteTogether, Matrix, No, Pure, Warp};

/// How an operation is compiled. What is not named here is not compiled.
pub fn treatment(source: &Source<'_>, op: &Op) -> Treatment {
    if reads_unknown(source, op) {
        return match by_operation(source, op) {
            Pure | Execute => Execute,
            other => other,
        };
    }
    by_operation(source, op)
}

fn by_operation(source: &Source<'_>, op: &Op) -> Treatment {
    let wide = |reg: Reg| source.function.regs[reg.0 as usize] == RegClass::B128;
    let pure = |holds: bool| if holds { Pure } else { Execute };
    match *op {
        Op::Mov { width: Some(Width::W128), .. } => No("128-bit registers"),
        Op::Mov { .. } | Op::PredNot { .. } | Op::PredBinary { .. } | Op::Lop3 { .. } => Pure,
        Op::Pack { part, dst, src } => match source.function.regs[dst.0 as usize] {
            RegClass::B32 | RegClass::B64 => pure(part.bits() * src.len == source.function.regs[dst.0 as usize].bits()),
            _ => Execute,
        },
        Op::Unpack { part, dst, .. } => pure(part.bits() * dst.len <= 64),
        Op::IntUnary { ty, .. } => pure(is_plain(ty)),
        Op::IntBinary { op, ty, .. } => pure(is_plain(ty) && int_binary(op, ty)),
        Op::IntTernary { op, ty, .. } => pure(is_plain(ty) && int_ternary(op, ty)),
        Op::AddCarry { ty, .. } | Op::SubBorrow { ty, .. } | Op::MadCarry { ty, .. } => {
            pure(matches!(ty, IntType::U32 | IntType::S32 | IntType::U64 | IntType::S64))
        }
        Op::Bfi { width, .. } => pure(matches!(width, Width::W32 | Width::W64)),
        Op::FloatUnary { op, ty, mode, .. } => pure(float_unary(op, ty, mode)),
        Op::FloatBinary {
            op: FloatBinaryOp::Add | FloatBinaryOp::Sub | FloatBinaryOp::Mul | FloatBinaryOp::Div,
            ty,
            mode,
            ..
        } if super::float::is_directed(ty, mode) => Pure,
        Op::FloatBinary { op, ty, mode, .. } => pure(
            simple(ty, mode)
                && !mode.xorsign_abs
                && (op != FloatBinaryOp::Copysign || matches!(ty, FloatType::F32 | FloatType::F64)),
        ),
        Op::FloatTernary { op, ty, mode, .. } => {
            pure((simple(ty, mode) || super::float::is_directed(ty, mode)) && op == FloatTernaryOp::Fma)
        }
        Op::Setp { ty, .. } => match ty {
            CmpType::Int(ty) => pure(is_plain(ty)),
            CmpType::Float { ty, .. } => pure(matches!(ty, FloatType::F32 | FloatType::F64)),
        },
        Op::Selp { width, .. } => pure(width != Width::W128),
        Op::Slct { width, .. } => pure(width != Width::W128),
        Op::Cvt { to, from, mode, .. } => pure(super::convert::is_compiled(to, from, mode)),
        Op::Cvta { .. } | Op::Isspacep { .. } => Pure,
        Op::Load { ty, dst, space, addr, ordering } => {
            access(source, is_quiet(space, ordering) && ty.bytes() <= 8 && !wide(dst), space, addr, ty.bytes())
        }
        Op::LoadVec { ty, dst, space, addr, ordering } => {
            let regs = source.function.reg_list(dst);
            access(
                source,
                is_quiet(space, ordering) && ty.bytes() <= 8 && regs.iter().all(|r| !wide(*r)),
                space,
                addr,
                ty.bytes() * dst.len,
            )
        }
        Op::Store { width, space, addr, ordering, .. } => {
            access(source, is_quiet(space, ordering) && width.bytes() <= 8, space, addr, width.bytes())
        }
        Op::StoreVec { width, space, addr, src, ordering } => {
            access(source, is_quiet(space, ordering) && width.bytes() <= 8, space, addr, width.bytes() * src.len)
        }
        Op::Atom { op, ty, space, addr, .. } => match super::atomic::compiled_bytes(op, ty) {
            Some(bytes) if matches!(space, Space::Shared | Space::Global | Space::Generic) => {
                access(source, true, space, addr, bytes)
            }
            _ => Execute,
        },
        Op::Dp4a { .. }
        | Op::Dp2a { .. }
        | Op::Testp { .. }
        | Op::Set { .. }
        | Op::CvtPackFloat { .. }
        | Op::CvtPackInt { .. }
        | Op::CpAsync { .. }
        | Op::Tex(_)
        | Op::TexQuery { .. }
        | Op::Surf(_)
        | Op::Istypep { .. }
        | Op::Video(_) => Execute,
        // These take all lanes of a warp.
        Op::Mma(ref mma) if super::matrix::multiplies(mma) => Matrix,
        Op::MatrixLoad { ref access, .. } | Op::MatrixStore { ref access, .. } if super::matrix::moves(access) => {
            Matrix
        }
        Op::LoadTiles { space: Space::Shared | Space::Generic, .. } => Matrix,
        Op::Mma(_)
        | Op::MatrixLoad { .. }
        | Op::MatrixStore { .. }
        | Op::LoadTiles { .. }
        | Op::StoreTiles { .. }
        | Op::TransposeTile { .. } => ExecuteTogether(Operand::Imm(u32::MAX.into())),
        Op::Call { target: CallTarget::Intrinsic(_), .. } => Execute,
        Op::Call { .. } => No("calls"),
        Op::Fence { .. }
        | Op::ActiveMask { .. }
        | Op::WarpSync { .. }
        | Op::Shfl { .. }
        | Op::Vote { .. }
        | Op::Nanosleep { .. } => Warp,
        Op::MatchAny { mask, .. } | Op::MatchAll { mask, .. } | Op::Redux { mask, .. } | Op::Elect { mask, .. } => {
            ExecuteTogether(mask)
        }
        Op::BarrierSync { .. } | Op::BarrierArrive { .. } | Op::BarrierRed { .. } => Barrier,
        #[allow(unreachable_patterns, reason = "instructions that come later are not compiled")]
        _ => No("an instruction that is not compiled"),
    }
}

/// Whether an operation reads a special register that only the interpreter knows.
fn reads_unknown(source: &Source<'_>, op: &Op) -> bool {
    struct Specials<'a>(&'a Source<'a>, bool);
    impl Visitor for Specials<'_> {
        fn def(&mut self, _: &mut Reg) {}
        fn read(&mut self, operand: &mut Operand) {
            self.1 |= match *operand {
                Operand::Special(register) => special(self.0, register).is_none(),
                Operand::Symbol { id, .. } => self.0.address(id).is_none(),
                _ => false,
            };
        }
        fn read_reg(&mut self, _: &mut Reg) {}
        fn def_list(&mut self, _: RegList) {}
        fn read_list(&mut self, list: OperandList) {
            for operand in self.0.function.operand_list(list) {
                self.read(&mut operand.clone());
            }
        }
        fn arg_list(&mut self, _: ArgList, _: bool) {}
    }
    let mut specials = Specials(source, false);
    let mut op = *op;
    op.visit(&mut specials);
    specials.1
}

fn access(source: &Source<'_>, narrow: bool, space: Space, addr: Address, bytes: u32) -> Treatment {
    let known = match addr.base {
        Operand::Special(register) => special(source, register).is_some(),
        _ => true,
    };
    let within = || {
        let offset = super::memory::constant_address(addr);
        let size = u64::from(source.function.param_block_size);
        offset.is_some_and(|at| {
            at.checked_add(bytes.into()).is_some_and(|end| end <= size) && at.is_multiple_of(bytes.into())
        })
    };
    match space {
        Space::Param if !within() => Execute,
        _ if narrow && known && bytes <= 32 => Access,
        _ => Execute,
    }
}

/// Whether no other thread of the host may wait for the access or be waited for with it.
fn is_quiet(space: Space, ordering: Ordering) -> bool {
    ordering == Ordering::Weak || space == Space::Shared
}

/// Types with one value in a register.
fn is_plain(ty: IntType) -> bool {
    !matches!(ty, IntType::U16x2 | IntType::S16x2)
}

fn int_binary(op: IntBinaryOp, ty: IntType) -> bool {
    use IntBinaryOp::*;
    match op {
        Add | Sub | MulLo | MulHi | Div | Rem | Min | Max | And | Or | Xor | Shl | Shr => true,
        MulWide => ty.bits() <= 32,
        MinRelu | MaxRelu => ty == IntType::S32,
        AddSat | SubSat | Mul24Lo | Mul24Hi | BmskClamp | BmskWrap | SzextClamp | SzextWrap => false,
    }
}

fn int_ternary(op: IntTernaryOp, ty: IntType) -> bool {
    use IntTernaryOp::*;
    match op {
        MadLo | MadHi | Sad => true,
        MadWide => ty.bits() <= 32,
        ShfLClamp | ShfLWrap | ShfRClamp | ShfRWrap => true,
        Prmt(PrmtMode::Index) => true,
        Bfe => matches!(ty, IntType::U32 | IntType::S32),
        _ => false,
    }
}

/// Whether a mode is one of those with a direct translation.
fn simple(ty: FloatType, mode: FloatMode) -> bool {
    matches!(ty, FloatType::F32 | FloatType::F64) && mode.rounding == Rounding::Rn && !mode.relu
}

fn float_unary(op: FloatUnaryOp, ty: FloatType, mode: FloatMode) -> bool {
    use FloatUnaryOp::*;
    match op {
        Neg | Abs => ty != FloatType::F32x2,
        Rcp | Sqrt | SqrtApprox => simple(ty, mode),
        RcpApprox => simple(ty, mode) && ty == FloatType::F32,
        RsqrtApprox => simple(ty, mode) && (ty == FloatType::F32 || !mode.ftz),
        Lg2Approx | Ex2Approx | TanhApprox => simple(ty, mode) && ty == FloatType::F32,
        SinApprox | CosApprox => false,
    }
}
