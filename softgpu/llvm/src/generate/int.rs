//! Operations on integers, bits and predicates.

use super::{Gen, Val};
use crate::shape::{self, keeps_strides, scaled, Shape};
use crate::sys::{op, Binary, IntPredicate, RealPredicate, Value};
use vgpu_engine::ir::*;

impl Gen<'_> {
    /// An operation whose result depends on its operands only.
    pub(super) fn pure(&mut self, op: &Op, guard: Option<Val>) -> Result<(), String> {
        match *op {
            Op::Mov { width: None, dst, src } => {
                let value = self.condition(PredOperand { value: src, negated: false });
                self.put(dst, value, guard)
            }
            Op::Mov { width: Some(width), dst, src } => self.mov(width, dst, src, guard),
            Op::Pack { part, dst, src } => self.pack(part, dst, self.function.operand_list(src), guard),
            Op::Unpack { part, dst, src } => {
                let regs = self.function.reg_list(dst);
                let total = if part.bits() * dst.len <= 32 { 32 } else { 64 };
                let value = self.read(src, total);
                for (n, reg) in (0u64..).zip(regs) {
                    let piece = self.lanewise(&[value], |v| {
                        let by = self.b.constant(self.b.type_of(v[0]), n * u64::from(part.bits()));
                        self.b.cast(op::TRUNC, self.b.binary(op::LSHR, v[0], by), self.b.int(part.bits()))
                    });
                    self.write(*reg, piece, false, guard)?;
                }
                Ok(())
            }
            Op::IntUnary { op: kind, ty, dst, a } => self.int_unary(op, (kind, ty), dst, a, guard),
            Op::IntBinary { op: kind, ty, dst, a, b } => self.int_binary(op, (kind, ty), dst, [a, b], guard),
            Op::IntTernary { op: kind, ty, dst, a, b, c } => self.int_ternary(op, (kind, ty), dst, [a, b, c], guard),
            Op::AddCarry { ty, dst, a, b, carry_in, carry_out } => {
                let [a, b] = [self.read(a, ty.bits()), self.read(b, ty.bits())];
                self.add_carry(dst, [a, b], (carry_in, carry_out), guard)
            }
            Op::SubBorrow { ty, dst, a, b, borrow_in, borrow_out } => {
                let [a, b] = [self.read(a, ty.bits()), self.read(b, ty.bits())];
                self.sub_borrow(dst, [a, b], (borrow_in, borrow_out), guard)
            }
            Op::MadCarry { high, ty, dst, a, b, c, carry_in, carry_out } => {
                let [a, b, c] = [a, b, c].map(|o| self.read(o, ty.bits()));
                let product = self.lanewise(&[a, b], |v| match high {
                    true => self.multiply_high(v[0], v[1], ty.is_signed()),
                    false => self.b.binary(op::MUL, v[0], v[1]),
                });
                self.add_carry(dst, [product, c], (carry_in, carry_out), guard)
            }
            Op::Bfi { width, dst, a, b, pos, len } => {
                let bits = width.bits();
                let [a, b] = [self.read(a, bits), self.read(b, bits)];
                let [pos, len] = [self.read(pos, 32), self.read(len, 32)];
                let value = self.lanewise(&[a, b, pos, len], |v| {
                    let ty = self.b.type_of(v[0]);
                    let low = |x: Value| {
                        let byte = self.b.binary(op::AND, x, self.b.constant(self.b.type_of(x), 0xff));
                        if bits == 64 {
                            self.b.cast(op::ZEXT, byte, self.long())
                        } else {
                            byte
                        }
                    };
                    let (pos, len) = (low(v[2]), low(v[3]));
                    let bit = self.shift_left(self.b.constant(ty, 1), len, bits);
                    // A length of the width or more takes all bits: 0 - 1.
                    let ones = self.b.binary(op::SUB, bit, self.b.constant(ty, 1));
                    let mask = self.shift_left(ones, pos, bits);
                    let field = self.shift_left(v[0], pos, bits);
                    let kept = self.b.binary(op::AND, v[1], self.not(mask));
                    self.b.binary(op::OR, kept, self.b.binary(op::AND, field, mask))
                });
                self.write(dst, value, false, guard)
            }
            Op::Lop3 { lut, dst, a, b, c, pred } => {
                let [a, b, c] = [a, b, c].map(|o| self.read(o, 32));
                let value = self.lanewise(&[a, b, c], |v| self.lookup(lut, [v[0], v[1], v[2]]));
                self.write(dst, value, false, guard)?;
                if let Some(Lop3Pred { dst, op, input }) = pred {
                    let nonzero = self.map(self.widened(value), |v| {
                        self.b.icmp(IntPredicate::LLVMIntNE, v, self.b.zero(self.b.type_of(v)))
                    });
                    let value = self.combined(nonzero, Some((op, input)));
                    self.put(dst, value, guard)?;
                }
                Ok(())
            }
            Op::PredNot { dst, a } => {
                let value = self.condition(PredOperand { negated: !a.negated, ..a });
                self.put(dst, value, guard)
            }
            Op::PredBinary { op, dst, a, b } => {
                let value = self.condition(a);
                let value = self.combined(value, Some((op, b)));
                self.put(dst, value, guard)
            }
            Op::Setp { cmp, ty, dst, dst2, a, b, combine } => {
                let holds = self.compare(cmp, ty, a, b);
                // Both are computed before either is written: an output may be an input.
                let value = self.combined(holds, combine);
                let opposite = dst2.map(|dst2| (dst2, self.combined(self.negated(holds), combine)));
                self.put(dst, value, guard)?;
                opposite.map_or(Ok(()), |(dst2, value)| self.put(dst2, value, guard))
            }
            Op::Selp { width, dst, a, b, p } => {
                let p = self.condition(p);
                self.choose(width, dst, [a, b], p, guard)
            }
            Op::Slct { width, c_float, dst, a, b, c } => {
                let ty = match c_float {
                    Some(ftz) => CmpType::Float { ty: FloatType::F32, ftz },
                    None => CmpType::Int(IntType::S32),
                };
                let p = self.compare(Cmp::Ge, ty, c, Operand::Imm(0));
                self.choose(width, dst, [a, b], p, guard)
            }
            Op::Cvta { space, to_space, dst, a } => self.convert_address(space, to_space, dst, a, guard),
            Op::Isspacep { space, dst, a } => {
                let base = window(space).unwrap_or(0);
                let a = self.read(a, 64);
                let value = self.lanewise(&[a], |v| {
                    let ty = self.b.type_of(v[0]);
                    let limit = if base == 0 { 1 << 48 } else { 1 << 32 };
                    let offset = self.b.binary(op::SUB, v[0], self.b.constant(ty, base));
                    self.b.icmp(IntPredicate::LLVMIntULT, offset, self.b.constant(ty, limit))
                });
                self.put(dst, value, guard)
            }
            Op::Cvt { to, from, mode, dst, a } => self.convert((to, from, mode), op, dst, a, guard),
            _ => self.float(op, guard),
        }
    }

    /// A value for computing on vectors where it is affine.
    fn widened(&self, value: Val) -> Val {
        if value.shape.is_scalar() {
            value
        } else {
            self.varying(value)
        }
    }

    fn mov(&mut self, width: Width, dst: Reg, src: Operand, guard: Option<Val>) -> Result<(), String> {
        if let Operand::Reg(from) = src {
            let both = [from, dst].map(|r| self.analysis.regs[r.0 as usize].lazy);
            if both == [true, true] {
                let value = self.raw(from.0);
                return self.put(dst, value, guard);
            }
        }
        let value = self.read(src, width.bits());
        self.write(dst, value, false, guard)
    }

    fn pack(&mut self, part: Width, dst: Reg, src: &[Operand], guard: Option<Val>) -> Result<(), String> {
        let total = self.class_bits(dst.0);
        let parts: Vec<Val> = src.iter().map(|s| self.read(*s, part.bits())).collect();
        let value = self.lanewise(&parts, |v| {
            let wide = |n: usize| {
                let piece = self.b.cast(op::ZEXT, v[n], self.b.int(total));
                let by = self.b.constant(self.b.type_of(piece), n as u64 * u64::from(part.bits()));
                self.b.binary(op::SHL, piece, by)
            };
            (1..v.len()).fold(wide(0), |all, n| self.b.binary(op::OR, all, wide(n)))
        });
        self.write(dst, value, false, guard)
    }

    fn choose(
        &mut self,
        width: Width,
        dst: Reg,
        [a, b]: [Operand; 2],
        p: Val,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let bits = if width == Width::W64 { 64 } else { 32 };
        let (a, b) = (self.read(a, bits), self.read(b, bits));
        let value = self.lanewise(&[p, a, b], |v| self.b.select(v[0], v[1], v[2]));
        self.write(dst, value, false, guard)
    }

    pub(super) fn not(&self, v: Value) -> Value {
        self.b.binary(op::XOR, v, self.b.constant(self.b.type_of(v), u64::MAX))
    }

    /// A shift by any amount, of the same width: beyond it nothing, or the sign, is left.
    fn shift(&self, shift: Binary, v: Value, amount: Value, bits: u32, arithmetic: bool) -> Value {
        let ty = self.b.type_of(v);
        let last = self.b.constant(ty, u64::from(bits) - 1);
        let within = self.b.icmp(IntPredicate::LLVMIntULE, amount, last);
        let clamped = self.b.select(within, amount, last);
        let shifted = self.b.binary(shift, v, clamped);
        if arithmetic {
            return shifted;
        }
        self.b.select(within, shifted, self.b.zero(ty))
    }

    fn shift_left(&self, v: Value, amount: Value, bits: u32) -> Value {
        self.shift(op::SHL, v, amount, bits, false)
    }

    fn int_unary(
        &mut self,
        whole: &Op,
        (kind, ty): (IntUnaryOp, IntType),
        dst: Reg,
        a: Operand,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let bits = ty.bits();
        let is_regular = kind == IntUnaryOp::Brev && bits == 32 && self.counts(whole, &[a]);
        let a = self.read(a, bits);
        let intrinsic = |gen: &Self, name: &str, v: Value, flag: bool| {
            let ty = gen.b.type_of(v);
            let none = gen.b.constant(gen.b.int(1), 0);
            let args = if flag { vec![v, none] } else { vec![v] };
            gen.b.intrinsic(name, &[ty], &args)
        };
        if is_regular {
            let value = self.halves(self.expected(whole), |h| intrinsic(self, "llvm.bitreverse", a.parts[h], false));
            return self.write(dst, value, false, guard);
        }
        let counts = matches!(kind, IntUnaryOp::Popc | IntUnaryOp::Clz | IntUnaryOp::Bfind | IntUnaryOp::BfindShift);
        let value = self.lanewise(&[a], |v| {
            let v = v[0];
            let ty_of = self.b.type_of(v);
            let zero = self.b.zero(ty_of);
            let result = match kind {
                IntUnaryOp::Neg => self.b.binary(op::SUB, zero, v),
                IntUnaryOp::Abs => {
                    let negative = self.b.icmp(IntPredicate::LLVMIntSLT, v, zero);
                    let negative = if ty.is_signed() { negative } else { self.b.zero(self.b.type_of(negative)) };
                    self.b.select(negative, self.b.binary(op::SUB, zero, v), v)
                }
                IntUnaryOp::Not => self.not(v),
                IntUnaryOp::Cnot => {
                    let is_zero = self.b.icmp(IntPredicate::LLVMIntEQ, v, zero);
                    self.b.cast(op::ZEXT, is_zero, self.b.int(bits))
                }
                IntUnaryOp::Popc => intrinsic(self, "llvm.ctpop", v, false),
                IntUnaryOp::Clz => intrinsic(self, "llvm.ctlz", v, true),
                IntUnaryOp::Brev => intrinsic(self, "llvm.bitreverse", v, false),
                IntUnaryOp::Bfind | IntUnaryOp::BfindShift => {
                    let negative = self.b.icmp(IntPredicate::LLVMIntSLT, v, zero);
                    let seen = if ty.is_signed() { self.b.select(negative, self.not(v), v) } else { v };
                    let leading = intrinsic(self, "llvm.ctlz", seen, true);
                    let position = self.b.binary(op::SUB, self.b.constant(ty_of, u64::from(bits) - 1), leading);
                    let found = if kind == IntUnaryOp::Bfind { position } else { leading };
                    let none = self.b.icmp(IntPredicate::LLVMIntEQ, seen, zero);
                    self.b.select(none, self.b.constant(ty_of, u64::MAX), found)
                }
            };
            match (counts, bits) {
                (true, 64) => self.b.cast(op::TRUNC, result, self.word()),
                (true, 8 | 16) if matches!(kind, IntUnaryOp::Bfind | IntUnaryOp::BfindShift) => {
                    self.b.cast(op::SEXT, result, self.word())
                }
                (true, 8 | 16) => self.b.cast(op::ZEXT, result, self.word()),
                _ => result,
            }
        });
        self.write(dst, value, ty.is_signed() && !counts, guard)
    }

    /// The upper half of a product.
    pub(super) fn multiply_high(&self, a: Value, b: Value, signed: bool) -> Value {
        let bits = self.element(a);
        let extend = if signed { op::SEXT } else { op::ZEXT };
        let double = self.b.int(bits * 2);
        let product = self.b.binary(op::MUL, self.b.cast(extend, a, double), self.b.cast(extend, b, double));
        let by = self.b.constant(self.b.type_of(product), bits.into());
        self.b.cast(op::TRUNC, self.b.binary(op::LSHR, product, by), self.b.int(bits))
    }

    fn element(&self, v: Value) -> u32 {
        let ty = self.b.type_of(v);
        let is = |bits: &u32| {
            let int = self.b.int(*bits);
            ty == int || ty == self.b.vector(int, super::HALF)
        };
        [8, 16, 32, 64].into_iter().find(is).unwrap_or(32)
    }

    /// Quotient or remainder without what LLVM leaves undefined.
    fn divide(&self, a: Value, b: Value, signed: bool, quotient: bool) -> Value {
        let ty = self.b.type_of(a);
        let (zero, one) = (self.b.zero(ty), self.b.constant(ty, 1));
        let by_zero = self.b.icmp(IntPredicate::LLVMIntEQ, b, zero);
        let by_minus_one = signed.then(|| self.b.icmp(IntPredicate::LLVMIntEQ, b, self.b.constant(ty, u64::MAX)));
        // 0, and -1 if it is signed, become 1. Not by `select`: LLVM looks at division by each of its operands as a
        // whole, and drops the operand that is a vector of constants with a 0 in any lane.
        let most = |v: Value, least: Value| self.b.intrinsic("llvm.umax", &[ty], &[v, least]);
        let divisor = match signed {
            true => self.b.binary(op::SUB, most(self.b.binary(op::ADD, b, one), self.b.constant(ty, 2)), one),
            false => most(b, one),
        };
        let operation = match (quotient, signed) {
            (true, true) => op::SDIV,
            (true, false) => op::UDIV,
            (false, true) => op::SREM,
            (false, false) => op::UREM,
        };
        let mut result = self.b.binary(operation, a, divisor);
        if let (Some(minus), true) = (by_minus_one, quotient) {
            result = self.b.select(minus, self.b.binary(op::SUB, zero, a), result);
        }
        let undefined = if quotient { self.b.constant(ty, u64::MAX) } else { a };
        self.b.select(by_zero, undefined, result)
    }

    fn smaller(&self, a: Value, b: Value, signed: bool, max: bool) -> Value {
        let predicate = if signed { IntPredicate::LLVMIntSLT } else { IntPredicate::LLVMIntULT };
        let less = self.b.icmp(predicate, a, b);
        if max {
            self.b.select(less, b, a)
        } else {
            self.b.select(less, a, b)
        }
    }

    /// `a op b` on the bases of affine values.
    fn on_bases(&self, shape: Shape, a: Val, b: Val, operation: Binary) -> Val {
        self.halves(shape, |h| self.b.binary(operation, a.parts[h], b.parts[h]))
    }

    /// A product, kept affine where a factor is constant. `to`: bits of the result.
    fn product(&mut self, ty: IntType, [a, b]: [Operand; 2], to: u32) -> Val {
        let signed = ty.is_signed();
        let extend = if signed { op::SEXT } else { op::ZEXT };
        let wide = |gen: &Self, v: Value| if to == ty.bits() { v } else { gen.b.cast(extend, v, gen.b.int(to)) };
        if let Some((other, factor)) = scaled(ty, a, b).filter(|_| keeps_strides(ty)) {
            let value = self.read(other, ty.bits());
            if value.shape != Shape::Varying {
                if to != ty.bits() {
                    self.check_extension(other, value, signed);
                }
                let shape = value.shape.scaled(to, |step| step.wrapping_mul(factor));
                let factor = self.b.constant(self.b.int(to), factor as u64);
                return self.halves(shape, |h| self.b.binary(op::MUL, wide(self, value.parts[h]), factor));
            }
        }
        let (a, b) = (self.read(a, ty.bits()), self.read(b, ty.bits()));
        self.lanewise(&[a, b], |v| self.b.binary(op::MUL, wide(self, v[0]), wide(self, v[1])))
    }

    /// A sum, in the shape that the analysis has found.
    fn sum(&self, shape: Shape, a: Val, b: Val, operation: Binary) -> Val {
        match shape {
            Shape::Varying => {
                self.lanewise(&[self.varying(a), self.varying(b)], |v| self.b.binary(operation, v[0], v[1]))
            }
            shape => self.on_bases(shape, a, b, operation),
        }
    }

    fn int_binary(
        &mut self,
        whole: &Op,
        (kind, ty): (IntBinaryOp, IntType),
        dst: Reg,
        [a, b]: [Operand; 2],
        guard: Option<Val>,
    ) -> Result<(), String> {
        use IntBinaryOp as B;
        let (bits, signed) = (ty.bits(), ty.is_signed());
        let value = match kind {
            B::Add | B::Sub => {
                let operation = if kind == B::Add { op::ADD } else { op::SUB };
                let (a, b) = (self.read(a, bits), self.read(b, bits));
                if keeps_strides(ty) {
                    self.sum(self.expected(whole), a, b, operation)
                } else {
                    self.lanewise(&[a, b], |v| self.b.binary(operation, v[0], v[1]))
                }
            }
            B::MulLo => self.product(ty, [a, b], bits),
            B::MulWide => self.product(ty, [a, b], bits * 2),
            B::Shl => {
                let value = self.read(a, bits);
                match b {
                    Operand::Imm(by) if keeps_strides(ty) && by < u64::from(bits) && value.shape != Shape::Varying => {
                        let by = self.b.constant(self.b.int(bits), by);
                        self.halves(self.expected(whole), |h| self.b.binary(op::SHL, value.parts[h], by))
                    }
                    _ => self.shifted(op::SHL, value, b, bits, false),
                }
            }
            B::And | B::Or | B::Xor | B::Shr if keeps_strides(ty) && self.counts(whole, &[a, b]) => {
                let operation = match kind {
                    B::And => op::AND,
                    B::Or => op::OR,
                    B::Xor => op::XOR,
                    _ if signed => op::ASHR,
                    _ => op::LSHR,
                };
                let (a, b) = (self.read(a, bits), self.read(b, bits));
                self.on_bases(self.expected(whole), a, b, operation)
            }
            B::Shr => {
                let value = self.read(a, bits);
                self.shifted(if signed { op::ASHR } else { op::LSHR }, value, b, bits, signed)
            }
            _ => {
                let (a, b) = (self.read(a, bits), self.read(b, bits));
                self.lanewise(&[a, b], |v| match kind {
                    B::MulHi => self.multiply_high(v[0], v[1], signed),
                    B::Div | B::Rem => self.divide(v[0], v[1], signed, kind == B::Div),
                    B::Min | B::Max => self.smaller(v[0], v[1], signed, kind == B::Max),
                    B::MinRelu | B::MaxRelu => {
                        let value = self.smaller(v[0], v[1], true, kind == B::MaxRelu);
                        self.smaller(value, self.b.zero(self.b.type_of(value)), true, true)
                    }
                    B::And => self.b.binary(op::AND, v[0], v[1]),
                    B::Or => self.b.binary(op::OR, v[0], v[1]),
                    _ => self.b.binary(op::XOR, v[0], v[1]),
                })
            }
        };
        self.write(dst, value, matches!(ty, IntType::S16 | IntType::S32 | IntType::S64), guard)
    }

    /// Whether an operation on the bits of something regular gives something regular.
    fn counts(&self, whole: &Op, sources: &[Operand]) -> bool {
        let is_scalar = |operand: &Operand| match operand {
            Operand::Reg(reg) => self.analysis.regs[reg.0 as usize].shape.is_scalar(),
            Operand::Special(register) => shape::special(self.source, *register).is_some_and(Shape::is_scalar),
            _ => true,
        };
        self.expected(whole) != Shape::Varying && !sources.iter().all(is_scalar)
    }

    fn shifted(&mut self, shift: Binary, value: Val, by: Operand, bits: u32, arithmetic: bool) -> Val {
        let by = self.read(by, 32);
        let value = self.widened(value);
        self.lanewise(&[value, by], |v| {
            let amount = match bits {
                64 => self.b.cast(op::ZEXT, v[1], self.long()),
                32 => v[1],
                // A wide amount must not become a small one.
                _ => {
                    let most = self.b.constant(self.b.type_of(v[1]), 255);
                    self.b.cast(op::TRUNC, self.smaller(v[1], most, false, false), self.b.int(bits))
                }
            };
            self.shift(shift, v[0], amount, bits, arithmetic)
        })
    }

    fn int_ternary(
        &mut self,
        whole: &Op,
        (kind, ty): (IntTernaryOp, IntType),
        dst: Reg,
        [a, b, c]: [Operand; 3],
        guard: Option<Val>,
    ) -> Result<(), String> {
        use IntTernaryOp as T;
        let (bits, signed) = (ty.bits(), ty.is_signed());
        let value = match kind {
            T::MadLo | T::MadWide => {
                let to = if kind == T::MadWide { bits * 2 } else { bits };
                let product = self.product(ty, [a, b], to);
                let c = self.read(c, to);
                if keeps_strides(ty) {
                    self.sum(self.expected(whole), product, c, op::ADD)
                } else {
                    self.lanewise(&[product, c], |v| self.b.binary(op::ADD, v[0], v[1]))
                }
            }
            T::MadHi => {
                let [a, b, c] = [a, b, c].map(|o| self.read(o, bits));
                self.lanewise(&[a, b, c], |v| self.b.binary(op::ADD, self.multiply_high(v[0], v[1], signed), v[2]))
            }
            T::Sad => {
                let [a, b, c] = [a, b, c].map(|o| self.read(o, bits));
                self.lanewise(&[a, b, c], |v| {
                    let greatest = self.smaller(v[0], v[1], signed, true);
                    let least = self.smaller(v[0], v[1], signed, false);
                    self.b.binary(op::ADD, v[2], self.b.binary(op::SUB, greatest, least))
                })
            }
            T::Bfe => {
                let a = self.read(a, bits);
                let [b, c] = [self.read(b, 32), self.read(c, 32)];
                self.lanewise(&[a, b, c], |v| self.extract_field(v[0], v[1], v[2], signed))
            }
            T::Prmt(_) => {
                let [a, b, c] = [a, b, c].map(|o| self.read(o, 32));
                self.lanewise(&[a, b, c], |v| self.permute(v[0], v[1], v[2]))
            }
            _ => {
                let [a, b, c] = [a, b, c].map(|o| self.read(o, 32));
                self.lanewise(&[a, b, c], |v| self.funnel(kind, v[0], v[1], v[2]))
            }
        };
        self.write(dst, value, signed, guard)
    }

    /// A 32-bit field: position and length have 8 bits.
    fn extract_field(&self, a: Value, pos: Value, len: Value, signed: bool) -> Value {
        let ty = self.b.type_of(a);
        let c = |value: u64| self.b.constant(ty, value);
        let pos = self.b.binary(op::AND, pos, c(0xff));
        let len = self.b.binary(op::AND, len, c(0xff));
        let sum = self.b.binary(op::ADD, pos, len);
        let no_length = self.b.icmp(IntPredicate::LLVMIntEQ, len, c(0));
        let field = self.shift(op::LSHR, a, pos, 32, false);
        // Bits of the field that the input has.
        let room = self.b.binary(op::SUB, c(32), self.smaller(pos, c(32), false, false));
        let available = self.smaller(room, len, false, false);
        let bit = self.shift_left(c(1), available, 32);
        let known = self.b.binary(op::SUB, bit, c(1));
        let plain = self.b.binary(op::AND, field, known);
        if !signed {
            return plain;
        }
        let last = self.smaller(self.b.binary(op::SUB, sum, c(1)), c(31), false, false);
        let last = self.b.select(no_length, c(0), last);
        let sign = self.b.binary(op::AND, self.b.binary(op::LSHR, a, last), c(1));
        let negative = self.b.icmp(IntPredicate::LLVMIntNE, sign, c(0));
        let negative = self.b.binary(op::AND, negative, self.not_one(no_length));
        self.b.select(negative, self.b.binary(op::OR, plain, self.not(known)), plain)
    }

    fn not_one(&self, condition: Value) -> Value {
        self.b.binary(op::XOR, condition, self.b.constant(self.b.type_of(condition), 1))
    }

    fn funnel(&self, kind: IntTernaryOp, low: Value, high: Value, by: Value) -> Value {
        use IntTernaryOp as T;
        let ty = self.b.type_of(by);
        let amount = match kind {
            T::ShfLWrap | T::ShfRWrap => self.b.binary(op::AND, by, self.b.constant(ty, 31)),
            _ => self.smaller(by, self.b.constant(ty, 32), false, false),
        };
        let wide = |v: Value| self.b.cast(op::ZEXT, v, self.long());
        let (low, high, amount) = (wide(low), wide(high), wide(amount));
        let ty = self.b.type_of(low);
        let both = self.b.binary(op::OR, self.b.binary(op::SHL, high, self.b.constant(ty, 32)), low);
        let result = match kind {
            T::ShfLClamp | T::ShfLWrap => {
                let shifted = self.b.binary(op::SHL, both, amount);
                self.b.binary(op::LSHR, shifted, self.b.constant(ty, 32))
            }
            _ => self.b.binary(op::LSHR, both, amount),
        };
        self.b.cast(op::TRUNC, result, self.word())
    }

    /// Bytes of `b:a` that the selectors of `c` name; bit 3 of a selector replicates the sign.
    fn permute(&self, a: Value, b: Value, c: Value) -> Value {
        let wide = |v: Value| self.b.cast(op::ZEXT, v, self.long());
        let (low, high, selectors) = (wide(a), wide(b), wide(c));
        let ty = self.b.type_of(low);
        let k = |value: u64| self.b.constant(ty, value);
        let both = self.b.binary(op::OR, self.b.binary(op::SHL, high, k(32)), low);
        let byte = |i: u64| {
            let selector = self.b.binary(op::LSHR, selectors, k(4 * i));
            let by = self.b.binary(op::SHL, self.b.binary(op::AND, selector, k(7)), k(3));
            let byte = self.b.binary(op::AND, self.b.binary(op::LSHR, both, by), k(0xff));
            let top = self.b.binary(op::AND, self.b.binary(op::LSHR, byte, k(7)), k(1));
            let sign = self.b.binary(op::MUL, top, k(0xff));
            let replicate = self.b.binary(op::AND, selector, k(8));
            let replicate = self.b.icmp(IntPredicate::LLVMIntNE, replicate, k(0));
            self.b.binary(op::SHL, self.b.select(replicate, sign, byte), k(8 * i))
        };
        let all = (1..4).fold(byte(0), |all, i| self.b.binary(op::OR, all, byte(i)));
        self.b.cast(op::TRUNC, all, self.word())
    }

    /// The function whose truth table is `lut`.
    fn lookup(&self, lut: u8, [a, b, c]: [Value; 3]) -> Value {
        let ty = self.b.type_of(a);
        let mut result = self.b.zero(ty);
        // The table or its complement, whichever has fewer terms.
        let complement = lut.count_ones() > 4;
        let table = if complement { !lut } else { lut };
        for term in (0..8).filter(|i| table >> i & 1 != 0) {
            let pick = |v: Value, bit: u32| if term >> bit & 1 != 0 { v } else { self.not(v) };
            let both = self.b.binary(op::AND, pick(a, 2), pick(b, 1));
            result = self.b.binary(op::OR, result, self.b.binary(op::AND, both, pick(c, 0)));
        }
        if complement {
            self.not(result)
        } else {
            result
        }
    }

    fn add_carry(
        &mut self,
        dst: Reg,
        [a, b]: [Val; 2],
        (carry_in, carry_out): (Option<Reg>, Option<Reg>),
        guard: Option<Val>,
    ) -> Result<(), String> {
        let carry = self.carry(carry_in);
        let sum = self.lanewise(&[a, b, carry], |v| {
            let first = self.b.binary(op::ADD, v[0], v[1]);
            self.b.binary(op::ADD, first, self.extended(v[2], v[0]))
        });
        let out = self.lanewise(&[a, b, carry], |v| {
            let first = self.b.binary(op::ADD, v[0], v[1]);
            let second = self.b.binary(op::ADD, first, self.extended(v[2], v[0]));
            let one = self.b.icmp(IntPredicate::LLVMIntULT, first, v[0]);
            let other = self.b.icmp(IntPredicate::LLVMIntULT, second, first);
            self.b.binary(op::OR, one, other)
        });
        self.put(dst, sum, guard)?;
        carry_out.map_or(Ok(()), |reg| self.put(reg, out, guard))
    }

    fn sub_borrow(
        &mut self,
        dst: Reg,
        [a, b]: [Val; 2],
        (borrow_in, borrow_out): (Option<Reg>, Option<Reg>),
        guard: Option<Val>,
    ) -> Result<(), String> {
        let borrow = self.carry(borrow_in);
        let difference = self.lanewise(&[a, b, borrow], |v| {
            let first = self.b.binary(op::SUB, v[0], v[1]);
            self.b.binary(op::SUB, first, self.extended(v[2], v[0]))
        });
        let out = self.lanewise(&[a, b, borrow], |v| {
            let first = self.b.binary(op::SUB, v[0], v[1]);
            let one = self.b.icmp(IntPredicate::LLVMIntULT, v[0], v[1]);
            let other = self.b.icmp(IntPredicate::LLVMIntULT, first, self.extended(v[2], v[0]));
            self.b.binary(op::OR, one, other)
        });
        self.put(dst, difference, guard)?;
        borrow_out.map_or(Ok(()), |reg| self.put(reg, out, guard))
    }

    fn carry(&mut self, reg: Option<Reg>) -> Val {
        match reg {
            Some(reg) => self.raw(reg.0),
            None => self.uniform(self.b.constant(self.b.int(1), 0)),
        }
    }

    fn extended(&self, bit: Value, like: Value) -> Value {
        self.b.cast(op::ZEXT, bit, self.b.int(self.element(like)))
    }

    /// A comparison.
    pub(super) fn compare(&mut self, cmp: Cmp, ty: CmpType, a: Operand, b: Operand) -> Val {
        match ty {
            CmpType::Int(ty) => {
                use IntPredicate::*;
                let (a, b) = (self.read(a, ty.bits()), self.read(b, ty.bits()));
                let predicate = match (cmp, ty.is_signed()) {
                    (Cmp::Eq | Cmp::Equ, _) => LLVMIntEQ,
                    (Cmp::Lt | Cmp::Ltu, true) => LLVMIntSLT,
                    (Cmp::Lt | Cmp::Ltu, false) => LLVMIntULT,
                    (Cmp::Le | Cmp::Leu, true) => LLVMIntSLE,
                    (Cmp::Le | Cmp::Leu, false) => LLVMIntULE,
                    (Cmp::Gt | Cmp::Gtu, true) => LLVMIntSGT,
                    (Cmp::Gt | Cmp::Gtu, false) => LLVMIntUGT,
                    (Cmp::Ge | Cmp::Geu, true) => LLVMIntSGE,
                    (Cmp::Ge | Cmp::Geu, false) => LLVMIntUGE,
                    _ => LLVMIntNE,
                };
                self.lanewise(&[a, b], |v| self.b.icmp(predicate, v[0], v[1]))
            }
            CmpType::Float { ty, ftz } => {
                use RealPredicate::*;
                let bits = ty.bits();
                let (a, b) = (self.read_float(a, bits, ftz), self.read_float(b, bits, ftz));
                let predicate = match cmp {
                    Cmp::Eq => LLVMRealOEQ,
                    Cmp::Ne => LLVMRealONE,
                    Cmp::Lt => LLVMRealOLT,
                    Cmp::Le => LLVMRealOLE,
                    Cmp::Gt => LLVMRealOGT,
                    Cmp::Ge => LLVMRealOGE,
                    Cmp::Equ => LLVMRealUEQ,
                    Cmp::Neu => LLVMRealUNE,
                    Cmp::Ltu => LLVMRealULT,
                    Cmp::Leu => LLVMRealULE,
                    Cmp::Gtu => LLVMRealUGT,
                    Cmp::Geu => LLVMRealUGE,
                    Cmp::Num => LLVMRealORD,
                    Cmp::Nan => LLVMRealUNO,
                };
                self.lanewise(&[a, b], |v| self.b.fcmp(predicate, v[0], v[1]))
            }
        }
    }

    fn combined(&mut self, value: Val, combine: Option<(BoolOp, PredOperand)>) -> Val {
        let Some((operation, other)) = combine else { return value };
        let other = self.condition(other);
        let operation = match operation {
            BoolOp::And => op::AND,
            BoolOp::Or => op::OR,
            BoolOp::Xor => op::XOR,
        };
        self.lanewise(&[value, other], |v| self.b.binary(operation, v[0], v[1]))
    }

    fn convert_address(
        &mut self,
        space: Space,
        to_space: bool,
        dst: Reg,
        a: Operand,
        guard: Option<Val>,
    ) -> Result<(), String> {
        if self.function.regs[dst.0 as usize] != RegClass::B64 {
            let value = self.read(a, 32);
            return self.write(dst, value, false, guard);
        }
        let base = window(space).unwrap_or(0);
        let base = if to_space { base.wrapping_neg() } else { base };
        let value = self.read(a, 64);
        let value = self.map(value, |v| self.b.binary(op::ADD, v, self.b.constant(self.b.type_of(v), base)));
        self.put(dst, value, guard)
    }
}

/// First generic address of a space that has a window.
fn window(space: Space) -> Option<u64> {
    vgpu_engine::engine::window(space)
}
