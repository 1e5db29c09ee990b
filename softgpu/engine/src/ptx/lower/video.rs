//! Video instructions.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, text, Result};
use crate::ptx::modifiers::Type;
use crate::ptx::operand::{Raw, RawOperand};
use crate::ptx::resolve::Immediate;

/// Parts of a video instruction by its name: `vadd`, `vadd2`, `vadd4`.
fn parts(base: &[u8]) -> u8 {
    match base.last() {
        Some(b'2') => 2,
        Some(b'4') => 4,
        _ => 1,
    }
}

/// An operand split into what it is without and its selection.
struct Selected<'a> {
    operand: RawOperand<'a>,
    selector: &'a [u8],
    negated: bool,
}

fn selected(operand: RawOperand<'_>) -> Selected<'_> {
    match operand.raw {
        Raw::Part { name, selector, negated } => {
            Selected { operand: RawOperand { raw: Raw::Name(name), at: operand.at }, selector, negated }
        }
        _ => Selected { operand, selector: b"", negated: false },
    }
}

/// Numbers of the parts that a selection like `h10` or `b3210` names, lowest first.
fn numbers(selector: &[u8], unit: u8, limit: u8) -> Option<Vec<u8>> {
    let (first, digits) = selector.split_first()?;
    if *first != unit {
        return None;
    }
    digits.iter().rev().map(|digit| digit.checked_sub(b'0').filter(|number| *number < limit)).collect()
}

/// The one part of a word that a selection names.
fn single(selector: &[u8]) -> Option<(u8, u8)> {
    match selector {
        [] => Some((0, 32)),
        [b'b', n @ b'0'..=b'3'] => Some(((n - b'0') * 8, 8)),
        [b'h', n @ b'0'..=b'1'] => Some(((n - b'0') * 16, 16)),
        _ => None,
    }
}

fn wrong_selector<T>(selector: &[u8]) -> Result<T> {
    invalid(format!("`.{}` selects nothing here", text(selector)))
}

impl<'a> Lower<'_, 'a> {
    /// `vadd`, `vsub`, `vabsdiff`, `vmin`, `vmax`, `vavrg`, `vset`, `vshl` and `vshr`, also of two and four parts.
    pub(super) fn video(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let parts = parts(s.base);
        let name = if parts == 1 { s.base } else { &s.base[..s.base.len() - 1] };
        let op = match name {
            b"vadd" => VideoOp::Add,
            b"vsub" => VideoOp::Sub,
            b"vabsdiff" => VideoOp::AbsDiff,
            b"vmin" => VideoOp::Min,
            b"vmax" => VideoOp::Max,
            b"vavrg" => VideoOp::Average,
            b"vset" => VideoOp::Set(self.video_comparison(s)?),
            _ => {
                let wrap = s.modifiers.take("wrap");
                if !wrap && !s.modifiers.take("clamp") {
                    return invalid("`.clamp` or `.wrap` is missing");
                }
                if name == b"vshl" {
                    VideoOp::Shl { wrap }
                } else {
                    VideoOp::Shr { wrap }
                }
            }
        };
        // Results of comparisons are unsigned, and have no type of their own.
        let signed = if matches!(op, VideoOp::Set(_)) { false } else { self.word_ty(s)? };
        let (a_signed, b_signed) = (self.word_ty(s)?, self.word_ty(s)?);
        let saturate = s.modifiers.take("sat");
        let second = s.modifiers.take_map(|name| {
            Some(match name {
                b"add" => VideoSecond::Add,
                b"min" => VideoSecond::Min,
                b"max" => VideoSecond::Max,
                _ => return None,
            })
        });
        let (d, a, b) = (selected(s.operand(0)?), selected(s.operand(1)?), selected(s.operand(2)?));
        let (part_a, part_b, bits, shift, mask);
        if parts == 1 {
            let needs_c = second.is_some() || !d.selector.is_empty();
            s.arity(if needs_c { 4 } else { 3 }, if needs_c { 4 } else { 3 })?;
            (part_a, part_b) = (word_part(a.selector, a_signed)?, word_part(b.selector, b_signed)?);
            let Some(place) = single(d.selector) else { return wrong_selector(d.selector) };
            (shift, bits) = place;
            mask = 1;
        } else {
            s.arity(4, 4)?;
            (part_a, part_b) =
                (pair_parts(parts, a.selector, a_signed, 0)?, pair_parts(parts, b.selector, b_signed, parts)?);
            (shift, bits) = (0, 32 / parts);
            mask = match numbers(d.selector, unit(parts), parts) {
                None if d.selector.is_empty() => (1 << parts) - 1,
                None => return wrong_selector(d.selector),
                Some(numbers) => numbers.iter().fold(0, |mask, number| mask | 1 << number),
            };
        }
        let form = VideoForm::Parts {
            op,
            second: second.unwrap_or(VideoSecond::Merge),
            parts,
            bits,
            shift,
            mask,
            saturate,
            signed,
            a: part_a,
            b: part_b,
        };
        let c = if s.operand_count() == 4 { self.bits(s, 3, 32)? } else { Operand::Imm(0) };
        self.video_op(form, d.operand, [a.operand, b.operand], c)
    }

    /// `vmad`.
    pub(super) fn video_mad(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(4, 4)?;
        self.word_ty(s)?;
        let (a_signed, b_signed) = (self.word_ty(s)?, self.word_ty(s)?);
        let plus_one = s.modifiers.take("po");
        let saturate = s.modifiers.take("sat");
        let shift = s.modifiers.take_map(|name| match name {
            b"shr7" => Some(7),
            b"shr15" => Some(15),
            _ => None,
        });
        let (a, b, c) = (selected(s.operand(1)?), selected(s.operand(2)?), selected(s.operand(3)?));
        let negate_product = a.negated != b.negated;
        if !c.selector.is_empty() {
            return wrong_selector(c.selector);
        }
        if plus_one && (negate_product || c.negated) || negate_product && c.negated {
            return invalid("`vmad` negates the product or `c`, not with `.po`");
        }
        let form = VideoForm::Mad {
            a: word_part(a.selector, a_signed)?[0],
            b: word_part(b.selector, b_signed)?[0],
            negate_product,
            negate_c: c.negated,
            plus_one,
            saturate,
            shift: shift.unwrap_or(0),
        };
        let c = self.src_of(c.operand, Immediate::Bits(32))?;
        self.video_op(form, s.operand(0)?, [a.operand, b.operand], c)
    }

    fn video_op(&mut self, form: VideoForm, d: RawOperand<'a>, [a, b]: [RawOperand<'a>; 2], c: Operand) -> Result<Op> {
        let (a, b) = (self.src_of(a, Immediate::Bits(32))?, self.src_of(b, Immediate::Bits(32))?);
        Ok(Op::Video(Video { form, dst: self.dst_of(d, 32)?, a, b, c }))
    }

    /// Takes `.u32` or `.s32`: whether it is signed.
    fn word_ty(&self, s: &mut Statement) -> Result<bool> {
        match self.ty(s)? {
            Type::Int(IntType::U32) => Ok(false),
            Type::Int(IntType::S32) => Ok(true),
            _ => self.wrong_type(s),
        }
    }

    fn video_comparison(&self, s: &mut Statement) -> Result<Cmp> {
        let cmp = s.modifiers.take_map(|name| {
            Some(match name {
                b"eq" => Cmp::Eq,
                b"ne" => Cmp::Ne,
                b"lt" => Cmp::Lt,
                b"le" => Cmp::Le,
                b"gt" => Cmp::Gt,
                b"ge" => Cmp::Ge,
                _ => return None,
            })
        });
        cmp.map_or_else(|| invalid("a comparison operator such as `.eq` is missing"), Ok)
    }
}

fn unit(parts: u8) -> u8 {
    if parts == 2 {
        b'h'
    } else {
        b'b'
    }
}

fn word_part(selector: &[u8], signed: bool) -> Result<[VideoPart; 4]> {
    match single(selector) {
        Some((shift, bits)) => Ok([VideoPart { shift, bits, signed }; 4]),
        None => wrong_selector(selector),
    }
}

/// Parts out of `a` and `b`, by default `parts` of them from `first` on.
fn pair_parts(parts: u8, selector: &[u8], signed: bool, first: u8) -> Result<[VideoPart; 4]> {
    let bits = 32 / parts;
    let numbers = match numbers(selector, unit(parts), 2 * parts) {
        None if selector.is_empty() => (first..first + parts).collect(),
        Some(numbers) if numbers.len() == usize::from(parts) => numbers,
        _ => return wrong_selector(selector),
    };
    let part = |number: u8| VideoPart { shift: number * bits, bits, signed };
    Ok(std::array::from_fn(|i| part(numbers.get(i).copied().unwrap_or(0))))
}
