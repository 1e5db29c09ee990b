//! Video instructions.

use super::super::code::{Op, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use crate::ir::{Cmp, VideoForm, VideoOp, VideoPart, VideoSecond};

/// Video instruction `imm` of [`super::super::code::Code::videos`].
pub(in crate::engine) struct Video;
impl Handler for Video {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let form = &cx.code.videos[op.imm as usize];
        let (a, b, c) = (cx.read32(op.a), cx.read32(op.b), cx.read32(op.c));
        let mut r = [0; LANES];
        for i in cx.lanes() {
            r[i] = video(form, a[i], b[i], c[i]);
        }
        cx.write32(op.dst, r);
        Flow::Next
    }
}

/// What a video instruction gives for one lane.
fn video(form: &VideoForm, a: u32, b: u32, c: u32) -> u32 {
    match *form {
        VideoForm::Mad { a: part_a, b: part_b, negate_product, negate_c, plus_one, saturate, shift } => {
            let signed = part_a.signed || part_b.signed || negate_product || negate_c;
            let mut product = extract(u64::from(a), part_a) * extract(u64::from(b), part_b);
            let mut c = if signed { i128::from(c as i32) } else { i128::from(c) };
            if negate_product {
                product = -product;
            }
            if negate_c {
                c = -c;
            }
            let sum = product + c + i128::from(plus_one);
            let result = (sum >> shift) as u64;
            match (saturate, signed) {
                (false, _) => result as u32,
                (true, true) => (result as i64).clamp(i32::MIN.into(), i32::MAX.into()) as u32,
                (true, false) => result.min(u32::MAX.into()) as u32,
            }
        }
        VideoForm::Parts { op, second, parts: 1, bits, shift, saturate, signed, a: part_a, b: part_b, .. } => {
            let value = first(op, extract(u64::from(a), part_a[0]), extract(u64::from(b), part_b[0]));
            let value = if saturate { clamp(value, bits, signed) } else { value };
            let whole = if signed { i128::from(c as i32) } else { i128::from(c) };
            match second {
                VideoSecond::Merge => insert(c, value, shift, bits),
                VideoSecond::Add => value.wrapping_add(whole) as u32,
                // The first result is as wide as the destination by now.
                VideoSecond::Min => word(value, signed).min(whole) as u32,
                VideoSecond::Max => word(value, signed).max(whole) as u32,
            }
        }
        VideoForm::Parts { op, second, parts, bits, mask, saturate, signed, a: part_a, b: part_b, .. } => {
            let both = u64::from(b) << 32 | u64::from(a);
            let mut result = c;
            for part in 0..parts {
                if mask >> part & 1 == 0 {
                    continue;
                }
                let (x, y) = (extract(both, part_a[usize::from(part)]), extract(both, part_b[usize::from(part)]));
                let value = first(op, x, y);
                let value = if saturate { clamp(value, bits, signed) } else { value };
                result = match second {
                    VideoSecond::Merge => insert(result, value, part * bits, bits),
                    _ => result.wrapping_add(value as u32),
                };
            }
            result
        }
    }
}

/// Sign- or zero-extends a part.
fn extract(word: u64, part: VideoPart) -> i128 {
    let (bits, value) = (u32::from(part.bits), word >> part.shift);
    let top = value << (64 - bits);
    if part.signed {
        i128::from(top as i64 >> (64 - bits))
    } else {
        i128::from(top >> (64 - bits))
    }
}

fn first(op: VideoOp, a: i128, b: i128) -> i128 {
    match op {
        VideoOp::Add => a + b,
        VideoOp::Sub => a - b,
        VideoOp::AbsDiff => (a - b).abs(),
        VideoOp::Min => a.min(b),
        VideoOp::Max => a.max(b),
        VideoOp::Average => {
            let sum = a + b;
            (sum + i128::from(sum >= 0)) >> 1
        }
        VideoOp::Shl { wrap } => a.wrapping_shl(amount(b, wrap)),
        VideoOp::Shr { wrap } => a.wrapping_shr(amount(b, wrap)),
        VideoOp::Set(cmp) => i128::from(match cmp {
            Cmp::Eq => a == b,
            Cmp::Ne => a != b,
            Cmp::Lt => a < b,
            Cmp::Le => a <= b,
            Cmp::Gt => a > b,
            _ => a >= b,
        }),
    }
}

fn amount(b: i128, wrap: bool) -> u32 {
    if wrap {
        (b & 31) as u32
    } else {
        // The amount is unsigned.
        (b as u32).min(32)
    }
}

/// Clamps to the range of `bits` bits.
fn clamp(value: i128, bits: u8, signed: bool) -> i128 {
    if signed {
        value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        value.clamp(0, (1 << bits) - 1)
    }
}

/// The low 32 bits as a number.
fn word(value: i128, signed: bool) -> i128 {
    if signed {
        i128::from(value as i32)
    } else {
        i128::from(value as u32)
    }
}

/// `word` with `bits` bits of `value` from bit `shift` on.
fn insert(word: u32, value: i128, shift: u8, bits: u8) -> u32 {
    let mask = (u32::MAX >> (32 - u32::from(bits))) << shift;
    word & !mask | (value as u32) << shift & mask
}
