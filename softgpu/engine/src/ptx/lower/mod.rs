//! Instructions to operations of the IR.

mod call;
mod compare;
mod control;
mod convert;
mod float;
mod integer;
mod matrix;
mod mbarrier;
mod memory;
mod stack;
mod texture;
mod video;
mod warp;

use super::builder::Builder;
use super::error::{invalid, text, Result};
use super::modifiers::{Modifiers, Type};
use super::operand::Operands;
use super::resolve::Immediate;
use super::tables::Tables;
use crate::ir::*;

/// One instruction as written.
pub(super) struct Statement<'s, 'a> {
    pub(super) base: &'a [u8],
    pub(super) modifiers: Modifiers<'a>,
    pub(super) guard: Option<Guard>,
    pub(super) operands: &'s Operands<'a>,
}

/// Lowers statements into `builder`.
pub(super) struct Lower<'c, 'a> {
    pub(super) tables: &'c mut Tables<'a>,
    pub(super) builder: &'c mut Builder<'a>,
}

/// Whether this is a PTX instruction that is not implemented.
pub(super) fn is_unsupported(base: &[u8], modifiers: &Modifiers) -> bool {
    match base {
        b"wgmma" | b"tcgen05" | b"multimem" | b"tensormap" | b"mapa" | b"getctarank" | b"clusterlaunchcontrol" => true,
        b"mbarrier" => modifiers.has("expect_tx") || modifiers.has("complete_tx"),
        b"cp" => modifiers.has("bulk") || modifiers.has("reduce"),
        b"st" => modifiers.has("async") || modifiers.has("bulk"),
        b"red" => modifiers.has("async"),
        b"barrier" => modifiers.has("cluster"),
        b"fence" => modifiers.has("tensormap::generic") || modifiers.has("proxy") && modifiers.has("tensormap"),
        _ => false,
    }
}

impl<'a> Lower<'_, 'a> {
    /// Lowers one instruction.
    pub(super) fn statement(&mut self, s: &mut Statement<'_, 'a>) -> Result<()> {
        if let Some(terminator) = self.terminator(s)? {
            self.finish(s)?;
            self.builder.terminate(s.guard, terminator);
            return Ok(());
        }
        if self.is_hint(s)? {
            return Ok(());
        }
        let op = self.operation(s)?;
        self.finish(s)?;
        self.builder.push(s.guard, op);
        Ok(())
    }

    /// Complains about modifiers that no one took.
    fn finish(&self, s: &Statement) -> Result<()> {
        match s.modifiers.leftover() {
            Some(modifier) => invalid(format!("unexpected modifier `.{}` on `{}`", text(modifier), text(s.base))),
            None => Ok(()),
        }
    }

    /// Whether the instruction only advises the hardware.
    fn is_hint(&mut self, s: &Statement) -> Result<bool> {
        Ok(match s.base {
            b"prefetch" | b"prefetchu" | b"applypriority" | b"discard" => {
                s.arity(1, 2)?;
                true
            }
            b"pmevent" | b"griddepcontrol" | b"setmaxnreg" => true,
            // Asynchronous copies complete at once. Without `.noinc`, an arrival on
            // their behalf is also counted as one more to wait for.
            b"cp" => {
                let arrive = s.modifiers.has("mbarrier") && !s.modifiers.has("noinc");
                arrive || ["commit_group", "wait_group", "wait_all"].iter().any(|name| s.modifiers.has(name))
            }
            _ => false,
        })
    }

    fn operation(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        match s.base {
            b"mov" => self.mov(s),
            b"ld" | b"ldu" => self.load(s),
            b"st" => self.store(s),
            b"add" | b"sub" | b"mul" | b"mad" | b"div" | b"min" | b"max" | b"neg" | b"abs" => self.arithmetic(s),
            b"setp" => self.setp(s),
            b"cvt" => self.cvt(s),
            b"and" | b"or" | b"xor" | b"not" => self.logic(s),
            b"fma" => self.fma(s),
            b"call" => self.call(s),
            b"set" => self.set(s),
            b"selp" => self.selp(s),
            b"slct" => self.slct(s),
            b"cvta" => self.cvta(s),
            b"isspacep" => self.isspacep(s),
            b"atom" => self.atom(s, true),
            b"red" => self.atom(s, false),
            b"mbarrier" => self.mbarrier(s),
            b"cp" if s.modifiers.has("mbarrier") => self.cp_async_arrive(s),
            b"cp" => self.cp_async(s),
            b"membar" | b"fence" => self.fence(s),
            b"bar" | b"barrier" => self.barrier(s),
            b"shfl" => self.shfl(s),
            b"vote" => self.vote(s),
            b"match" => self.match_lanes(s),
            b"activemask" => self.activemask(s),
            b"redux" => self.redux(s),
            b"elect" => self.elect(s),
            b"nanosleep" => self.nanosleep(s),
            b"mma" => self.mma(s),
            b"wmma" => self.wmma(s),
            b"ldmatrix" | b"stmatrix" => self.tiles(s),
            b"movmatrix" => self.movmatrix(s),
            b"alloca" => self.alloca(s),
            b"stacksave" => self.stack_save(s),
            b"stackrestore" => self.stack_restore(s),
            b"vmad" => self.video_mad(s),
            b"vadd" | b"vadd2" | b"vadd4" | b"vsub" | b"vsub2" | b"vsub4" | b"vavrg2" | b"vavrg4" => self.video(s),
            b"vabsdiff" | b"vabsdiff2" | b"vabsdiff4" | b"vset" | b"vset2" | b"vset4" => self.video(s),
            b"vmin" | b"vmin2" | b"vmin4" | b"vmax" | b"vmax2" | b"vmax4" | b"vshl" | b"vshr" => self.video(s),
            b"createpolicy" => self.createpolicy(s),
            b"rcp" | b"sqrt" | b"rsqrt" | b"sin" | b"cos" | b"lg2" | b"ex2" | b"tanh" => self.float_function(s),
            b"tex" => self.tex(s),
            b"tld4" => self.gather(s),
            b"txq" | b"suq" => self.tex_query(s),
            b"suld" => self.surface_load(s),
            b"sust" => self.surface_store(s),
            b"sured" => self.surface_reduce(s),
            b"istypep" => self.istypep(s),
            b"copysign" => self.copysign(s),
            b"testp" => self.testp(s),
            _ => self.integer_operation(s),
        }
    }

    /// The type modifier of an instruction that has one.
    fn ty(&self, s: &mut Statement) -> Result<Type> {
        match s.modifiers.take_type() {
            Some(ty) => Ok(ty),
            None => invalid(format!("`{}` needs a type", text(s.base))),
        }
    }

    /// The type modifier, which must be an integer type or untyped bits.
    fn int_ty(&self, s: &mut Statement) -> Result<IntType> {
        let ty = self.ty(s)?;
        ty.int().map_or_else(|| self.wrong_type(s), Ok)
    }

    /// The type modifier, which must be a floating-point type.
    fn float_ty(&self, s: &mut Statement) -> Result<FloatType> {
        let ty = self.ty(s)?;
        ty.float().map_or_else(|| self.wrong_type(s), Ok)
    }

    /// The type modifier as a width.
    fn width(&self, s: &mut Statement) -> Result<Width> {
        let ty = self.ty(s)?;
        ty.width().map_or_else(|| self.wrong_type(s), Ok)
    }

    fn wrong_type<T>(&self, s: &Statement) -> Result<T> {
        invalid(format!("`{}` is not defined for this type", text(s.base)))
    }

    fn dst(&mut self, s: &Statement<'_, 'a>, index: usize, bits: u32) -> Result<Reg> {
        self.dst_of(s.operand(index)?, bits)
    }

    fn pred_dst(&mut self, s: &Statement<'_, 'a>, index: usize) -> Result<Reg> {
        self.dst_of(s.operand(index)?, 1)
    }

    /// Source of `bits` untyped or integer bits.
    fn bits(&mut self, s: &Statement<'_, 'a>, index: usize, bits: u32) -> Result<Operand> {
        self.src_of(s.operand(index)?, Immediate::Bits(bits))
    }

    fn float(&mut self, s: &Statement<'_, 'a>, index: usize, ty: FloatType) -> Result<Operand> {
        self.src_of(s.operand(index)?, Immediate::Float(ty))
    }

    fn pred(&mut self, s: &Statement<'_, 'a>, index: usize) -> Result<PredOperand> {
        self.pred_of(s.operand(index)?)
    }

    /// A predicate input that may be left out.
    fn optional_pred(&mut self, s: &Statement<'_, 'a>, index: usize) -> Result<Option<PredOperand>> {
        if index < s.operand_count() {
            return self.pred(s, index).map(Some);
        }
        Ok(None)
    }
}
