//! Atomic operations: lane by lane, as the interpreter does them, or once for a warp.
//!
//! Shared memory needs no atomic instruction of the host, since one thread of it runs a block.

use super::memory::{Access, Bank};
use super::{Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, Binary, IntPredicate, Rmw, Value};
use vgpu_engine::ir::*;

/// An atomic operation and its operands.
#[derive(Clone, Copy)]
pub(super) struct Atom {
    pub(super) op: AtomOp,
    pub(super) ty: AtomType,
    pub(super) dst: Option<Reg>,
    pub(super) b: Operand,
    pub(super) c: Operand,
}

/// An operand in the loop over lanes: the same for all, or where the lanes' values are.
enum Source {
    Same(Value),
    Table(Value),
}

/// What a lane that takes part again and again may be waiting for is worth so much of a time slice.
const SPIN_COST: u64 = 400;

/// Bytes of a type if the operation on it is compiled.
pub(super) fn compiled_bytes(op: AtomOp, ty: AtomType) -> Option<u32> {
    match ty {
        AtomType::Int(ty @ (IntType::U32 | IntType::S32 | IntType::U64 | IntType::S64)) => Some(ty.bits() / 8),
        AtomType::Float { ty: ty @ (FloatType::F32 | FloatType::F64), ftz: false }
            if matches!(op, AtomOp::Add | AtomOp::Exch) =>
        {
            Some(ty.bits() / 8)
        }
        _ => None,
    }
}

impl Gen<'_> {
    /// An atomic operation on memory that has been checked.
    pub(super) fn atomic(
        &mut self,
        access: &Access<'_>,
        bank: &Bank,
        address: Val,
        lanes: Value,
        atom: Atom,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let alive = self.alive_before(self.inst + 1);
        let atom = Atom { dst: atom.dst.filter(|dst| contains(&alive, dst.0)), ..atom };
        let bits = access.bytes * 8;
        if let (Shape::Uniform, None, Some(reduction)) = (address.shape, atom.dst, Reduction::of(atom.op, atom.ty)) {
            let b = self.read(atom.b, bits);
            let sum = self.reduced(&reduction, b, lanes, bits);
            let place = self.host(bank, address.parts[0]);
            self.update(access.space, atom, place, sum, sum);
            return Ok(());
        }
        if atom.dst.is_some() {
            self.set_fuel(self.b.binary(op::SUB, self.fuel(), self.c64(SPIN_COST)));
        }
        let [places, firsts, seconds, results] = self.tables();
        let origin = self.b.splat(bank.origin, HALF);
        let address = self.map(self.varying(address), |v| self.b.binary(op::ADD, v, origin));
        self.fill(places, address, 64);
        let mut source = |table: Value, operand: Operand| {
            let value = self.read(operand, bits);
            if value.shape == Shape::Uniform {
                return Source::Same(value.parts[0]);
            }
            self.fill(table, self.varying(value), bits);
            Source::Table(table)
        };
        let b = source(firsts, atom.b);
        let c = if atom.op == AtomOp::Cas { source(seconds, atom.c) } else { Source::Same(self.c64(0)) };

        let left = self.b.variable(self.word());
        self.b.set(left, lanes);
        let (lane, done) = (self.b.label(), self.b.label());
        self.b.jump(lane);
        self.b.place(lane);
        let mask = self.b.get(self.word(), left);
        let index = self.b.intrinsic("llvm.cttz", &[self.word()], &[mask, self.b.constant(self.b.int(1), 1)]);
        let index = self.b.cast(op::ZEXT, index, self.long());
        let element = |gen: &Self, table: Value, bits: u32| {
            let bytes = gen.b.binary(op::MUL, index, gen.c64((bits / 8).into()));
            gen.b.offset(table, bytes)
        };
        let of = |gen: &Self, source: Source| match source {
            Source::Same(value) => value,
            Source::Table(table) => gen.b.load(gen.b.int(bits), element(gen, table, bits), bits / 8),
        };
        let (b, c) = (of(self, b), of(self, c));
        let place = self.b.load(self.long(), element(self, places, 64), 8);
        let place = self.b.cast(op::INTTOPTR, place, self.b.pointer());
        let old = self.update(access.space, atom, place, b, c);
        if atom.dst.is_some() {
            self.b.store(old, element(self, results, bits), bits / 8);
        }
        let others = self.b.binary(op::AND, mask, self.b.binary(op::SUB, mask, self.c32(1)));
        self.b.set(left, others);
        let more = self.b.icmp(IntPredicate::LLVMIntNE, others, self.c32(0));
        self.b.branch(more, lane, done);
        self.b.place(done);
        let Some(dst) = atom.dst else { return Ok(()) };
        let ty = self.b.vector(self.b.int(bits), HALF);
        let half = |h: usize| self.b.field(results, (bits * HALF / 8) as usize * h);
        let old = self.halves(Shape::Varying, |h| self.b.load(ty, half(h), 64));
        self.write(dst, old, false, guard)
    }

    /// Memory for values of all lanes: addresses, both operands and results.
    fn tables(&mut self) -> [Value; 4] {
        let ty = self.b.vector(self.long(), 2 * HALF);
        let tables = self.tables.get_or_insert_with(|| [(); 4].map(|()| self.b.variable(ty)));
        *tables
    }

    fn fill(&self, table: Value, value: Val, bits: u32) {
        self.b.store(value.parts[0], table, 64);
        self.b.store(value.parts[1], self.b.field(table, (bits * HALF / 8) as usize), 64);
    }

    /// Applies the operation to one place and gives the old value.
    fn update(&self, space: Space, atom: Atom, place: Value, b: Value, c: Value) -> Value {
        let float = match atom.ty {
            AtomType::Float { ty, .. } if atom.op == AtomOp::Add => Some(self.b.float(ty.bits())),
            _ => None,
        };
        let (ty, signed) = (self.b.type_of(b), matches!(atom.ty, AtomType::Int(ty) if ty.is_signed()));
        if space != Space::Shared {
            let rmw = match atom.op {
                AtomOp::Cas => return self.b.compare_exchange(place, b, c),
                AtomOp::Add if float.is_some() => Rmw::LLVMAtomicRMWBinOpFAdd,
                AtomOp::Add => Rmw::LLVMAtomicRMWBinOpAdd,
                AtomOp::Min if signed => Rmw::LLVMAtomicRMWBinOpMin,
                AtomOp::Min => Rmw::LLVMAtomicRMWBinOpUMin,
                AtomOp::Max if signed => Rmw::LLVMAtomicRMWBinOpMax,
                AtomOp::Max => Rmw::LLVMAtomicRMWBinOpUMax,
                AtomOp::And => Rmw::LLVMAtomicRMWBinOpAnd,
                AtomOp::Or => Rmw::LLVMAtomicRMWBinOpOr,
                AtomOp::Xor => Rmw::LLVMAtomicRMWBinOpXor,
                AtomOp::Inc => Rmw::LLVMAtomicRMWBinOpUIncWrap,
                AtomOp::Dec => Rmw::LLVMAtomicRMWBinOpUDecWrap,
                AtomOp::Exch => Rmw::LLVMAtomicRMWBinOpXchg,
            };
            let value = float.map_or(b, |float| self.b.cast(op::BITCAST, b, float));
            return self.b.cast(op::BITCAST, self.b.update(rmw, place, value), ty);
        }
        let old = self.b.load(ty, place, access_align(self, b));
        let is = |predicate, x, y| self.b.icmp(predicate, x, y);
        let one = self.b.constant(ty, 1);
        let (less, greater) = match signed {
            true => (IntPredicate::LLVMIntSLT, IntPredicate::LLVMIntSGT),
            false => (IntPredicate::LLVMIntULT, IntPredicate::LLVMIntUGT),
        };
        let new = match (atom.op, float) {
            (AtomOp::Add, Some(float)) => {
                let [x, y] = [old, b].map(|v| self.b.cast(op::BITCAST, v, float));
                self.b.cast(op::BITCAST, self.b.binary(op::FADD, x, y), ty)
            }
            (AtomOp::Add, None) => self.b.binary(op::ADD, old, b),
            (AtomOp::Min, _) => self.b.select(is(less, old, b), old, b),
            (AtomOp::Max, _) => self.b.select(is(greater, old, b), old, b),
            (AtomOp::And, _) => self.b.binary(op::AND, old, b),
            (AtomOp::Or, _) => self.b.binary(op::OR, old, b),
            (AtomOp::Xor, _) => self.b.binary(op::XOR, old, b),
            (AtomOp::Inc, _) => {
                let ends = is(IntPredicate::LLVMIntUGE, old, b);
                self.b.select(ends, self.b.zero(ty), self.b.binary(op::ADD, old, one))
            }
            (AtomOp::Dec, _) => {
                let zero = is(IntPredicate::LLVMIntEQ, old, self.b.zero(ty));
                let ends = self.b.binary(op::OR, zero, is(IntPredicate::LLVMIntUGT, old, b));
                self.b.select(ends, b, self.b.binary(op::SUB, old, one))
            }
            (AtomOp::Exch, _) => b,
            (AtomOp::Cas, _) => self.b.select(is(IntPredicate::LLVMIntEQ, old, b), c, old),
        };
        self.b.store(new, place, access_align(self, b));
        old
    }

    /// The operands of some lanes as one.
    fn reduced(&self, reduction: &Reduction, value: Val, lanes: Value, bits: u32) -> Value {
        let value = self.varying(value);
        let ty = self.b.type_of(value.parts[0]);
        let neutral = self.b.constant(ty, reduction.neutral >> (64 - bits));
        let takes_part = self.lanes_of(lanes);
        let half = |h: usize| {
            let all = self.b.select(takes_part.parts[h], value.parts[h], neutral);
            self.b.intrinsic(reduction.intrinsic, &[ty], &[all])
        };
        match reduction.pair {
            Pair::Operation(operation) => self.b.binary(operation, half(0), half(1)),
            Pair::Choice(predicate) => {
                let (low, high) = (half(0), half(1));
                self.b.select(self.b.icmp(predicate, low, high), low, high)
            }
        }
    }
}

fn access_align(gen: &Gen<'_>, value: Value) -> u32 {
    if gen.b.type_of(value) == gen.long() {
        8
    } else {
        4
    }
}

/// How operands of lanes become one.
struct Reduction {
    intrinsic: &'static str,
    pair: Pair,
    /// The operand that changes nothing, in its upper bits.
    neutral: u64,
}

enum Pair {
    Operation(Binary),
    /// The one for which a comparison with the other holds.
    Choice(IntPredicate),
}

impl Reduction {
    /// Whether many operations can become one whose result nobody sees.
    fn of(op: AtomOp, ty: AtomType) -> Option<Reduction> {
        let AtomType::Int(ty) = ty else { return None };
        let signed = ty.is_signed();
        let (intrinsic, pair, neutral) = match op {
            AtomOp::Add => ("llvm.vector.reduce.add", Pair::Operation(op::ADD), 0),
            AtomOp::And => ("llvm.vector.reduce.and", Pair::Operation(op::AND), u64::MAX),
            AtomOp::Or => ("llvm.vector.reduce.or", Pair::Operation(op::OR), 0),
            AtomOp::Xor => ("llvm.vector.reduce.xor", Pair::Operation(op::XOR), 0),
            AtomOp::Min if signed => ("llvm.vector.reduce.smin", Pair::Choice(IntPredicate::LLVMIntSLT), u64::MAX >> 1),
            AtomOp::Max if signed => ("llvm.vector.reduce.smax", Pair::Choice(IntPredicate::LLVMIntSGT), 1 << 63),
            AtomOp::Min => ("llvm.vector.reduce.umin", Pair::Choice(IntPredicate::LLVMIntULT), u64::MAX),
            AtomOp::Max => ("llvm.vector.reduce.umax", Pair::Choice(IntPredicate::LLVMIntUGT), 0),
            _ => return None,
        };
        Some(Reduction { intrinsic, pair, neutral })
    }
}
