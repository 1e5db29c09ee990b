//! Loads and stores.

use super::super::code::{Lanes, Op, Slot, FULL, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::space::{is_global, Space};
use super::lane::{map, Lane};
use crate::memory::{AccessError, Plain};
use std::marker::PhantomData;

/// Field `b` of a memory operation.
#[derive(Clone, Copy)]
pub(in crate::engine) struct AccessFlags(pub(in crate::engine) u32);

impl AccessFlags {
    /// The base address is a 64-bit register.
    pub(in crate::engine) const WIDE_BASE: u32 = 1;
    /// Destination or source registers are 64 bits wide.
    pub(in crate::engine) const WIDE_VALUE: u32 = 2;
    /// The access may be part of waiting for another thread.
    pub(in crate::engine) const SPIN: u32 = 4;

    #[inline(always)]
    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// A fault of one lane.
type LaneError = (usize, AccessError);

/// Addresses `a + imm` of all lanes. Those in 32-bit registers wrap at 32 bits: compilers let a base be
/// negative where the offset makes up for it.
#[inline(always)]
pub(in crate::engine) fn addresses(cx: &Cx<'_>, base: Slot, wide: bool, offset: u64) -> [u64; LANES] {
    if !wide {
        return map(cx.read32(base), |a: u32| u64::from(a.wrapping_add(offset as u32)));
    }
    let mut addresses = cx.read64(base);
    for address in &mut addresses {
        *address = address.wrapping_add(offset);
    }
    addresses
}

/// Lanes whose neighbouring addresses are checked and copied as one: rows of a
/// 16-wide block need not continue each other.
const RUN: usize = 16;

/// Something addresses of one kind lead to.
pub(in crate::engine) trait Bank {
    /// Whether equal addresses of several lanes are the same place, and runs pay.
    const IN_ROWS: bool = true;

    fn load<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64) -> Result<T, AccessError>;
    fn store<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64, value: T) -> Result<(), AccessError>;

    /// Loads a value for lanes with the same address, or fails without a reason.
    #[inline(always)]
    fn load_same<T: Plain>(cx: &mut Cx<'_>, address: u64) -> Option<T> {
        Self::load(cx, 0, address).ok()
    }

    /// Loads consecutive values; false if that is not possible. (An `Option` of an array
    /// would be copied in odd pieces, which the next operation would have to wait for.)
    #[inline(always)]
    fn load_run<T: Plain>(_cx: &mut Cx<'_>, _address: u64, _values: &mut [T; RUN]) -> bool {
        false
    }
    /// Stores consecutive values, or does nothing and returns false.
    #[inline(always)]
    fn store_run<T: Plain>(_cx: &mut Cx<'_>, _address: u64, _values: &[T; RUN]) -> bool {
        false
    }

    /// Loads for all executing lanes.
    #[inline(always)]
    fn gather<T: Plain + Default>(cx: &mut Cx<'_>, addresses: &[u64; LANES]) -> Result<[T; LANES], LaneError> {
        let mut values = [T::default(); LANES];
        for lane in cx.lanes() {
            values[lane] = Self::load(cx, lane, addresses[lane]).map_err(|e| (lane, e))?;
        }
        Ok(values)
    }

    /// Stores for all executing lanes, in lane order.
    #[inline(always)]
    fn scatter<T: Plain>(cx: &mut Cx<'_>, addresses: &[u64; LANES], values: &[T; LANES]) -> Result<(), LaneError> {
        for lane in cx.lanes() {
            Self::store(cx, lane, addresses[lane], values[lane]).map_err(|e| (lane, e))?;
        }
        Ok(())
    }
}

/// How the addresses of a run lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// One value after the other from here on.
    Consecutive(u64),
    Same(u64),
    Scattered,
}

/// The patterns of both runs of a warp, in elements of `T`.
#[inline(always)]
fn patterns<T>(cx: &Cx<'_>, op: &Op, flags: AccessFlags) -> [Pattern; 2] {
    let tables = cx.tables;
    if op.a.0 & Slot::CONST != 0 {
        let base = if flags.has(AccessFlags::WIDE_BASE) { cx.row64(op.a)[0] } else { u64::from(cx.row(op.a)[0]) };
        return [Pattern::Same(base.wrapping_add(op.imm)); 2];
    }
    if flags.has(AccessFlags::WIDE_BASE) {
        let base = cx.row64(op.a);
        [pattern64::<T>(tables, base, 0, op.imm), pattern64::<T>(tables, base, RUN, op.imm)]
    } else {
        let base = cx.row(op.a);
        [pattern32::<T>(tables, base, 0, op.imm), pattern32::<T>(tables, base, RUN, op.imm)]
    }
}

/// Keeps a run within one cache line.
#[repr(align(64))]
struct Aligned<T>([T; RUN]);

/// Defines the pattern of a run of addresses of one width.
macro_rules! run_pattern {
    ($name:ident, $ty:ty, $index:ident) => {
        #[inline(always)]
        fn $name<T>(tables: &Lanes, base: &[$ty; LANES], first: usize, offset: u64) -> Pattern {
            let Some(run) = base[first..].first_chunk::<RUN>() else { return Pattern::Scattered };
            let start = run[0];
            let mut row = Aligned([0; RUN]);
            for i in 0..RUN {
                row.0[i] = start.wrapping_add(tables.$index[i] << size_of::<T>().trailing_zeros());
            }
            let same = Aligned([start; RUN]);
            pattern(row.0 == *run, same.0 == *run, u64::from(start).wrapping_add(offset))
        }
    };
}
run_pattern!(pattern32, u32, index);
run_pattern!(pattern64, u64, index64);

#[inline(always)]
fn pattern(consecutive: bool, same: bool, first: u64) -> Pattern {
    match (consecutive, same) {
        (true, _) => Pattern::Consecutive(first),
        (_, true) => Pattern::Same(first),
        _ => Pattern::Scattered,
    }
}

/// Loads a run that lies in a row; false if it does not, or cannot be loaded.
#[inline(always)]
fn load_pattern<B: Bank, T: Plain>(cx: &mut Cx<'_>, pattern: Pattern, values: &mut [T; RUN]) -> bool {
    match pattern {
        Pattern::Consecutive(address) => B::load_run(cx, address, values),
        Pattern::Same(address) => {
            let Some(value) = B::load_same(cx, address) else { return false };
            *values = [value; RUN];
            true
        }
        Pattern::Scattered => false,
    }
}

/// Global and const memory.
pub(in crate::engine) struct Global;
impl Bank for Global {
    #[inline(always)]
    fn load<T: Plain>(cx: &mut Cx<'_>, _: usize, address: u64) -> Result<T, AccessError> {
        cx.memory.load(address)
    }
    #[inline(always)]
    fn store<T: Plain>(cx: &mut Cx<'_>, _: usize, address: u64, value: T) -> Result<(), AccessError> {
        cx.memory.store(address, value)
    }
    #[inline(always)]
    fn load_run<T: Plain>(cx: &mut Cx<'_>, address: u64, values: &mut [T; RUN]) -> bool {
        cx.memory.load_row(address, values).is_ok()
    }
    #[inline(always)]
    fn store_run<T: Plain>(cx: &mut Cx<'_>, address: u64, values: &[T; RUN]) -> bool {
        cx.memory.store_row(address, values).is_ok()
    }
}

/// Shared memory.
pub(in crate::engine) struct SharedBank;
impl Bank for SharedBank {
    #[inline(always)]
    fn load<T: Plain>(cx: &mut Cx<'_>, _: usize, address: u64) -> Result<T, AccessError> {
        cx.shared.load(address)
    }
    #[inline(always)]
    fn store<T: Plain>(cx: &mut Cx<'_>, _: usize, address: u64, value: T) -> Result<(), AccessError> {
        cx.shared.store(address, value)
    }
    #[inline(always)]
    fn load_run<T: Plain>(cx: &mut Cx<'_>, address: u64, values: &mut [T; RUN]) -> bool {
        cx.shared.load_row(address, values)
    }
    #[inline(always)]
    fn store_run<T: Plain>(cx: &mut Cx<'_>, address: u64, values: &[T; RUN]) -> bool {
        cx.shared.store_row(address, values)
    }
}

/// Local memory: equal addresses are different places.
pub(in crate::engine) struct LocalBank;
impl Bank for LocalBank {
    const IN_ROWS: bool = false;

    fn load<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64) -> Result<T, AccessError> {
        cx.local.lane(lane).load(address)
    }
    fn store<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64, value: T) -> Result<(), AccessError> {
        cx.local.lane(lane).store(address, value)
    }
}

/// The parameter block of the launch, which is read-only.
pub(in crate::engine) struct Params;
impl Bank for Params {
    #[inline(always)]
    fn load<T: Plain>(cx: &mut Cx<'_>, _: usize, address: u64) -> Result<T, AccessError> {
        let illegal = AccessError::Illegal(Space::Param.generic(address));
        if !address.is_multiple_of(size_of::<T>() as u64) {
            return Err(AccessError::Misaligned(Space::Param.generic(address)));
        }
        let start = usize::try_from(address).map_err(|_| illegal)?;
        let bytes = cx.env.params.get(start..).ok_or(illegal)?;
        T::read_from_prefix(bytes).map(|(value, _)| value).map_err(|_| illegal)
    }
    fn store<T: Plain>(_: &mut Cx<'_>, _: usize, address: u64, _: T) -> Result<(), AccessError> {
        Err(AccessError::Illegal(Space::Param.generic(address)))
    }
}

/// Generic addresses: global memory or a window of another space.
pub(in crate::engine) struct Generic;
impl Bank for Generic {
    #[inline(always)]
    fn load<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64) -> Result<T, AccessError> {
        if is_global(address) {
            Global::load(cx, lane, address)
        } else if Space::Shared.contains(address) {
            SharedBank::load(cx, lane, Space::Shared.specific(address))
        } else if Space::Local.contains(address) {
            LocalBank::load(cx, lane, Space::Local.specific(address))
        } else if Space::Param.contains(address) {
            Params::load(cx, lane, Space::Param.specific(address))
        } else {
            Err(AccessError::Illegal(address))
        }
    }
    #[inline(always)]
    fn store<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64, value: T) -> Result<(), AccessError> {
        if is_global(address) {
            Global::store(cx, lane, address, value)
        } else if Space::Shared.contains(address) {
            SharedBank::store(cx, lane, Space::Shared.specific(address), value)
        } else if Space::Local.contains(address) {
            LocalBank::store(cx, lane, Space::Local.specific(address), value)
        } else {
            Err(AccessError::Illegal(address))
        }
    }
    #[inline(always)]
    fn load_same<T: Plain>(cx: &mut Cx<'_>, address: u64) -> Option<T> {
        if Space::Local.contains(address) {
            return None;
        }
        Self::load(cx, 0, address).ok()
    }
    #[inline(always)]
    fn load_run<T: Plain>(cx: &mut Cx<'_>, address: u64, values: &mut [T; RUN]) -> bool {
        if is_global(address) {
            Global::load_run(cx, address, values)
        } else if Space::Shared.contains(address) {
            SharedBank::load_run(cx, Space::Shared.specific(address), values)
        } else {
            false
        }
    }
    #[inline(always)]
    fn store_run<T: Plain>(cx: &mut Cx<'_>, address: u64, values: &[T; RUN]) -> bool {
        if is_global(address) {
            Global::store_run(cx, address, values)
        } else if Space::Shared.contains(address) {
            SharedBank::store_run(cx, Space::Shared.specific(address), values)
        } else {
            false
        }
    }
}

/// An element as it lies in memory and its extension to a register.
pub(in crate::engine) trait Element: Plain + Default {
    fn extend32(self) -> u32;
    fn extend64(self) -> u64;
    fn truncate(bits: u64) -> Self;
    /// Extends a run; values of the register's width are not looked at.
    #[inline(always)]
    fn extend_run32(values: [Self; RUN]) -> [u32; RUN] {
        map(values, Self::extend32)
    }
    /// See [`Element::extend_run32`].
    #[inline(always)]
    fn extend_run64(values: [Self; RUN]) -> [u64; RUN] {
        map(values, Self::extend64)
    }
}

macro_rules! element {
    ($($ty:ty { $($whole:item)? })*) => {$(
        impl Element for $ty {
            #[inline(always)]
            fn extend32(self) -> u32 { self as u32 }
            #[inline(always)]
            fn extend64(self) -> u64 { self as u64 }
            #[inline(always)]
            fn truncate(bits: u64) -> $ty { bits as $ty }
            $(#[inline(always)] $whole)?
        }
    )*};
}
element! {
    u8 {} i8 {} u16 {} i16 {}
    u32 { fn extend_run32(values: [u32; RUN]) -> [u32; RUN] { values } }
    i32 { fn extend_run32(values: [i32; RUN]) -> [u32; RUN] { zerocopy::transmute!(values) } }
    u64 { fn extend_run64(values: [u64; RUN]) -> [u64; RUN] { values } }
}

#[inline(always)]
fn write_back<T: Element>(cx: &mut Cx<'_>, dst: u32, wide: bool, values: [T; LANES]) {
    if wide {
        u64::write(cx, dst, map(values, T::extend64));
    } else {
        cx.write32(dst, map(values, T::extend32));
    }
}

#[inline(always)]
fn read_value<T: Element>(cx: &Cx<'_>, slot: Slot, wide: bool) -> [T; LANES] {
    if wide {
        map(cx.read64(slot), T::truncate)
    } else {
        map(cx.read32(slot), |v| T::truncate(u64::from(v)))
    }
}

/// Half of a row of results.
#[inline(always)]
fn write_run<T: Element>(cx: &mut Cx<'_>, dst: u32, wide: bool, first: usize, values: &[T; RUN]) {
    if wide {
        if let Some(out) = cx.row64_mut(dst)[first..].first_chunk_mut() {
            *out = T::extend_run64(*values);
        }
    } else if let Some(out) = cx.row_mut(dst)[first..].first_chunk_mut() {
        *out = T::extend_run32(*values);
    }
}

/// The load where all lanes execute and their addresses lie in rows; false if not.
#[inline(always)]
fn load_rows<B: Bank, T: Element>(cx: &mut Cx<'_>, op: &Op, flags: AccessFlags) -> bool {
    if cx.exec != FULL {
        return false;
    }
    let [low, high] = patterns::<T>(cx, op, flags);
    let wide = flags.has(AccessFlags::WIDE_VALUE);
    let (mut first, mut second) = (Aligned([T::default(); RUN]), Aligned([T::default(); RUN]));
    if !load_pattern::<B, T>(cx, low, &mut first.0) || !load_pattern::<B, T>(cx, high, &mut second.0) {
        return false;
    }
    write_run(cx, op.dst, wide, 0, &first.0);
    write_run(cx, op.dst, wide, RUN, &second.0);
    true
}

/// The store where all lanes execute and their addresses lie in rows; false if not.
#[inline(always)]
fn store_rows<B: Bank, T: Element>(cx: &mut Cx<'_>, op: &Op, flags: AccessFlags) -> bool {
    if cx.exec != FULL {
        return false;
    }
    let [Pattern::Consecutive(low), Pattern::Consecutive(high)] = patterns::<T>(cx, op, flags) else {
        return false;
    };
    let values = read_value::<T>(cx, op.c, flags.has(AccessFlags::WIDE_VALUE));
    let (Some(first), Some(second)) = (values.first_chunk(), values.last_chunk()) else { return false };
    // Repeating a store is harmless, so a failure may come after half of them.
    B::store_run(cx, low, first) && B::store_run(cx, high, second)
}

/// `dst = [a + imm]`; `b` holds [`AccessFlags`].
pub(in crate::engine) struct Load<B, T>(PhantomData<(B, T)>);
impl<B: Bank, T: Element> Handler for Load<B, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        if flags.has(AccessFlags::SPIN) {
            cx.control.spin();
        }
        if B::IN_ROWS && load_rows::<B, T>(cx, op, flags) {
            return Flow::Next;
        }
        load_lanes::<B, T>(cx, op, flags)
    }
}

#[inline(never)]
fn load_lanes<B: Bank, T: Element>(cx: &mut Cx<'_>, op: &Op, flags: AccessFlags) -> Flow {
    let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
    match B::gather::<T>(cx, &addresses) {
        Ok(values) => write_back(cx, op.dst, flags.has(AccessFlags::WIDE_VALUE), values),
        Err((lane, error)) => return cx.fail_access(lane, error, "load"),
    }
    Flow::Next
}

/// `[a + imm] = c`; `b` holds [`AccessFlags`].
pub(in crate::engine) struct Store<B, T>(PhantomData<(B, T)>);
impl<B: Bank, T: Element> Handler for Store<B, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        if B::IN_ROWS && store_rows::<B, T>(cx, op, flags) {
            return Flow::Next;
        }
        store_lanes::<B, T>(cx, op, flags)
    }
}

#[inline(never)]
fn store_lanes<B: Bank, T: Element>(cx: &mut Cx<'_>, op: &Op, flags: AccessFlags) -> Flow {
    let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
    let values = read_value::<T>(cx, op.c, flags.has(AccessFlags::WIDE_VALUE));
    match B::scatter(cx, &addresses, &values) {
        Ok(()) => Flow::Next,
        Err((lane, error)) => cx.fail_access(lane, error, "store"),
    }
}

/// Vector of `N` elements from `[a + imm]`; `dst` is the first of `N` entries in
/// [`super::super::code::Code::slots`], `b` holds [`AccessFlags`].
pub(in crate::engine) struct LoadVec<B, T, const N: usize>(PhantomData<(B, T)>);
impl<B: Bank, T: Element, const N: usize> Handler for LoadVec<B, T, N>
where
    [T; N]: Plain + Default,
{
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
        if flags.has(AccessFlags::SPIN) {
            cx.control.spin();
        }
        let vectors = match B::gather::<[T; N]>(cx, &addresses) {
            Ok(vectors) => vectors,
            Err((lane, error)) => return cx.fail_access(lane, error, "load"),
        };
        #[allow(clippy::needless_range_loop, reason = "`n` is the inner index")]
        for n in 0..N {
            let mut values = [T::default(); LANES];
            for i in 0..LANES {
                values[i] = vectors[i][n];
            }
            let dst = cx.code.slots[op.dst as usize + n].0;
            write_back(cx, dst, flags.has(AccessFlags::WIDE_VALUE), values);
        }
        Flow::Next
    }
}

/// Vector of `N` elements to `[a + imm]`; `dst` is the first of `N` entries in
/// [`super::super::code::Code::slots`], `b` holds [`AccessFlags`].
pub(in crate::engine) struct StoreVec<B, T, const N: usize>(PhantomData<(B, T)>);
impl<B: Bank, T: Element, const N: usize> Handler for StoreVec<B, T, N>
where
    [T; N]: Plain + Default,
{
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
        let mut vectors = [<[T; N]>::default(); LANES];
        #[allow(clippy::needless_range_loop, reason = "`n` is the inner index")]
        for n in 0..N {
            let src = cx.code.slots[op.dst as usize + n];
            let values = read_value::<T>(cx, src, flags.has(AccessFlags::WIDE_VALUE));
            for i in 0..LANES {
                vectors[i][n] = values[i];
            }
        }
        match B::scatter(cx, &addresses, &vectors) {
            Ok(()) => Flow::Next,
            Err((lane, error)) => cx.fail_access(lane, error, "store"),
        }
    }
}

/// Copies `c` bytes from global address `b` to shared address `a`, and zeros up to
/// `imm` bytes. Bits 0 and 1 of `dst`: `a` and `b` are 64-bit registers.
pub(in crate::engine) struct CopyAsync;
impl Handler for CopyAsync {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let to = addresses(cx, op.a, op.dst & 1 != 0, 0);
        let from = addresses(cx, op.b, op.dst & 2 != 0, 0);
        let bytes = cx.read32(op.c);
        let size = op.imm as usize;
        for lane in cx.lanes() {
            let mut buffer = [0; 16];
            let count = (bytes[lane] as usize).min(size).min(buffer.len());
            let copied = check_alignment(from[lane], size)
                .and_then(|()| check_alignment(Space::Shared.generic(to[lane]), size))
                .and_then(|()| cx.memory.read(from[lane], &mut buffer[..count]))
                .and_then(|()| store_bytes(cx, to[lane], &buffer[..size.min(16)]));
            if let Err(error) = copied {
                return cx.fail_access(lane, error, "cp.async");
            }
        }
        Flow::Next
    }
}

fn check_alignment(address: u64, size: usize) -> Result<(), AccessError> {
    if address.is_multiple_of(size.max(1) as u64) {
        Ok(())
    } else {
        Err(AccessError::Misaligned(address))
    }
}

fn store_bytes(cx: &mut Cx<'_>, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
    bytes.iter().zip(address..).try_for_each(|(byte, at)| cx.shared.store(at, *byte))
}

/// Makes all earlier accesses visible before all later ones.
pub(in crate::engine) struct Fence;
impl Handler for Fence {
    #[inline(always)]
    fn run(_: &mut Cx<'_>, _: &Op) -> Flow {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        Flow::Next
    }
}

/// `dst` = generic address of `a` in a space, or back; `imm` is added.
pub(in crate::engine) struct AddImm64;
impl Handler for AddImm64 {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let r = addresses(cx, op.a, true, op.imm);
        u64::write(cx, op.dst, r);
        Flow::Next
    }
}

/// Whether the generic addresses `a` lie in the window that starts at `imm`, or
/// in global memory if `imm` is 0.
pub(in crate::engine) struct IsSpace;
impl Handler for IsSpace {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let a = cx.read64(op.a);
        let inside = |a: u64| if op.imm == 0 { is_global(a) } else { a.wrapping_sub(op.imm) >> 32 == 0 };
        let lanes = cx.tables.mask(|i| inside(a[i]));
        cx.write_pred(op.dst, lanes);
        Flow::Next
    }
}
