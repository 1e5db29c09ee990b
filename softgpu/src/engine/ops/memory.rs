//! Loads and stores.

use super::super::code::{Op, Slot, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::shared::Shared;
use super::super::space::{is_global, Space};
use super::lane::Lane;
use crate::memory::{AccessError, Pinned, Plain};
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

/// Addresses `a + imm` of all lanes.
#[inline(always)]
pub(in crate::engine) fn addresses(cx: &Cx<'_>, base: Slot, wide: bool, offset: u64) -> [u64; LANES] {
    let mut addresses = if wide { cx.read64(base) } else { cx.read32(base).map(u64::from) };
    for address in &mut addresses {
        *address = address.wrapping_add(offset);
    }
    addresses
}

/// Something addresses of one kind lead to.
pub(in crate::engine) trait Bank {
    fn load<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64) -> Result<T, AccessError>;
    fn store<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64, value: T) -> Result<(), AccessError>;

    /// Loads for all executing lanes.
    #[inline(always)]
    fn gather<T: Plain + Default>(cx: &mut Cx<'_>, addresses: &[u64; LANES]) -> Result<[T; LANES], LaneError> {
        gather_each::<Self, T>(cx, addresses)
    }

    /// Stores for all executing lanes, in lane order.
    #[inline(always)]
    fn scatter<T: Plain>(cx: &mut Cx<'_>, addresses: &[u64; LANES], values: &[T; LANES]) -> Result<(), LaneError> {
        scatter_each::<Self, T>(cx, addresses, values)
    }
}

#[inline(always)]
fn gather_each<B: Bank + ?Sized, T: Plain + Default>(
    cx: &mut Cx<'_>,
    addresses: &[u64; LANES],
) -> Result<[T; LANES], LaneError> {
    let mut values = [T::default(); LANES];
    for lane in cx.lanes() {
        values[lane] = B::load(cx, lane, addresses[lane]).map_err(|e| (lane, e))?;
    }
    Ok(values)
}

#[inline(always)]
fn scatter_each<B: Bank + ?Sized, T: Plain>(
    cx: &mut Cx<'_>,
    addresses: &[u64; LANES],
    values: &[T; LANES],
) -> Result<(), LaneError> {
    for lane in cx.lanes() {
        B::store(cx, lane, addresses[lane], values[lane]).map_err(|e| (lane, e))?;
    }
    Ok(())
}

/// Lanes whose neighbouring addresses are checked and copied as one: rows of a
/// 16-wide block need not continue each other.
const RUN: usize = 16;

/// How the addresses of a run lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Consecutive,
    Same,
    Scattered,
}

#[inline(always)]
fn pattern<T>(run: &[u64; RUN]) -> Pattern {
    let (mut consecutive, mut same) = (true, true);
    for i in 0..RUN {
        consecutive &= run[i] == run[0].wrapping_add((i * size_of::<T>()) as u64);
        same &= run[i] == run[0];
    }
    match (consecutive, same) {
        (true, _) => Pattern::Consecutive,
        (_, true) => Pattern::Same,
        _ => Pattern::Scattered,
    }
}

#[inline(always)]
fn run_of<T: Copy>(values: &[T; LANES], first: usize) -> [T; RUN] {
    std::array::from_fn(|i| values[first + i])
}

/// Memory in which a run of values can be accessed at once.
trait Runs {
    fn load_one<T: Plain>(&mut self, address: u64) -> Result<T, AccessError>;
    fn load_run<T: Plain>(&mut self, address: u64) -> Result<[T; RUN], AccessError>;
    fn store_one<T: Plain>(&mut self, address: u64, value: T) -> Result<(), AccessError>;
    fn store_run<T: Plain>(&mut self, address: u64, values: &[T; RUN]) -> Result<(), AccessError>;
}

impl Runs for &Pinned<'_> {
    #[inline(always)]
    fn load_one<T: Plain>(&mut self, address: u64) -> Result<T, AccessError> {
        self.load(address)
    }
    #[inline(always)]
    fn load_run<T: Plain>(&mut self, address: u64) -> Result<[T; RUN], AccessError> {
        self.load_row(address)
    }
    #[inline(always)]
    fn store_one<T: Plain>(&mut self, address: u64, value: T) -> Result<(), AccessError> {
        self.store(address, value)
    }
    #[inline(always)]
    fn store_run<T: Plain>(&mut self, address: u64, values: &[T; RUN]) -> Result<(), AccessError> {
        self.store_row(address, values)
    }
}

impl Runs for &mut Shared {
    #[inline(always)]
    fn load_one<T: Plain>(&mut self, address: u64) -> Result<T, AccessError> {
        self.load(address)
    }
    #[inline(always)]
    fn load_run<T: Plain>(&mut self, address: u64) -> Result<[T; RUN], AccessError> {
        self.load_row(address)
    }
    #[inline(always)]
    fn store_one<T: Plain>(&mut self, address: u64, value: T) -> Result<(), AccessError> {
        self.store(address, value)
    }
    #[inline(always)]
    fn store_run<T: Plain>(&mut self, address: u64, values: &[T; RUN]) -> Result<(), AccessError> {
        self.store_row(address, values)
    }
}

#[inline(always)]
fn gather_runs<T: Plain + Default>(
    mut memory: impl Runs,
    exec: u32,
    addresses: &[u64; LANES],
) -> Result<[T; LANES], LaneError> {
    let mut values = [T::default(); LANES];
    for first in [0, RUN] {
        let run = run_of(addresses, first);
        let lanes = exec >> first & 0xffff;
        let out = &mut values[first..first + RUN];
        let pattern = if lanes == 0xffff { pattern::<T>(&run) } else { Pattern::Scattered };
        match pattern {
            Pattern::Consecutive => {
                // On failure the lanes are looked at one by one to find the first at fault.
                if let Ok(all) = memory.load_run::<T>(run[0]) {
                    out.copy_from_slice(&all);
                    continue;
                }
            }
            Pattern::Same => {
                out.fill(memory.load_one::<T>(run[0]).map_err(|e| (first, e))?);
                continue;
            }
            Pattern::Scattered => {}
        }
        for i in 0..RUN {
            if lanes >> i & 1 != 0 {
                out[i] = memory.load_one(run[i]).map_err(|e| (first + i, e))?;
            }
        }
    }
    Ok(values)
}

#[inline(always)]
fn scatter_runs<T: Plain>(
    mut memory: impl Runs,
    exec: u32,
    addresses: &[u64; LANES],
    values: &[T; LANES],
) -> Result<(), LaneError> {
    for first in [0, RUN] {
        let run = run_of(addresses, first);
        let lanes = exec >> first & 0xffff;
        let values = run_of(values, first);
        if lanes == 0xffff
            && pattern::<T>(&run) == Pattern::Consecutive
            && memory.store_run(run[0], &values).is_ok()
        {
            continue;
        }
        for i in 0..RUN {
            if lanes >> i & 1 != 0 {
                memory.store_one(run[i], values[i]).map_err(|e| (first + i, e))?;
            }
        }
    }
    Ok(())
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
    fn gather<T: Plain + Default>(cx: &mut Cx<'_>, addresses: &[u64; LANES]) -> Result<[T; LANES], LaneError> {
        gather_runs(cx.memory, cx.exec, addresses)
    }
    #[inline(always)]
    fn scatter<T: Plain>(cx: &mut Cx<'_>, addresses: &[u64; LANES], values: &[T; LANES]) -> Result<(), LaneError> {
        scatter_runs(cx.memory, cx.exec, addresses, values)
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
    fn gather<T: Plain + Default>(cx: &mut Cx<'_>, addresses: &[u64; LANES]) -> Result<[T; LANES], LaneError> {
        let exec = cx.exec;
        gather_runs(&mut *cx.shared, exec, addresses)
    }
    #[inline(always)]
    fn scatter<T: Plain>(cx: &mut Cx<'_>, addresses: &[u64; LANES], values: &[T; LANES]) -> Result<(), LaneError> {
        let exec = cx.exec;
        scatter_runs(&mut *cx.shared, exec, addresses, values)
    }
}

/// Local memory.
pub(in crate::engine) struct LocalBank;
impl Bank for LocalBank {
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
        if address % size_of::<T>() as u64 != 0 {
            return Err(AccessError::Misaligned(Space::Param.generic(address)));
        }
        let start = usize::try_from(address).map_err(|_| illegal)?;
        let bytes = cx.env.params.get(start..).ok_or(illegal)?;
        T::read_from_prefix(bytes).map(|(value, _)| value).map_err(|_| illegal)
    }
    fn store<T: Plain>(_: &mut Cx<'_>, _: usize, address: u64, _: T) -> Result<(), AccessError> {
        Err(AccessError::Illegal(Space::Param.generic(address)))
    }
    #[inline(always)]
    fn gather<T: Plain + Default>(cx: &mut Cx<'_>, addresses: &[u64; LANES]) -> Result<[T; LANES], LaneError> {
        let first = cx.exec.trailing_zeros() as usize & 31;
        let mut same = true;
        for i in 0..LANES {
            same &= addresses[i] == addresses[first];
        }
        if same {
            return Ok([Self::load(cx, first, addresses[first]).map_err(|e| (first, e))?; LANES]);
        }
        gather_each::<Self, T>(cx, addresses)
    }
}

/// Generic addresses: global memory or a window of another space.
pub(in crate::engine) struct Generic;
impl Bank for Generic {
    fn load<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64) -> Result<T, AccessError> {
        if Space::Shared.contains(address) {
            SharedBank::load(cx, lane, Space::Shared.specific(address))
        } else if Space::Local.contains(address) {
            LocalBank::load(cx, lane, Space::Local.specific(address))
        } else if Space::Param.contains(address) {
            Params::load(cx, lane, Space::Param.specific(address))
        } else {
            Global::load(cx, lane, address)
        }
    }
    fn store<T: Plain>(cx: &mut Cx<'_>, lane: usize, address: u64, value: T) -> Result<(), AccessError> {
        if Space::Shared.contains(address) {
            SharedBank::store(cx, lane, Space::Shared.specific(address), value)
        } else if Space::Local.contains(address) {
            LocalBank::store(cx, lane, Space::Local.specific(address), value)
        } else if Space::Param.contains(address) {
            Params::store(cx, lane, address, value)
        } else {
            Global::store(cx, lane, address, value)
        }
    }
    #[inline(always)]
    fn gather<T: Plain + Default>(cx: &mut Cx<'_>, addresses: &[u64; LANES]) -> Result<[T; LANES], LaneError> {
        if all_global(addresses) {
            Global::gather(cx, addresses)
        } else {
            gather_each::<Self, T>(cx, addresses)
        }
    }
    #[inline(always)]
    fn scatter<T: Plain>(cx: &mut Cx<'_>, addresses: &[u64; LANES], values: &[T; LANES]) -> Result<(), LaneError> {
        if all_global(addresses) {
            Global::scatter(cx, addresses, values)
        } else {
            scatter_each::<Self, T>(cx, addresses, values)
        }
    }
}

#[inline(always)]
fn all_global(addresses: &[u64; LANES]) -> bool {
    let mut union = 0;
    for address in addresses {
        union |= address;
    }
    is_global(union)
}

/// An element as it lies in memory and its extension to a register.
pub(in crate::engine) trait Element: Plain + Default {
    fn extend32(self) -> u32;
    fn extend64(self) -> u64;
    fn truncate(bits: u64) -> Self;
}

macro_rules! element {
    ($($ty:ty)*) => {$(
        impl Element for $ty {
            #[inline(always)]
            fn extend32(self) -> u32 { self as u32 }
            #[inline(always)]
            fn extend64(self) -> u64 { self as u64 }
            #[inline(always)]
            fn truncate(bits: u64) -> $ty { bits as $ty }
        }
    )*};
}
element!(u8 i8 u16 i16 u32 i32 u64);

#[inline(always)]
fn write_back<T: Element>(cx: &mut Cx<'_>, dst: u32, wide: bool, values: [T; LANES]) {
    if wide {
        u64::write(cx, dst, values.map(T::extend64));
    } else {
        cx.write32(dst, values.map(T::extend32));
    }
}

#[inline(always)]
fn read_value<T: Element>(cx: &Cx<'_>, slot: Slot, wide: bool) -> [T; LANES] {
    if wide {
        cx.read64(slot).map(T::truncate)
    } else {
        cx.read32(slot).map(|v| T::truncate(u64::from(v)))
    }
}

/// `dst = [a + imm]`; `b` holds [`AccessFlags`].
pub(in crate::engine) struct Load<B, T>(PhantomData<(B, T)>);
impl<B: Bank, T: Element> Handler for Load<B, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
        if flags.has(AccessFlags::SPIN) {
            cx.control.spin();
        }
        match B::gather::<T>(cx, &addresses) {
            Ok(values) => write_back(cx, op.dst, flags.has(AccessFlags::WIDE_VALUE), values),
            Err((lane, error)) => return cx.fail_access(lane, error, "load"),
        }
        Flow::Next
    }
}

/// `[a + imm] = c`; `b` holds [`AccessFlags`].
pub(in crate::engine) struct Store<B, T>(PhantomData<(B, T)>);
impl<B: Bank, T: Element> Handler for Store<B, T> {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
        let values = read_value::<T>(cx, op.c, flags.has(AccessFlags::WIDE_VALUE));
        match B::scatter(cx, &addresses, &values) {
            Ok(()) => Flow::Next,
            Err((lane, error)) => cx.fail_access(lane, error, "store"),
        }
    }
}

/// Vector of `N` elements from `[a + imm]`; `dst` is the first of `N` entries in
/// [`super::super::code::Code::slots`], `b` holds [`AccessFlags`].
pub(in crate::engine) struct LoadVec<B, T, const N: usize>(PhantomData<(B, T)>);
impl<B: Bank, T: Element, const N: usize> Handler for LoadVec<B, T, N>
where
    [T; N]: Plain + Default,
{
    #[inline(always)]
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
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        let flags = AccessFlags(op.b.0);
        let addresses = addresses(cx, op.a, flags.has(AccessFlags::WIDE_BASE), op.imm);
        let mut vectors = [<[T; N]>::default(); LANES];
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
    if address % size.max(1) as u64 == 0 { Ok(()) } else { Err(AccessError::Misaligned(address)) }
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
        let mut lanes = 0;
        for i in 0..LANES {
            let inside = if op.imm == 0 { is_global(a[i]) } else { a[i].wrapping_sub(op.imm) >> 32 == 0 };
            lanes |= u32::from(inside) << i;
        }
        cx.write_pred(op.dst, lanes);
        Flow::Next
    }
}
