//! The `.modifier` list of an opcode, and PTX scalar types.

use super::error::text;
use crate::ir::{FloatType, IntType, MemType, RegClass, Width};

/// More modifiers than any instruction has.
const LIMIT: usize = 24;

/// Modifiers of one instruction, in source order. Each must be taken once;
/// what is left over at the end is an error.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Modifiers<'a> {
    list: [&'a [u8]; LIMIT],
    len: usize,
    taken: u32,
}

impl<'a> Modifiers<'a> {
    /// Appends a modifier; false if there are too many.
    pub(super) fn push(&mut self, name: &'a [u8]) -> bool {
        let Some(slot) = self.list.get_mut(self.len) else { return false };
        *slot = name;
        self.len += 1;
        true
    }

    /// Takes the modifier `name`; false if it is not there.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.take_map(|modifier| (modifier == name.as_bytes()).then_some(())).is_some()
    }

    /// Takes the first modifier that `map` accepts.
    pub(super) fn take_map<T>(&mut self, map: impl Fn(&'a [u8]) -> Option<T>) -> Option<T> {
        for index in 0..self.len {
            if self.taken & (1 << index) != 0 {
                continue;
            }
            if let Some(value) = map(self.list[index]) {
                self.taken |= 1 << index;
                return Some(value);
            }
        }
        None
    }

    /// Takes every modifier that `accept` accepts.
    pub(super) fn take_all(&mut self, accept: impl Fn(&[u8]) -> bool) {
        while self.take_map(|modifier| accept(modifier).then_some(())).is_some() {}
    }

    /// Takes the first type.
    pub(super) fn take_type(&mut self) -> Option<Type> {
        self.take_map(Type::parse)
    }

    /// First modifier that was not taken.
    pub(super) fn leftover(&self) -> Option<&'a [u8]> {
        (0..self.len).find(|index| self.taken & (1 << index) == 0).map(|index| self.list[index])
    }

    /// The whole opcode as written.
    pub(super) fn opcode(&self, base: &[u8]) -> String {
        let mut opcode = text(base);
        for modifier in &self.list[..self.len] {
            opcode = opcode + "." + &text(modifier);
        }
        opcode
    }

    /// Whether `name` is there, without taking it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.list[..self.len].contains(&name.as_bytes())
    }
}

/// A PTX scalar type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Pred,
    /// Untyped bits.
    B(Width),
    Int(IntType),
    Float(FloatType),
    Tf32,
    /// Formats below 16 bits, by total width.
    Narrow(u32),
}

impl Type {
    pub(super) fn parse(name: &[u8]) -> Option<Type> {
        use FloatType::*;
        use IntType::*;
        Some(match name {
            b"pred" => Type::Pred,
            b"b8" => Type::B(Width::W8),
            b"b16" => Type::B(Width::W16),
            b"b32" => Type::B(Width::W32),
            b"b64" => Type::B(Width::W64),
            b"b128" => Type::B(Width::W128),
            b"u8" => Type::Int(U8),
            b"u16" => Type::Int(U16),
            b"u32" => Type::Int(U32),
            b"u64" => Type::Int(U64),
            b"s8" => Type::Int(S8),
            b"s16" => Type::Int(S16),
            b"s32" => Type::Int(S32),
            b"s64" => Type::Int(S64),
            b"u16x2" => Type::Int(U16x2),
            b"s16x2" => Type::Int(S16x2),
            b"f16" => Type::Float(F16),
            b"f16x2" => Type::Float(F16x2),
            b"bf16" => Type::Float(BF16),
            b"bf16x2" => Type::Float(BF16x2),
            b"f32" => Type::Float(F32),
            b"f32x2" => Type::Float(F32x2),
            b"f64" => Type::Float(F64),
            b"tf32" => Type::Tf32,
            b"e4m3" | b"e5m2" | b"ue8m0" | b"e2m1" | b"e2m3" | b"e3m2" => Type::Narrow(8),
            b"e4m3x2" | b"e5m2x2" | b"ue8m0x2" | b"e2m3x2" | b"e3m2x2" => Type::Narrow(16),
            b"e4m3x4" | b"e5m2x4" | b"e2m3x4" | b"e3m2x4" => Type::Narrow(32),
            b"e2m1x2" => Type::Narrow(8),
            b"e2m1x4" => Type::Narrow(16),
            _ => return None,
        })
    }

    /// Width in bits; a predicate has one.
    pub(super) fn bits(self) -> u32 {
        match self {
            Type::Pred => 1,
            Type::B(width) => width.bits(),
            Type::Int(ty) => ty.bits(),
            Type::Float(ty) => ty.bits(),
            Type::Tf32 => 32,
            Type::Narrow(bits) => bits,
        }
    }

    /// Width of the type as untyped bits; `None` for predicates.
    pub(super) fn width(self) -> Option<Width> {
        Some(match self.bits() {
            8 => Width::W8,
            16 => Width::W16,
            32 => Width::W32,
            64 => Width::W64,
            128 => Width::W128,
            _ => return None,
        })
    }

    /// The integer type; untyped bits count as unsigned.
    pub(super) fn int(self) -> Option<IntType> {
        match self {
            Type::Int(ty) => Some(ty),
            Type::B(Width::W8) => Some(IntType::U8),
            Type::B(Width::W16) => Some(IntType::U16),
            Type::B(Width::W32) => Some(IntType::U32),
            Type::B(Width::W64) => Some(IntType::U64),
            _ => None,
        }
    }

    pub(super) fn float(self) -> Option<FloatType> {
        match self {
            Type::Float(ty) => Some(ty),
            _ => None,
        }
    }

    /// Class of a register declared with this type.
    pub(super) fn reg_class(self) -> RegClass {
        match self.bits() {
            1 => RegClass::Pred,
            8 => RegClass::B8,
            16 => RegClass::B16,
            32 => RegClass::B32,
            64 => RegClass::B64,
            _ => RegClass::B128,
        }
    }

    /// Element type of a load.
    pub(super) fn mem(self) -> Option<MemType> {
        let width = self.width()?;
        Some(match self {
            Type::Int(ty) if ty.is_signed() => MemType::S(width),
            _ => MemType::U(width),
        })
    }
}
