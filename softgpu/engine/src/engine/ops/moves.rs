//! Copies, packing and unpacking of registers.

use super::super::code::{Op, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::lane_fn;

lane_fn!(Mov32(a: u32) -> u32 { a });
lane_fn!(Mov64(a: u64) -> u64 { a });
lane_fn!(Join32(low: u32, high: u32) -> u64 { u64::from(high) << 32 | u64::from(low) });
lane_fn!(Low32(a: u64) -> u32 { a as u32 });
lane_fn!(High32(a: u64) -> u32 { (a >> 32) as u32 });
lane_fn!(Widen(a: u32) -> u64 { u64::from(a) });
lane_fn!(WidenSigned(a: i32) -> i64 { i64::from(a) });

/// `dst = a >> imm`, for taking a word apart.
pub(in crate::engine) struct Shift32;
impl Handler for Shift32 {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mut r = cx.read32(op.a);
        for word in &mut r {
            *word >>= op.imm & 31;
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// Joins the low `BITS` of up to four rows into one word.
pub(in crate::engine) struct Pack32<const BITS: u32>;
impl<const BITS: u32> Handler for Pack32<BITS> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let mut r = [0; LANES];
        for (n, slot) in cx.list(op).iter().take(32 / BITS as usize).enumerate() {
            let part = cx.read32(*slot);
            for i in 0..LANES {
                r[i] |= (part[i] & (u32::MAX >> (32 - BITS))) << (BITS * n as u32);
            }
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}
