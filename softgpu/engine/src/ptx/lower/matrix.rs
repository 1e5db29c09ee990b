//! `mma`, `wmma`, `ldmatrix`, `stmatrix` and `movmatrix`.

use super::memory::space;
use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, text, unsupported, Result};
use crate::ptx::operand::RawOperand;
use crate::ptx::resolve::Immediate;

/// Takes a shape such as `.m16n8k16`.
fn shape(s: &mut Statement) -> Result<MmaShape> {
    let shape = s.modifiers.take_map(|name| {
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u32>().ok();
        let rest = name.strip_prefix(b"m")?;
        let n = rest.iter().position(|byte| *byte == b'n')?;
        let k = rest.iter().position(|byte| *byte == b'k')?;
        let (m, n, k) = (number(&rest[..n])?, number(rest.get(n + 1..k)?)?, number(&rest[k + 1..])?);
        Some(MmaShape { m, n, k })
    });
    shape.map_or_else(|| invalid("a shape such as `.m16n8k16` is missing"), Ok)
}

/// Takes an element type.
fn element(s: &mut Statement) -> Result<MatrixType> {
    let ty = s.modifiers.take_map(|name| {
        Some(match name {
            b"b1" => MatrixType::B1,
            b"u4" => MatrixType::U4,
            b"s4" => MatrixType::S4,
            b"u8" => MatrixType::U8,
            b"s8" => MatrixType::S8,
            b"s32" => MatrixType::S32,
            b"f16" => MatrixType::F16,
            b"bf16" => MatrixType::BF16,
            b"tf32" => MatrixType::Tf32,
            b"f32" => MatrixType::F32,
            b"f64" => MatrixType::F64,
            b"e4m3" => MatrixType::E4M3,
            b"e5m2" => MatrixType::E5M2,
            _ => return None,
        })
    });
    ty.map_or_else(|| invalid(format!("`{}` needs more element types", text(s.base))), Ok)
}

/// Takes a layout: whether it is row-major.
fn row_major(s: &mut Statement) -> Result<bool> {
    let layout = s.modifiers.take_map(|name| match name {
        b"row" => Some(true),
        b"col" => Some(false),
        _ => None,
    });
    layout.map_or_else(|| invalid("`.row` or `.col` is missing"), Ok)
}

fn aligned(s: &mut Statement) {
    s.modifiers.take("sync");
    s.modifiers.take("aligned");
}

/// Element types that are in no PTX ISA which this engine knows.
fn newer_type(s: &Statement) -> bool {
    ["e3m2", "e2m3", "e2m1", "kind::f8f6f4"].iter().any(|name| s.modifiers.has(name))
}

/// Which instruction multiplies.
#[derive(Clone, Copy)]
enum Multiplication {
    Mma,
    /// `mma.sp`.
    Sparse,
    Wmma,
}

/// Whether PTX has a multiplication of this kind.
fn exists(kind: Multiplication, MmaShape { m, n, k }: MmaShape, op: MmaOp, types: [MatrixType; 4]) -> bool {
    use MatrixType::*;
    use Multiplication::*;
    let [a, b, c, d] = types;
    let sums = match a {
        F16 => a == b && matches!(c, F16 | F32) && matches!(d, F16 | F32),
        BF16 | Tf32 => a == b && c == F32 && d == F32,
        F64 => a == b && c == F64 && d == F64,
        U8 | S8 => matches!(b, U8 | S8) && c == S32 && d == S32,
        U4 | S4 => matches!(b, U4 | S4) && c == S32 && d == S32,
        B1 => b == B1 && c == S32 && d == S32,
        E4M3 | E5M2 => matches!(b, E4M3 | E5M2) && c == d && matches!(c, F16 | F32),
        S32 | F32 => false,
    };
    let bits = matches!(op, MmaOp::XorPopc | MmaOp::AndPopc) == (a == B1);
    let large = matches!((m, n, k), (16, 16, 16) | (32, 8, 16) | (8, 32, 16));
    let sizes = match (kind, a) {
        (Wmma, F16 | BF16 | U8 | S8) => large,
        (Wmma, Tf32) => (m, n, k) == (16, 16, 8),
        (Wmma, F64) => (m, n, k) == (8, 8, 4),
        (Wmma, U4 | S4) => (m, n, k) == (8, 8, 32),
        (Wmma, B1) => (m, n, k) == (8, 8, 128),
        // Only the oldest shape sums halves in single precision, and none the other way round.
        (Mma, F16) if (m, n, k) == (8, 8, 4) => c == d || d == F32,
        (Mma, F16) => matches!((m, n, k), (16, 8, 8 | 16)) && c == d,
        (Mma, BF16) => matches!((m, n, k), (16, 8, 8 | 16)),
        (Mma, Tf32) => matches!((m, n, k), (16, 8, 4 | 8)),
        (Mma, F64) => matches!((m, n, k), (8, 8, 4) | (16, 8, 4 | 8 | 16)),
        (Mma, U8 | S8) => matches!((m, n, k), (8, 8, 16) | (16, 8, 16 | 32)),
        (Mma, U4 | S4) => matches!((m, n, k), (8, 8, 32) | (16, 8, 32 | 64)),
        (Mma, B1) => matches!((m, n, k), (8, 8, 128) | (16, 8, 128 | 256)),
        (Mma, E4M3 | E5M2) => matches!((m, n, k), (16, 8, 16 | 32)),
        (Sparse, F16) => matches!((m, n, k), (16, 8, 16 | 32)) && c == d,
        (Sparse, BF16) => matches!((m, n, k), (16, 8, 16 | 32)),
        (Sparse, Tf32) => matches!((m, n, k), (16, 8, 8 | 16)),
        (Sparse, U8 | S8) => matches!((m, n, k), (16, 8, 32 | 64)),
        (Sparse, U4 | S4) => matches!((m, n, k), (16, 8, 64 | 128)),
        (Sparse, E4M3 | E5M2) => (m, n, k) == (16, 8, 64) && c == F32,
        (Wmma, E4M3 | E5M2) | (Sparse, F64 | B1) | (_, S32 | F32) => false,
    };
    sums && bits && sizes
}

impl<'a> Lower<'_, 'a> {
    pub(super) fn mma(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        if newer_type(s) {
            let what = s.modifiers.opcode(s.base);
            s.modifiers.take_all(|_| true);
            return unsupported(format!("instruction `{what}`"));
        }
        let sparse = s.modifiers.take("sp") || s.modifiers.take("sp::ordered_metadata");
        aligned(s);
        let shape = shape(s)?;
        let (a_rows, b_rows) = (row_major(s)?, row_major(s)?);
        let op = mma_op(s);
        let (d_ty, a_ty, b_ty, c_ty) = (element(s)?, element(s)?, element(s)?, element(s)?);
        let instruction = if sparse { Multiplication::Sparse } else { Multiplication::Mma };
        if !exists(instruction, shape, op, [a_ty, b_ty, c_ty, d_ty]) {
            return self.wrong_type(s);
        }
        let pairs = shape.m == 8 && a_ty == MatrixType::F16;
        if !pairs && (!a_rows || b_rows) {
            return invalid("this `mma` needs `.row.col`");
        }
        let kind = |row_major| if pairs { FragmentKind::QuadPairs { row_major } } else { FragmentKind::Mma };
        let (kind, b_kind) = (kind(a_rows), kind(b_rows));
        let mut mma = Mma { kind, b_kind, ..mma(op, shape, [a_ty, b_ty, c_ty, d_ty]) };
        if sparse {
            s.arity(6, 6)?;
            mma.sparse = Some(self.sparsity(s)?);
            let selectors = Sparsity::selectors(&mma.a_fragment());
            if mma.sparse.is_some_and(|sparse| sparse.selector >= selectors) {
                return invalid(format!("the sparsity selector must be below {selectors} here"));
            }
        } else {
            s.arity(4, 4)?;
        }
        self.multiply(s, mma)
    }

    /// The metadata and the selector of a sparse multiplication.
    fn sparsity(&mut self, s: &mut Statement<'_, 'a>) -> Result<Sparsity> {
        let metadata = self.bits(s, 4, 32)?;
        let Operand::Imm(selector) = self.bits(s, 5, 32)? else {
            return invalid("the sparsity selector must be a constant");
        };
        Ok(Sparsity { metadata, selector: selector as u32 })
    }

    pub(super) fn wmma(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        if s.modifiers.take("mma") {
            aligned(s);
            row_major(s)?;
            row_major(s)?;
            let shape = shape(s)?;
            let op = mma_op(s);
            let d_ty = element(s)?;
            // Multiplications of `f16` name the accumulators only.
            let inputs = match d_ty {
                MatrixType::F16 => None,
                MatrixType::F32 if !s.modifiers.has("bf16") && !s.modifiers.has("tf32") => None,
                _ => Some((element(s)?, element(s)?)),
            };
            let (a_ty, b_ty) = inputs.unwrap_or((MatrixType::F16, MatrixType::F16));
            let c_ty = element(s)?;
            if !exists(Multiplication::Wmma, shape, op, [a_ty, b_ty, c_ty, d_ty]) {
                return self.wrong_type(s);
            }
            s.arity(4, 4)?;
            return self.multiply(s, mma(op, shape, [a_ty, b_ty, c_ty, d_ty]));
        }
        let load = s.modifiers.take("load");
        if !load && !s.modifiers.take("store") {
            return invalid("`.load`, `.store` or `.mma` is missing");
        }
        let role = s.modifiers.take_map(|name| {
            Some(match name {
                b"a" => MatrixRole::A,
                b"b" => MatrixRole::B,
                b"c" | b"d" => MatrixRole::Accumulator,
                _ => return None,
            })
        });
        let Some(role) = role else { return invalid("`.a`, `.b`, `.c` or `.d` is missing") };
        aligned(s);
        let row_major = row_major(s)?;
        let shape = shape(s)?;
        let space = space(s);
        let ty = element(s)?;
        let fragment = Fragment { role, kind: FragmentKind::Wmma, shape, ty };
        self.matrix_access(s, load, fragment, (row_major, space))
    }

    fn matrix_access(
        &mut self,
        s: &mut Statement<'_, 'a>,
        load: bool,
        fragment: Fragment,
        (row_major, space): (bool, Space),
    ) -> Result<Op> {
        use MatrixType::*;
        let accumulates = matches!(fragment.ty, F16 | F32 | F64 | S32);
        let inputs = [
            [F16, F16, F16, F16],
            [BF16, BF16, F32, F32],
            [Tf32, Tf32, F32, F32],
            [F64; 4],
            [U8, U8, S32, S32],
            [U4, U4, S32, S32],
            [B1, B1, S32, S32],
        ];
        // A shape and type are known if some multiplication has them.
        let known = match fragment.role {
            MatrixRole::Accumulator => {
                accumulates
                    && inputs.iter().any(|[a, b, c, _]| {
                        let c = if *a == F16 && fragment.ty == F32 { F32 } else { *c };
                        c == fragment.ty && exists(Multiplication::Wmma, fragment.shape, op_of(*a), [*a, *b, c, c])
                    })
            }
            _ => {
                let (ty, c) = match fragment.ty {
                    S8 => (U8, S32),
                    S4 => (U4, S32),
                    BF16 | Tf32 => (fragment.ty, F32),
                    F16 | F64 => (fragment.ty, fragment.ty),
                    ty => (ty, S32),
                };
                exists(Multiplication::Wmma, fragment.shape, op_of(ty), [ty, ty, c, c])
            }
        };
        if !known || !load && fragment.role != MatrixRole::Accumulator {
            return self.wrong_type(s);
        }
        let along_k = (fragment.role == MatrixRole::A) == row_major;
        if fragment.ty.bits() < 8 && !along_k {
            return invalid("elements below 8 bits need `.row` for `a` and `.col` for `b`");
        }
        s.arity(2, 3)?;
        let (place, registers) = if load { (1, 0) } else { (0, 1) };
        let (space, addr) = self.memory_of(s.operand(place)?, space)?;
        if !matches!(space, Space::Generic | Space::Global | Space::Shared | Space::Const) {
            return invalid("matrices are in global or shared memory");
        }
        let (rows, columns) = fragment.size();
        let stride = match s.operand_count() {
            3 => self.bits(s, 2, 32)?,
            _ => Operand::Imm(if row_major { columns } else { rows }.into()),
        };
        let access = MatrixAccess { fragment, row_major, space, addr, stride };
        let list = self.fragment_registers(s, registers, fragment)?;
        if load {
            return Ok(Op::MatrixLoad { access, dst: self.matrix_results(&list, fragment)? });
        }
        Ok(Op::MatrixStore { access, src: self.matrix_sources(&list, fragment)? })
    }

    /// The rest of a multiplication: its matrices.
    fn multiply(&mut self, s: &mut Statement<'_, 'a>, mut mma: Mma) -> Result<Op> {
        for (index, fragment) in [(1, mma.a_fragment()), (2, mma.b_fragment()), (3, mma.c_fragment())] {
            let list = self.fragment_registers(s, index, fragment)?;
            let sources = self.matrix_sources(&list, fragment)?;
            *[&mut mma.a, &mut mma.b, &mut mma.c][index - 1] = sources;
        }
        let list = self.fragment_registers(s, 0, mma.d_fragment())?;
        mma.dst = self.matrix_results(&list, mma.d_fragment())?;
        Ok(Op::Mma(mma))
    }

    fn fragment_registers(
        &self,
        s: &Statement<'_, 'a>,
        index: usize,
        fragment: Fragment,
    ) -> Result<Vec<RawOperand<'a>>> {
        let list = s.elements(s.operand(index)?);
        if list.len() != fragment.registers() as usize {
            return invalid(format!("{} registers are needed, found {}", fragment.registers(), list.len()));
        }
        Ok(list)
    }

    fn matrix_sources(&mut self, list: &[RawOperand<'a>], fragment: Fragment) -> Result<OperandList> {
        let kind = match fragment.ty {
            MatrixType::F64 => Immediate::Float(FloatType::F64),
            MatrixType::F32 => Immediate::Float(FloatType::F32),
            _ => Immediate::Bits(32),
        };
        let sources = list.iter().map(|operand| self.src_of(*operand, kind)).collect::<Result<Vec<_>>>()?;
        Ok(self.builder.operand_list(sources))
    }

    fn matrix_results(&mut self, list: &[RawOperand<'a>], fragment: Fragment) -> Result<RegList> {
        let bits = fragment.ty.register_bits();
        let regs = list.iter().map(|operand| self.dst_of(*operand, bits)).collect::<Result<Vec<_>>>()?;
        Ok(self.builder.reg_list(regs))
    }

    /// `ldmatrix` and `stmatrix`.
    pub(super) fn tiles(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        aligned(s);
        let load = s.base == b"ldmatrix";
        if !s.modifiers.take("m8n8") || s.modifiers.has("b8") {
            let what = s.modifiers.opcode(s.base);
            s.modifiers.take_all(|_| true);
            return unsupported(format!("instruction `{what}`"));
        }
        let count = s.modifiers.take_map(|name| match name {
            b"x1" => Some(1),
            b"x2" => Some(2),
            b"x4" => Some(4),
            _ => None,
        });
        let Some(count) = count else { return invalid("`.x1`, `.x2` or `.x4` is missing") };
        let transposed = s.modifiers.take("trans");
        let space = space(s);
        if self.ty(s)?.bits() != 16 {
            return self.wrong_type(s);
        }
        s.arity(2, 2)?;
        let (place, registers) = if load { (1, 0) } else { (0, 1) };
        let (space, addr) = self.memory_of(s.operand(place)?, space)?;
        if !matches!(space, Space::Generic | Space::Shared) {
            return invalid("tiles are in shared memory");
        }
        let list = s.elements(s.operand(registers)?);
        if list.len() != count {
            return invalid(format!("{count} registers are needed, found {}", list.len()));
        }
        if load {
            let regs = list.iter().map(|operand| self.dst_of(*operand, 32)).collect::<Result<Vec<_>>>()?;
            return Ok(Op::LoadTiles { space, transposed, dst: self.builder.reg_list(regs), addr });
        }
        let sources =
            list.iter().map(|operand| self.src_of(*operand, Immediate::Bits(32))).collect::<Result<Vec<_>>>()?;
        Ok(Op::StoreTiles { space, transposed, addr, src: self.builder.operand_list(sources) })
    }

    pub(super) fn movmatrix(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        aligned(s);
        s.arity(2, 2)?;
        if !s.modifiers.take("m8n8") || !s.modifiers.take("trans") {
            return invalid("`movmatrix` needs `.m8n8.trans`");
        }
        self.ty(s)?;
        let a = self.bits(s, 1, 32)?;
        Ok(Op::TransposeTile { dst: self.dst(s, 0, 32)?, a })
    }
}

/// Takes what is done with products, and what PTX says besides.
fn mma_op(s: &mut Statement) -> MmaOp {
    let and = s.modifiers.take("and");
    let xor = s.modifiers.take("xor");
    if s.modifiers.take("popc") && (and || xor) {
        return if and { MmaOp::AndPopc } else { MmaOp::XorPopc };
    }
    let rounding = super::float::rounding(s).unwrap_or_default();
    MmaOp::Multiply { rounding, satfinite: s.modifiers.take("satfinite") }
}

fn op_of(ty: MatrixType) -> MmaOp {
    match ty {
        MatrixType::B1 => MmaOp::XorPopc,
        _ => MmaOp::Multiply { rounding: Rounding::Rn, satfinite: false },
    }
}

/// A `wmma` without registers.
fn mma(op: MmaOp, shape: MmaShape, [a_ty, b_ty, c_ty, d_ty]: [MatrixType; 4]) -> Mma {
    let none = OperandList { start: 0, len: 0 };
    let (kind, dst) = (FragmentKind::Wmma, RegList { start: 0, len: 0 });
    Mma { op, shape, kind, b_kind: kind, a_ty, b_ty, c_ty, d_ty, sparse: None, dst, a: none, b: none, c: none }
}
