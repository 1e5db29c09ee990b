//! Loads and stores: a check that nearly always holds, vectors where addresses lie in rows, and the
//! interpreter for the rest.

use super::atomic::{compiled_bytes, Atom};
use super::{field, Constants, Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, IntPredicate, Label, Value};
use std::mem::offset_of;
use vgpu_engine::engine::{self, Base, Check, Lookup, Reach, Site, Steps};
use vgpu_engine::ir::*;

/// Width of an address's base.
pub(crate) fn address_bits(function: &Function, addr: Address) -> u32 {
    match addr.base {
        Operand::Reg(reg) if function.regs[reg.0 as usize] != RegClass::B64 => 32,
        _ => 64,
    }
}

/// The address, if it is a constant.
pub(super) fn constant_address(addr: Address) -> Option<u64> {
    match addr.base {
        Operand::Imm(base) => Some(base.wrapping_add_signed(addr.offset)),
        _ => None,
    }
}

/// Largest distance between lanes at which what lies between the outer ones is certain to be between their
/// addresses: larger ones wrap around.
const FARTHEST_STEP: u64 = 1 << 36;

/// An access as the instruction says it.
pub(super) struct Access<'a> {
    pub(super) space: Space,
    addr: Address,
    /// Bytes of an element, and how many there are.
    pub(super) bytes: u32,
    pub(super) count: u32,
    pub(super) kind: Kind<'a>,
}

pub(super) enum Kind<'a> {
    Load { dst: &'a [Reg], signed: bool },
    Store { src: &'a [Operand] },
    Atom(Atom),
}

/// Whether the first and the last address of a row tell about all of accesses of so many bytes.
fn is_regular(shape: Shape, total: u32) -> bool {
    match shape {
        Shape::Uniform => true,
        Shape::Line(Steps(steps)) | Shape::Affine(Steps(steps)) => steps
            .iter()
            .all(|step| step.unsigned_abs().is_multiple_of(total.into()) && step.unsigned_abs() <= FARTHEST_STEP),
        Shape::Varying => false,
    }
}

/// What an earlier access has found out for one that follows it.
pub(super) enum Together {
    /// It is within the bank, so far behind the first address of all.
    Sure { first: Val, distance: u64, site: Option<u32> },
    /// Whether all are within the bank.
    Tried { within: Value, site: Option<u32> },
}

/// The memory that an access is checked against.
pub(super) struct Bank {
    /// First address of what is accessible, and how many bytes.
    first: Value,
    size: Value,
    /// The site it is the range of, with [`Site::places`].
    site: Option<(u32, Value)>,
    /// Host address of address 0.
    pub(super) origin: Value,
    /// Bytes between the memories of neighbouring lanes; `None` if all lanes see the same.
    pub(super) stride: Option<Value>,
    /// Whether addresses within it are known to be below 2^31.
    pub(super) is_small: bool,
    /// Whether 32 bits of an address are all of it.
    is_narrow: bool,
    /// Bytes that there are at least.
    least: u32,
}

impl Bank {
    pub(super) fn first(&self) -> Value {
        self.first
    }

    pub(super) fn size(&self) -> Value {
        self.size
    }
}

impl Gen<'_> {
    pub(super) fn access(&mut self, operation: &Op, guard: Option<Val>, lanes: Value) -> Result<(), String> {
        let (dst, src);
        let access = match *operation {
            Op::Load { ty, space, dst: reg, addr, .. } => {
                dst = [reg];
                let kind = Kind::Load { dst: &dst, signed: matches!(ty, MemType::S(_)) };
                Access { space, addr, bytes: ty.bytes(), count: 1, kind }
            }
            Op::LoadVec { ty, space, dst, addr, .. } => {
                let kind = Kind::Load { dst: self.function.reg_list(dst), signed: matches!(ty, MemType::S(_)) };
                Access { space, addr, bytes: ty.bytes(), count: dst.len, kind }
            }
            Op::Store { width, space, addr, src: operand, .. } => {
                src = [operand];
                Access { space, addr, bytes: width.bytes(), count: 1, kind: Kind::Store { src: &src } }
            }
            Op::StoreVec { width, space, addr, src, .. } => {
                let kind = Kind::Store { src: self.function.operand_list(src) };
                Access { space, addr, bytes: width.bytes(), count: src.len, kind }
            }
            Op::Atom { op, ty, space, dst, addr, b, c, .. } => {
                let bytes = compiled_bytes(op, ty).unwrap_or(0);
                Access { space, addr, bytes, count: 1, kind: Kind::Atom(Atom { op, ty, dst, b, c }) }
            }
            _ => return Err(format!("an access that is not compiled at line {}", self.line())),
        };
        if access.space == Space::Param {
            return self.load_parameter(&access, guard);
        }
        let address = self.address(access.addr);
        let (fast, done) = (self.b.label(), self.b.label());
        let (bank, address) = match self.together.remove(&self.inst) {
            Some(Together::Sure { first, distance, site }) => {
                self.b.jump(fast);
                self.b.place(fast);
                (self.bank(access.space, site), self.at_distance(first, distance))
            }
            Some(Together::Tried { within, site }) => {
                self.unless(within, site, (&access, guard, lanes), (fast, done))?;
                self.b.place(fast);
                (self.bank(access.space, site), address)
            }
            None => self.check(&access, guard, lanes, address, (fast, done))?,
        };
        match &access.kind {
            Kind::Load { dst, signed } => self.load(&access, &bank, address, lanes, dst, *signed, guard)?,
            Kind::Store { src } => self.store(&access, &bank, address, lanes, src),
            Kind::Atom(atom) => self.atomic(&access, &bank, address, lanes, *atom, guard)?,
        }
        self.b.jump(done);
        self.b.place(done);
        Ok(())
    }

    /// Checks an access. The builder goes on at `fast`, where it is within the bank that is given, at the address that
    /// is given; the interpreter, when it has executed it, at `done`.
    ///
    /// Accesses of a block that follow each other at constant distances are checked together at the first.
    fn check(
        &mut self,
        access: &Access<'_>,
        guard: Option<Val>,
        lanes: Value,
        address: Val,
        (fast, done): (Label, Label),
    ) -> Result<(Bank, Val), String> {
        let total = access.bytes * access.count;
        let site = self.new_site(access.space);
        let mut bank = self.bank(access.space, site);
        bank.is_narrow = bank.is_small && address_bits(self.function, access.addr) == 32;
        let alone = guard.is_some() || matches!(access.kind, Kind::Atom(_));
        let others = if alone { Vec::new() } else { self.followers(access) };
        let offsets = others.iter().map(|(_, offset)| *offset).chain([access.addr.offset]);
        let (least, most) = offsets.fold((i64::MAX, i64::MIN), |(a, b), o| (a.min(o), b.max(o)));
        let distance = |offset: i64| offset.wrapping_sub(least) as u64;
        let first = self.at_distance(address, distance(access.addr.offset).wrapping_neg());
        let extent = (total, distance(most));
        let writes = !matches!(access.kind, Kind::Load { .. });
        let within = self.is_within(&bank, first, extent, lanes);
        if !is_regular(first.shape, total) || access.space == Space::Generic {
            let within = match is_regular(first.shape, total) {
                true => self.or_looked_at(within, (access.space, site, writes), first, extent, lanes),
                false => within,
            };
            for (inst, _) in others {
                self.together.insert(inst, Together::Tried { within, site });
            }
            self.unless(within, site, (access, guard, lanes), (fast, done))?;
            self.b.place(fast);
            return Ok((bank, address));
        }
        let (slow, fails) = (self.b.label(), self.b.label());
        self.b.branch_rarely(self.negation(within), slow, fast);
        self.b.place(slow);
        let holds = self.look_at((access.space, site, writes), first, extent, lanes);
        self.b.branch(holds, fast, fails);
        self.b.place(fails);
        if others.is_empty() {
            self.interpret(guard, lanes, None)?;
            self.b.jump(done);
        } else {
            // One of them is going to fail: from here on the interpreter goes on.
            self.leave_here();
        }
        for (inst, offset) in others {
            self.together.insert(inst, Together::Sure { first, distance: distance(offset), site });
        }
        self.b.place(fast);
        Ok((bank, self.at_distance(first, distance(access.addr.offset))))
    }

    /// Has the engine look whether some lanes access only what is accessible, where their addresses are regular.
    fn look_at(
        &mut self,
        (space, site, writes): (Space, Option<u32>, bool),
        address: Val,
        (bytes, span): (u32, u64),
        lanes: Value,
    ) -> Value {
        let bank = match (space, site) {
            (_, Some(site)) => engine::Bank::Site(site),
            (Space::Local, None) => engine::Bank::Local,
            (_, None) => engine::Bank::Shared,
        };
        let (halves, steps) = (!address.shape.is_whole(), address.shape.steps().unwrap_or_default());
        let number = self.interface.checks.len() as u32;
        self.interface.checks.push(Check { bank, writes, bytes, span, halves, steps });
        let function = self.b.load(self.b.pointer(), field!(self, frame.check), 8);
        let current = self.b.get(self.b.pointer(), self.lanes);
        let [first, second] = address.parts;
        let second = if halves { second } else { first };
        let arguments = [self.frame, current, self.c32(number), first, second, lanes];
        let holds = self.b.call(function, Some(self.word()), &arguments);
        self.b.icmp(IntPredicate::LLVMIntNE, holds, self.c32(0))
    }

    /// As [`Gen::look_at`], unless a condition holds.
    fn or_looked_at(
        &mut self,
        condition: Value,
        place: (Space, Option<u32>, bool),
        address: Val,
        extent: (u32, u64),
        lanes: Value,
    ) -> Value {
        let (slow, done) = (self.b.label(), self.b.label());
        let result = self.b.variable(self.b.int(1));
        self.b.set(result, condition);
        self.b.branch_rarely(self.negation(condition), slow, done);
        self.b.place(slow);
        let holds = self.look_at(place, address, extent, lanes);
        self.b.set(result, holds);
        self.b.jump(done);
        self.b.place(done);
        self.b.get(self.b.int(1), result)
    }

    /// Goes on at `fast` if an access is within its bank; else the interpreter executes it.
    fn unless(
        &mut self,
        within: Value,
        site: Option<u32>,
        (access, guard, lanes): (&Access<'_>, Option<Val>, Value),
        (fast, done): (Label, Label),
    ) -> Result<(), String> {
        let slow = self.b.label();
        self.b.branch_rarely(self.negation(within), slow, fast);
        self.b.place(slow);
        let lookup = self.lookup_of(site, access.addr, !matches!(access.kind, Kind::Load { .. }));
        self.interpret(guard, lanes, lookup)?;
        self.b.jump(done);
        Ok(())
    }

    /// What is to be looked up for the next access at an address that is not within the range of its site.
    pub(super) fn lookup_of(&self, site: Option<u32>, addr: Address, writes: bool) -> Option<Lookup> {
        let base = match addr.base {
            Operand::Reg(reg) if address_bits(self.function, addr) == 64 => Base::Long(self.source.place(reg.0)),
            Operand::Reg(reg) => Base::Word(self.source.place(reg.0)),
            Operand::Imm(base) => Base::Fixed(base),
            Operand::Symbol { id, offset } => Base::Fixed(self.source.address(id)?.wrapping_add_signed(offset.into())),
            _ => return None,
        };
        Some(Lookup { site: site?, writes, base, offset: addr.offset })
    }

    pub(super) fn negation(&self, condition: Value) -> Value {
        self.b.binary(op::XOR, condition, self.b.constant(self.b.int(1), 1))
    }

    /// Addresses so many bytes behind others.
    fn at_distance(&self, address: Val, distance: u64) -> Val {
        self.map(address, |v| self.b.binary(op::ADD, v, self.b.constant(self.b.type_of(v), distance)))
    }

    /// Later accesses of the block from the same base, with their offsets.
    fn followers(&self, access: &Access<'_>) -> Vec<(usize, i64)> {
        /// Farther apart they may lie in different allocations.
        const FARTHEST: i64 = 512;
        let Operand::Reg(base) = access.addr.base else { return Vec::new() };
        let (end, total) = (self.function.blocks[self.block].end as usize, access.bytes * access.count);
        let writes = |inst: usize| Uses::of_inst(self.function, &self.function.insts[inst]).writes.contains(&base.0);
        let mut found = Vec::new();
        for inst in self.inst + 1..end {
            // An instruction that writes the base is the last that reads what it held.
            if writes(inst - 1) {
                break;
            }
            let Inst { guard, op } = self.function.insts[inst];
            let (space, addr, bytes, stores) = match op {
                Op::BarrierSync { .. } | Op::BarrierArrive { .. } | Op::BarrierRed { .. } => break,
                Op::Load { ty, space, addr, .. } => (space, addr, ty.bytes(), false),
                Op::LoadVec { ty, space, addr, dst, .. } => (space, addr, ty.bytes() * dst.len, false),
                Op::Store { width, space, addr, .. } => (space, addr, width.bytes(), true),
                Op::StoreVec { width, space, addr, src, .. } => (space, addr, width.bytes() * src.len, true),
                _ => continue,
            };
            let is_compiled = matches!(super::treat::treatment(self.source, &op), crate::shape::Treatment::Access);
            let distance = addr.offset.wrapping_sub(access.addr.offset);
            let near = distance.abs() <= FARTHEST && distance % i64::from(total) == 0;
            let same = (space, addr.base, bytes) == (access.space, access.addr.base, total);
            // Memory may be readable and not writable.
            let alike = stores == matches!(access.kind, Kind::Store { .. }) || space == Space::Shared;
            if is_compiled && guard.is_none() && near && same && alike {
                found.push((inst, addr.offset));
            }
        }
        found
    }

    fn load_parameter(&mut self, access: &Access<'_>, guard: Option<Val>) -> Result<(), String> {
        let offset = constant_address(access.addr).unwrap_or(0);
        let Kind::Load { dst, signed } = access.kind else { return Err("a store to parameters".into()) };
        let params = self.constants.params;
        for (n, reg) in (0u64..).zip(dst) {
            let place = self.b.offset(params, self.c64(offset + n * u64::from(access.bytes)));
            let value = self.b.load(self.b.int(access.bytes * 8), place, 1);
            self.write(*reg, self.uniform(value), signed, guard)?;
        }
        Ok(())
    }

    /// Addresses of 64 bits; those in 32-bit registers wrap at 32 bits.
    pub(super) fn address(&mut self, addr: Address) -> Val {
        let bits = address_bits(self.function, addr);
        let base = self.read(addr.base, bits);
        let offset = self.b.constant(self.b.int(bits), addr.offset as u64);
        let sum = self.map(base, |v| {
            let offset = if self.b.lanes(self.b.type_of(v)).is_some() { self.b.splat(offset, HALF) } else { offset };
            self.b.binary(op::ADD, v, offset)
        });
        if bits == 64 {
            return sum;
        }
        // An affine address of 32 bits is extended where it is used; `is_within` sees to it that it does not wrap.
        self.halves(sum.shape, |h| self.b.cast(op::ZEXT, sum.parts[h], self.long()))
    }

    pub(super) fn new_site(&mut self, space: Space) -> Option<u32> {
        if matches!(space, Space::Shared | Space::Local) {
            return None;
        }
        self.interface.sites.push(Reach::default());
        Some(self.interface.sites.len() as u32 - 1)
    }

    /// The memory of a space, with the site that it needs if it is global.
    pub(super) fn bank(&mut self, space: Space, site: Option<u32>) -> Bank {
        match space {
            Space::Shared => {
                let Constants { shared, shared_size, .. } = self.constants;
                let least = self.function.shared_size;
                Bank {
                    first: self.c64(0),
                    size: shared_size,
                    site: None,
                    origin: shared,
                    stride: None,
                    is_small: true,
                    is_narrow: false,
                    least,
                }
            }
            Space::Local => {
                let data = self.b.load(self.b.pointer(), field!(self, lanes.local), 8);
                let size = self.b.load(self.long(), field!(self, lanes.local_size), 8);
                let origin = self.b.cast(op::PTRTOINT, data, self.long());
                let least = self.function.frame_size;
                let first = self.c64(0);
                let stride = Some(size);
                Bank { first, size, site: None, origin, stride, is_small: false, is_narrow: false, least }
            }
            _ => {
                let site = site.unwrap_or(0);
                let place = self.b.field(self.constants.sites, site as usize * size_of::<Site>());
                let part = |offset| self.b.load(self.long(), self.b.field(place, offset), 8);
                Bank {
                    first: part(offset_of!(Site, first)),
                    size: part(offset_of!(Site, size)),
                    site: Some((site, part(offset_of!(Site, places)))),
                    origin: self.c64(0),
                    stride: None,
                    is_small: false,
                    is_narrow: false,
                    least: 0,
                }
            }
        }
    }

    /// Whether `lanes` access only what is accessible, and aligned, also `span` bytes further on. Where addresses are
    /// regular, whether all lanes would, as they mostly do, also what those would access that take no part.
    pub(super) fn is_within(&mut self, bank: &Bank, address: Val, (total, span): (u32, u64), lanes: Value) -> Value {
        let shift = total.trailing_zeros();
        let extent = u64::from(total) + span;
        match address.shape {
            Shape::Uniform => {
                let offset = self.b.binary(op::SUB, address.parts[0], bank.first);
                let places = self.places(bank, extent, shift);
                let within = self.is_place(offset, places, shift);
                // Addresses of variables are constant: then nothing is left of the check.
                let Some(rest) = u64::from(bank.least).checked_sub(extent) else { return within };
                let sure = self.is_place(offset, self.c64((rest >> shift) + 1), shift);
                self.b.binary(op::OR, sure, within)
            }
            Shape::Line(steps) | Shape::Affine(steps) if is_regular(address.shape, total) => {
                let is_line = address.shape.is_whole();
                // All lanes lie between the lowest one and the highest.
                let distance: u64 = steps.0.iter().map(|step| step.unsigned_abs()).sum();
                let places = self.places(bank, extent + distance, shift);
                let lowest = self.c64(steps.0.iter().map(|step| *step.min(&0)).sum::<i64>() as u64);
                let row = |gen: &Self, h: usize| {
                    let offset = gen.b.binary(op::SUB, address.parts[h], bank.first);
                    gen.is_place(gen.b.binary(op::ADD, offset, lowest), places, shift)
                };
                if is_line {
                    return row(self, 0);
                }
                self.b.binary(op::AND, row(self, 0), row(self, 1))
            }
            _ => {
                let mut offsets = self.varying(address);
                let mut most = self.places(bank, extent, shift);
                if bank.is_narrow {
                    // What an address before the first wraps around to is still beyond the limit.
                    offsets = self.map(offsets, |v| self.b.cast(op::TRUNC, v, self.word()));
                    most = self.b.cast(op::TRUNC, most, self.word());
                } else {
                    let first = self.b.splat(bank.first, HALF);
                    offsets = self.map(offsets, |v| self.b.binary(op::SUB, v, first));
                }
                let most = self.b.splat(most, HALF);
                let right = self.map(offsets, |v| self.is_place(v, most, shift));
                let right = self.b.binary(op::AND, self.mask_of(right), lanes);
                self.b.icmp(IntPredicate::LLVMIntEQ, right, lanes)
            }
        }
    }

    /// At how many places of a bank, 2^`shift` bytes apart, so many bytes may begin.
    fn places(&mut self, bank: &Bank, extent: u64, shift: u32) -> Value {
        if let Some((site, places)) = bank.site {
            self.interface.sites[site as usize] = Reach { bytes: extent, shift };
            return places;
        }
        let limit = self.b.intrinsic("llvm.usub.sat", &[self.long()], &[bank.size, self.c64(extent - 1)]);
        let more = self.c64((1 << shift) - 1);
        let rounded = self.b.intrinsic("llvm.uadd.sat", &[self.long()], &[limit, more]);
        self.b.binary(op::LSHR, rounded, self.c64(shift.into()))
    }

    /// Whether an offset is a multiple of 2^`shift` and one of so many from 0 on.
    fn is_place(&self, offset: Value, places: Value, shift: u32) -> Value {
        // With low bits set it becomes a large number.
        let ty = self.b.type_of(offset);
        let by = self.b.constant(ty, shift.into());
        let rotated = self.b.intrinsic("llvm.fshr", &[ty], &[offset, offset, by]);
        self.b.icmp(IntPredicate::LLVMIntULT, rotated, places)
    }
}
