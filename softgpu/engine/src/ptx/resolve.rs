//! Operands as written to operands of the IR.

use super::error::{text, unsupported, Fail, Result};
use super::lower::{Lower, Statement};
use super::operand::{Raw, RawOperand};
use super::scope::Binding;
use super::special::special_reg;
use super::tables::{RESERVED_SHARED, SHARED_SYMBOL};
use crate::ir::*;

/// What an immediate of an instruction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Immediate {
    /// An integer or the bits of a float of the same width.
    Bits(u32),
    Float(FloatType),
}

impl Immediate {
    fn bits(self) -> u32 {
        match self {
            Immediate::Bits(bits) => bits,
            Immediate::Float(ty) => ty.bits(),
        }
    }
}

/// Where a memory operand is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Memory {
        space: Space,
        addr: Address,
    },
    /// A scalar parameter in a register, and a byte offset in it.
    Scalar(Reg, i64),
}

fn fail_at<T>(at: PtxPos, message: String) -> Result<T> {
    Err(Fail::Invalid { at: Some(at), message })
}

/// Keeps the low `bits` bits.
fn truncate(value: u64, bits: u32) -> u64 {
    if bits >= 64 {
        value
    } else {
        value & ((1 << bits) - 1)
    }
}

/// Whether `name` is the end of the shared memory reserved for system software,
/// rather than a start; `None` for other names.
fn reserved_shared(name: &[u8]) -> Option<bool> {
    let which = name.strip_prefix(b"%reserved_smem_offset_")?;
    Some(matches!(which, b"end" | b"cap"))
}

impl<'a> Lower<'_, 'a> {
    /// What a name stands for.
    fn binding(&mut self, name: &'a [u8]) -> Option<Binding> {
        let local = self.builder.scopes.lookup(name, &mut self.builder.function.regs);
        local.or_else(|| self.tables.names.get(name).copied())
    }

    /// Whether an operand is a predicate register, maybe negated.
    pub(super) fn is_predicate(&mut self, operand: RawOperand<'a>) -> bool {
        match operand.raw {
            Raw::Not(_) => true,
            Raw::Name(name) => {
                matches!(self.binding(name), Some(Binding::Reg(reg)) if self.class(reg) == RegClass::Pred)
            }
            _ => false,
        }
    }

    fn unknown<T>(&self, name: &[u8], at: PtxPos) -> Result<T> {
        fail_at(at, format!("unknown symbol `{}`", text(name)))
    }

    pub(super) fn class(&self, reg: Reg) -> RegClass {
        self.builder.function.regs[reg.0 as usize]
    }

    /// Checks that `reg` can hold `bits` bits (1 for predicates).
    fn check_width(&self, reg: Reg, bits: u32, name: &[u8], at: PtxPos) -> Result<Reg> {
        let class = self.class(reg);
        if (class == RegClass::Pred) != (bits == 1) || class.bits() < bits {
            let wanted = if bits == 1 { "a predicate".into() } else { format!("{bits} bits") };
            return fail_at(at, format!("register `{}` is {} bits wide, {wanted} needed", text(name), class.bits()));
        }
        Ok(reg)
    }

    /// A destination register of at least `bits` bits; `_` is a scratch register.
    pub(super) fn dst_of(&mut self, operand: RawOperand<'a>, bits: u32) -> Result<Reg> {
        let name = match operand.raw {
            Raw::Name(name) => name,
            Raw::Element(reg) => return self.check_width(reg, bits, b"element", operand.at),
            _ => return fail_at(operand.at, "a register is needed here".into()),
        };
        if name == b"_" {
            return Ok(self.scratch(bits));
        }
        match self.binding(name) {
            Some(Binding::Reg(reg)) => self.check_width(reg, bits, name, operand.at),
            Some(_) => fail_at(operand.at, format!("`{}` is not a register", text(name))),
            None => self.unknown(name, operand.at),
        }
    }

    /// A new register for `bits` bits.
    pub(super) fn scratch(&mut self, bits: u32) -> Reg {
        self.builder.reg(match bits {
            1 => RegClass::Pred,
            2..=8 => RegClass::B8,
            9..=16 => RegClass::B16,
            17..=32 => RegClass::B32,
            33..=64 => RegClass::B64,
            _ => RegClass::B128,
        })
    }

    /// A source value.
    pub(super) fn src_of(&mut self, operand: RawOperand<'a>, kind: Immediate) -> Result<Operand> {
        let bits = kind.bits();
        match operand.raw {
            Raw::Name(name) => self.named(name, 0, bits, operand.at),
            Raw::Element(reg) => Ok(Operand::Reg(self.check_width(reg, bits, b"element", operand.at)?)),
            Raw::Offset(name, offset) => self.named(name, offset, bits, operand.at),
            Raw::Index(name, index) => {
                let offset = self.element_offset(name, index, operand.at)?;
                self.named(name, offset, bits, operand.at)
            }
            Raw::Component(name, component) => match special_reg(name, Some(component)) {
                Some(reg) => Ok(Operand::Special(reg)),
                None => self.unknown(name, operand.at),
            },
            Raw::Int(value) => Ok(Operand::Imm(match kind {
                Immediate::Float(FloatType::F32) => (value as i64 as f32).to_bits().into(),
                Immediate::Float(FloatType::F64) => (value as i64 as f64).to_bits(),
                _ => truncate(value, bits),
            })),
            Raw::F32(value) => self.float_literal(f32::from_bits(value).into(), Some(value), kind, operand.at),
            Raw::F64(value) => self.float_literal(f64::from_bits(value), None, kind, operand.at),
            _ => fail_at(operand.at, "a register or constant is needed here".into()),
        }
    }

    /// A floating-point constant; `single` are the bits of a `0f` literal.
    fn float_literal(&self, value: f64, single: Option<u32>, kind: Immediate, at: PtxPos) -> Result<Operand> {
        let single_bits = single.unwrap_or((value as f32).to_bits());
        match kind {
            Immediate::Float(FloatType::F32) | Immediate::Bits(32) => Ok(Operand::Imm(single_bits.into())),
            Immediate::Float(FloatType::F64) | Immediate::Bits(64) => Ok(Operand::Imm(value.to_bits())),
            _ => fail_at(at, "a floating-point constant cannot be used here".into()),
        }
    }

    fn named(&mut self, name: &'a [u8], offset: i64, bits: u32, at: PtxPos) -> Result<Operand> {
        let Some(binding) = self.binding(name) else {
            if let Some(end) = reserved_shared(name) {
                let reserved = Binding::Shared(self.tables.reserved_shared());
                let base = self.base_address(reserved, name, at)?;
                return self.add_offset(base, if end { RESERVED_SHARED.into() } else { 0 }, bits);
            }
            // The graph that a kernel launches itself from again: there are no launches from kernels.
            if name == b"%current_graph_exec" && offset == 0 {
                return Ok(Operand::Imm(0));
            }
            return match special_reg(name, None) {
                Some(reg) if offset == 0 => Ok(Operand::Special(reg)),
                _ => self.unknown(name, at),
            };
        };
        if let Binding::Reg(reg) = binding {
            let reg = Operand::Reg(self.check_width(reg, bits, name, at)?);
            if offset != 0 && !matches!(bits, 32 | 64) {
                return fail_at(at, "an offset needs a register of 32 or 64 bits".into());
            }
            return self.add_offset(reg, offset, bits);
        }
        let base = self.base_address(binding, name, at)?;
        self.add_offset(base, offset, bits)
    }

    /// Value of an address constant plus `offset`.
    fn add_offset(&mut self, base: Operand, offset: i64, bits: u32) -> Result<Operand> {
        Ok(match base {
            _ if offset == 0 => base,
            Operand::Imm(value) => Operand::Imm(truncate(value.wrapping_add(offset as u64), bits)),
            Operand::Symbol { id, offset: 0 } if i32::try_from(offset).is_ok() => {
                Operand::Symbol { id, offset: offset as i32 }
            }
            _ => {
                let dst = self.scratch(bits);
                let ty = if bits == 32 { IntType::U32 } else { IntType::U64 };
                let b = Operand::Imm(truncate(offset as u64, bits));
                self.builder.push(None, Op::IntBinary { op: IntBinaryOp::Add, ty, dst, a: base, b });
                Operand::Reg(dst)
            }
        })
    }

    /// Address that a name other than a register stands for.
    fn base_address(&mut self, binding: Binding, name: &[u8], at: PtxPos) -> Result<Operand> {
        Ok(match binding {
            Binding::Frame { offset, .. } => Operand::Frame(offset),
            Binding::EntryParam { offset } => Operand::Imm(offset.into()),
            Binding::Variable(index) => Operand::Symbol { id: self.tables.variable_symbol(index), offset: 0 },
            Binding::Function(id) => Operand::Symbol { id: self.tables.function_symbol(id), offset: 0 },
            Binding::Shared(index) => {
                self.use_shared(index);
                Operand::Symbol { id: SymbolId(SHARED_SYMBOL | index), offset: 0 }
            }
            Binding::DynamicShared => {
                self.builder.function.uses_dynamic_shared = true;
                Operand::Special(SpecialReg::DynamicSmemBase)
            }
            Binding::ScalarParam(_) => return unsupported(format!("address of parameter `{}`", text(name))),
            Binding::Opaque(_) => return unsupported(format!("texture or surface reference `{}`", text(name))),
            Binding::Reg(_) | Binding::VectorReg { .. } | Binding::Signature(_) | Binding::BranchTargets(_) => {
                return fail_at(at, format!("`{}` cannot be used here", text(name)));
            }
        })
    }

    /// Bytes from the start of an array to an element. Elements are scalars, also of arrays of vectors or of
    /// arrays: so does ptxas count them (PTX ISA, "Arrays as operands").
    fn element_offset(&mut self, name: &'a [u8], index: i64, at: PtxPos) -> Result<i64> {
        let element = match self.binding(name) {
            Some(Binding::Variable(variable)) => self.tables.variables[variable as usize].element,
            Some(Binding::Shared(variable)) => self.tables.shared[variable as usize].element,
            Some(Binding::Frame { element, .. }) => element,
            // All of them are one, whatever their elements.
            Some(Binding::DynamicShared) if index == 0 => 1,
            Some(Binding::DynamicShared) => return unsupported(format!("element of `{}`", text(name))),
            Some(_) => 0,
            None => return self.unknown(name, at),
        };
        match index.checked_mul(element.into()) {
            Some(offset) if element > 0 => Ok(offset),
            Some(_) => fail_at(at, format!("`{}` is not an array", text(name))),
            None => fail_at(at, format!("`{}` has no such element", text(name))),
        }
    }

    fn use_shared(&mut self, index: u32) {
        if self.builder.shared.last() != Some(&index) {
            self.builder.shared.push(index);
        }
    }

    /// A predicate input of an instruction.
    pub(super) fn pred_of(&mut self, operand: RawOperand<'a>) -> Result<PredOperand> {
        let (name, negated) = match operand.raw {
            Raw::Name(name) => (name, false),
            Raw::Not(name) => (name, true),
            Raw::Int(value) => {
                let value = Operand::Imm(u64::from(value != 0));
                return Ok(PredOperand { value, negated: false });
            }
            _ => return fail_at(operand.at, "a predicate is needed here".into()),
        };
        let value = self.named(name, 0, 1, operand.at)?;
        Ok(PredOperand { value, negated })
    }

    /// A memory operand of an instruction on `space`.
    pub(super) fn place_of(&mut self, operand: RawOperand<'a>, space: Space) -> Result<Place> {
        let (name, offset) = match operand.raw {
            Raw::Address(name, offset) => (name, offset),
            Raw::Index(name, index) => (name, self.element_offset(name, index, operand.at)?),
            Raw::AbsoluteAddress(value) => {
                let addr = Address { base: Operand::Imm(value), offset: 0 };
                return Ok(Place::Memory { space: self.indirect_space(space), addr });
            }
            _ => return fail_at(operand.at, "an address in brackets is needed here".into()),
        };
        let Some(binding) = self.binding(name) else { return self.unknown(name, operand.at) };
        match binding {
            Binding::Reg(reg) => {
                if !matches!(self.class(reg), RegClass::B32 | RegClass::B64) {
                    return fail_at(operand.at, format!("`{}` cannot hold an address", text(name)));
                }
                let addr = Address { base: Operand::Reg(reg), offset };
                Ok(Place::Memory { space: self.indirect_space(space), addr })
            }
            Binding::ScalarParam(reg) => Ok(Place::Scalar(reg, offset)),
            _ => {
                let base = self.base_address(binding, name, operand.at)?;
                let space = self.named_space(binding, space);
                let addr = Address { base, offset };
                Ok(Place::Memory { space, addr })
            }
        }
    }

    /// Space of an access through a register: parameters of device functions live
    /// in the frame.
    fn indirect_space(&self, space: Space) -> Space {
        match space {
            Space::Param if !self.builder.function.is_entry => Space::Local,
            space => space,
        }
    }

    /// Space of an access to a named object: that of the object.
    fn named_space(&self, binding: Binding, space: Space) -> Space {
        match binding {
            Binding::Frame { .. } => Space::Local,
            Binding::EntryParam { .. } => Space::Param,
            Binding::Shared(_) | Binding::DynamicShared => Space::Shared,
            Binding::Variable(index) => self.tables.variables[index as usize].space,
            _ => space,
        }
    }

    /// A memory operand that must be in memory.
    pub(super) fn memory_of(&mut self, operand: RawOperand<'a>, space: Space) -> Result<(Space, Address)> {
        match self.place_of(operand, space)? {
            Place::Memory { space, addr } => Ok((space, addr)),
            Place::Scalar(..) => fail_at(operand.at, "a scalar parameter cannot be used here".into()),
        }
    }

    /// A branch target.
    pub(super) fn label_of(&mut self, operand: RawOperand<'a>) -> Result<BlockId> {
        match operand.raw {
            Raw::Name(name) => Ok(self.builder.label(name, operand.at)),
            _ => fail_at(operand.at, "a label is needed here".into()),
        }
    }

    /// The binding of an operand that must be a plain name.
    pub(super) fn binding_of(&mut self, operand: RawOperand<'a>) -> Result<Binding> {
        let Raw::Name(name) = operand.raw else { return fail_at(operand.at, "a name is needed here".into()) };
        match self.binding(name) {
            Some(binding) => Ok(binding),
            None => self.unknown(name, operand.at),
        }
    }
}

impl<'a> Statement<'_, 'a> {
    /// The operand `index`, which must exist.
    pub(super) fn operand(&self, index: usize) -> Result<RawOperand<'a>> {
        match self.operands.list.get(index) {
            Some(&operand) => Ok(operand),
            None => super::error::invalid(format!("`{}` needs more operands", text(self.base))),
        }
    }

    pub(super) fn operand_count(&self) -> usize {
        self.operands.list.len()
    }

    /// Checks that there are from `least` to `most` operands.
    pub(super) fn arity(&self, least: usize, most: usize) -> Result<()> {
        let count = self.operand_count();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
        super::error::invalid(format!("`{}` takes {wanted} operands, found {count}", text(self.base)))
    }

    /// Elements of a `{…}` or `(…)` operand; a plain operand is its only element.
    pub(super) fn elements(&self, operand: RawOperand<'a>) -> Vec<RawOperand<'a>> {
        match operand.raw {
            Raw::Vector { start, len }
            | Raw::List { start, len }
            | Raw::VectorPair { start, len, .. }
            | Raw::Object { start, len, .. } => self.operands.elements[start..start + len].to_vec(),
            _ => vec![operand],
        }
    }

    /// Splits `d|p` into two operands.
    pub(super) fn pair(&self, operand: RawOperand<'a>) -> (RawOperand<'a>, Option<RawOperand<'a>>) {
        match operand.raw {
            Raw::Pair(first, second) => {
                let at = operand.at;
                (RawOperand { raw: Raw::Name(first), at }, Some(RawOperand { raw: Raw::Name(second), at }))
            }
            Raw::VectorPair { start, len, second } => {
                let at = operand.at;
                (RawOperand { raw: Raw::Vector { start, len }, at }, Some(RawOperand { raw: Raw::Name(second), at }))
            }
            _ => (operand, None),
        }
    }
}
