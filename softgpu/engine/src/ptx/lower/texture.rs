//! Texture and surface instructions. Objects are named by 64-bit values in registers.

use super::memory::atom_op;
use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, unsupported, Result};
use crate::ptx::modifiers::Type;
use crate::ptx::operand::{Raw, RawOperand};
use crate::ptx::resolve::Immediate;
use crate::ptx::scope::Binding;

/// Coordinates are `f32` or `s32`.
fn number(integer: bool) -> Immediate {
    if integer {
        Immediate::Bits(32)
    } else {
        Immediate::Float(FloatType::F32)
    }
}

fn geometry(s: &mut Statement) -> Result<TexGeometry> {
    let geometry = s.modifiers.take_map(|name| {
        Some(match name {
            b"1d" => TexGeometry::D1,
            b"2d" => TexGeometry::D2,
            b"3d" => TexGeometry::D3,
            b"a1d" => TexGeometry::D1Array,
            b"a2d" => TexGeometry::D2Array,
            b"cube" => TexGeometry::Cube,
            b"acube" => TexGeometry::CubeArray,
            _ => return None,
        })
    });
    match geometry {
        Some(geometry) => Ok(geometry),
        None if s.modifiers.has("2dms") || s.modifiers.has("a2dms") => {
            s.modifiers.take_all(|_| true);
            unsupported("texture with several samples a texel")
        }
        None => invalid("a geometry such as `.2d` is missing"),
    }
}

fn bounds(s: &mut Statement) -> Result<SurfBounds> {
    let bounds = s.modifiers.take_map(|name| {
        Some(match name {
            b"trap" => SurfBounds::Trap,
            b"clamp" => SurfBounds::Clamp,
            b"zero" => SurfBounds::Zero,
            _ => return None,
        })
    });
    bounds.map_or_else(|| invalid("`.trap`, `.clamp` or `.zero` is missing"), Ok)
}

/// Takes the number of elements of a surface access and hints to caches.
fn surface_vector(s: &mut Statement) -> usize {
    s.modifiers.take_all(|name| matches!(name, b"ca" | b"cg" | b"cs" | b"cv" | b"wb" | b"wt"));
    match (s.modifiers.take("v2"), s.modifiers.take("v4")) {
        (true, _) => 2,
        (_, true) => 4,
        _ => 1,
    }
}

impl<'a> Lower<'_, 'a> {
    /// The object of `[name, …]` or `[name]`.
    fn object(&mut self, operand: RawOperand<'a>) -> Result<Operand> {
        let (Raw::Object { name, .. } | Raw::Address(name, 0)) = operand.raw else {
            return invalid("a texture or surface in brackets is needed");
        };
        let named = RawOperand { raw: Raw::Name(name), at: operand.at };
        let Binding::Opaque(index) = self.binding_of(named)? else { return self.src_of(named, Immediate::Bits(64)) };
        // A reference holds the handle of what is bound to it.
        let base = Operand::Symbol { id: self.tables.variable_symbol(index), offset: 0 };
        let dst = self.scratch(64);
        let (ty, addr) = (MemType::U(Width::W64), Address { base, offset: 0 });
        self.builder.push(None, Op::Load { ty, space: Space::Global, ordering: Ordering::Weak, dst, addr });
        Ok(Operand::Reg(dst))
    }

    /// The layer, if there is one, and the coordinates.
    fn place(
        &mut self,
        s: &Statement<'_, 'a>,
        operand: RawOperand<'a>,
        geometry: TexGeometry,
        integer: bool,
    ) -> Result<Vec<Operand>> {
        let wanted = usize::from(geometry.is_array()) + geometry.dimensions();
        let elements = s.elements(operand);
        // A vector of three is written as four.
        if elements.len() < wanted || elements.len() > wanted.next_power_of_two() {
            return invalid(format!("{wanted} coordinates are needed, found {}", elements.len()));
        }
        let mut sources = Vec::with_capacity(wanted);
        for (i, element) in elements.into_iter().take(wanted).enumerate() {
            let is_layer = i == 0 && geometry.is_array();
            sources.push(self.src_of(element, number(integer || is_layer))?);
        }
        Ok(sources)
    }

    /// Results of a fetch: registers of four channels, or of two pairs.
    fn channels(&mut self, s: &Statement<'_, 'a>, packed: bool) -> Result<(RegList, Option<Reg>)> {
        let (dst, resident) = s.pair(s.operand(0)?);
        let elements = s.elements(dst);
        if elements.len() != if packed { 2 } else { 4 } {
            return invalid("the results do not fit `.v4` or `.v2.f16x2`");
        }
        let mut regs = Vec::with_capacity(elements.len());
        for element in elements {
            regs.push(self.dst_of(element, 32)?);
        }
        let resident = resident.map(|operand| self.dst_of(operand, 1)).transpose()?;
        Ok((self.builder.reg_list(regs), resident))
    }

    /// Takes the vector size and type of the results: whether they are pairs of halves.
    fn result_type(&self, s: &mut Statement) -> Result<bool> {
        let pairs = s.modifiers.take("v2");
        if !pairs && !s.modifiers.take("v4") {
            return invalid("`.v4` or `.v2.f16x2` is missing");
        }
        match (self.ty(s)?, pairs) {
            (Type::Float(FloatType::F16x2), true) => Ok(true),
            (Type::Float(FloatType::F32) | Type::Int(IntType::U32 | IntType::S32), false) => Ok(false),
            _ => self.wrong_type(s),
        }
    }

    pub(super) fn tex(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let mode = match (s.modifiers.take("level"), s.modifiers.take("grad")) {
            (true, _) => TexMode::Level,
            (_, true) => TexMode::Grad,
            _ => TexMode::Base,
        };
        s.modifiers.take("base");
        let geometry = geometry(s)?;
        let packed = self.result_type(s)?;
        let integer = match self.ty(s)? {
            Type::Int(IntType::S32) => true,
            Type::Float(FloatType::F32) => false,
            _ => return self.wrong_type(s),
        };
        let extra = match mode {
            TexMode::Level => 1,
            TexMode::Grad => 2,
            _ => 0,
        };
        if s.operand_count() > 2 + extra {
            return unsupported("texture fetch with an offset or a depth comparison");
        }
        s.arity(2 + extra, 2 + extra)?;
        let handle = self.object(s.operand(1)?)?;
        let mut sources = self.place(s, s.operand(1)?, geometry, integer)?;
        if mode == TexMode::Level {
            sources.push(self.float(s, 2, FloatType::F32)?);
        }
        if mode == TexMode::Grad {
            for index in 2..4 {
                let mut elements = s.elements(s.operand(index)?);
                elements.truncate(geometry.dimensions());
                for i in 0..3 {
                    sources.push(match elements.get(i) {
                        Some(element) => self.src_of(*element, Immediate::Float(FloatType::F32))?,
                        None => Operand::Imm(0),
                    });
                }
            }
        }
        let (dst, resident) = self.channels(s, packed)?;
        let sources = self.builder.operand_list(sources);
        Ok(Op::Tex(Tex { geometry, mode, integer, packed, dst, resident, handle, sources }))
    }

    /// `tld4`.
    pub(super) fn gather(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let channel = s.modifiers.take_map(|name| {
            Some(match name {
                b"r" => 0,
                b"g" => 1,
                b"b" => 2,
                b"a" => 3,
                _ => return None,
            })
        });
        let Some(channel) = channel else { return invalid("`.r`, `.g`, `.b` or `.a` is missing") };
        let geometry = geometry(s)?;
        let packed = self.result_type(s)?;
        if packed || self.ty(s)? != Type::Float(FloatType::F32) || geometry.dimensions() == 1 {
            return self.wrong_type(s);
        }
        if s.operand_count() > 2 {
            return unsupported("texture gather with an offset or a depth comparison");
        }
        s.arity(2, 2)?;
        let handle = self.object(s.operand(1)?)?;
        let sources = self.place(s, s.operand(1)?, geometry, false)?;
        let (dst, resident) = self.channels(s, false)?;
        let sources = self.builder.operand_list(sources);
        let mode = TexMode::Gather(channel);
        Ok(Op::Tex(Tex { geometry, mode, integer: false, packed: false, dst, resident, handle, sources }))
    }

    /// `txq` and `suq`.
    pub(super) fn tex_query(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let has_level = s.modifiers.take("level");
        let query = s.modifiers.take_map(|name| {
            Some(match name {
                b"width" => TexQuery::Width,
                b"height" => TexQuery::Height,
                b"depth" => TexQuery::Depth,
                b"channel_data_type" => TexQuery::ChannelType,
                b"channel_order" => TexQuery::ChannelOrder,
                b"normalized_coords" => TexQuery::NormalizedCoordinates,
                b"array_size" => TexQuery::ArraySize,
                b"num_mipmap_levels" => TexQuery::Levels,
                b"num_samples" => TexQuery::Samples,
                _ => return None,
            })
        });
        let Some(query) = query else {
            s.modifiers.take_all(|_| true);
            return unsupported("query of a sampler or of a surface's layout");
        };
        self.ty(s)?;
        s.arity(2 + usize::from(has_level), 2 + usize::from(has_level))?;
        let handle = self.object(s.operand(1)?)?;
        let level = if has_level { Some(self.bits(s, 2, 32)?) } else { None };
        Ok(Op::TexQuery { query, dst: self.dst(s, 0, 32)?, handle, level })
    }

    /// `suld.b`.
    pub(super) fn surface_load(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        if !s.modifiers.take("b") {
            return invalid("`suld` needs `.b`");
        }
        let geometry = geometry(s)?;
        let count = surface_vector(s);
        let bounds = bounds(s)?;
        let width = self.width(s)?;
        s.arity(2, 2)?;
        let elements = s.elements(s.operand(0)?);
        if elements.len() != count || width == Width::W128 {
            return self.wrong_type(s);
        }
        let mut regs = Vec::with_capacity(count);
        for element in elements {
            regs.push(self.dst_of(element, width.bits())?);
        }
        let handle = self.object(s.operand(1)?)?;
        let sources = self.place(s, s.operand(1)?, geometry, true)?;
        let (dst, sources) = (self.builder.reg_list(regs), self.builder.operand_list(sources));
        Ok(Op::Surf(Surf { geometry, action: SurfAction::Load(width), bounds, dst, handle, sources }))
    }

    /// `sust.b` and `sust.p`.
    pub(super) fn surface_store(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let formatted = s.modifiers.take("p");
        if !formatted && !s.modifiers.take("b") {
            return invalid("`sust` needs `.b` or `.p`");
        }
        let geometry = geometry(s)?;
        let count = surface_vector(s);
        let bounds = bounds(s)?;
        let width = self.width(s)?;
        s.arity(2, 2)?;
        let elements = s.elements(s.operand(1)?);
        if elements.len() != count || width == Width::W128 || (formatted && width != Width::W32) {
            return self.wrong_type(s);
        }
        let handle = self.object(s.operand(0)?)?;
        let mut sources = self.place(s, s.operand(0)?, geometry, true)?;
        for element in elements {
            sources.push(self.src_of(element, Immediate::Bits(width.bits()))?);
        }
        let action = if formatted { SurfAction::StoreFormatted } else { SurfAction::Store(width) };
        let (dst, sources) = (self.builder.reg_list([]), self.builder.operand_list(sources));
        Ok(Op::Surf(Surf { geometry, action, bounds, dst, handle, sources }))
    }

    /// `sured.b` and `sured.p`.
    pub(super) fn surface_reduce(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let formatted = s.modifiers.take("p");
        if !formatted && !s.modifiers.take("b") {
            return invalid("`sured` needs `.b` or `.p`");
        }
        let op = atom_op(s)?;
        if !matches!(op, AtomOp::Add | AtomOp::Min | AtomOp::Max | AtomOp::And | AtomOp::Or) {
            return invalid("`sured` has no such operation");
        }
        let geometry = geometry(s)?;
        let bounds = bounds(s)?;
        let ty = self.int_ty(s)?;
        if !matches!(ty, IntType::U32 | IntType::S32 | IntType::U64 | IntType::S64) {
            return self.wrong_type(s);
        }
        s.arity(2, 2)?;
        let handle = self.object(s.operand(0)?)?;
        let mut sources = self.place(s, s.operand(0)?, geometry, true)?;
        sources.push(self.bits(s, 1, ty.bits())?);
        let action = SurfAction::Reduce { op, ty, formatted };
        let (dst, sources) = (self.builder.reg_list([]), self.builder.operand_list(sources));
        Ok(Op::Surf(Surf { geometry, action, bounds, dst, handle, sources }))
    }

    pub(super) fn istypep(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(2, 2)?;
        let ty = s.modifiers.take_map(|name| {
            Some(match name {
                b"texref" => OpaqueType::Texture,
                b"samplerref" => OpaqueType::Sampler,
                b"surfref" => OpaqueType::Surface,
                _ => return None,
            })
        });
        let Some(ty) = ty else { return invalid("`.texref`, `.samplerref` or `.surfref` is missing") };
        Ok(Op::Istypep { ty, dst: self.pred_dst(s, 0)?, a: self.bits(s, 1, 64)? })
    }
}
