//! Types of one lane's value and how they lie in register rows.

use super::super::code::{Slot, LANES};
use super::super::cx::Cx;

/// Applies a function to each value; unlike the array's own method, certain to be inlined.
#[inline(always)]
pub(in crate::engine) fn map<A: Copy, R: Copy + Default, const N: usize>(values: [A; N], f: impl Fn(A) -> R) -> [R; N] {
    let mut results = [R::default(); N];
    for i in 0..N {
        results[i] = f(values[i]);
    }
    results
}

/// A value of one lane.
pub(in crate::engine) trait Lane: Copy + Default {
    fn read(cx: &Cx<'_>, slot: Slot) -> [Self; LANES];
    fn write(cx: &mut Cx<'_>, dst: u32, values: [Self; LANES]);
}

macro_rules! in_one_row {
    ($($ty:ty, $from:expr, $to:expr;)*) => {$(
        impl Lane for $ty {
            #[inline(always)]
            fn read(cx: &Cx<'_>, slot: Slot) -> [$ty; LANES] {
                let row = cx.row(slot);
                let mut values = [<$ty>::default(); LANES];
                for i in 0..LANES {
                    values[i] = $from(row[i]);
                }
                values
            }

            #[inline(always)]
            fn write(cx: &mut Cx<'_>, dst: u32, values: [$ty; LANES]) {
                let mut row = [0; LANES];
                for i in 0..LANES {
                    row[i] = $to(values[i]);
                }
                cx.write32(dst, row);
            }
        }
    )*};
}

in_one_row! {
    u8, |x: u32| x as u8, |v: u8| u32::from(v);
    i8, |x: u32| x as i8, |v: i8| v as u32;
    u16, |x: u32| x as u16, |v: u16| u32::from(v);
    i16, |x: u32| x as i16, |v: i16| v as u32;
    u32, |x: u32| x, |v: u32| v;
    i32, |x: u32| x as i32, |v: i32| v as u32;
    f32, f32::from_bits, f32::to_bits;
}

macro_rules! in_two_rows {
    ($($ty:ty, $from:expr, $to:expr;)*) => {$(
        impl Lane for $ty {
            #[inline(always)]
            fn read(cx: &Cx<'_>, slot: Slot) -> [$ty; LANES] {
                let words = cx.read64(slot);
                let mut values = [<$ty>::default(); LANES];
                for i in 0..LANES {
                    values[i] = $from(words[i]);
                }
                values
            }

            #[inline(always)]
            fn write(cx: &mut Cx<'_>, dst: u32, values: [$ty; LANES]) {
                let mut words = [0; LANES];
                for i in 0..LANES {
                    words[i] = $to(values[i]);
                }
                cx.write64(dst, words);
            }
        }
    )*};
}

in_two_rows! {
    u64, |x: u64| x, |v: u64| v;
    i64, |x: u64| x as i64, |v: i64| v as u64;
    f64, f64::from_bits, f64::to_bits;
}

/// Integers of PTX.
pub(in crate::engine) trait Int: Lane + PartialEq + PartialOrd + Ord {
    const BITS: u32;
    const SIGNED: bool;
    const MIN: Self;
    const MAX: Self;
    /// Sign- or zero-extends.
    fn wide(self) -> i128;
    /// Keeps the low bits.
    fn truncate(value: i128) -> Self;
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
    fn mul_hi(self, other: Self) -> Self;
    fn shl(self, amount: u32) -> Self;
    fn shr(self, amount: u32) -> Self;
}

macro_rules! int {
    ($($ty:ty, $unsigned:ty, $double:ty, $signed:expr;)*) => {$(
        impl Int for $ty {
            const BITS: u32 = <$ty>::BITS;
            const SIGNED: bool = $signed;
            const MIN: Self = <$ty>::MIN;
            const MAX: Self = <$ty>::MAX;
            #[inline(always)]
            fn wide(self) -> i128 { self as i128 }
            #[inline(always)]
            fn truncate(value: i128) -> Self { value as $ty }
            #[inline(always)]
            fn to_bits(self) -> u64 { u64::from(self as $unsigned) }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self { bits as $ty }
            #[inline(always)]
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                if other == 0 { !0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn rem(self, other: Self) -> Self {
                if other == 0 { self } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            fn mul_hi(self, other: Self) -> Self {
                (<$double>::from(self).wrapping_mul(<$double>::from(other)) >> <$ty>::BITS) as $ty
            }
            #[inline(always)]
            fn shl(self, amount: u32) -> Self {
                if amount < <$ty>::BITS { self.wrapping_shl(amount) } else { 0 }
            }
            #[inline(always)]
            fn shr(self, amount: u32) -> Self {
                let last = self.wrapping_shr(amount.min(<$ty>::BITS - 1));
                if amount < <$ty>::BITS || $signed { last } else { 0 }
            }
        }
    )*};
}

int! {
    u8, u8, u16, false;
    i8, u8, i16, true;
    u16, u16, u32, false;
    i16, u16, i32, true;
    u32, u32, u64, false;
    i32, u32, i64, true;
    u64, u64, u128, false;
    i64, u64, i128, true;
}
