//! Registers and operands as values.

use super::{field, Gen, Val, HALF};
use crate::shape::{self, in_half, Shape};
use crate::sys::{op, IntPredicate, RealPredicate, Type, Value};
use vgpu_engine::engine::Steps;
use vgpu_engine::ir::*;

/// The NaN that PTX's `f32` operations return.
pub const NAN_F32: u64 = 0x7fff_ffff;

impl Gen<'_> {
    /// Bits of a register's lanes; registers of 8 and 16 bits are kept in 32.
    pub(super) fn class_bits(&self, reg: u32) -> u32 {
        match self.function.regs[reg as usize] {
            RegClass::Pred => 1,
            RegClass::B8 | RegClass::B16 | RegClass::B32 => 32,
            RegClass::B64 => 64,
            RegClass::B128 => 128,
        }
    }

    pub(super) fn make_variables(&self, reg: usize) -> Result<[Value; 2], String> {
        let element = self.b.int(match self.class_bits(reg as u32) {
            128 => return Err("128-bit registers".into()),
            bits => bits,
        });
        Ok(match self.analysis.regs[reg].shape {
            Shape::Uniform | Shape::Line(_) => [self.b.variable(element); 2],
            Shape::Affine(_) => [self.b.variable(element), self.b.variable(element)],
            Shape::Varying => {
                let ty = self.b.vector(element, HALF);
                [self.b.variable(ty), self.b.variable(ty)]
            }
        })
    }

    pub(super) fn variable_type(&self, reg: u32) -> Type {
        let element = self.b.int(self.class_bits(reg));
        match self.analysis.regs[reg as usize].shape {
            Shape::Varying => self.b.vector(element, HALF),
            _ => element,
        }
    }

    /// A register as it is.
    pub(super) fn raw(&self, reg: u32) -> Val {
        let ty = self.variable_type(reg);
        let shape = self.analysis.regs[reg as usize].shape;
        if let Some(parts) = self.held.get(&reg) {
            return Val { shape, parts: *parts };
        }
        self.halves(shape, |h| self.b.get(ty, self.vars[reg as usize][h]))
    }

    /// A register with canonical NaNs.
    pub(super) fn register(&self, reg: u32) -> Val {
        let value = self.raw(reg);
        if self.analysis.regs[reg as usize].lazy {
            self.map(value, |v| self.canonical_bits(v))
        } else {
            value
        }
    }

    fn canonical_bits(&self, bits: Value) -> Value {
        let ty = self.b.type_of(bits);
        let float = self.b.cast(op::BITCAST, bits, self.b.float(32));
        let nan = self.b.fcmp(RealPredicate::LLVMRealUNO, float, float);
        self.b.select(nan, self.b.constant(ty, NAN_F32), bits)
    }

    /// Both parts of a value; one computation where it is uniform.
    pub(super) fn halves(&self, shape: Shape, mut part: impl FnMut(usize) -> Value) -> Val {
        let first = part(0);
        let second = match shape {
            Shape::Uniform => first,
            Shape::Line(steps) => {
                let half = self.b.constant(self.b.type_of(first), steps.at(HALF) as u64);
                self.b.binary(op::ADD, first, half)
            }
            Shape::Affine(_) | Shape::Varying => part(1),
        };
        Val { shape, parts: [first, second] }
    }

    pub(super) fn map(&self, a: Val, mut f: impl FnMut(Value) -> Value) -> Val {
        self.halves(a.shape, |h| f(a.parts[h]))
    }

    /// Applies a function lane by lane.
    pub(super) fn lanewise(&self, values: &[Val], mut f: impl FnMut(&[Value]) -> Value) -> Val {
        let shape = Shape::lanewise(values.iter().map(|v| v.shape));
        let values: Vec<Val> = match shape {
            Shape::Varying => values.iter().map(|v| self.varying(*v)).collect(),
            _ => values.to_vec(),
        };
        self.halves(shape, |h| f(&values.iter().map(|v| v.parts[h]).collect::<Vec<_>>()))
    }

    /// A value as two vectors.
    pub(super) fn varying(&self, value: Val) -> Val {
        let vectors = |h: usize| match value.shape {
            Shape::Varying => value.parts[h],
            Shape::Uniform | Shape::SCALARS => self.b.splat(value.parts[h], HALF),
            Shape::Line(steps) => {
                let base = self.b.splat(value.parts[0], HALF);
                let lanes = (0..HALF).map(|lane| steps.at(lane + HALF * h as u32) as u64);
                self.b.binary(op::ADD, base, self.b.constants(self.b.type_of(value.parts[0]), lanes))
            }
            Shape::Affine(steps) => {
                let base = self.b.splat(value.parts[h], HALF);
                let lanes = (0..HALF).map(|lane| steps.at(lane) as u64);
                self.b.binary(op::ADD, base, self.b.constants(self.b.type_of(value.parts[h]), lanes))
            }
        };
        if value.shape == Shape::Uniform {
            let vector = vectors(0);
            return Val { shape: Shape::Varying, parts: [vector; 2] };
        }
        Val { shape: Shape::Varying, parts: [vectors(0), vectors(1)] }
    }

    /// A value in the form that a less regular shape has.
    pub(super) fn shaped(&self, value: Val, shape: Shape) -> Option<Val> {
        match (value.shape, shape) {
            (a, b) if a == b => Some(value),
            (a, Shape::Affine(b)) if a.steps().map(in_half) == Some(b) => Some(Val { shape, ..value }),
            (_, Shape::Varying) => Some(self.varying(value)),
            _ => None,
        }
    }

    /// An integer of `to` bits from one of any width, zero-extended.
    pub(super) fn resize(&self, value: Val, to: u32, signed: bool) -> Val {
        let from = self.element_bits(value.parts[0]);
        if from == to {
            return value;
        }
        let shape = value.shape.resized(from, to);
        let value = if shape == Shape::Varying { self.varying(value) } else { value };
        let cast = match (to < from, signed) {
            (true, _) => op::TRUNC,
            (false, true) => op::SEXT,
            (false, false) => op::ZEXT,
        };
        self.halves(shape, |h| self.b.cast(cast, value.parts[h], self.b.int(to)))
    }

    fn element_bits(&self, value: Value) -> u32 {
        let ty = self.b.type_of(value);
        [1, 8, 16, 32, 64]
            .into_iter()
            .find(|bits| {
                let int = self.b.int(*bits);
                ty == int || ty == self.b.vector(int, HALF)
            })
            .unwrap_or(32)
    }

    /// A source as an integer of some width, read as the interpreter does.
    pub(super) fn read(&mut self, operand: Operand, bits: u32) -> Val {
        let value = match operand {
            Operand::Reg(reg) => self.register(reg.0),
            Operand::Imm(value) => return self.uniform(self.b.constant(self.b.int(bits), value)),
            Operand::Special(register) => self.special(register),
            Operand::Symbol { id, offset } => {
                let address = self.source.address(id).unwrap_or(0).wrapping_add_signed(offset.into());
                return self.uniform(self.b.constant(self.b.int(bits), address));
            }
            Operand::Frame(offset) => return self.uniform(self.b.constant(self.b.int(bits), offset.into())),
        };
        self.resize(value, bits, false)
    }

    pub(super) fn uniform(&self, value: Value) -> Val {
        Val { shape: Shape::Uniform, parts: [value; 2] }
    }

    /// A predicate.
    pub(super) fn condition(&mut self, p: PredOperand) -> Val {
        let one = self.b.int(1);
        let value = match p.value {
            Operand::Reg(reg) => self.raw(reg.0),
            Operand::Imm(value) => self.uniform(self.b.constant(one, u64::from(value != 0))),
            _ => self.uniform(self.b.constant(one, 0)),
        };
        if p.negated {
            self.negated(value)
        } else {
            value
        }
    }

    pub(super) fn predicate(&mut self, guard: Guard) -> Val {
        self.condition(PredOperand { value: Operand::Reg(guard.reg), negated: guard.negated })
    }

    pub(super) fn negated(&self, value: Val) -> Val {
        self.map(value, |v| self.b.binary(op::XOR, v, self.b.constant(self.b.type_of(v), 1)))
    }

    /// A predicate as a mask of lanes.
    pub(super) fn mask_of(&self, condition: Val) -> Value {
        if condition.shape == Shape::Uniform {
            return self.b.cast(op::SEXT, condition.parts[0], self.word());
        }
        let half = |h: usize| match condition.shape {
            Shape::Varying => {
                let bits = self.b.bits(condition.parts[h], self.b.int(16));
                self.b.cast(op::ZEXT, bits, self.word())
            }
            _ => {
                let bits = self.b.cast(op::SEXT, condition.parts[h], self.b.int(16));
                self.b.cast(op::ZEXT, bits, self.word())
            }
        };
        let high = self.b.binary(op::SHL, half(1), self.c32(16));
        self.b.binary(op::OR, half(0), high)
    }

    /// The 16 bits of a mask for half a warp.
    pub(super) fn half_mask(&self, mask: Value, h: usize) -> Value {
        let shifted = if h == 0 { mask } else { self.b.binary(op::LSHR, mask, self.c32(16)) };
        self.b.cast(op::TRUNC, shifted, self.b.int(16))
    }

    /// A mask of lanes as a condition for each.
    pub(super) fn lanes_of(&self, mask: Value) -> Val {
        let ty = self.b.vector(self.b.int(1), HALF);
        self.halves(Shape::Varying, |h| self.b.bits(self.half_mask(mask, h), ty))
    }

    /// Writes an integer result of an operation, extended to the register's width.
    pub(super) fn write(&mut self, dst: Reg, value: Val, signed: bool, guard: Option<Val>) -> Result<(), String> {
        let bits = self.class_bits(dst.0);
        let value = self.resize(value, bits, signed);
        self.put(dst, value, guard)
    }

    /// Writes a value of the register's width.
    pub(super) fn put(&mut self, dst: Reg, value: Val, guard: Option<Val>) -> Result<(), String> {
        let info = self.analysis.regs[dst.0 as usize];
        let mut value = self
            .shaped(value, info.shape)
            .ok_or_else(|| format!("{:?} for a register of {:?} at line {}", value.shape, info.shape, self.line()))?;
        let blend = info.blend && shape::keeps_others(&self.liveness, &self.analysis.waiting[self.block], dst.0);
        if guard.is_some() || blend {
            let old = self.raw(dst.0);
            let choose = |holds: Val, value: Val| {
                self.halves(info.shape, |h| self.b.select(holds.parts[h], value.parts[h], old.parts[h]))
            };
            if let Some(guard) = guard {
                let holds = match (guard.shape, info.shape) {
                    (Shape::Uniform, _) => guard,
                    (Shape::SCALARS, Shape::Affine(_)) => guard,
                    _ => self.varying(guard),
                };
                value = choose(holds, value);
            }
            if blend {
                value = choose(self.lanes_of(self.running()), value);
            }
        }
        if self.is_pure {
            self.held.insert(dst.0, value.parts);
        } else {
            self.set(dst.0, value.parts);
        }
        Ok(())
    }

    /// Writes the parts of a register to its variables.
    pub(super) fn set(&self, reg: u32, parts: [Value; 2]) {
        let vars = self.vars[reg as usize];
        self.b.set(vars[0], parts[0]);
        if !self.analysis.regs[reg as usize].shape.is_whole() {
            self.b.set(vars[1], parts[1]);
        }
    }

    /// Writes a register to its variables if it has not been written there yet.
    pub(super) fn release(&self, reg: u32) {
        if let Some(parts) = self.held.get(&reg) {
            self.set(reg, *parts);
        }
    }

    fn special(&mut self, register: SpecialReg) -> Val {
        use SpecialReg::*;
        let at = |array: usize, axis: usize| array + axis * 4;
        let frame = |gen: &Self, offset: usize| {
            let place = gen.b.field(gen.frame, offset);
            gen.uniform(gen.b.load(gen.word(), place, 4))
        };
        let ntid = std::mem::offset_of!(vgpu_engine::engine::Frame, ntid);
        let nctaid = std::mem::offset_of!(vgpu_engine::engine::Frame, nctaid);
        let ctaid = std::mem::offset_of!(vgpu_engine::engine::Frame, ctaid);
        let lanes = |gen: &Self, f: fn(u64) -> u64| {
            let half = |h: usize| (0..u64::from(HALF)).map(move |i| f(i + 16 * h as u64));
            gen.halves(Shape::Varying, |h| gen.b.constants(gen.word(), half(h)))
        };
        match register {
            TidX => self.thread_index(0, 1),
            TidY => self.thread_index(1, 0),
            TidZ => self.thread_index(2, 0),
            NtidX => frame(self, at(ntid, 0)),
            NtidY => frame(self, at(ntid, 1)),
            NtidZ => frame(self, at(ntid, 2)),
            NctaidX => frame(self, at(nctaid, 0)),
            NctaidY => frame(self, at(nctaid, 1)),
            NctaidZ => frame(self, at(nctaid, 2)),
            CtaidX => frame(self, at(ctaid, 0)),
            CtaidY => frame(self, at(ctaid, 1)),
            CtaidZ => frame(self, at(ctaid, 2)),
            LaneId => Val { shape: Shape::Line(Steps::line(1)), parts: [self.c32(0), self.c32(16)] },
            LanemaskEq => lanes(self, |i| 1 << i),
            LanemaskLt => lanes(self, |i| (1 << i) - 1),
            LanemaskLe => lanes(self, |i| (2 << i) - 1),
            LanemaskGt => lanes(self, |i| !((2u64 << i) - 1) & 0xffff_ffff),
            LanemaskGe => lanes(self, |i| !((1u64 << i) - 1) & 0xffff_ffff),
            WarpId => self.uniform(self.b.load(self.word(), field!(self, lanes.warp), 4)),
            NWarpId => self.uniform(self.b.load(self.word(), field!(self, frame.warps), 4)),
            WarpSize => self.uniform(self.c32(32)),
            DynamicSmemSize => self.uniform(self.b.load(self.word(), field!(self, frame.dynamic_shared), 4)),
            TotalSmemSize | DynamicSmemBase => {
                let total = self.b.cast(op::TRUNC, self.constants.shared_size, self.word());
                let dynamic = self.b.load(self.word(), field!(self, frame.dynamic_shared), 4);
                let base = self.b.binary(op::SUB, total, dynamic);
                self.uniform(if register == TotalSmemSize { total } else { base })
            }
            // `treatment` gives instructions with these to the interpreter.
            _ => self.uniform(self.c32(0)),
        }
    }

    /// A coordinate of `threadIdx`.
    fn thread_index(&self, axis: usize, stride: i64) -> Val {
        let table = self.b.load(self.b.pointer(), field!(self, lanes.tid), 8);
        let row = self.b.field(table, axis * 128);
        if self.source.shape.lines {
            let shape = if stride == 0 { Shape::Uniform } else { Shape::Line(Steps::line(stride)) };
            return self.halves(shape, |_| self.b.load(self.word(), row, 4));
        }
        if self.source.shape.rows {
            let base = |h: usize| self.b.load(self.word(), self.b.field(row, h * 64), 4);
            return self.halves(Shape::Affine(in_half(Steps::line(stride))), base);
        }
        let ty = self.b.vector(self.word(), HALF);
        self.halves(Shape::Varying, |h| self.b.load(ty, self.b.field(row, h * 64), 4))
    }

    /// Whether what counts up does so without a break when it is extended; else the interpreter goes on here.
    pub(super) fn check_extension(&mut self, operand: Operand, value: Val, signed: bool) {
        let Some(Steps(steps)) = value.shape.steps().filter(|steps| *steps != Steps::default()) else { return };
        if let Operand::Reg(reg) = operand {
            if self.checked.insert((reg.0, signed), ()).is_some() {
                return;
            }
        }
        // How much lanes have more than the first one, and less.
        let more: i64 = steps.iter().filter(|step| **step > 0).sum();
        let less: i64 = steps.iter().filter(|step| **step < 0).sum();
        // What the first lane has at most, and at least, if all lanes' values are still numbers of the type.
        let (least, most) = if signed { (i32::MIN.into(), i32::MAX.into()) } else { (0, i64::from(u32::MAX)) };
        let (above, below) = if signed {
            (IntPredicate::LLVMIntSGT, IntPredicate::LLVMIntSLT)
        } else {
            (IntPredicate::LLVMIntUGT, IntPredicate::LLVMIntULT)
        };
        let bounds = [(above, most - more, more != 0), (below, least - less, less != 0)];
        let parts = if value.shape.is_whole() { &value.parts[..1] } else { &value.parts[..] };
        let mut wraps = Vec::new();
        for (predicate, bound, _) in bounds.into_iter().filter(|(.., matters)| *matters) {
            for part in parts {
                wraps.push(match (least..=most).contains(&bound) {
                    true => self.b.icmp(predicate, *part, self.b.constant(self.word(), bound as u64 & 0xffff_ffff)),
                    false => self.b.constant(self.b.int(1), 1),
                });
            }
        }
        let Some(any) = wraps.into_iter().reduce(|a, b| self.b.binary(op::OR, a, b)) else { return };
        let (fails, holds) = (self.b.label(), self.b.label());
        self.b.branch_rarely(any, fails, holds);
        self.b.place(fails);
        self.leave_here();
        self.b.place(holds);
    }

    /// Shape that the analysis expects of a result.
    pub(super) fn expected(&self, op: &Op) -> Shape {
        shape::pure(self.source, &self.analysis.regs, op)
    }
}
