//! Loads, stores, atomics, fences and asynchronous copies.

use super::{Lower, Statement};
use crate::ir::*;
use crate::ptx::error::{invalid, unsupported, Result};
use crate::ptx::modifiers::Type;
use crate::ptx::operand::{Raw, RawOperand};
use crate::ptx::resolve::{Immediate, Place};

/// Takes the state space; generic if there is none.
pub(super) fn space(s: &mut Statement) -> Space {
    let space = s.modifiers.take_map(|name| {
        Some(match name {
            b"global" => Space::Global,
            b"shared" | b"shared::cta" | b"shared::cluster" => Space::Shared,
            b"local" => Space::Local,
            b"const" => Space::Const,
            b"param" | b"param::entry" | b"param::func" => Space::Param,
            _ => return None,
        })
    });
    space.unwrap_or(Space::Generic)
}

pub(super) fn ordering(s: &mut Statement) -> Option<Ordering> {
    s.modifiers.take_map(|name| {
        Some(match name {
            b"weak" => Ordering::Weak,
            b"volatile" | b"relaxed" => Ordering::Relaxed,
            b"acquire" => Ordering::Acquire,
            b"release" => Ordering::Release,
            b"acq_rel" => Ordering::AcqRel,
            b"sc" => Ordering::SeqCst,
            _ => return None,
        })
    })
}

pub(super) fn scope(s: &mut Statement) -> Option<Scope> {
    s.modifiers.take_map(|name| {
        Some(match name {
            b"cta" => Scope::Cta,
            b"cluster" => Scope::Cluster,
            b"gpu" | b"gl" => Scope::Gpu,
            b"sys" => Scope::Sys,
            _ => return None,
        })
    })
}

/// Takes cache hints, which have no effect.
fn cache_hints(s: &mut Statement) {
    s.modifiers.take_all(|name| {
        let operator = matches!(name, b"ca" | b"cg" | b"cs" | b"lu" | b"cv" | b"wb" | b"wt" | b"nc" | b"mmio");
        operator || name == b"unified" || name.starts_with(b"L1::") || name.starts_with(b"L2::")
    });
}

/// Takes the number of elements of a vector access.
pub(super) fn vector_len(s: &mut Statement) -> usize {
    let len = s.modifiers.take_map(|name| {
        Some(match name {
            b"v2" => 2,
            b"v4" => 4,
            b"v8" => 8,
            _ => return None,
        })
    });
    len.unwrap_or(1)
}

/// Modifiers common to memory accesses.
struct Access {
    space: Space,
    ordering: Ordering,
    vector: usize,
    /// Operands of the cache policy.
    policies: usize,
}

impl Access {
    fn take(s: &mut Statement) -> Access {
        let policies = usize::from(s.modifiers.has("L2::cache_hint"));
        let ordering = ordering(s).unwrap_or(Ordering::Weak);
        scope(s);
        cache_hints(s);
        Access { space: space(s), ordering, vector: vector_len(s), policies }
    }
}

/// An operand without the braces around a single element, which Triton writes.
fn sole_element<'a>(s: &Statement<'_, 'a>, index: usize) -> Result<RawOperand<'a>> {
    let operand = s.operand(index)?;
    Ok(match operand.raw {
        Raw::Vector { len: 1, .. } => s.elements(operand).pop().unwrap_or(operand),
        _ => operand,
    })
}

impl<'a> Lower<'_, 'a> {
    pub(super) fn load(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let Access { space, ordering, vector, policies } = Access::take(s);
        s.arity(2, 2 + policies)?;
        let ty = self.ty(s)?;
        let Some(mem) = ty.mem() else { return self.wrong_type(s) };
        let place = self.place_of(s.operand(1)?, space)?;
        let dst = sole_element(s, 0)?;
        let is_vector = vector > 1 || matches!(dst.raw, Raw::Vector { .. });
        match place {
            Place::Scalar(..) if is_vector => unsupported("vector access to a scalar parameter"),
            Place::Scalar(reg, offset) => self.load_scalar(s, ty, reg, offset),
            Place::Memory { space, addr } if is_vector => {
                let mut regs = Vec::with_capacity(vector);
                for operand in self.vector_elements(s, 0, vector)? {
                    regs.push(self.dst_of(operand, ty.bits())?);
                }
                Ok(Op::LoadVec { ty: mem, space, ordering, dst: self.builder.reg_list(regs), addr })
            }
            Place::Memory { space, addr } => {
                Ok(Op::Load { ty: mem, space, ordering, dst: self.dst_of(dst, ty.bits())?, addr })
            }
        }
    }

    pub(super) fn vector_elements(
        &self,
        s: &Statement<'_, 'a>,
        index: usize,
        len: usize,
    ) -> Result<Vec<RawOperand<'a>>> {
        let elements = s.elements(s.operand(index)?);
        if elements.len() != len {
            return invalid(format!("a vector of {len} elements is needed, found {}", elements.len()));
        }
        Ok(elements)
    }

    /// Reads a parameter that lives in a register.
    fn load_scalar(&mut self, s: &Statement<'_, 'a>, ty: Type, reg: Reg, offset: i64) -> Result<Op> {
        let (held, bits) = (self.class(reg).bits(), ty.bits());
        let shift = self.scalar_shift(offset, bits, held)?;
        let dst = self.dst(s, 0, bits)?;
        let mut src = Operand::Reg(reg);
        if bits == held {
            return Ok(Op::Mov { width: ty.width(), dst, src });
        }
        if shift > 0 {
            let whole = int_type(held)?;
            let shifted = self.scratch(held);
            let b = Operand::Imm(shift.into());
            self.builder.push(None, Op::IntBinary { op: IntBinaryOp::Shr, ty: whole, dst: shifted, a: src, b });
            src = Operand::Reg(shifted);
        }
        let ty = match ty {
            Type::Int(ty) => ty,
            _ => int_type(bits)?,
        };
        let ty = CvtType::Int(ty);
        Ok(Op::Cvt { to: ty, from: ty, mode: CvtMode::default(), dst, a: src })
    }

    /// Bit position of an access of `bits` bits in a register of `held` bits.
    fn scalar_shift(&self, offset: i64, bits: u32, held: u32) -> Result<u32> {
        match u32::try_from(offset) {
            Ok(offset) if offset < 8 && offset * 8 + bits <= held => Ok(offset * 8),
            _ => invalid("access outside of the parameter"),
        }
    }

    pub(super) fn store(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let Access { space, ordering, vector, policies } = Access::take(s);
        s.arity(2, 2 + policies)?;
        let ty = self.ty(s)?;
        let Some(width) = ty.width() else { return self.wrong_type(s) };
        let kind = ty.float().map_or(Immediate::Bits(ty.bits()), Immediate::Float);
        let place = self.place_of(s.operand(0)?, space)?;
        let src = sole_element(s, 1)?;
        let is_vector = vector > 1 || matches!(src.raw, Raw::Vector { .. });
        match place {
            Place::Scalar(..) if is_vector => unsupported("vector access to a scalar parameter"),
            Place::Scalar(reg, offset) => {
                let src = self.src_of(src, kind)?;
                self.store_scalar(width, reg, offset, src)
            }
            Place::Memory { space: Space::Const | Space::Param, .. } => invalid("this space is read-only"),
            Place::Memory { space, addr } if is_vector => {
                let mut sources = Vec::with_capacity(vector);
                for operand in self.vector_elements(s, 1, vector)? {
                    sources.push(self.src_of(operand, kind)?);
                }
                Ok(Op::StoreVec { width, space, ordering, addr, src: self.builder.operand_list(sources) })
            }
            Place::Memory { space, addr } => {
                Ok(Op::Store { width, space, ordering, addr, src: self.src_of(src, kind)? })
            }
        }
    }

    /// Writes a parameter that lives in a register.
    fn store_scalar(&mut self, width: Width, reg: Reg, offset: i64, src: Operand) -> Result<Op> {
        let held = self.class(reg).bits();
        let shift = self.scalar_shift(offset, width.bits(), held)?;
        if width.bits() == held {
            return Ok(Op::Mov { width: Some(width), dst: reg, src });
        }
        let whole = match held {
            32 => Width::W32,
            64 => Width::W64,
            _ => return unsupported("partial write of a 16-bit parameter"),
        };
        let (pos, len) = (Operand::Imm(shift.into()), Operand::Imm(width.bits().into()));
        Ok(Op::Bfi { width: whole, dst: reg, a: src, b: Operand::Reg(reg), pos, len })
    }

    /// `atom`, or `red` if there is no result.
    pub(super) fn atom(&mut self, s: &mut Statement<'_, 'a>, has_result: bool) -> Result<Op> {
        let policies = usize::from(s.modifiers.has("L2::cache_hint"));
        let ordering = ordering(s).unwrap_or(Ordering::Relaxed);
        let scope = scope(s).unwrap_or(Scope::Gpu);
        cache_hints(s);
        let space = space(s);
        let vector = vector_len(s);
        let op = atom_op(s)?;
        let noftz = s.modifiers.take("noftz");
        let ty = self.ty(s)?;
        let first = usize::from(has_result);
        let values = if op == AtomOp::Cas { 2 } else { 1 };
        s.arity(first + 1 + values, first + 1 + values + policies)?;
        let (space, addr) = self.memory_of(s.operand(first)?, space)?;
        let kind = ty.float().map_or(Immediate::Bits(ty.bits()), Immediate::Float);
        // PTX: f32 addition in global memory flushes subnormals, in shared it does not.
        let ftz = !noftz && space == Space::Global && ty == Type::Float(FloatType::F32);
        let bits = ty.bits();
        let ty = match ty {
            Type::Float(ty) => AtomType::Float { ty, ftz },
            Type::B(Width::W128) => AtomType::B128,
            _ => match ty.int() {
                Some(ty) => AtomType::Int(ty),
                None => return self.wrong_type(s),
            },
        };
        if vector > 1 {
            let base =
                Op::Atom { op, ty, space, ordering, scope, dst: None, addr, b: Operand::Imm(0), c: Operand::Imm(0) };
            return self.vector_atom(s, base, (has_result, vector), (kind, bits));
        }
        let b = self.src_of(s.operand(first + 1)?, kind)?;
        let c = if values == 2 { self.src_of(s.operand(first + 2)?, kind)? } else { Operand::Imm(0) };
        let dst = if has_result { Some(self.dst(s, 0, bits)?) } else { None };
        Ok(Op::Atom { op, ty, space, ordering, scope, dst, addr, b, c })
    }

    /// An atomic operation on each element of a vector; all but the last are pushed.
    fn vector_atom(
        &mut self,
        s: &mut Statement<'_, 'a>,
        like: Op,
        (has_result, count): (bool, usize),
        (kind, bits): (Immediate, u32),
    ) -> Result<Op> {
        let Op::Atom { op, ty, space, ordering, scope, addr, c, .. } = like else { return Ok(like) };
        if !matches!(op, AtomOp::Add | AtomOp::Min | AtomOp::Max) {
            return self.wrong_type(s);
        }
        let first = usize::from(has_result);
        let results = if has_result { self.vector_elements(s, 0, count)? } else { Vec::new() };
        let sources = self.vector_elements(s, first + 1, count)?;
        // An element's result must not change the address or values of those behind it.
        let mut regs = Vec::with_capacity(count);
        let mut operations = Vec::with_capacity(count);
        for (source, n) in sources.into_iter().zip(0i64..) {
            let addr = Address { offset: addr.offset.wrapping_add(n * i64::from(bits / 8)), ..addr };
            let dst = has_result.then(|| self.scratch(bits));
            regs.extend(dst);
            let b = self.src_of(source, kind)?;
            operations.push(Op::Atom { op, ty, space, ordering, scope, dst, addr, b, c });
        }
        for (reg, result) in regs.iter().zip(results) {
            let width = match bits {
                16 => Width::W16,
                32 => Width::W32,
                _ => Width::W64,
            };
            operations.push(Op::Mov { width: Some(width), dst: self.dst_of(result, bits)?, src: Operand::Reg(*reg) });
        }
        let Some(last) = operations.pop() else { return invalid("a vector has elements") };
        for operation in operations {
            self.builder.push(s.guard, operation);
        }
        Ok(last)
    }

    pub(super) fn fence(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        s.arity(0, 2)?;
        let ordering = ordering(s).unwrap_or(if s.base == b"membar" { Ordering::SeqCst } else { Ordering::AcqRel });
        let scope = scope(s).unwrap_or(Scope::Sys);
        // All proxies see the same memory.
        s.modifiers.take_all(|_| true);
        Ok(Op::Fence { ordering, scope })
    }

    /// `cp.async` of one element.
    pub(super) fn cp_async(&mut self, s: &mut Statement<'_, 'a>) -> Result<Op> {
        let policies = usize::from(s.modifiers.has("L2::cache_hint"));
        if !s.modifiers.take("async") {
            return invalid("`cp` needs the modifier `.async`");
        }
        cache_hints(s);
        s.modifiers.take("shared");
        s.modifiers.take("shared::cta");
        s.modifiers.take("global");
        s.arity(3, 4 + policies)?;
        let (_, dst) = self.memory_of(s.operand(0)?, Space::Shared)?;
        let (_, src) = self.memory_of(s.operand(1)?, Space::Global)?;
        let bytes = match self.bits(s, 2, 32)? {
            Operand::Imm(bytes @ (4 | 8 | 16)) => bytes as u32,
            _ => return invalid("the size of `cp.async` must be 4, 8 or 16"),
        };
        let src_bytes = match s.operand_count() > 3 + policies {
            true if self.is_predicate(s.operand(3)?) => {
                // The predicate says that the source is ignored.
                let (p, count) = (self.pred(s, 3)?, self.scratch(32));
                let (a, b) = (Operand::Imm(0), Operand::Imm(bytes.into()));
                self.builder.push(s.guard, Op::Selp { width: Width::W32, dst: count, a, b, p });
                Some(Operand::Reg(count))
            }
            true => Some(self.bits(s, 3, 32)?),
            false => None,
        };
        Ok(Op::CpAsync { bytes, dst, src, src_bytes })
    }
}

fn int_type(bits: u32) -> Result<IntType> {
    Ok(match bits {
        8 => IntType::U8,
        16 => IntType::U16,
        32 => IntType::U32,
        64 => IntType::U64,
        _ => return invalid("this type cannot be used for a parameter"),
    })
}

pub(super) fn atom_op(s: &mut Statement) -> Result<AtomOp> {
    let op = s.modifiers.take_map(|name| {
        Some(match name {
            b"add" => AtomOp::Add,
            b"min" => AtomOp::Min,
            b"max" => AtomOp::Max,
            b"and" => AtomOp::And,
            b"or" => AtomOp::Or,
            b"xor" => AtomOp::Xor,
            b"inc" => AtomOp::Inc,
            b"dec" => AtomOp::Dec,
            b"exch" => AtomOp::Exch,
            b"cas" => AtomOp::Cas,
            _ => return None,
        })
    });
    op.map_or_else(|| invalid("an operation such as `.add` is missing"), Ok)
}
