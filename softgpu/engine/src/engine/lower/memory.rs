//! Memory operations.

use super::super::check::Kind;
use super::super::code::Slot;
use super::super::isa::{plain, select, Entry};
use super::super::ops::atomic::{apply, Atomic, AtomicSpec, GenericAtomics, GlobalAtomics, SharedAtomics};
use super::super::ops::int::Add;
use super::super::ops::memory::*;
use super::super::ops::Map2;
use super::super::space::window;
use super::arith::{known, unknown};
use super::check::Checked;
use super::function::Lowering;
use super::Result;
use crate::ir::{Address, AtomOp, AtomType, MemType, Operand, Ordering, Reg, RegClass, Space, Width};

fn load_entry(space: Space, ty: MemType) -> Option<Entry> {
    macro_rules! by_type {
        ($select:ident, $bank:ty) => {
            Some(match ty {
                MemType::U(Width::W8) => $select::<Load<$bank, u8>>(),
                MemType::S(Width::W8) => $select::<Load<$bank, i8>>(),
                MemType::U(Width::W16) => $select::<Load<$bank, u16>>(),
                MemType::S(Width::W16) => $select::<Load<$bank, i16>>(),
                MemType::U(Width::W32) => $select::<Load<$bank, u32>>(),
                MemType::S(Width::W32) => $select::<Load<$bank, i32>>(),
                MemType::U(Width::W64) | MemType::S(Width::W64) => $select::<Load<$bank, u64>>(),
                _ => return None,
            })
        };
    }
    match space {
        Space::Generic => by_type!(select, Generic),
        Space::Global | Space::Const => by_type!(select, Global),
        Space::Shared => by_type!(select, SharedBank),
        Space::Local => by_type!(plain, LocalBank),
        Space::Param => by_type!(plain, Params),
    }
}

fn store_entry(space: Space, width: Width) -> Option<Entry> {
    macro_rules! by_type {
        ($select:ident, $bank:ty) => {
            Some(match width {
                Width::W8 => $select::<Store<$bank, u8>>(),
                Width::W16 => $select::<Store<$bank, u16>>(),
                Width::W32 => $select::<Store<$bank, u32>>(),
                Width::W64 => $select::<Store<$bank, u64>>(),
                Width::W128 => return None,
            })
        };
    }
    match space {
        Space::Generic => by_type!(select, Generic),
        Space::Global => by_type!(select, Global),
        Space::Shared => by_type!(select, SharedBank),
        Space::Local => by_type!(plain, LocalBank),
        Space::Const | Space::Param => None,
    }
}

/// Handlers of vector accesses: `$handler<bank, element, count>`.
macro_rules! vector_entry {
    ($handler:ident, $space:expr, $width:expr, $count:expr) => {{
        macro_rules! by_shape {
            ($bank:ty) => {
                Some(match ($width, $count) {
                    (Width::W8, 2) => plain::<$handler<$bank, u8, 2>>(),
                    (Width::W8, 4) => plain::<$handler<$bank, u8, 4>>(),
                    (Width::W16, 2) => plain::<$handler<$bank, u16, 2>>(),
                    (Width::W16, 4) => plain::<$handler<$bank, u16, 4>>(),
                    (Width::W32, 2) => plain::<$handler<$bank, u32, 2>>(),
                    (Width::W32, 4) => plain::<$handler<$bank, u32, 4>>(),
                    (Width::W64, 2) => plain::<$handler<$bank, u64, 2>>(),
                    (Width::W64, 4) => plain::<$handler<$bank, u64, 4>>(),
                    (Width::W32, 8) => plain::<$handler<$bank, u32, 8>>(),
                    _ => return None,
                })
            };
        }
        match $space {
            Space::Generic => by_shape!(Generic),
            Space::Global | Space::Const => by_shape!(Global),
            Space::Shared => by_shape!(SharedBank),
            Space::Local => by_shape!(LocalBank),
            Space::Param => by_shape!(Params),
        }
    }};
}

fn load_vector_entry(space: Space, width: Width, count: u32) -> Option<Entry> {
    vector_entry!(LoadVec, space, width, count)
}

fn store_vector_entry(space: Space, width: Width, count: u32) -> Option<Entry> {
    vector_entry!(StoreVec, space, width, count)
}

fn width(ty: MemType) -> Width {
    match ty {
        MemType::U(width) | MemType::S(width) => width,
    }
}

impl Lowering<'_, '_> {
    /// Base row of an address and whether it is 64 bits wide.
    pub(super) fn base(&mut self, addr: Address) -> Result<(Slot, bool)> {
        match addr.base {
            Operand::Reg(reg) if self.class(reg) != RegClass::B64 => Ok((self.src32(addr.base)?, false)),
            _ => Ok((self.src64(addr.base)?, true)),
        }
    }

    /// Base row, immediate and flags of an access.
    fn access(&mut self, addr: Address, value: RegClass, spin: bool) -> Result<(Slot, u64, u32)> {
        let (base, wide) = self.base(addr)?;
        let mut flags = 0;
        if wide {
            flags |= AccessFlags::WIDE_BASE;
        }
        if matches!(value, RegClass::B64 | RegClass::B128) {
            flags |= AccessFlags::WIDE_VALUE;
        }
        if spin {
            flags |= AccessFlags::SPIN;
        }
        Ok((base, addr.offset as u64, flags))
    }

    pub(super) fn load(
        &mut self,
        ty: MemType,
        space: Space,
        ordering: Ordering,
        dst: Reg,
        addr: Address,
    ) -> Result<()> {
        if width(ty) == Width::W128 {
            let (low, high) = (self.row(dst), self.row(dst) + 2);
            return self.load_rows((Width::W64, space, ordering), &[low, high], RegClass::B64, addr);
        }
        let entry = known(load_entry(space, ty), ("ld", space, ty))?;
        let (base, offset, flags) = self.access(addr, self.class(dst), spins(space, ordering))?;
        self.check(Checked::load(space, ty.bytes(), ordering), wide_or_not(base, flags), offset, None);
        let dst = self.row(dst);
        self.emit(entry, dst, [base, Slot(flags), Slot(0)], offset);
        Ok(())
    }

    pub(super) fn load_vector(
        &mut self,
        ty: MemType,
        space: Space,
        ordering: Ordering,
        dst: &[Reg],
        addr: Address,
    ) -> Result<()> {
        let class = dst.first().map_or(RegClass::B32, |reg| self.class(*reg));
        let narrow = width(ty).bits() < class.bits().min(32) && matches!(ty, MemType::S(_));
        if narrow || dst.iter().any(|reg| self.class(*reg) != class) {
            // Element by element, each with its own extension.
            for (n, reg) in (0i64..).zip(dst) {
                let addr = Address { offset: addr.offset + n * i64::from(ty.bytes()), ..addr };
                self.load(ty, space, ordering, *reg, addr)?;
            }
            return Ok(());
        }
        let rows: Vec<u32> = dst.iter().map(|reg| self.row(*reg)).collect();
        self.load_rows((width(ty), space, ordering), &rows, class, addr)
    }

    fn load_rows(
        &mut self,
        (width, space, ordering): (Width, Space, Ordering),
        rows: &[u32],
        class: RegClass,
        addr: Address,
    ) -> Result<()> {
        let entry = known(load_vector_entry(space, width, rows.len() as u32), ("ld", width, rows.len()))?;
        let (base, offset, flags) = self.access(addr, class, spins(space, ordering))?;
        let bytes = width.bits() / 8 * rows.len() as u32;
        self.check(Checked::load(space, bytes, ordering), wide_or_not(base, flags), offset, None);
        let list = self.list(rows.iter().map(|row| Slot(*row)));
        self.emit(entry, list, [base, Slot(flags), Slot(0)], offset);
        Ok(())
    }

    /// Appends rows to the code's lists; gives the index of the first.
    pub(super) fn list(&mut self, rows: impl Iterator<Item = Slot>) -> u32 {
        let slots = &mut self.builder.code.slots;
        let first = slots.len() as u32;
        slots.extend(rows);
        first
    }

    pub(super) fn store(
        &mut self,
        width: Width,
        space: Space,
        ordering: Ordering,
        addr: Address,
        src: Operand,
    ) -> Result<()> {
        if width == Width::W128 {
            let low = self.src64(src)?;
            return self.store_rows((Width::W64, space, ordering), &[low, Slot(low.0 + 2)], addr);
        }
        let entry = known(store_entry(space, width), ("st", space, width))?;
        let class = if width == Width::W64 { RegClass::B64 } else { RegClass::B32 };
        let src = self.src(src, class.bits())?;
        let (base, offset, flags) = self.access(addr, class, false)?;
        let bytes = width.bits() / 8;
        self.check(Checked::store(space, bytes, ordering), wide_or_not(base, flags), offset, Some(src));
        self.emit(entry, 0, [base, Slot(flags), src], offset);
        Ok(())
    }

    pub(super) fn store_vector(
        &mut self,
        width: Width,
        space: Space,
        ordering: Ordering,
        addr: Address,
        src: &[Operand],
    ) -> Result<()> {
        let bits = if width == Width::W64 { 64 } else { 32 };
        let rows = src.iter().map(|s| self.src(*s, bits)).collect::<Result<Vec<Slot>>>()?;
        self.store_rows((width, space, ordering), &rows, addr)
    }

    fn store_rows(
        &mut self,
        (width, space, ordering): (Width, Space, Ordering),
        rows: &[Slot],
        addr: Address,
    ) -> Result<()> {
        let entry = known(store_vector_entry(space, width, rows.len() as u32), ("st", width, rows.len()))?;
        let class = if width == Width::W64 { RegClass::B64 } else { RegClass::B32 };
        let (base, offset, flags) = self.access(addr, class, false)?;
        let bytes = width.bits() / 8 * rows.len() as u32;
        self.check(Checked::store(space, bytes, ordering), wide_or_not(base, flags), offset, None);
        let list = self.list(rows.iter().copied());
        self.emit(entry, list, [base, Slot(flags), Slot(0)], offset);
        Ok(())
    }

    pub(super) fn atomic(
        &mut self,
        (op, ty): (AtomOp, AtomType),
        space: Space,
        dst: Option<Reg>,
        addr: Address,
        [b, c]: [Operand; 2],
    ) -> Result<()> {
        let (apply, bytes) = apply(op, ty).ok_or_else(|| unknown(("atom", op, ty)))?;
        let entry = match space {
            Space::Generic => plain::<Atomic<GenericAtomics>>(),
            Space::Global => plain::<Atomic<GlobalAtomics>>(),
            Space::Shared => plain::<Atomic<SharedAtomics>>(),
            Space::Local | Space::Const | Space::Param => return Err(unknown(("atom", space))),
        };
        let (base, wide_base) = self.base(addr)?;
        let bits = if bytes == 8 { 64 } else { 32 };
        let (b, c) = (self.src(b, bits)?, self.src(c, bits)?);
        let number = self.builder.code.atomics.len() as u64;
        let offset = addr.offset as u64;
        self.builder.code.atomics.push(AtomicSpec { apply, bytes, wide_base, offset, returns: dst.is_some() });
        let dst = dst.map_or(0, |reg| self.row(reg));
        let access = Checked { space, kind: Kind::Atomic, bytes, strong: true };
        self.check(access, (base, wide_base), offset, None);
        self.emit(entry, dst, [base, b, c], number);
        Ok(())
    }

    pub(super) fn copy_async(
        &mut self,
        bytes: u32,
        dst: Address,
        src: Address,
        src_bytes: Option<Operand>,
    ) -> Result<()> {
        let (to, to_wide) = self.offset_base(dst)?;
        let (from, from_wide) = self.offset_base(src)?;
        let count = self.src32(src_bytes.unwrap_or(Operand::Imm(bytes.into())))?;
        self.check_copy((to, to_wide), (from, from_wide), count, bytes);
        let flags = u32::from(to_wide) | u32::from(from_wide) << 1;
        self.emit(plain::<CopyAsync>(), flags, [to, from, count], bytes.into());
        Ok(())
    }

    /// An address as one row, its offset added.
    pub(super) fn offset_base(&mut self, addr: Address) -> Result<(Slot, bool)> {
        if addr.offset == 0 {
            return self.base(addr);
        }
        let (base, is_wide) = self.base(addr)?;
        if !is_wide {
            let (temp, offset) = (self.temp32(), self.builder.constant32(addr.offset as u32));
            self.emit(select::<Map2<Add<u32>>>(), temp.0, [base, offset, Slot(0)], 0);
            return Ok((temp, false));
        }
        let (wide, temp) = (base, self.temp64());
        self.emit(select::<AddImm64>(), temp.0, [wide, Slot(0), Slot(0)], addr.offset as u64);
        Ok((temp, true))
    }

    pub(super) fn convert_address(&mut self, space: Space, to_space: bool, dst: Reg, a: Operand) -> Result<()> {
        let base = window(space).unwrap_or(0);
        let imm = if to_space { base.wrapping_neg() } else { base };
        if self.class(dst) == RegClass::B64 {
            let a = self.src64(a)?;
            let dst = self.row(dst);
            self.emit(select::<AddImm64>(), dst, [a, Slot(0), Slot(0)], imm);
        } else {
            // A 32-bit address is the low half in either form.
            let a = self.src32(a)?;
            let dst = self.row(dst);
            self.copy32(dst, a);
        }
        Ok(())
    }

    pub(super) fn is_space(&mut self, space: Space, dst: Reg, a: Operand) -> Result<()> {
        let imm = window(space).unwrap_or(0);
        let a = self.src64(a)?;
        let dst = self.pred_index(dst);
        self.emit(plain::<IsSpace>(), dst, [a, Slot(0), Slot(0)], imm);
        Ok(())
    }
}

/// A base and whether it is 64 bits wide.
fn wide_or_not(base: Slot, flags: u32) -> (Slot, bool) {
    (base, flags & AccessFlags::WIDE_BASE != 0)
}

/// Whether a load may wait for another thread: then time slices have to end soon.
fn spins(space: Space, ordering: Ordering) -> bool {
    ordering != Ordering::Weak && matches!(space, Space::Global | Space::Generic)
}
