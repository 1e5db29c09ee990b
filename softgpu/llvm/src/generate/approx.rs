//! Approximate functions of `f32`, in the steps of [`vgpu_engine::engine::approx`].

use super::Gen;
use crate::sys::{op, RealPredicate, Value};
use vgpu_engine::engine::approx::*;
use RealPredicate::{LLVMRealOEQ, LLVMRealOGT, LLVMRealOLE, LLVMRealOLT};

impl Gen<'_> {
    fn number(&self, like: Value, value: f32) -> Value {
        self.float_constant(like, 32, value.into())
    }

    /// An integer constant for each element of a value.
    fn integer(&self, like: Value, value: u32) -> Value {
        self.b.constant(self.b.shaped(self.word(), like), value.into())
    }

    fn fused(&self, a: Value, b: Value, c: Value) -> Value {
        self.b.intrinsic("llvm.fma", &[self.b.type_of(a)], &[a, b, c])
    }

    fn polynomial(&self, coefficients: &[f32], x: Value) -> Value {
        let numbers = coefficients.iter().rev().map(|c| self.number(x, *c));
        numbers.reduce(|sum, c| self.fused(sum, x, c)).unwrap_or(x)
    }

    fn power_of_two(&self, exponent: Value) -> Value {
        let biased = self.b.binary(op::ADD, exponent, self.integer(exponent, 127));
        let bits = self.b.binary(op::SHL, biased, self.integer(exponent, 23));
        self.b.cast(op::BITCAST, bits, self.b.float(32))
    }

    fn select_if(&self, predicate: RealPredicate, (a, b): (Value, Value), yes: Value, no: Value) -> Value {
        self.b.select(self.b.fcmp(predicate, a, b), yes, no)
    }

    /// 2 to the power of `x`.
    pub(super) fn ex2(&self, x: Value) -> Value {
        let [least, most] = EX2_LIMITS.map(|limit| self.number(x, limit));
        let x = self.select_if(LLVMRealOGT, (x, most), most, x);
        let x = self.select_if(LLVMRealOLT, (x, least), least, x);
        let to_integer = self.number(x, TO_INTEGER);
        let rounded = self.b.binary(op::FADD, x, to_integer);
        let fraction = self.b.binary(op::FSUB, x, self.b.binary(op::FSUB, rounded, to_integer));
        let value = self.fused(fraction, self.polynomial(&EX2, fraction), self.number(x, 1.0));
        let bits = self.b.cast(op::BITCAST, rounded, self.word());
        let exponent = self.b.binary(op::SUB, bits, self.integer(bits, TO_INTEGER.to_bits()));
        let half = self.b.binary(op::ASHR, exponent, self.integer(bits, 1));
        let rest = self.b.binary(op::SUB, exponent, half);
        let value = self.b.binary(op::FMUL, value, self.power_of_two(half));
        self.b.binary(op::FMUL, value, self.power_of_two(rest))
    }

    /// The binary logarithm.
    pub(super) fn lg2(&self, x: Value) -> Value {
        let small = self.b.fcmp(LLVMRealOLT, x, self.number(x, f32::MIN_POSITIVE));
        let larger = self.b.binary(op::FMUL, x, self.number(x, power_of_two(LG2_SCALE)));
        let bits = self.b.cast(op::BITCAST, self.b.select(small, larger, x), self.word());
        let above = self.b.binary(op::SUB, bits, self.integer(bits, LG2_START));
        let exponent = self.b.binary(op::ASHR, above, self.integer(bits, 23));
        let removed = self.b.binary(op::SHL, exponent, self.integer(bits, 23));
        let rest = self.b.cast(op::BITCAST, self.b.binary(op::SUB, bits, removed), self.b.float(32));
        let fraction = self.b.binary(op::FSUB, rest, self.number(x, 1.0));
        let zero = self.number(x, 0.0);
        let less = self.b.select(small, self.number(x, LG2_SCALE as f32), zero);
        let whole = self.b.binary(op::FSUB, self.b.cast(op::SITOFP, exponent, self.b.float(32)), less);
        let value = self.fused(fraction, self.polynomial(&LG2, fraction), whole);
        let value = self.select_if(LLVMRealOLT, (x, self.number(x, f32::INFINITY)), value, x);
        let nothing = (self.number(x, f32::NEG_INFINITY), self.number(x, f32::NAN));
        let outside = self.select_if(LLVMRealOEQ, (x, zero), nothing.0, nothing.1);
        self.select_if(LLVMRealOLE, (x, zero), outside, value)
    }

    /// The hyperbolic tangent.
    pub(super) fn tanh(&self, x: Value) -> Value {
        let bits = self.b.cast(op::BITCAST, x, self.word());
        let part = |mask: u32, of: Value| self.b.binary(op::AND, of, self.integer(bits, mask));
        let size = self.b.cast(op::BITCAST, part(0x7fff_ffff, bits), self.b.float(32));
        let square = self.b.binary(op::FMUL, size, size);
        let cube = self.b.binary(op::FMUL, size, square);
        let near = self.fused(cube, self.polynomial(&TANH, square), size);
        let (one, most) = (self.number(x, 1.0), self.number(x, TANH_FAR));
        let limited = self.select_if(LLVMRealOGT, (size, most), most, size);
        let power = self.ex2(self.b.binary(op::FMUL, limited, self.number(x, TWO_LOG2_E)));
        let quotient = self.b.binary(op::FDIV, self.number(x, 2.0), self.b.binary(op::FADD, power, one));
        let far = self.b.binary(op::FSUB, one, quotient);
        let value = self.select_if(LLVMRealOLT, (size, self.number(x, TANH_NEAR)), near, far);
        let value = part(0x7fff_ffff, self.b.cast(op::BITCAST, value, self.word()));
        let signed = self.b.binary(op::OR, value, part(0x8000_0000, bits));
        self.b.cast(op::BITCAST, signed, self.b.float(32))
    }
}
