//! Integer arithmetic and bit manipulation.

use super::super::code::{Op, Pred, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::lane::Int;
use super::lane_fn;
use std::marker::PhantomData;

lane_fn!(Neg<T: Int>(a: T) -> T { T::from_bits(0).sub(a) });
lane_fn!(Abs<T: Int>(a: T) -> T { if a < T::from_bits(0) { T::from_bits(0).sub(a) } else { a } });
lane_fn!(Not<T: Int>(a: T) -> T { T::from_bits(!a.to_bits()) });
lane_fn!(Cnot<T: Int>(a: T) -> T { T::from_bits(u64::from(a.to_bits() == 0)) });
lane_fn!(Popc<T: Int>(a: T) -> u32 { a.to_bits().count_ones() });
lane_fn!(Clz<T: Int>(a: T) -> u32 { a.to_bits().leading_zeros() - (64 - T::BITS) });
lane_fn!(Brev<T: Int>(a: T) -> T { T::from_bits(a.to_bits().reverse_bits() >> (64 - T::BITS)) });
lane_fn!(Bfind<T: Int>(a: T) -> u32 { top_bit(a) });
lane_fn!(BfindShift<T: Int>(a: T) -> u32 {
    match top_bit(a) {
        u32::MAX => u32::MAX,
        bit => T::BITS - 1 - bit,
    }
});

/// Position of the most significant bit that differs from the sign, or all ones.
#[inline(always)]
fn top_bit<T: Int>(a: T) -> u32 {
    let negative = T::SIGNED && a < T::from_bits(0);
    let bits = if negative { T::from_bits(!a.to_bits()).to_bits() } else { a.to_bits() };
    63u32.wrapping_sub(bits.leading_zeros())
}

lane_fn!(Add<T: Int>(a: T, b: T) -> T { a.add(b) });
lane_fn!(Sub<T: Int>(a: T, b: T) -> T { a.sub(b) });
lane_fn!(MulLo<T: Int>(a: T, b: T) -> T { a.mul(b) });
lane_fn!(MulHi<T: Int>(a: T, b: T) -> T { a.mul_hi(b) });
lane_fn!(Div<T: Int>(a: T, b: T) -> T { a.div(b) });
lane_fn!(Rem<T: Int>(a: T, b: T) -> T { a.rem(b) });
lane_fn!(Min<T: Int>(a: T, b: T) -> T { a.min(b) });
lane_fn!(Max<T: Int>(a: T, b: T) -> T { a.max(b) });
lane_fn!(MinRelu<T: Int>(a: T, b: T) -> T { a.min(b).max(T::from_bits(0)) });
lane_fn!(MaxRelu<T: Int>(a: T, b: T) -> T { a.max(b).max(T::from_bits(0)) });
lane_fn!(And<T: Int>(a: T, b: T) -> T { T::from_bits(a.to_bits() & b.to_bits()) });
lane_fn!(Or<T: Int>(a: T, b: T) -> T { T::from_bits(a.to_bits() | b.to_bits()) });
lane_fn!(Xor<T: Int>(a: T, b: T) -> T { T::from_bits(a.to_bits() ^ b.to_bits()) });
lane_fn!(Shl<T: Int>(a: T, b: u32) -> T { a.shl(b) });
lane_fn!(Shr<T: Int>(a: T, b: u32) -> T { a.shr(b) });
lane_fn!(AddSat(a: i32, b: i32) -> i32 { a.saturating_add(b) });
lane_fn!(SubSat(a: i32, b: i32) -> i32 { a.saturating_sub(b) });

lane_fn!(MulWideU16(a: u16, b: u16) -> u32 { u32::from(a) * u32::from(b) });
lane_fn!(MulWideS16(a: i16, b: i16) -> i32 { i32::from(a) * i32::from(b) });
lane_fn!(MulWideU32(a: u32, b: u32) -> u64 { u64::from(a) * u64::from(b) });
lane_fn!(MulWideS32(a: i32, b: i32) -> i64 { i64::from(a) * i64::from(b) });
lane_fn!(MadWideU16(a: u16, b: u16, c: u32) -> u32 { (u32::from(a) * u32::from(b)).wrapping_add(c) });
lane_fn!(MadWideS16(a: i16, b: i16, c: i32) -> i32 { (i32::from(a) * i32::from(b)).wrapping_add(c) });
lane_fn!(MadWideU32(a: u32, b: u32, c: u64) -> u64 { (u64::from(a) * u64::from(b)).wrapping_add(c) });
lane_fn!(MadWideS32(a: i32, b: i32, c: i64) -> i64 { (i64::from(a) * i64::from(b)).wrapping_add(c) });

lane_fn!(Mul24LoU(a: u32, b: u32) -> u32 { mul24_u(a, b) as u32 });
lane_fn!(Mul24LoS(a: i32, b: i32) -> i32 { mul24_s(a, b) as i32 });
lane_fn!(Mul24HiU(a: u32, b: u32) -> u32 { (mul24_u(a, b) >> 16) as u32 });
lane_fn!(Mul24HiS(a: i32, b: i32) -> i32 { (mul24_s(a, b) >> 16) as i32 });
lane_fn!(Mad24LoU(a: u32, b: u32, c: u32) -> u32 { (mul24_u(a, b) as u32).wrapping_add(c) });
lane_fn!(Mad24LoS(a: i32, b: i32, c: i32) -> i32 { (mul24_s(a, b) as i32).wrapping_add(c) });
lane_fn!(Mad24HiU(a: u32, b: u32, c: u32) -> u32 { ((mul24_u(a, b) >> 16) as u32).wrapping_add(c) });
lane_fn!(Mad24HiS(a: i32, b: i32, c: i32) -> i32 { ((mul24_s(a, b) >> 16) as i32).wrapping_add(c) });
lane_fn!(Mad24HiSat(a: i32, b: i32, c: i32) -> i32 { ((mul24_s(a, b) >> 16) as i32).saturating_add(c) });

#[inline(always)]
fn mul24_u(a: u32, b: u32) -> u64 {
    u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff)
}

#[inline(always)]
fn mul24_s(a: i32, b: i32) -> i64 {
    i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)
}

lane_fn!(MadLo<T: Int>(a: T, b: T, c: T) -> T { a.mul(b).add(c) });
lane_fn!(MadHi<T: Int>(a: T, b: T, c: T) -> T { a.mul_hi(b).add(c) });
lane_fn!(MadHiSat(a: i32, b: i32, c: i32) -> i32 { a.mul_hi(b).saturating_add(c) });
lane_fn!(Sad<T: Int>(a: T, b: T, c: T) -> T {
    let difference = if a > b { a.sub(b) } else { b.sub(a) };
    c.add(difference)
});

lane_fn!(Bfe<T: Int>(a: T, pos: u32, len: u32) -> T {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let top = T::BITS - 1;
    let sign_at = pos.saturating_add(len).saturating_sub(1).min(top);
    let negative = T::SIGNED && len != 0 && a.to_bits() >> sign_at & 1 != 0;
    let field = (a.to_bits()).checked_shr(pos.min(64)).unwrap_or(0);
    let mask = 1u64.checked_shl(len).map_or(u64::MAX, |bit| bit - 1);
    // Bits beyond the top of the input repeat the sign, as do those beyond the field.
    let available = T::BITS.saturating_sub(pos).min(len);
    let known = 1u64.checked_shl(available).map_or(u64::MAX, |bit| bit - 1);
    T::from_bits(if negative { field & mask & known | !known } else { field & mask & known })
});

lane_fn!(ShfLClamp(a: u32, b: u32, c: u32) -> u32 { shf_left(a, b, c.min(32)) });
lane_fn!(ShfLWrap(a: u32, b: u32, c: u32) -> u32 { shf_left(a, b, c & 31) });
lane_fn!(ShfRClamp(a: u32, b: u32, c: u32) -> u32 { shf_right(a, b, c.min(32)) });
lane_fn!(ShfRWrap(a: u32, b: u32, c: u32) -> u32 { shf_right(a, b, c & 31) });

#[inline(always)]
fn shf_left(low: u32, high: u32, amount: u32) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) << amount >> 32) as u32
}

#[inline(always)]
fn shf_right(low: u32, high: u32, amount: u32) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) >> amount) as u32
}

lane_fn!(Fns(mask: u32, base: u32, offset: i32) -> u32 {
    let base = base & 31;
    let candidates: u64 = match offset {
        0 => return if mask >> base & 1 != 0 { base } else { u32::MAX },
        1.. => u64::from(mask) >> base << base,
        _ => u64::from(mask) & ((2u64 << base) - 1),
    };
    let mut rest = candidates as u32;
    for _ in 1..offset.unsigned_abs().min(33) {
        rest = if offset > 0 { rest & rest.wrapping_sub(1) } else { rest & !top_of(rest) };
    }
    match (rest, offset > 0) {
        (0, _) => u32::MAX,
        (_, true) => rest.trailing_zeros(),
        (_, false) => 31 - rest.leading_zeros(),
    }
});

/// The highest set bit alone.
fn top_of(mask: u32) -> u32 {
    (1u64 << 32 >> (mask.leading_zeros() + 1)) as u32
}

lane_fn!(BmskClamp(a: u32, b: u32) -> u32 { bit_mask(a, b) });
lane_fn!(BmskWrap(a: u32, b: u32) -> u32 { bit_mask(a & 31, b & 31) });

fn bit_mask(position: u32, width: u32) -> u32 {
    let ones = 1u32.checked_shl(width).map_or(u32::MAX, |bit| bit - 1);
    ones.checked_shl(position).unwrap_or(0)
}

lane_fn!(SzextClampU(a: u32, width: u32) -> u32 { zero_extend(a, width) });
lane_fn!(SzextClampS(a: i32, width: u32) -> i32 { sign_extend(a, width) });
lane_fn!(SzextWrapU(a: u32, width: u32) -> u32 { zero_extend(a, width & 31) });
lane_fn!(SzextWrapS(a: i32, width: u32) -> i32 { sign_extend(a, width & 31) });

fn zero_extend(a: u32, width: u32) -> u32 {
    a & bit_mask(0, width)
}

fn sign_extend(a: i32, width: u32) -> i32 {
    match width {
        0 => 0,
        1..=31 => a << (32 - width) >> (32 - width),
        _ => a,
    }
}

/// Permutes bytes with a selector per result byte; bit 3 replicates the sign.
#[inline(always)]
fn permute(a: u32, b: u32, selectors: [u32; 4]) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut result = 0;
    for (i, s) in selectors.into_iter().enumerate() {
        let byte = (bytes >> (8 * (s & 7))) as u8;
        let byte = if s & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        result |= u32::from(byte) << (8 * i);
    }
    result
}

lane_fn!(Prmt(a: u32, b: u32, c: u32) -> u32 {
    permute(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15])
});
lane_fn!(PrmtF4e(a: u32, b: u32, c: u32) -> u32 { let c = c & 3; permute(a, b, [c, c + 1, c + 2, c + 3]) });
lane_fn!(PrmtB4e(a: u32, b: u32, c: u32) -> u32 {
    let c = c & 3;
    permute(a, b, [c, c.wrapping_sub(1) & 7, c.wrapping_sub(2) & 7, c.wrapping_sub(3) & 7])
});
lane_fn!(PrmtRc8(a: u32, b: u32, c: u32) -> u32 { let c = c & 3; permute(a, b, [c; 4]) });
lane_fn!(PrmtEcl(a: u32, b: u32, c: u32) -> u32 {
    let c = c & 3;
    permute(a, b, [c, c.max(1), c.max(2), 3])
});
lane_fn!(PrmtEcr(a: u32, b: u32, c: u32) -> u32 {
    let c = c & 3;
    permute(a, b, [0, c.min(1), c.min(2), c])
});
lane_fn!(PrmtRc16(a: u32, b: u32, c: u32) -> u32 {
    let low = (c & 1) * 2;
    permute(a, b, [low, low + 1, low, low + 1])
});

/// Applies a 16-bit operation to both halves of a word.
#[inline(always)]
fn halves<T: Int>(a: u32, b: u32, f: impl Fn(T, T) -> T) -> u32 {
    let half = |shift: u32| {
        let (a, b) = (T::from_bits(u64::from(a >> shift)), T::from_bits(u64::from(b >> shift)));
        f(a, b).to_bits() as u32 & 0xffff
    };
    half(0) | half(16) << 16
}

lane_fn!(AddX2(a: u32, b: u32) -> u32 { halves::<u16>(a, b, Int::add) });
lane_fn!(SubX2(a: u32, b: u32) -> u32 { halves::<u16>(a, b, Int::sub) });
lane_fn!(MinU16x2(a: u32, b: u32) -> u32 { halves::<u16>(a, b, Ord::min) });
lane_fn!(MaxU16x2(a: u32, b: u32) -> u32 { halves::<u16>(a, b, Ord::max) });
lane_fn!(MinS16x2(a: u32, b: u32) -> u32 { halves::<i16>(a, b, Ord::min) });
lane_fn!(MaxS16x2(a: u32, b: u32) -> u32 { halves::<i16>(a, b, Ord::max) });
lane_fn!(MinReluS16x2(a: u32, b: u32) -> u32 { halves::<i16>(a, b, |a, b| a.min(b).max(0)) });
lane_fn!(MaxReluS16x2(a: u32, b: u32) -> u32 { halves::<i16>(a, b, |a, b| a.max(b).max(0)) });
lane_fn!(NegX2(a: u32) -> u32 { halves::<u16>(0, a, Int::sub) });

/// Sum of products of the bytes of `a` and `b`; the flags say which are signed.
#[inline(always)]
fn dot4(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let mut sum = c;
    for shift in [0, 8, 16, 24] {
        let product = byte(a >> shift, a_signed).wrapping_mul(byte(b >> shift, b_signed));
        sum = sum.wrapping_add(product as u32);
    }
    sum
}

/// Sum of products of the halves of `a` and two bytes of `b`.
#[inline(always)]
fn dot2(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let half = |x: u32| if a_signed { i32::from(x as i16) } else { i32::from(x as u16) };
    c.wrapping_add(half(a).wrapping_mul(byte(b, b_signed)) as u32)
        .wrapping_add(half(a >> 16).wrapping_mul(byte(b >> 8, b_signed)) as u32)
}

#[inline(always)]
fn byte(x: u32, signed: bool) -> i32 {
    if signed {
        i32::from(x as i8)
    } else {
        i32::from(x as u8)
    }
}

lane_fn!(Dp4aUU(a: u32, b: u32, c: u32) -> u32 { dot4(a, b, c, false, false) });
lane_fn!(Dp4aUS(a: u32, b: u32, c: u32) -> u32 { dot4(a, b, c, false, true) });
lane_fn!(Dp4aSU(a: u32, b: u32, c: u32) -> u32 { dot4(a, b, c, true, false) });
lane_fn!(Dp4aSS(a: u32, b: u32, c: u32) -> u32 { dot4(a, b, c, true, true) });
lane_fn!(Dp2aUU(a: u32, b: u32, c: u32) -> u32 { dot2(a, b, c, false, false) });
lane_fn!(Dp2aUS(a: u32, b: u32, c: u32) -> u32 { dot2(a, b, c, false, true) });
lane_fn!(Dp2aSU(a: u32, b: u32, c: u32) -> u32 { dot2(a, b, c, true, false) });
lane_fn!(Dp2aSS(a: u32, b: u32, c: u32) -> u32 { dot2(a, b, c, true, true) });
lane_fn!(HighHalf(a: u32) -> u32 { a >> 16 });

/// `dst = lut(a, b, c)` bit by bit; `imm` is the truth table.
pub(in crate::engine) struct Lop3;
impl Handler for Lop3 {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b, c) = (cx.read32(op.a), cx.read32(op.b), cx.read32(op.c));
        let mut term = [0u32; 8];
        for (i, t) in term.iter_mut().enumerate() {
            *t = if op.imm >> i & 1 != 0 { u32::MAX } else { 0 };
        }
        let mut r = [0; LANES];
        for i in 0..LANES {
            let (x, y, z) = (a[i], b[i], c[i]);
            let with = |t0: u32, t1: u32| (t0 & !z) | (t1 & z);
            let low = (with(term[0], term[1]) & !y) | (with(term[2], term[3]) & y);
            let high = (with(term[4], term[5]) & !y) | (with(term[6], term[7]) & y);
            r[i] = (low & !x) | (high & x);
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// Which part of an extended-precision operation.
pub(in crate::engine) trait Carry {
    /// Result and carry-out of one lane.
    fn call<T: Int>(a: T, b: T, c: T, carry: bool) -> (T, bool);
}

/// `a + b + carry`
pub(in crate::engine) struct WithCarry;
/// `a - b - borrow`
pub(in crate::engine) struct WithBorrow;
/// low half of `a * b`, `+ c + carry`
pub(in crate::engine) struct LowWithCarry;
/// high half of `a * b`, `+ c + carry`
pub(in crate::engine) struct HighWithCarry;

#[inline(always)]
fn add_carry<T: Int>(a: T, b: T, carry: bool) -> (T, bool) {
    let sum = u128::from(a.to_bits()) + u128::from(b.to_bits()) + u128::from(carry);
    (T::from_bits(sum as u64), sum >> T::BITS != 0)
}

impl Carry for WithCarry {
    #[inline(always)]
    fn call<T: Int>(a: T, b: T, _: T, carry: bool) -> (T, bool) {
        add_carry(a, b, carry)
    }
}

impl Carry for WithBorrow {
    #[inline(always)]
    fn call<T: Int>(a: T, b: T, _: T, borrow: bool) -> (T, bool) {
        let takes = u128::from(b.to_bits()) + u128::from(borrow);
        let difference = u128::from(a.to_bits()).wrapping_sub(takes);
        (T::from_bits(difference as u64), u128::from(a.to_bits()) < takes)
    }
}

impl Carry for LowWithCarry {
    #[inline(always)]
    fn call<T: Int>(a: T, b: T, c: T, carry: bool) -> (T, bool) {
        add_carry(a.mul(b), c, carry)
    }
}

impl Carry for HighWithCarry {
    #[inline(always)]
    fn call<T: Int>(a: T, b: T, c: T, carry: bool) -> (T, bool) {
        add_carry(a.mul_hi(b), c, carry)
    }
}

/// An operation with carry: `imm` holds carry-in ([`Pred`]) and carry-out (index, 0 for none).
pub(in crate::engine) struct Carrying<F, T>(PhantomData<(F, T)>);
impl<F: Carry, T: Int> Handler for Carrying<F, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b, c) = (T::read(cx, op.a), T::read(cx, op.b), T::read(cx, op.c));
        let carry_in = cx.pred(Pred(op.imm as u32));
        let carry_out = (op.imm >> 32) as u32;
        let mut r = [T::default(); LANES];
        let mut carries = 0;
        for i in 0..LANES {
            let (value, carry) = F::call(a[i], b[i], c[i], carry_in >> i & 1 != 0);
            r[i] = value;
            carries |= u32::from(carry) << i;
        }
        T::write(cx, op.dst, r);
        if carry_out != 0 {
            cx.write_pred(carry_out, carries);
        }
        Flow::Next
    }
}

/// Inserts the low bits of `a` into `b`; `c` and the row `imm` are position and length.
pub(in crate::engine) struct Bfi<T>(PhantomData<T>);
impl<T: Int> Handler for Bfi<T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let (a, b) = (T::read(cx, op.a), T::read(cx, op.b));
        let pos = cx.read32(op.c);
        let len = cx.read32(super::super::code::Slot(op.imm as u32));
        let mut r = [T::default(); LANES];
        for i in 0..LANES {
            let (pos, len) = (pos[i] & 0xff, len[i] & 0xff);
            let ones = 1u64.checked_shl(len).map_or(u64::MAX, |bit| bit - 1);
            let mask = ones.checked_shl(pos).unwrap_or(0);
            let field = a[i].to_bits().checked_shl(pos).unwrap_or(0);
            r[i] = T::from_bits(b[i].to_bits() & !mask | field & mask);
        }
        T::write(cx, op.dst, r);
        Flow::Next
    }
}
